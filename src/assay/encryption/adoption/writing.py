"""Writing envelopes into rows that still are as they were read, a batch in one go.

Each row is named by its primary key, and written only where it has no envelope and where owner and
columns in the clear are what was read, to the last byte (`witness`). PostgreSQL gets a batch as one
JSON document and one UPDATE, which compares each row with what it holds at that moment, also when
it had to wait for another writer: https://www.postgresql.org/docs/current/transaction-iso.html.
SQLite and MariaDB get one UPDATE, compiled once, for each row.

Example:
    >>> writer = writer_of(part, engine.dialect)                       # doctest: +SKIP
    >>> writer.write(connection, [(envelope, *indexes, *held)])        # doctest: +SKIP
    1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Protocol

import msgspec
from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import NullType

from assay.database.failures import named_errors
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.witness import is_given_as_stored, same, witness
from assay.encryption.sqlalchemy.core_writes import ALREADY_SEALED

TOO_LARGE = "larger than the server takes (max_allowed_packet)"
"""Why a row is counted that no statement can hold."""
_ALWAYS_TAKEN_BYTES = 2**18
_STATEMENT_BYTES = 2**16
_ESCAPED = (b"\0", b"\n", b"\r", b"\x1a", b'"', b"'", b"\\")
_DOCUMENT_BYTES = 4 * 2**20
"""About how long a JSON document gets before the next one begins."""

Written = tuple[Any, ...]
"""An envelope, the blind indexes as in `Part.indexes`, and what `Reading.held` takes."""


class Writer(Protocol):
    """Writes envelopes into rows that still are as they were read."""

    def write(self, connection: Connection, rows: Sequence[Written]) -> int:
        """How many rows were as they were read, and have their envelope now."""


@dataclass(frozen=True)
class Reading:
    """What is read of a row: keys, owner and fields as the model has them, and as they are stored.

    Attributes:
        columns: the columns of the SELECT; keys, owner and fields come first.
        held: takes keys, owner and fields exactly as they are stored out of what was read. On
            MariaDB the keys come first once more, as the driver gives and takes them: a comparison
            of bytes would find no row by the primary key's index.
    """

    columns: tuple[Any, ...]
    held: Callable[[Any], tuple[Any, ...]]


@lru_cache(maxsize=64)
def reading_of(part: Part, dialect: str) -> Reading:
    """What must be read of the rows of a part before they are written."""
    plain = [*part.keys, part.owner, *part.plaintext.values()]
    columns: list[Any] = [column.label(f"r{at}") for at, column in enumerate(plain)]
    places: list[int] = []
    if dialect == "mariadb":
        places += range(len(columns), len(columns) + len(part.keys))
        coerced = (type_coerce(key, NullType()) for key in part.keys)
        columns += [each.label(f"k{at}") for at, each in enumerate(coerced)]
    for at, each in enumerate(plain):
        if is_given_as_stored(each, dialect):
            places.append(at)
        else:
            places.append(len(columns))
            columns.append(witness(each, dialect).label(f"h{at}"))
    return Reading(tuple(columns), itemgetter(*places))


@lru_cache(maxsize=64)
def writer_of(part: Part, dialect: Dialect) -> Writer:
    """What writes the envelopes of a part, the same one each time."""
    kind = _PostgresqlWriter if dialect.name == "postgresql" else _RowWriter
    return kind(part, dialect)


def within_packets(
    engine: Engine, part: Part, rows: Sequence[Written]
) -> tuple[list[Written], list[tuple[Any, ...]]]:
    """Rows that a statement can hold, and the primary keys of those that are too large.

    MariaDB takes a statement of at most ``max_allowed_packet`` bytes, and ends the connection of
    whoever sends a longer one: https://mariadb.com/kb/en/server-system-variables/
    """
    sizes = [_bytes_of(row) for row in rows] if engine.dialect.name == "mariadb" else []
    if max(sizes, default=0) < _ALWAYS_TAKEN_BYTES:
        return list(rows), []
    with named_errors("ask for max_allowed_packet"), engine.connect() as connection:
        limit = int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one())
    first = 1 + len(part.indexes)
    fitting, large = [], []
    for row, size in zip(rows, sizes, strict=True):
        if size <= limit - _STATEMENT_BYTES:
            fitting.append(row)
        else:
            large.append(row[first : first + len(part.keys)])
    return fitting, large


def _bytes_of(row: Written) -> int:
    """How long the values are in a statement, in which some characters are written as two."""
    size = 0
    for value in row:
        raw = value.encode() if isinstance(value, str) else value
        if isinstance(raw, bytes):
            size += len(raw) + sum(map(raw.count, _ESCAPED))
    return size


class _Columns:
    """The sealed columns of a row that is written."""

    def __init__(self, part: Part, dialect: Dialect) -> None:
        self.count = 1 + len(part.indexes)
        indexes: Any = part.indexes.values()
        self._admit = [each.type.bind_processor(dialect) for each in indexes]

    def admitted(self, row: Written) -> Written:
        """The row with each blind index as its column admits it and as the driver takes it."""
        if not self._admit:
            return row
        indexes = (admit(each) for admit, each in zip(self._admit, row[1:], strict=False))
        return (row[0], *indexes, *row[self.count :])


class _PostgresqlWriter:
    def __init__(self, part: Part, dialect: Dialect) -> None:
        self._columns = _Columns(part, dialect)
        keys = len(part.keys)
        self._names = [
            "e",
            *(f"i{at}" for at in range(len(part.indexes))),
            *(f"h{at}" for at in range(keys + 1 + len(part.plaintext))),
        ]
        batch = (
            func.json_to_recordset(cast(bindparam("batch", type_=Text()), JSON))
            .table_valued(*(column(name, Text()) for name in self._names))
            .render_derived(name="batch", with_types=True)
        )
        watched = [part.owner, *part.plaintext.values()]
        self._statement = (
            update(part.table)
            .where(
                *(c == cast(batch.c[f"h{at}"], c.type) for at, c in enumerate(part.keys)),
                part.envelope.is_(None),
                *(
                    witness(c, "postgresql").is_not_distinct_from(batch.c[f"h{keys + at}"])
                    for at, c in enumerate(watched)
                ),
            )
            .values(
                {
                    c: cast(batch.c[name], c.type)
                    for c, name in zip(part.sealed_columns, self._names, strict=False)
                }
            )
            .execution_options(**ALREADY_SEALED)
        )

    def write(self, connection: Connection, rows: Sequence[Written]) -> int:
        """One UPDATE for as many rows as fit into a document."""
        return sum(
            int(connection.execute(self._statement, {"batch": document}).rowcount)
            for document in self._documents(rows)
        )

    def _documents(self, rows: Sequence[Written]) -> Iterator[str]:
        pieces: list[bytes] = []
        size = 0
        columns = self._columns
        for row in map(columns.admitted, rows):
            sealed = [_literal(value) for value in row[: columns.count]]
            piece = _encode(dict(zip(self._names, (*sealed, *row[columns.count :]), strict=True)))
            pieces.append(piece)
            size += len(piece)
            if size > _DOCUMENT_BYTES:
                yield f"[{b','.join(pieces).decode()}]"
                pieces, size = [], 0
        if pieces:
            yield f"[{b','.join(pieces).decode()}]"


_encode = msgspec.json.Encoder().encode


def _literal(value: Any) -> str | None:
    """Bytes, or a list of them, as PostgreSQL's text form of ``bytea`` and ``bytea[]``."""
    if value is None:
        return None
    if isinstance(value, list):
        return "{" + ",".join(f'"\\\\x{each.hex()}"' for each in value) + "}"
    return "\\x" + str(value.hex())


