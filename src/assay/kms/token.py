"""What the service asks of the token that holds the keys.

Every key is made inside the token, sensitive and not extractable; no method takes or gives key
material. The one that speaks PKCS#11 is ``assay.kms.pkcs11_token``; ``assay.kms.memory_token``
stands in for it in tests.

Example:
    >>> made = token.create_key(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT,
    ...                         "1b9e…/1")                                       # doctest: +SKIP
    >>> handle = made.handle                                                     # doctest: +SKIP
    >>> nonce, sealed = token.encrypt(handle, b"plaintext", b"context")          # doctest: +SKIP
    >>> token.decrypt(handle, nonce, sealed, b"context")                         # doctest: +SKIP
    b'plaintext'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from assay.core import Fidelity
from assay.kms.records import KeySpec, KeyUsage

LABEL_PREFIX = "assay-kms/"
"""How the CKA_LABEL of every key of the service begins."""


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that the token has just made.

    Attributes:
        handle: its CKA_ID, 16 random bytes.
        public_key: DER SubjectPublicKeyInfo of an asymmetric key, else None.
    """

    handle: bytes
    public_key: bytes | None


class Token(Protocol):
    """A token with the keys of the service. Safe between threads.

    Every method raises `TokenUnavailableError` when the token cannot be reached or fails, and
    `UnsupportedError` when it has no such mechanism. Those that use a key raise `InternalError`
    when the token does not hold it.
    """

    @property
    def fidelity(self) -> Fidelity:
        """How real the token is."""
        ...

    def create_key(self, spec: KeySpec, usage: KeyUsage, label: str) -> MadeKey:
        """Make a key that stays: sensitive, not extractable, and may what its usage needs.

        Args:
            spec: its kind.
            usage: what it is for; an RSA key either signs or decrypts.
            label: ``KEY-ID/VERSION``; its CKA_LABEL, for an operator who looks into the token, is
                ``assay-kms/KEY-ID/VERSION``.

        Raises:
            ValueError: no such key is for that usage.
        """
        ...

    def destroy_key(self, handle: bytes) -> None:
        """Destroy a key and its public half. One that is gone already is no error."""
        ...

    def handles(self) -> frozenset[bytes]:
        """The handles of all keys whose label begins as `create_key` makes them begin.

        It looks at every object of the token: for reconciliation, not for requests.
        """
        ...

    def random(self, size_bytes: int) -> bytes:
        """Random bytes of the token's own generator."""
        ...

    def encrypt(self, handle: bytes, plaintext: bytes, associated: bytes) -> tuple[bytes, bytes]:
        """AES-256-GCM under a key of ``SYMMETRIC_DEFAULT``.

        Returns:
            The nonce (12 bytes), and ciphertext with tag.
        """
        ...

    def decrypt(self, handle: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Open what `encrypt` made.

        Raises:
            InvalidCiphertextError: altered, or another key or associated data.
        """
        ...

    def decrypt_oaep(self, handle: bytes, hash_name: str, ciphertext: bytes) -> bytes:
        """RSAES-OAEP, with ``SHA_1`` or ``SHA_256`` for hash and mask, without a label.

        Raises:
            InvalidCiphertextError: it does not open.
        """
        ...

    def sign(self, handle: bytes, algorithm: str, message: bytes, *, digested: bool) -> bytes:
        """Sign under an asymmetric key.

        Args:
            handle: which key.
            algorithm: by AWS's name, ``RSASSA_PSS_SHA_256``, ``ECDSA_SHA_256``,
                ``ED25519_SHA_512``, …
            message: the message, or its digest.
            digested: whether it is the digest.

        The signature is verified before it is given out: a faulty one can reveal the key.

        Returns:
            The signature as KMS gives it: for ECDSA in DER (RFC 3279), else raw.

        Raises:
            ValidationError: a digest of another length, or one for Ed25519.
        """
        ...

    def mac(self, handle: bytes, algorithm: str, message: bytes) -> bytes:
        """HMAC under a key of that size; ``HMAC_SHA_224`` to ``HMAC_SHA_512``, not truncated."""
        ...

    def close(self) -> None:
        """Let go of the token. A second call does nothing."""
        ...
