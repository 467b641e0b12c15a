"""Before the first step, and between any two: what will be done, and what stands in the way.

Nothing is changed, and no key is asked for.

Example:
    >>> plan(part, engine).stage                                   # doctest: +SKIP
    <Stage.EXPAND: 'expand'>
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, LargeBinary, Text, cast, func, select, text

from assay.database.failures import named_errors
from assay.encryption.adoption.errors import AdoptionBlockedError
from assay.encryption.adoption.expand import columns_of, expansion
from assay.encryption.adoption.holders import Holder, holders
from assay.encryption.adoption.names import dialect_called, table_name
from assay.encryption.adoption.obstacles import refuse_lossy_rebuild
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.ranges import count
from assay.encryption.adoption.triggers import has_trigger
from assay.encryption.envelope import MINIMUM_BYTES

_SAMPLED_ROWS = 1000


class Stage(StrEnum):
    """The next step of a part."""

    EXPAND = "expand"
    BACKFILL = "backfill"
    VERIFY = "verify, then declare the columns as retired"
    CONTRACT = "contract"
    FINISHED = "nothing: remove retired= from the model"


@dataclass(frozen=True)
class Plan:
    """What is to be done with a part.

    Attributes:
        part: of which part of which table.
        stage: the next step.
        columns: the columns in the clear.
        sealed_columns: the columns that take over.
        rows: how many rows the table has.
        unsealed: how many of them have no envelope; all of them before it has the column.
        table_bytes: how large the table is now, on SQLite the whole file.
        added_bytes: about how much larger while both are there, from the first rows.
        holders: what holds the plaintext, or depends on it.
        blockers: what stands in the way, with the way out.
    """

    part: str
    stage: Stage
    columns: tuple[str, ...]
    sealed_columns: tuple[str, ...]
    rows: int
    unsealed: int
    table_bytes: int
    added_bytes: int
    holders: tuple[Holder, ...]
    blockers: tuple[str, ...]

    def seconds_at(self, rows_per_second: float) -> float:
        """How long the backfill takes at a rate."""
        return self.unsealed / rows_per_second


def plan(part: Part, engine: Engine) -> Plan:
    """Look at a part and its table.

    Raises:
        AdoptionBlockedError: there is no such table, or the database is of another kind.
        DatabaseError: the database does not answer.
    """
    with named_errors(f"look at {part.name}"), engine.connect() as connection:
        dialect_called(engine.dialect.name)
        there = set(columns_of(connection, part))
        rows = count(engine, part)
        expanded = {str(column.name) for column in part.sealed_columns} <= there
        complete = expanded and has_trigger(connection, part)
        blockers = _obstacles(part, connection, there, complete=complete)
        held = holders(part, connection)
        size = _table_bytes(part, connection)
        added = _added_bytes(part, connection, rows) if part.plaintext and not blockers else 0
    said = " ".join(blockers)
    blockers += [
        f"{each.kind} {each.name}: {each.blocks}"
        for each in held
        if each.blocks and each.blocks not in said
    ]
    unsealed = count(engine, part, part.envelope.is_(None)) if expanded else rows
    return Plan(
        part=part.name,
        stage=_stage(part, there, complete=complete, unsealed=unsealed),
        columns=part.clear_columns,
        sealed_columns=tuple(str(column.name) for column in part.sealed_columns),
        rows=rows,
        unsealed=unsealed,
        table_bytes=size,
        added_bytes=added,
        holders=tuple(held),
        blockers=tuple(blockers),
    )


def _obstacles(part: Part, connection: Connection, there: set[str], *, complete: bool) -> list[str]:
    """Why the table cannot be prepared as it is, or not be stripped of its plaintext later."""
    refused = []
    try:
        if part.plaintext and not complete:
            expansion(part, connection)
    except AdoptionBlockedError as exc:
        refused.append(str(exc))
    try:
        if set(part.clear_columns) & there:
            refuse_lossy_rebuild(connection, part)
    except AdoptionBlockedError as exc:
        refused.append(str(exc))
    return refused


def _stage(part: Part, there: set[str], *, complete: bool, unsealed: int) -> Stage:
    if not part.plaintext:
        return Stage.CONTRACT if set(part.clear_columns) & there else Stage.FINISHED
    if not complete:
        return Stage.EXPAND
    return Stage.BACKFILL if unsealed else Stage.VERIFY


def _table_bytes(part: Part, connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        asked = "SELECT pg_total_relation_size(CAST(:table AS regclass))"
        given = {"table": table_name(part, "postgresql")}
        return int(connection.execute(text(asked), given).scalar_one())
    if connection.dialect.name == "mariadb":
        asked = (
            "SELECT coalesce(sum(data_length + index_length), 0) FROM information_schema.tables "
            "WHERE table_name = :table AND table_schema = coalesce(:schema, database())"
        )
        place = {"table": part.table.name, "schema": part.table.schema}
        return int(connection.execute(text(asked), place).scalar_one())
    pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    return int(pages) * int(connection.execute(text("PRAGMA page_size")).scalar_one())


def _added_bytes(part: Part, connection: Connection, rows: int) -> int:
    """Envelopes hold the values and the fields' names; indexes have a fixed length."""
    lengths: list[Any] = [
        func.coalesce(func.length(cast(cast(column, Text), LargeBinary)), 0)
        if connection.dialect.name == "sqlite"
        else func.coalesce(func.octet_length(cast(column, Text)), 0)
        for column in part.plaintext.values()
    ]
    first = select(sum(lengths[1:], lengths[0]).label("bytes")).limit(_SAMPLED_ROWS).subquery()
    average = float(connection.execute(select(func.avg(first.c.bytes))).scalar_one() or 0)
    names = sum(len(name) + 2 for name in part.plaintext)
    indexes = sum(int(getattr(c.type, "size_bytes", 0)) for c in part.indexes.values())
    return int(rows * (MINIMUM_BYTES + names + average + 2 * indexes))
