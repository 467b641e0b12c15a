"""SHA-256 digests, always written as 64 lower-case hexadecimal digits (FIPS 180-4).

Example:
    >>> sha256_hex(b"")[:8]
    'e3b0c442'
"""

from __future__ import annotations

import hashlib


def sha256_hex(data: bytes) -> str:
    """The SHA-256 digest of the bytes, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def is_sha256_hex(text: str) -> bool:
    """Whether the text has the one form in which Assay writes a digest."""
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)
