"""Condition operators: how each reads a value of a policy, and what it compares.

Source: IAM user guide, "IAM JSON policy elements: Condition operators".

Example:
    >>> before = OPERATORS["NumericLessThan"].read("365", "Condition", True)
    >>> before(90, Query("arn:…", "kms:EnableKeyRotation", "*", {}))
    True
"""

from __future__ import annotations

import ipaddress
import operator as compare
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import TypeVar

from assay.kms.condition_keys import KeyType
from assay.kms.documents import shown
from assay.kms.errors import DocumentError, InternalError
from assay.kms.patterns import Pattern, read_pattern, text_of
from assay.kms.query import Query, Value

Matcher = Callable[[Value, Query], bool | None]
"""Whether one value of a request is what one value of a policy says; None: it cannot be told."""

Reader = Callable[[str, str, bool], Matcher]
"""Reads a value of a policy, from its place, with or without variables."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d{1,6})?)?"
    r"(Z|[+-]\d\d:\d\d))?)?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"[0-9]{5,12}")

_T = TypeVar("_T", str, int, bool)


@dataclass(frozen=True, slots=True)
class Operator:
    """One condition operator.

    Attributes:
        read: makes a matcher of a value in a policy.
        types: of the condition keys that it compares.
        negated: whether it holds when no value of the policy matches.
    """

    read: Reader
    types: frozenset[KeyType]
    negated: bool = False


def _alone(test: Callable[[Value], bool]) -> Matcher:
    """A matcher that needs nothing else of the request."""

    def matches(found: Value, query: Query) -> bool:
        del query
        return test(found)

    return matches


def _text(wildcards: bool, folded: bool) -> Reader:
    def read(value: str, place: str, variables: bool) -> Matcher:
        pattern = read_pattern(
            value, place, variables=variables, wildcards=wildcards, folded=folded
        )
        return lambda found, query: pattern.matches(text_of(found), query)

    return read


def _arn(value: str, place: str, variables: bool) -> Matcher:
    """Each of the six components is compared by itself, with wildcards."""
    patterns = tuple(
        read_pattern(part, place, variables=variables) for part in _arn_parts(value, variables)
    )
    if len(patterns) != 6 or value[:4] != "arn:":
        raise DocumentError(f"{place}: expected an ARN of six parts, found {shown(value)}")
    return lambda found, query: _arn_matches(patterns, text_of(found), query)


def _arn_parts(value: str, variables: bool) -> list[str]:
    """The parts between the first five colons, of which none is inside of a variable."""
    parts = [""]
    depth = 0
    for at, sign in enumerate(value):
        if variables and value.startswith("${", at):
            depth = 1
        elif sign == "}":
            depth = 0
        if sign == ":" and not depth and len(parts) < 6:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _arn_matches(patterns: tuple[Pattern, ...], text: str, query: Query) -> bool | None:
    parts = text.split(":", 5)
    if len(parts) != len(patterns):
        return False
    found = [pattern.matches(part, query) for pattern, part in zip(patterns, parts, strict=True)]
    return None if None in found else all(found)


def _bool(value: str, place: str, variables: bool) -> Matcher:
    del variables  # "You can't use a policy variable with other operators"
    wanted = value.lower()
    if wanted not in ("true", "false"):
        raise DocumentError(f"{place}: expected true or false, found {shown(value)}")
    return _alone(lambda found: text_of(_typed(found, bool)) == wanted)


def _number(relation: Callable[[Decimal, Decimal], bool]) -> Reader:
    def read(value: str, place: str, variables: bool) -> Matcher:
        del variables
        if not _NUMBER.fullmatch(value):
            raise DocumentError(f"{place}: expected a number, found {shown(value)}")
        wanted = Decimal(value)
        return _alone(lambda found: relation(_as_number(found), wanted))

    return read


def _as_number(found: Value) -> Decimal:
    if isinstance(found, datetime):
        return Decimal(int(found.timestamp()))
    return Decimal(_typed(found, int))


def _date(relation: Callable[[datetime, datetime], bool]) -> Reader:
    def read(value: str, place: str, variables: bool) -> Matcher:
        del variables
        wanted = _read_date(value, place)
        return _alone(lambda found: relation(_as_date(found), wanted))

    return read


def _read_date(value: str, place: str) -> datetime:
    """A date of W3C's profile of ISO 8601, in UTC unless it says so, or seconds since 1970."""
    try:
        if _EPOCH.fullmatch(value):
            return datetime.fromtimestamp(int(value), UTC)
        if parts := _DATE.fullmatch(value):
            year, month, day, hour, minute, second, fraction, zone = parts.groups()
            when = datetime(
                int(year),
                int(month or 1),
                int(day or 1),
                int(hour or 0),
                int(minute or 0),
                int(second or 0),
                int((fraction or ".0")[1:].ljust(6, "0")),
                _zone(zone),
            )
            return when.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise DocumentError(
        f"{place}: expected a date such as 2026-11-26T15:00:00Z or seconds since 1970, "
        f"found {shown(value)}"
    )