class _RowWriter:
    def __init__(self, part: Part, dialect: Dialect) -> None:
        self._columns = _Columns(part, dialect)
        name = dialect.name
        here = (
            type_coerce(c, NullType()) == bindparam(f"h{at}", type_=NullType())
            for at, c in enumerate(part.keys)
        )
        watched = [*part.keys, part.owner, *part.plaintext.values()]
        first = len(part.keys) if name == "mariadb" else 0  # see `Reading.held`
        held = first + len(watched)
        unchanged = (same(c, name, f"h{first + at}") for at, c in enumerate(watched))
        values = {
            c: bindparam(f"s{at}", type_=NullType()) for at, c in enumerate(part.sealed_columns)
        }
        compiled: Any = (
            update(part.table)
            .where(and_(*here), part.envelope.is_(None), *unchanged)
            .values(values)
            .compile(dialect=dialect)
        )
        names = [
            *(f"s{at}" for at in range(len(values))),
            *(f"h{at}" for at in range(held)),
        ]
        self._text = str(compiled)
        order = compiled.positiontup  # none where parameters are given by name
        self._given: Callable[[Written], Any] = (
            (lambda row: dict(zip(names, row, strict=True)))
            if order is None
            else itemgetter(*(names.index(each) for each in order))
        )

    def write(self, connection: Connection, rows: Sequence[Written]) -> int:
        """One UPDATE for each row, by the driver's own loop."""
        given = [self._given(row) for row in map(self._columns.admitted, rows)]
        return int(connection.exec_driver_sql(self._text, given).rowcount)
