r"""Canonical JSON: one value, one byte string, so that a digest of it means something.

The form is the subset of RFC 8785 (JCS) that needs no number formatting: objects with string
keys sorted by code point, no white space, UTF-8 without escapes beyond those that JSON demands,
integers of at most 53 bits, no floating point numbers, no duplicate keys.

RFC 8785 sorts keys by UTF-16 code units, which differs from code points only beyond U+FFFF; keys
with such characters are refused, so both orders agree.

Example:
    >>> to_canonical_json({"b": 1, "a": [True, None, "ä"]})
    b'{"a":[true,null,"\xc3\xa4"],"b":1}'
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from assay.core.errors import CanonicalJsonError

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]
"""A value that canonical JSON can hold."""

_LARGEST_INTEGER = 2**53 - 1


def to_canonical_json(value: object) -> bytes:
    """The one canonical encoding of a value.

    Args:
        value: built of ``None``, bool, int, str, list, tuple and dict with string keys.

    Raises:
        CanonicalJsonError: something else was found, or a number out of range.
    """
    _refuse_what_has_no_canonical_form(value, "$")
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise CanonicalJsonError(
            "expected valid Unicode text, found a surrogate that stands alone"
        ) from exc


def from_canonical_json(data: bytes) -> Json:
    """Decode bytes that must already be in canonical form.

    Args:
        data: what `to_canonical_json` wrote.

    Raises:
        CanonicalJsonError: the bytes are not JSON, or not the canonical form of what they say.
    """
    try:
        value: Json = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as exc:  # also text of absurd length or depth
        raise CanonicalJsonError(f"expected JSON in UTF-8, found something else: {exc}") from exc
    if to_canonical_json(value) != data:
        raise CanonicalJsonError(
            "expected canonical JSON, found another spelling of the same value "
            "(white space, key order, duplicate keys or escapes)"
        )
    return value


def _refuse_what_has_no_canonical_form(value: object, path: str) -> None:
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) > _LARGEST_INTEGER:
                raise CanonicalJsonError(
                    f"expected an integer of at most 53 bits at {path}, found a larger one; "
                    "write it as text"
                )
        case list() | tuple():
            for position, item in enumerate(value):
                _refuse_what_has_no_canonical_form(item, f"{path}[{position}]")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str) or any(char > "\uffff" for char in key):
                    raise CanonicalJsonError(
                        f"expected keys of text up to U+FFFF at {path}, found another key"
                    )
                _refuse_what_has_no_canonical_form(item, f"{path}.{key}")
        case _:
            raise CanonicalJsonError(
                f"expected text, an integer, a list or a mapping at {path}, "
                f"found {type(value).__name__}"
            )
