"""A stored value exactly as it is stored, to be compared with later.

Two values that a column's type or collation takes for equal are not the same bytes, and the
backfill must not seal one over the other. So it reads each column twice: as the model's type, and
as what the database itself would write, and compares the latter.

Example:
    >>> select(witness(column, "sqlite").label("w0"))              # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    Unicode,
    UnicodeText,
    bindparam,
    cast,
    type_coerce,
)
from sqlalchemy.types import NullType, TypeEngine


def witness(column: Column[Any], dialect: str) -> Any:
    """The expression that reads what is stored.

    PostgreSQL: the text form of the value, compared by code points. MariaDB: its bytes. SQLite:
    the value itself, which the driver gives and takes without loss, compared by bytes.
    """
    if dialect == "postgresql":
        return cast(column, Text).collate("C")
    if dialect == "mariadb":
        return cast(column, LargeBinary)
    return type_coerce(column, NullType())


_GIVEN_AS_STORED = frozenset(
    {String, Text, Unicode, UnicodeText, Integer, SmallInteger, BigInteger}
)
"""Types, and none that are derived from them, that SQLAlchemy does not convert for SQLite."""


def is_given_as_stored(column: Column[Any], dialect: str) -> bool:
    """Whether the model's value of a column is its witness too, so that one read gives both."""
    return dialect == "sqlite" and type(column.type) in _GIVEN_AS_STORED


def same(column: Column[Any], dialect: str, name: str) -> Any:
    """The criterion that a column still holds what its witness read.

    Args:
        column: the column.
        dialect: "postgresql", "mariadb" or "sqlite".
        name: of the parameter that takes the witness's value.
    """
    kind: TypeEngine[Any] = Text() if dialect == "postgresql" else NullType()
    expression = witness(column, dialect)
    if dialect == "sqlite":
        expression = type_coerce(column, Text()).collate("BINARY")
    return expression.is_not_distinct_from(bindparam(name, type_=kind))
