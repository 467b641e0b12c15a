"""The protocol of a signing key, so that logs and evidence can be signed by any key service.

Example:
    >>> def sign_twice(signer: Signer) -> tuple[bytes, bytes]:
    ...     return signer.sign(b"one"), signer.sign(b"two")
"""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """An Ed25519 key (RFC 8032) that signs; where the private half lives is its own affair."""

    def public_key(self) -> bytes:
        """The public key: 32 bytes as in RFC 8032."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature of the message: 64 bytes as in RFC 8032.

        Raises:
            AssayError: the key service could not sign.
        """
        ...