def _zone(zone: str | None) -> timezone:
    if zone is None or zone == "Z":
        return UTC
    size = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return timezone(-size if zone[0] == "-" else size)


def _as_date(found: Value) -> datetime:
    if isinstance(found, datetime):
        if found.tzinfo is None:
            raise InternalError("a date of the request has no zone")
        return found
    return datetime.fromtimestamp(_typed(found, int), UTC)


def _address(value: str, place: str, variables: bool) -> Matcher:
    del variables
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise DocumentError(
            f"{place}: expected an address or a range such as 203.0.113.0/24, found {shown(value)}"
        ) from error
    return _alone(lambda found: _as_address(found) in network)


def _as_address(found: Value) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(_typed(found, str))
    except ValueError as error:
        raise InternalError("an address of the request cannot be read") from error
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _typed(found: Value, type_: type[_T]) -> _T:
    if type(found) is not type_:
        raise InternalError(f"a value of the request is no {type_.__name__}")
    return found


_TEXT: frozenset[KeyType] = frozenset({"text", "bool", "number", "date", "address"})
_WORDS: frozenset[KeyType] = frozenset({"text"})
_NUMBERS: frozenset[KeyType] = frozenset({"number", "date"})
_DATES: frozenset[KeyType] = frozenset({"date"})

_RELATIONS: Mapping[str, Callable[..., bool]] = {
    "LessThan": compare.lt,
    "LessThanEquals": compare.le,
    "GreaterThan": compare.gt,
    "GreaterThanEquals": compare.ge,
}

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "StringEquals": Operator(_text(wildcards=False, folded=False), _TEXT),
        "StringNotEquals": Operator(_text(wildcards=False, folded=False), _TEXT, negated=True),
        "StringEqualsIgnoreCase": Operator(_text(wildcards=False, folded=True), _TEXT),
        "StringNotEqualsIgnoreCase": Operator(
            _text(wildcards=False, folded=True), _TEXT, negated=True
        ),
        "StringLike": Operator(_text(wildcards=True, folded=False), _TEXT),
        "StringNotLike": Operator(_text(wildcards=True, folded=False), _TEXT, negated=True),
        "NumericEquals": Operator(_number(compare.eq), _NUMBERS),
        "NumericNotEquals": Operator(_number(compare.eq), _NUMBERS, negated=True),
        "DateEquals": Operator(_date(compare.eq), _DATES),
        "DateNotEquals": Operator(_date(compare.eq), _DATES, negated=True),
        "Bool": Operator(_bool, frozenset({"bool"})),
        "IpAddress": Operator(_address, frozenset({"address"})),
        "NotIpAddress": Operator(_address, frozenset({"address"}), negated=True),
        "ArnEquals": Operator(_arn, _WORDS),
        "ArnLike": Operator(_arn, _WORDS),
        "ArnNotEquals": Operator(_arn, _WORDS, negated=True),
        "ArnNotLike": Operator(_arn, _WORDS, negated=True),
        **{
            f"Numeric{name}": Operator(_number(each), _NUMBERS) for name, each in _RELATIONS.items()
        },
        **{f"Date{name}": Operator(_date(each), _DATES) for name, each in _RELATIONS.items()},
    }
)
"""Every operator but ``Null``, which asks for no value."""
