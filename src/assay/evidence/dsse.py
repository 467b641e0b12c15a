"""DSSE envelopes, version 1, with one Ed25519 signature, in one spelling.

Specification: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, narrowed by
``spec/evidence.md``, section Envelope.

Example:
    >>> data = sign_envelope(b"{}", key, signer)                      # doctest: +SKIP
    >>> open_envelope(data, key)                                      # doctest: +SKIP
    b'{}'
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.core import Signer
from assay.evidence.errors import EnvelopeFormatError, EnvelopeKeyError, EnvelopeSignatureError
from assay.ledger import (
    NoteSignatureError,
    TextFormError,
    VerifierKey,
    decode_base64,
    encode_base64,
)

PAYLOAD_TYPE = "application/vnd.in-toto+json"

# The one spelling, around payload, key id and signature; sorted keys, no white space.
_BEFORE_PAYLOAD = '{"payload":"'
_BEFORE_KEY_ID = f'","payloadType":"{PAYLOAD_TYPE}","signatures":[{{"keyid":"'
_BEFORE_SIGNATURE = '","sig":"'
_END = '"}]}'


@dataclass(frozen=True)
class Envelope:
    """A payload and its signature; nothing is verified yet.

    Attributes:
        payload: the statement's bytes.
        key_id: 8 hexadecimal digits, the note key id of the signer.
        signature: 64 bytes.
    """

    payload: bytes
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """The envelope as canonical JSON."""
        return (
            f"{_BEFORE_PAYLOAD}{encode_base64(self.payload)}{_BEFORE_KEY_ID}{self.key_id}"
            f"{_BEFORE_SIGNATURE}{encode_base64(self.signature)}{_END}"
        ).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read an envelope.

        Raises:
            EnvelopeFormatError: the bytes are no envelope in its one spelling.
        """
        try:
            text = data.decode("ascii").removeprefix(_BEFORE_PAYLOAD).removesuffix(_END)
            payload, found, rest = text.partition(_BEFORE_KEY_ID)
            key_id, found_too, signature = rest.partition(_BEFORE_SIGNATURE)
            envelope = cls(decode_base64(payload), key_id, decode_base64(signature))
        except (UnicodeDecodeError, TextFormError) as exc:
            raise EnvelopeFormatError(f"expected a DSSE envelope: {exc}") from exc
        plain_key_id = len(key_id) == 8 and not set(key_id) - set("0123456789abcdef")
        if not (found and found_too and plain_key_id) or envelope.to_bytes() != data:
            raise EnvelopeFormatError(
                "expected a DSSE envelope with an in-toto payload and one signature, in canonical "
                "JSON, found something else"
            )
        return envelope


def pre_authentication_encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What is signed: ``"DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload``."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, key: VerifierKey, signer: Signer) -> bytes:
    """Sign a payload, and make sure that the signature verifies.

    Args:
        payload: the statement's bytes.
        key: the verifier key of the signer.
        signer: signs.

    Raises:
        EnvelopeSignatureError: the signer gave something that does not verify.
        AssayError: the signer could not sign.
    """
    signature = signer.sign(pre_authentication_encoding(payload))
    data = Envelope(payload, key.key_id.hex(), signature).to_bytes()
    open_envelope(data, key)
    return data


def open_envelope(data: bytes, key: VerifierKey) -> bytes:
    """The payload of an envelope that the key signed (``spec/evidence.md``, Opening).

    Raises:
        EnvelopeFormatError: it is no envelope.
        EnvelopeKeyError: it names another key.
        EnvelopeSignatureError: its signature is wrong.
    """
    envelope = Envelope.from_bytes(data)  # step 1
    if envelope.key_id != key.key_id.hex():  # step 2
        raise EnvelopeKeyError(
            f"expected an envelope signed by key {key.key_id.hex()}, found key {envelope.key_id}"
        )
    try:
        key.verify(pre_authentication_encoding(envelope.payload), envelope.signature)  # step 3
    except NoteSignatureError as exc:
        raise EnvelopeSignatureError(f"envelope: {exc}") from exc
    return envelope.payload
