"""What is read once for a row is as exact as what is read twice."""

import enum

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Enum,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    Unicode,
    UnicodeText,
    Uuid,
)
from sqlalchemy.dialects import sqlite

from assay.encryption.adoption.witness import is_given_as_stored
from assay.encryption.adoption.writing import reading_of

ONCE = [String, Text, Unicode, UnicodeText, Integer, SmallInteger, BigInteger]


class Colour(enum.Enum):
    RED = 1


class Shouted(TypeDecorator):
    impl = String
    cache_ok = True

    def process_result_value(self, value, dialect):
        return value.upper()


class Narrow(String):
    pass


@pytest.mark.parametrize("kind", ONCE)
def test_sqlalchemy_converts_nothing_of_what_is_read_once(kind):
    column, dialect = Column("c", kind()), sqlite.dialect()
    assert is_given_as_stored(column, "sqlite")
    stored = kind().dialect_impl(dialect)
    assert stored.result_processor(dialect, None) is None
    assert stored.column_expression(column) is None
    assert not is_given_as_stored(column, "postgresql")


@pytest.mark.parametrize(
    "kind",
    [DateTime(), Numeric(), Uuid(), Enum(Colour), LargeBinary(), Shouted(), Narrow()],
    ids=lambda kind: type(kind).__name__,
)
def test_everything_else_is_read_twice(kind):
    assert not is_given_as_stored(Column("c", kind), "sqlite")


def test_what_is_held_is_taken_from_where_it_was_read(shop):
    part = shop.parts[0]
    plain = [*part.keys, part.owner, *part.plaintext.values()]
    once = {at for at, column in enumerate(plain) if type(column.type) in ONCE}
    assert 0 < len(once) < len(plain), "the table has columns of both sorts"
    keys = [f"k{at}" for at in range(len(part.keys))]
    for dialect in ("sqlite", "postgresql", "mariadb"):
        reading = reading_of(part, dialect)
        assert [label.element for label in reading.columns[: len(plain)]] == plain
        assert [label.name for label in reading.held(reading.columns)] == [
            *(keys if dialect == "mariadb" else []),
            *(
                f"r{at}" if dialect == "sqlite" and at in once else f"h{at}"
                for at in range(len(plain))
            ),
        ]
