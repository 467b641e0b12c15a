"""The values of Arrow's columns as Python has them, and back without loss.

Example:
    >>> array_of(pa.field("price", pa.decimal128(9, 2)), [Decimal("1.50")])    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pyarrow as pa

from assay.encryption.errors import (
    ColumnValueError,
    UnsupportedColumnError,
)
from assay.encryption.payload import encode_payload


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The only column of that name.

    Raises:
        UnsupportedColumnError: there is none, or there are several.
    """
    count = batch.schema.names.count(name)
    if count != 1:
        raise UnsupportedColumnError(
            f"expected one column {name!r} as declared, found {count or 'none'}"
        )
    return batch.column(name)


def values_of(batch: pa.RecordBatch, name: str) -> list[object]:
    """The values of a column.

    Raises:
        UnsupportedColumnError: there is no such column.
        ColumnValueError: Python has no such values.
    """
    try:
        return list(column_of(batch, name).to_pylist())
    except (pa.ArrowException, ValueError, OverflowError):
        pass  # its message shows the value
    raise ColumnValueError(f"expected values in {name!r} that Python can hold, found others")


def envelopes_of(batch: pa.RecordBatch, name: str) -> list[object]:
    """The envelopes of a column.

    Raises:
        UnsupportedColumnError: there is no such column, or not one of bytes.
    """
    column = column_of(batch, name)
    if column.type not in _BYTES:
        raise UnsupportedColumnError(f"expected bytes in {name!r}, found {column.type}")
    return list(column.to_pylist())


_TEXT = (pa.string(), pa.large_string(), pa.string_view())
_BYTES = (pa.binary(), pa.large_binary(), pa.binary_view())

_EXACT: tuple[tuple[Callable[[pa.DataType], bool], type], ...] = (
    (pa.types.is_boolean, bool),
    (pa.types.is_integer, int),
    (pa.types.is_float64, float),
    (lambda type_: type_ in _TEXT, str),
    (lambda type_: type_ in _BYTES, bytes),
    (pa.types.is_date32, date),
    (lambda type_: type_ == pa.uuid(), UUID),
)
"""Types that hold every value of their Python type, or raise."""

_NARROW: tuple[tuple[Callable[[pa.DataType], bool], type], ...] = (
    (pa.types.is_floating, float),
    (pa.types.is_fixed_size_binary, bytes),
    (pa.types.is_decimal, Decimal),
    (lambda type_: pa.types.is_time(type_) and type_.unit in ("ms", "us"), time),
    (lambda type_: pa.types.is_timestamp(type_) and type_.unit in ("ms", "us"), datetime),
)
"""Types into which PyArrow may fit a value by losing some of it."""


def kind_of(type_: pa.DataType) -> type | None:
    """The Python type of an Arrow type's values, or None when they cannot be sealed."""
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_struct(type_):
        inner = [type_.field(number) for number in range(type_.num_fields)]
        # PyArrow makes no UUID within others, and of structs with equal names it keeps one.
        fits = all(kind_of(each.type) not in (None, UUID) for each in inner)
        alike = len({each.name for each in inner}) < len(inner)
        return None if alike or not fits else dict if pa.types.is_struct(type_) else list
    return next((python for fits, python in _EXACT + _NARROW if fits(type_)), None)


def array_of(field: pa.Field, values: list[object]) -> pa.Array:
    """The values of a column as an array, without loss; an error shows none of them.

    Raises:
        ColumnValueError: a value does not fit the field.
    """
    found = {type(value) for value in values} - {type(None)}
    array = None
    if found <= {kind_of(field.type)} and (field.nullable or None not in values):
        try:
            array = pa.array(values, field.type)
            exact = any(fits(field.type) for fits, _ in _EXACT)
            if not exact and not _same(array.to_pylist(), values):
                array = None
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            array = None  # its message shows the value
    if array is None:
        kinds = sorted(each.__name__ for each in found)
        raise ColumnValueError(
            f"expected values of {field.type} in {field.name!r}, found "
            f"{', '.join(kinds) or 'nulls'} that do not fit without loss, or nulls where none may "
            "be; declare the type that was sealed"
        )
    return array


def _same(one: list[object], other: list[object]) -> bool:
    one, other = [_in_utc(each) for each in one], [_in_utc(each) for each in other]
    # By their encoding as well, because NaN does not equal itself.
    return one == other or encode_payload({"values": one}) == encode_payload({"values": other})


def _in_utc(value: object) -> object:
    """Moments of two zones are never equal when a clock is set back then (PEP 495)."""
    if type(value) is datetime and value.tzinfo is not None:
        return value.astimezone(UTC)
    return value
