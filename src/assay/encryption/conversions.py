"""Enumerations and records: values that a payload holds as a simpler one.

An enumeration is sealed as its *value*. Names are renamed by whoever refactors, and other programs
that read the envelope do not know them; a value is what was agreed on to be stored. So give members
values that say something: with ``auto()`` in an ``Enum`` the value is a position, and a member that
is inserted before others changes what is stored already.

A record, a frozen dataclass or a frozen `msgspec.Struct`, is sealed as a map of its fields. It and
everything in it is immutable, so that nothing can be changed in place and be lost.

Specification: ``spec/row-envelope.md``, "Enumerations and records".

Example:
    >>> from enum import StrEnum
    >>> class State(StrEnum):
    ...     OPEN = "open"
    >>> conversion_for(State, "invoices.state").to_payload(State.OPEN)
    'open'
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from assay.encryption.errors import (
    RecordShapeError,
    UnknownMemberError,
    UnsupportedTypeError,
    UnsupportedValueError,
)

_ATOMS: frozenset[Any] = frozenset(
    {str, bytes, bool, int, float, UUID, Decimal, date, time, datetime, types.NoneType}
)
_AS_THEY_ARE = (bytes, UUID, Decimal, date, time, datetime)
"""What msgspec shall not turn into text."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the values of a type stand in a payload.

    Attributes:
        model_type: the type of the values.
        kind: the type that stands in the payload: text, int or dict.
        to_payload: value to payload value; `UnsupportedValueError` for one that would lose
            something.
        from_payload: payload value, of exactly the kind, to value; `UnknownMemberError` or
            `RecordShapeError` for one that is none.
    """

    model_type: type
    kind: type
    to_payload: Callable[[Any], object]
    from_payload: Callable[[Any], object]


def conversion_for(kind: Any, place: str) -> Conversion | None:
    """The conversion for a type, or None when a payload needs none for it.

    Args:
        kind: an enumeration, a dataclass, a struct, or anything else.
        place: where the values stand, for messages: ``table.field``.

    Raises:
        UnsupportedTypeError: an enumeration or record that cannot be sealed.
    """
    if isinstance(kind, type) and issubclass(kind, Enum):
        kind_of_values = _kind_of_values(kind, place)
        return Conversion(kind, kind_of_values, _value_of, partial(_member, kind, place))
    if _is_record(kind):
        _refuse_changeable(kind, place, set())
        _try_record(kind, place)
        return Conversion(kind, dict, partial(_fields, kind, place), partial(_record, kind, place))
    return None


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, msgspec.Struct))


def _kind_of_values(kind: type[Enum], place: str) -> type:
    kinds = {type(member.value) for member in kind}
    if kinds in ({str}, {int}):
        return kinds.pop()
    found = ", ".join(sorted(each.__name__ for each in kinds)) or "no members"
    raise UnsupportedTypeError(
        f"expected an enumeration whose values are all text, or all integers, for {place}, found "
        f"{kind.__name__} with {found}; give its members such values"
    )


def _value_of(member: Enum) -> object:
    return member.value


def _member(kind: type[Enum], place: str, value: object) -> object:
    try:
        return kind(value)
    except (ValueError, TypeError):
        pass
    # Raised out here so that no chained error carries the value.
    raise UnknownMemberError(
        f"expected the value of a member of {kind.__name__} in {place}, found another one: it was "
        "removed, or written by a newer release; add the member, or read the rows with the release "
        "that has it"
    )


def _fields(kind: type, place: str, value: object) -> object:
    """A record as a map; a value that would not be read back as it is, is refused."""
    try:
        fields = _without_tuples(msgspec.to_builtins(value, builtin_types=_AS_THEY_ARE))
        read: object = msgspec.convert(fields, kind, builtin_types=_AS_THEY_ARE)
        kept = bool(read == value)
    except Exception:  # noqa: BLE001 - whatever the record's own code raises may quote its values
        kept = False
    if kept:
        return fields
    raise UnsupportedValueError(
        f"expected {kind.__name__} in {place} with values as its annotations say, found one that "
        "would not be read back as it was; convert them"
    )


def _record(kind: type, place: str, fields: object) -> object:
    try:
        return msgspec.convert(fields, kind, builtin_types=_AS_THEY_ARE)
    except Exception:  # noqa: BLE001, S110 - whatever the record's own code raises may quote its values
        pass
    raise RecordShapeError(
        f"expected the fields of {kind.__name__} in {place}, found others: the record was changed "
        "since; give a new field a default, and keep the types of the others"
    )


def _without_tuples(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tuples(item) for item in value]
    return value


def _try_record(kind: type, place: str) -> None:
    """Refuse a record that msgspec cannot read, before a row is written that nobody can."""
    try:
        msgspec.convert({}, kind, builtin_types=_AS_THEY_ARE)
    except TypeError as exc:
        raise UnsupportedTypeError(
            f"expected a record that can be read from a map for {place}, found {kind.__name__}: "
            f"{exc}"
        ) from exc
    except Exception:  # noqa: BLE001, S110 - its fields are missing, or it refuses its defaults
        pass


def _refuse_changeable(hint: Any, place: str, seen: set[Any]) -> None:
    """Refuse a type whose values can be changed in place, or that have no encoding."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal or (origin is None and hint in _ATOMS | seen):
        return
    if isinstance(hint, typing.NewType):
        _refuse_changeable(hint.__supertype__, place, seen)
    elif origin is typing.Annotated:
        _refuse_changeable(arguments[0], place, seen)
    elif origin in (typing.Union, types.UnionType) or (origin is tuple and arguments):
        for each in arguments:
            if each is not Ellipsis:
                _refuse_changeable(each, place, seen)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        _kind_of_values(hint, place)
    elif _is_record(hint):
        seen.add(hint)
        _refuse_changeable_record(hint, place, seen)
    else:
        raise UnsupportedTypeError(
            f"expected a record of text, numbers, bytes, dates, UUID, Decimal, enumerations, "
            f"tuples and frozen records for {place}, found {hint!r} in it: a change within it "
            "would be lost; take a tuple or a frozen record"
        )


def _refuse_changeable_record(kind: Any, place: str, seen: set[Any]) -> None:
    if issubclass(kind, msgspec.Struct):
        settings = kind.__struct_config__
        fit, wanted = settings.frozen and settings.eq and not settings.array_like, "frozen=True"
    else:
        settings = kind.__dataclass_params__
        fit, wanted = settings.frozen and settings.eq, "dataclass(frozen=True)"
    if not fit:
        raise UnsupportedTypeError(
            f"expected a record that cannot be changed and can be compared for {place}, found "
            f"{kind.__name__}: a change within it would be lost; declare it with {wanted}"
        )
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError as exc:
        raise UnsupportedTypeError(
            f"expected to find what the annotations of {kind.__name__} in {place} name, found no "
            f"{exc.name!r} in its module; import it outside of TYPE_CHECKING"
        ) from exc
    for hint in hints.values():
        if typing.get_origin(hint) is not typing.ClassVar and hint is not typing.ClassVar:
            _refuse_changeable(hint, place, seen)
