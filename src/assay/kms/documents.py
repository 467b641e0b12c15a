"""The JSON of a policy document, and its pieces with their places.

Names that come twice, characters that no policy may have, and documents that are too long are
refused here; `assay.kms.policies` knows what the elements mean.

Source: AWS KMS developer guide, "Key policy format"; IAM user guide, "Grammar of the IAM JSON
policy language".

Example:
    >>> decode_document('{"Version": "2012-10-17"}')
    {'Version': '2012-10-17'}
    >>> decode_document('{"Version": 1, "Version": 2}')
    Traceback (most recent call last):
    ...
    assay.kms.errors.DocumentError: policy: expected each name of an object once, found 'Version'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NoReturn

from assay.kms.errors import DocumentError

MAXIMUM_SIZE = 32 * 1024
"""Bytes of a policy document in UTF-8, white space included."""

_CHARACTERS = re.compile("[\t\n\r\x20-\xff]*")


class Number(str):
    """A number of a policy document, as it stands there."""

    __slots__ = ()


def decode_document(text: str) -> object:
    """Decode a policy document; numbers stay as they are written.

    Raises:
        DocumentError: too long, no JSON, a name twice in one object, or no text.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAXIMUM_SIZE:
        raise DocumentError(f"policy: expected at most {MAXIMUM_SIZE} bytes, found {size}")
    if not _CHARACTERS.fullmatch(text):
        raise DocumentError("policy: expected characters from U+0020 to U+00FF, tab and new line")
    try:
        document: object = json.loads(
            text,
            object_pairs_hook=_once,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_constant,
        )
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise DocumentError(
            f"policy: expected JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except UnicodeEncodeError:
        raise DocumentError("policy: expected text, found half of a surrogate pair") from None
    except RecursionError:
        raise DocumentError("policy: expected a policy, found what is nested too deep") from None
    return document


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"policy: expected each name of an object once, found {shown(twice)}")
    return found


def _constant(name: str) -> NoReturn:
    raise DocumentError(f"policy: expected JSON, found {name}")


def object_at(place: str, value: object) -> dict[str, object]:
    """A value that must be an object."""
    if not isinstance(value, dict):
        raise DocumentError(f"{place}: expected an object, found {shown(value)}")
    return value


def text_at(place: str, value: object) -> str:
    """A value that must be a text."""
    if type(value) is not str:
        raise DocumentError(f"{place}: expected a text, found {shown(value)}")
    return value


def texts_at(place: str, value: object) -> list[str]:
    """A value that must be a text or a list of at least one."""
    return [text_at(place, each) for each in listed_at(place, value)]


def listed_at(place: str, value: object) -> list[object]:
    """A value that may stand by itself or in a list of at least one."""
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise DocumentError(f"{place}: expected at least one, found an empty list")
    return listed


def check_elements(place: str, element: Mapping[str, object], known: frozenset[str]) -> None:
    """See that an object has no element that nobody would read."""
    if unknown := sorted(element.keys() - known):
        raise DocumentError(
            f"{place}: expected {', '.join(sorted(known))}, found {shown(unknown[0])}"
        )


def either_at(
    place: str, element: Mapping[str, object], name: str, opposite: str
) -> tuple[str, object]:
    """The one of two elements that an object has."""
    found = [each for each in (name, opposite) if each in element]
    if len(found) != 1:
        raise DocumentError(
            f"{place}: expected {name}, found {' and '.join(found) or 'no such element'}"
        )
    return found[0], element[found[0]]


def named(text: str) -> str:
    """A name from the document as part of a place: cut, on one line."""
    return ascii(text[:80])[1:-1]


def shown(value: object) -> str:
    """A value as an error names it: texts, cut; of everything else its type."""
    if isinstance(value, str):
        return ascii(str(value)[:60])
    return "nothing" if value is None else type(value).__name__
