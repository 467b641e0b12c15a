"""Padmé: lengths that tell little, at a cost of at most 12 per cent.

Specification: ``spec/row-envelope.md``, "Padding"; Nikitin et al., PETS 2019, algorithm 1.

Example:
    >>> [padme_length(length) for length in (8, 9, 100, 1000)]
    [8, 10, 104, 1024]
"""

from __future__ import annotations


def padme_length(length: int) -> int:
    """The next length, at or above the given one, whose low bits are zero as Padmé wants it.

    Args:
        length: at least 2.
    """
    exponent = length.bit_length() - 1
    kept_bits = exponent.bit_length()
    mask = (1 << (exponent - kept_bits)) - 1
    return (length + mask) & ~mask


def filler_bytes(length: int) -> int:
    """How many bytes a MessagePack bin must hold so that a payload gets a Padmé length.

    Args:
        length: the length of the payload with an empty bin in it.

    Returns:
        The number of bytes in the bin; its own header grows from 2 to 3 bytes at 256 bytes, and
        to 5 at 65536, which is counted in.
    """
    target = padme_length(length)
    while True:
        for header_growth, smallest, largest in ((0, 0, 255), (1, 256, 65535), (3, 65536, 2**31)):
            size = target - length - header_growth
            if smallest <= size <= largest:
                return size
        target = padme_length(target + 1)
