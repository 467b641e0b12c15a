"""The Strict-Transport-Security header, read as strictly as RFC 6797 says.

A client must ignore a header that does not follow the grammar, so what this parser refuses
protects nobody.

Specification: RFC 6797 sections 6.1 and 8.1 (https://www.rfc-editor.org/rfc/rfc6797).

Example:
    >>> parse_hsts("max-age=31536000; includeSubDomains")
    Hsts(max_age_seconds=31536000, include_subdomains=True, preload=False, ...)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from assay.transport.errors import (
    HstsDuplicateError,
    HstsMaxAgeError,
    HstsSyntaxError,
    HstsValueError,
)

LARGEST_MAX_AGE = 2**31
"""A larger max-age counts as this one, about 68 years (RFC 9111 section 1.2.2)."""

_LONGEST_HEADER = 8192
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a token of RFC 9110 section 5.6.2
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_DIRECTIVE = re.compile(
    rf"[\t ]*(?:(?P<name>{_TOKEN})(?:[\t ]*=[\t ]*(?P<value>{_TOKEN}|{_QUOTED}))?)?[\t ]*"
)


@dataclass(frozen=True, slots=True)
class Hsts:
    """What a header promises.

    Attributes:
        max_age_seconds: how long clients shall insist on TLS; 0 tells them to forget it.
        max_age_is_quoted: whether it was written as a quoted string, which the RFC allows and
            the preload list does not.
        include_subdomains: whether it holds for all subdomains.
        preload: whether the site asks to be on the preload list (not part of the RFC).
        others: names of other directives, in lower case; clients ignore them.
    """

    max_age_seconds: int
    max_age_is_quoted: bool
    include_subdomains: bool
    preload: bool
    others: tuple[str, ...]


def parse_hsts(value: str) -> Hsts:
    """Read the value of one header field.

    Args:
        value: everything after the colon; white space around it is allowed.

    Raises:
        HstsSyntaxError: not the grammar of section 6.1.
        HstsDuplicateError: a directive stands twice; names are compared without case.
        HstsMaxAgeError: max-age is missing, has no value, or is not digits alone.
        HstsValueError: includeSubDomains or preload has a value.
    """
    directives = _directives(value)
    for name in ("includesubdomains", "preload"):
        if directives.get(name) is not None:
            raise HstsValueError(f"expected {name} without a value, found one")
    seconds, is_quoted = _max_age(directives)
    known = {"max-age", "includesubdomains", "preload"}
    return Hsts(
        max_age_seconds=seconds,
        max_age_is_quoted=is_quoted,
        include_subdomains="includesubdomains" in directives,
        preload="preload" in directives,
        others=tuple(name for name in directives if name not in known),
    )


def _directives(value: str) -> dict[str, str | None]:
    """Directive names in lower case, and their values as they are written."""
    if len(value) > _LONGEST_HEADER:
        raise HstsSyntaxError(
            f"expected a header of at most {_LONGEST_HEADER} characters, found {len(value)}"
        )
    found: dict[str, str | None] = {}
    position = 0
    while True:
        match = _DIRECTIVE.match(value, position)
        position = match.end() if match else position
        if match and match["name"]:
            name = match["name"].lower()
            if name in found:
                raise HstsDuplicateError(f"expected each directive once, found {name} again")
            found[name] = match["value"]
        if position == len(value):
            return found
        if value[position] != ";":
            raise HstsSyntaxError(
                f"expected name or name=value between semicolons, found something else at "
                f"character {position + 1}"
            )
        position += 1


def _max_age(directives: dict[str, str | None]) -> tuple[int, bool]:
    value = directives.get("max-age")
    if value is None:
        raise HstsMaxAgeError("expected max-age with a number of seconds, found none")
    is_quoted = value.startswith('"')
    digits = re.sub(r"\\(.)", r"\1", value[1:-1]) if is_quoted else value
    if not re.fullmatch(r"[0-9]+", digits):
        raise HstsMaxAgeError("expected max-age in digits, found something else")
    # A number of any length is allowed; Python would refuse to read thousands of digits.
    seconds = int(digits.lstrip("0")[:11] or "0")
    return min(seconds, LARGEST_MAX_AGE), is_quoted
