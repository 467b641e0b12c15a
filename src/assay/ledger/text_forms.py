r"""Base64 and decimal numbers with exactly one spelling per value (``spec/ledger.md``, Strictness).

Example:
    >>> decode_base64("AQ==")
    b'\x01'
    >>> decode_base64("AR==")
    Traceback (most recent call last):
    ...
    assay.ledger.errors.TextFormError: expected standard base64 in its one spelling, found another
"""

from __future__ import annotations

import binascii

from assay.ledger.errors import TextFormError

LARGEST_NUMBER = 2**63 - 1


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 section 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Decode what `encode_base64` wrote.

    Raises:
        TextFormError: the text is another spelling, or no base64 at all.
    """
    try:
        data = binascii.a2b_base64(text)
    except ValueError:  # binascii.Error, and text beyond ASCII
        data = b""
    if encode_base64(data) != text:
        raise TextFormError("expected standard base64 in its one spelling, found another")
    return data


def decode_number(text: str) -> int:
    """Decode a decimal number without sign and leading zeroes, at most 2^63 - 1.

    Raises:
        TextFormError: the text is something else.
    """
    if len(text) <= 19 and text.isascii() and text.isdecimal():
        number = int(text)
        if str(number) == text and number <= LARGEST_NUMBER:
            return number
    raise TextFormError("expected a decimal number without leading zeroes, found something else")
