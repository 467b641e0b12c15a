"""The keys of a service on a PKCS#11 token: made, used and destroyed by their CKA_ID.

One call of the token at a time in a process (``pkcs11_sharing``), each with all that it needs, so
that a session that was lost between two calls loses nothing.

Example:
    >>> token = open_pkcs11_token("pkcs11:token=assay", Path("."), os.environ)  # doctest: +SKIP
    >>> token.create(AES_256, key_id := token.random(16), "service/1")          # doctest: +SKIP
    >>> nonce, sealed = token.seal(key_id, b"plaintext", b"associated")         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.core import Fidelity
from assay.keys.errors import KeyServiceError
from assay.keys.pkcs11 import Session
from assay.keys.pkcs11_custody import read_custody, token_fidelity
from assay.keys.pkcs11_opening import opened
from assay.keys.pkcs11_public import read_public_key
from assay.keys.pkcs11_sharing import SharedToken, open_shared_token
from assay.keys.pkcs11_uri import KeySelector, parse_token_uri
from assay.keys.service import Custody
from assay.keys.token_keys import AES_256, KeyKind, KeyType, SigningMechanism

T = TypeVar("T")

_NONCE_BYTES = 12
_OAEP_HASHES = {"SHA_1": SHA1, "SHA_256": SHA256}


def open_pkcs11_token(uri: str, directory: Path, environment: Mapping[str, str]) -> Pkcs11KeyToken:
    """Open the token that a URI names; see `assay.keys.open_token`."""
    parsed = parse_token_uri(uri)
    return Pkcs11KeyToken(
        open_shared_token(parsed, directory, environment), parsed.without_secrets()
    )


class Pkcs11KeyToken:
    """A `KeyToken` over the session that this process shares."""

    def __init__(self, token: SharedToken, uri: str) -> None:
        self._token: SharedToken | None = token
        self._uri = uri
        try:
            self._fidelity = token_fidelity(token.facts(AES_256.generation))
        except BaseException:
            self.close()
            raise

    @property
    def fidelity(self) -> Fidelity:
        """``emulated`` for software tokens, ``live`` for those that say they are hardware."""
        return self._fidelity

    def create(self, kind: KeyKind, key_id: bytes, label: str) -> None:
        """Make a key: sensitive, not extractable, private, with the uses of its kind."""
        tried = False

        def create(session: Session) -> None:
            nonlocal tried
            if tried:  # the session was lost, perhaps after the key was made
                session.destroy_by_id(key_id)
            tried = True
            session.create_by_id(key_id, label, kind)

        self._run(create)

    def destroy(self, key_id: bytes) -> None:
        """Destroy a key and its public half."""
        self._run(lambda session: session.destroy_by_id(key_id))

    def labels(self) -> dict[bytes, str]:
        """CKA_ID -> CKA_LABEL of every key."""
        return self._run(lambda session: session.labels())

    def random(self, size_bytes: int) -> bytes:
        """Random bytes of the token's own generator."""
        return self._run(lambda session: session.random(size_bytes))

    def seal(self, key_id: bytes, plaintext: bytes, associated: bytes) -> tuple[bytes, bytes]:
        """AES-GCM: the nonce (12 bytes), and ciphertext with tag."""
        key = KeySelector(None, key_id, KeyType.AES)

        def seal(session: Session) -> tuple[bytes, bytes]:
            nonce = session.random(_NONCE_BYTES)
            return nonce, session.encrypt(key, nonce, plaintext, associated)

        return self._run(seal)

    def open(self, key_id: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Open what `seal` made."""
        key = KeySelector(None, key_id, KeyType.AES)
        return self._run(
            lambda session: opened(
                lambda: session.decrypt(key, nonce, sealed, associated),
                lambda: session.check_that_it_opens(key),
            )
        )

    def sign(self, key_id: bytes, mechanism: SigningMechanism, data: bytes) -> bytes:
        """A signature or a MAC, as the mechanism gives it."""
        key = KeySelector(None, key_id, mechanism.key_type)
        return self._run(lambda session: session.sign(key, mechanism, data))

    def decrypt_oaep(self, key_id: bytes, hash_name: str, ciphertext: bytes) -> bytes:
        """RSAES-OAEP under an RSA key that may decrypt."""
        key = KeySelector(None, key_id, KeyType.RSA)
        hashed = _OAEP_HASHES[hash_name]()

        def check_that_it_opens(session: Session) -> None:
            public = read_public_key(session, key)
            if isinstance(public, RSAPublicKey):
                probe = public.encrypt(b"probe", OAEP(MGF1(hashed), hashed, None))
                session.decrypt_oaep(key, hash_name, probe)

        return self._run(
            lambda session: opened(
                lambda: session.decrypt_oaep(key, hash_name, ciphertext),
                lambda: check_that_it_opens(session),
            )
        )

    def public_key(self, key_id: bytes, key_type: KeyType) -> bytes:
        """The public half: DER SubjectPublicKeyInfo."""
        key = KeySelector(None, key_id, key_type)
        found = self._run(lambda session: read_public_key(session, key))
        return found.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def custody(self, key_id: bytes, kind: KeyKind) -> Custody:
        """Read a key's attributes, and try every door by which it might leave."""
        key = KeySelector(None, key_id, kind.key_type)
        return read_custody(self._open(), f"{self._uri};id={key_id.hex()}", key, kind)

    def close(self) -> None:
        """Let go of the token; the last one who does logs out. A second call does nothing."""
        token, self._token = self._token, None
        if token is not None:
            token.close()

    def _run(self, operation: Callable[[Session], T]) -> T:
        return self._open().run(operation)

    def _open(self) -> SharedToken:
        if self._token is None:
            raise KeyServiceError(f"expected an open token {self._uri}, found one that was closed")
        return self._token
