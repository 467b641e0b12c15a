r"""Pre-authentication encoding: several byte strings as one, without ambiguity.

This is PAE of PASETO (https://github.com/paseto-standard/paseto-spec, "Common Implementation
Details"): the number of pieces, then each piece with its length before it, numbers as 64-bit
little-endian with the highest bit cleared. Two different lists never encode to the same bytes,
so what is signed, sealed or hashed cannot be shifted from one piece into the next.

Example:
    >>> pae([b"ab"])
    b'\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00ab'
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_LE64 = struct.Struct("<Q").pack


def pae(pieces: Sequence[bytes]) -> bytes:
    """Encode the pieces: LE64(count), then LE64(length) and the bytes of each.

    Args:
        pieces: any number of byte strings, each shorter than 2^63 bytes.
    """
    parts = [_LE64(len(pieces))]
    for piece in pieces:
        parts.append(_LE64(len(piece)))
        parts.append(piece)
    return b"".join(parts)
