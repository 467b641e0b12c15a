r"""Signed notes and verifier keys (https://c2sp.org/signed-note).

Only Ed25519 signatures (type 0x01) are made and verified. The text is ``spec/ledger.md``, section
Signed note and verifier key.

Example:
    >>> key = VerifierKey.parse(
    ...     "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    ... )
    >>> key.verify_note(note)                                        # doctest: +SKIP
    'This is an example message.\n'
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.core import Signer
from assay.ledger.errors import (
    NoteFormatError,
    NoteSignatureError,
    TextFormError,
    UnknownNoteKeyError,
    VerifierKeyError,
)
from assay.ledger.text_forms import decode_base64, encode_base64

_ED25519 = b"\x01"
_DASH = "\N{EM DASH} "
_LARGEST_NOTE = 1 << 20
_MOST_SIGNATURES = 64


@dataclass(frozen=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: of the key.
        key_id: 4 bytes.
        signature: the bytes that follow the key id; at least 1.
    """

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A text and its signatures; nothing is verified yet.

    Attributes:
        text: ends in a line break.
        signatures: in the order of their lines; at least one.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note.

        Args:
            data: text, empty line, signature lines; UTF-8, at most 1 MiB.

        Raises:
            NoteFormatError: the bytes have another form.
        """
        if len(data) > _LARGEST_NOTE:
            raise NoteFormatError("expected a signed note of at most 1 MiB, found a longer one")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise NoteFormatError("expected a signed note in UTF-8, found other bytes") from exc
        if any(char < " " and char != "\n" for char in whole):
            raise NoteFormatError("expected a signed note, found control characters in it")
        text, blank, block = whole.rpartition("\n\n")
        if not blank or not block.endswith("\n"):
            raise NoteFormatError(
                "expected a signed note: a text, an empty line and lines of signatures"
            )
        lines = block[:-1].split("\n")
        if len(lines) > _MOST_SIGNATURES:
            raise NoteFormatError(f"expected at most {_MOST_SIGNATURES} signatures, found more")
        return cls(text + "\n", tuple(_parse_signature(line) for line in lines))

    def to_bytes(self) -> bytes:
        """The one encoding of the note."""
        lines = [
            f"{_DASH}{one.name} {encode_base64(one.key_id + one.signature)}\n"
            for one in self.signatures
        ]
        return f"{self.text}\n{''.join(lines)}".encode()


@dataclass(frozen=True)
class VerifierKey:
    """The public key of a note's signer.

    Attributes:
        name: not empty, without white space and ``+``.
        public_key: Ed25519, 32 bytes (RFC 8032).

    Raises:
        VerifierKeyError: name or key has another form.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        """Refuse names and keys that no note can carry."""
        if not _is_key_name(self.name):
            raise VerifierKeyError(
                f"expected a key name without white space and '+', found {self.name!r}"
            )
        if len(self.public_key) != 32:
            raise VerifierKeyError(
                f"expected an Ed25519 public key of 32 bytes, found {len(self.public_key)}"
            )

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read the text form ``NAME+hex(key id)+b64(0x01 || public key)``.

        Raises:
            VerifierKeyError: the text has another form, another type of key, or a wrong key id.
        """
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise VerifierKeyError("expected a verifier key NAME+ID+KEY, found something else")
        name, key_id, material = parts
        try:
            decoded = decode_base64(material)
        except TextFormError as exc:
            raise VerifierKeyError(f"verifier key: {exc}") from exc
        if decoded[:1] != _ED25519:
            raise VerifierKeyError("expected a verifier key of type 1 (Ed25519), found another")
        key = cls(name, decoded[1:])
        if key.key_id.hex() != key_id:
            raise VerifierKeyError(
                f"expected the key id {key.key_id.hex()} for this name and key, found another; "
                "was the text copied whole?"
            )
        return key

    @cached_property
    def key_id(self) -> bytes:
        """4 bytes: the start of ``SHA-256(name || 0x0A || 0x01 || public key)``."""
        named = self.name.encode() + b"\n" + _ED25519 + self.public_key
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        """The text form, as `parse` reads it."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(_ED25519 + self.public_key)}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a bare Ed25519 signature (RFC 8032).

        Raises:
            NoteSignatureError: it is not this key's signature of this message.
        """
        try:
            self._verifier.verify(signature, message)
        except InvalidSignature as exc:
            raise NoteSignatureError(
                f"expected a signature by {self.name}+{self.key_id.hex()}, found one that does "
                "not verify: text or signature was altered"
            ) from exc

    def verify_note(self, data: bytes) -> str:
        """Check a note's signature by this key, and give its text.

        Raises:
            NoteFormatError: it is no signed note.
            UnknownNoteKeyError: it has no signature by this key.
            NoteSignatureError: it has one that is wrong.
        """
        note = Note.parse(data)
        me = (self.name, self.key_id)
        mine = [one for one in note.signatures if (one.name, one.key_id) == me]
        if not mine:
            found = " and ".join(f"{one.name}+{one.key_id.hex()}" for one in note.signatures)
            raise UnknownNoteKeyError(
                f"expected a signature by {self.name}+{self.key_id.hex()}, found {found}"
            )
        message = note.text.encode()
        for one in mine:
            self.verify(message, one.signature)
        return note.text

    @cached_property
    def _verifier(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.public_key)


def sign_note(text: str, name: str, signer: Signer) -> bytes:
    """Sign a text, and make sure that the signature verifies.

    Args:
        text: ends in a line break.
        name: of the key.
        signer: the key.

    Returns:
        The note.

    Raises:
        NoteFormatError: the text cannot stand in a note.
        NoteSignatureError: the signer gave something that does not verify.
        AssayError: the signer could not sign.
    """
    key = VerifierKey(name, signer.public_key())
    if not text.endswith("\n"):
        raise NoteFormatError("expected a text that ends in a line break")
    signature = signer.sign(text.encode())
    note = Note(text, (NoteSignature(name, key.key_id, signature),)).to_bytes()
    if key.verify_note(note) != text:
        raise NoteFormatError("expected a text that a note can hold, found another")
    return note


def _parse_signature(line: str) -> NoteSignature:
    name, space, material = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not _is_key_name(name):
        raise NoteFormatError("expected a signature line: em dash, key name, signature")
    try:
        decoded = decode_base64(material)
    except TextFormError as exc:
        raise NoteFormatError(f"signature line: {exc}") from exc
    if len(decoded) < 5:
        raise NoteFormatError("expected a key id and a signature, found fewer than 5 bytes")
    return NoteSignature(name, decoded[:4], decoded[4:])


def _is_key_name(name: str) -> bool:
    return bool(name) and not any(
        char.isspace() or char < " " or char == "+" or "\ud800" <= char <= "\udfff" for char in name
    )
