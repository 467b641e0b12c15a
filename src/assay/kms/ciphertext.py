r"""The bytes of a ciphertext under a symmetric key, version 1.

======== ===============================================================
bytes    field
======== ===============================================================
1        version ``0x01``
16       key: the UUID, or the 16 bytes after ``mrk-``
4        version of the backing key, big-endian, from 1
12       nonce of AES-256-GCM, random
n        ciphertext
16       tag
======== ===============================================================

Specification: ``spec/kms.md``, "Ciphertext"; NIST SP 800-38D for GCM.

Example:
    >>> blob = join("12345678-1234-1234-1234-123456789012", 1, bytes(12), bytes(16))
    >>> parse(blob).version, len(blob)
    (1, 49)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from assay.core import pae
from assay.kms.errors import InvalidCiphertextError, ValidationError

KEY_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
HEADER_BYTES = 1 + KEY_BYTES + 4
SMALLEST_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES

_VERSION = b"\x01"
_LABEL = b"assay kms ciphertext v1"
_KEY_ID = re.compile(
    r"mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)


@dataclass(frozen=True, slots=True)
class Blob:
    """A ciphertext in its parts; nothing of it is authentic before the cipher says so.

    Attributes:
        key: 16 bytes, see `key_bytes`.
        version: of the backing key, from 1.
        nonce: 12 bytes.
        sealed: ciphertext and tag.
        header: the first 21 bytes, for `associated_data`.
    """

    key: bytes
    version: int
    nonce: bytes
    sealed: bytes
    header: bytes


def key_bytes(key_id: str) -> bytes:
    """What stands for a key: the 16 bytes of its UUID, or those after ``mrk-``.

    A UUID and a multi-Region key of the same 16 bytes would share them; both are random.

    Raises:
        ValueError: not a key id, in lower case.
    """
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError("expected a key id (a UUID, or mrk- and 32 digits), found something else")
    return bytes.fromhex(key_id.removeprefix("mrk-").replace("-", ""))


def header_of(key_id: str, version: int) -> bytes:
    """The first 21 bytes.

    Raises:
        ValueError: not a key id, or a version that does not fit.
    """
    if not 1 <= version < 2**32:
        raise ValueError(f"expected a version from 1 to 2^32 - 1, found {version}")
    return _VERSION + key_bytes(key_id) + version.to_bytes(4)


def associated_data(header: bytes, context: Mapping[str, str]) -> bytes:
    """What GCM authenticates beside the plaintext: header and encryption context.

    ``PAE([label, header, k1, v1, k2, v2, ...])`` with the pairs sorted by name, in UTF-8.

    Raises:
        ValidationError: the context holds text that UTF-8 cannot write.
    """
    pieces = [_LABEL, header]
    try:
        for name in sorted(context):
            pieces += (name.encode("utf-8"), context[name].encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise ValidationError(
            "expected an encryption context of valid Unicode text, found a surrogate that stands "
            "alone"
        ) from exc
    return pae(pieces)


def join(key_id: str, version: int, nonce: bytes, sealed: bytes) -> bytes:
    """The whole ciphertext.

    Args:
        key_id: of the key.
        version: of the backing key.
        nonce: 12 bytes.
        sealed: ciphertext and tag as GCM gave them, at least 16 bytes.

    Raises:
        ValueError: a part that does not fit.
    """
    if len(nonce) != NONCE_BYTES or len(sealed) < TAG_BYTES:
        raise ValueError(f"expected 12 and at least 16 bytes, found {len(nonce)} and {len(sealed)}")
    return header_of(key_id, version) + nonce + sealed


def parse(blob: bytes) -> Blob:
    """Step 1 of reading: the parts of a ciphertext.

    Raises:
        InvalidCiphertextError: too short, another version of the format, or version 0 of a key.
    """
    if len(blob) < SMALLEST_BYTES or blob[:1] != _VERSION:
        raise InvalidCiphertextError(
            f"expected a ciphertext of this service: version 01 and at least {SMALLEST_BYTES} "
            f"bytes, found {blob[:1].hex() or 'nothing'} and {len(blob)} bytes"
        )
    header, rest = blob[:HEADER_BYTES], blob[HEADER_BYTES:]
    version = int.from_bytes(header[1 + KEY_BYTES :])
    if version == 0:
        raise InvalidCiphertextError("expected a version of the key from 1, found 0")
    return Blob(
        key=header[1 : 1 + KEY_BYTES],
        version=version,
        nonce=rest[:NONCE_BYTES],
        sealed=rest[NONCE_BYTES:],
        header=header,
    )
