"""Third step: sealing the rows that have no envelope, while the application writes.

Each batch is one transaction:

1. Read rows of a range of primary keys that have no envelope, each column as the model's type and
   exactly as it is stored.
2. Seal them. No transaction is open meanwhile.
3. Write each envelope where the row still has none and its columns still hold what was read, to
   the last byte. A row that somebody changed in between is left to the next sweep.

So nothing that another writer did is ever overwritten, and a row that is sealed already is never
sealed again. Whoever is killed at any point loses the batches under way and nothing else; a
checkpoint only spares looking at rows that are done. Sweeps are repeated until no row is left.

Example:
    >>> backfill(store, part, Crew(opener, executor), checkpoint)   # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import Engine, and_, bindparam, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from assay.database import DatabaseError
from assay.database.failures import named_errors
from assay.encryption.adoption.expand import refuse_unexpanded
from assay.encryption.adoption.index_values import index_values
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.ranges import Checkpoint, Span, count, key_of, spans, within
from assay.encryption.adoption.store import Store
from assay.encryption.adoption.sweep import Crew, Job, Tally, sweep
from assay.encryption.adoption.witness import same, witness
from assay.encryption.errors import PayloadError, RowIdError
from assay.encryption.sqlalchemy.columns import Contents
from assay.encryption.sqlalchemy.errors import MappingError

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.2
_MOST_SWEEPS = 20
_OF_THE_ROW = (MappingError, PayloadError, RowIdError)
"""Errors that one row causes, and that do not stand in the way of the others."""

T = TypeVar("T")


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did.

    Attributes:
        part: of which part of which table.
        tally: what became of the rows.
        left: how many rows have no envelope now.
        sweeps: how often the table was gone through.
    """

    part: str
    tally: Tally
    left: int
    sweeps: int


def backfill(store: Store, part: Part, crew: Crew, checkpoint: Checkpoint) -> BackfillReport:
    """Seal every row of a part that has no envelope.

    Args:
        store: the database, here.
        part: a part in transition.
        crew: who works, and how.
        checkpoint: where an interrupted backfill goes on.

    Raises:
        NotExpandedError: columns or trigger are missing.
        DatabaseError, assay.keys.KeysError: no database, or no keys; what is done stays done.
    """
    with named_errors("look at the table"), store.engine.connect() as connection:
        refuse_unexpanded(connection, part)
    unsealed = part.envelope.is_(None)
    total, seen = count(store.engine, part, unsealed), 0

    def on_done(span: Span, tally: Tally) -> None:
        nonlocal seen
        seen += tally.done
        checkpoint.save(span.until)
        crew.progress.advance(min(seen, total), total, f"{part.name}: {seen} rows sealed")

    job, batch_rows = Job(crew.opener, part.name, seal_span), crew.options.batch_rows
    whole, after, left, number = Tally(), checkpoint.load(), total, 0
    while number < _MOST_SWEEPS:
        number += 1
        pieces = spans(store.engine, part, batch_rows=batch_rows, after=after, wanted=unsealed)
        swept = sweep(job, pieces, crew, on_done)
        checkpoint.clear()
        left = count(store.engine, part, unsealed)
        # Rows that cannot be sealed are met again in each sweep; the last one says how many.
        whole = replace(whole + swept, refused=swept.refused, examples=swept.examples)
        if not left or (after is None and not swept.done and not swept.passed_over):
            break
        after = None
    return BackfillReport(part.name, whole, left, number)


def seal_span(store: Store, part: Part, span: Span) -> Tally:
    """Seal the rows of a span that have no envelope (steps 1 to 3)."""
    dialect = store.engine.dialect.name
    rows = _read(store.engine, part, span)  # 1
    ready, refused, examples = _seal(store, part, rows)  # 2
    statement, done, twice = _statement(part, dialect), 0, 0
    if ready:
        try:
            done = patiently(lambda: _write(store.engine, statement, ready))  # 3
        except IntegrityError:
            done, twice = _write_singly(store.engine, statement, ready)
    if twice:
        refused["a value that must be unique is there already"] = twice
    return Tally(len(rows), done, len(ready) - done - twice, refused, examples)


def patiently(work: Callable[[], T]) -> T:
    """Run a transaction again when the database gave way to another one (lock, deadlock).

    Raises:
        IntegrityError: a constraint refused it.
        DatabaseError: it did so five times, or failed otherwise.
    """
    try:
        with named_errors("write a batch of envelopes"):
            for attempt in range(1, _ATTEMPTS):
                try:
                    return work()
                except OperationalError as exc:
                    if exc.connection_invalidated:
                        raise
                time.sleep(_PAUSE_SECONDS * attempt)
            return work()
    except DatabaseError as exc:
        if isinstance(exc.__cause__, IntegrityError):
            raise exc.__cause__ from None
        raise


def _read(engine: Engine, part: Part, span: Span) -> list[Any]:
    """Keys, owner, fields and witnesses of the unsealed rows of a span, in this order."""
    dialect = engine.dialect.name
    watched = _watched(part)
    statement = (
        select(
            *(column.label(f"k{at}") for at, column in enumerate(part.keys)),
            part.owner.label("o"),
            *(column.label(f"f{at}") for at, column in enumerate(part.plaintext.values())),
            *(witness(column, dialect).label(f"w{at}") for at, column in enumerate(watched)),
        )
        .where(part.envelope.is_(None), within(part, span))
        .order_by(*part.keys)
    )
    with named_errors(f"read rows of {part.name}"), engine.connect() as connection:
        return list(connection.execute(statement).all())


def _watched(part: Part) -> list[Any]:
    return [part.owner, *part.plaintext.values()]


def _seal(
    store: Store, part: Part, rows: Sequence[Any]
) -> tuple[list[dict[str, object]], dict[str, int], tuple[Any, ...]]:
    ready: list[dict[str, object]] = []
    refused: Counter[str] = Counter()
    examples = []
    for row in rows:
        try:
            ready.append(_sealed(store, part, row))
        except _OF_THE_ROW as exc:
            refused[type(exc).__name__] += 1
            examples.append(key_of(row, part))
    return ready, dict(refused), tuple(examples[:5])


def _sealed(store: Store, part: Part, row: Any) -> dict[str, object]:
    """The parameters of one UPDATE."""
    model, width = part.model, len(part.keys)
    key = key_of(row, part)
    owner = model.owner_of(row[width])
    values = row[width + 1 : width + 1 + len(part.plaintext)]
    witnesses = row[width + 1 + len(part.plaintext) :]
    fields = {
        field.name: field.accept(value)
        for field, value in zip(part.group.fields, values, strict=True)
    }
    part.group.complete(fields)
    rows = store.keys.rows(part.group, owner)
    row_id = model.row_id_of(key)
    envelope = rows.envelope(fields, row_id, rows.current_key())
    indexes = index_values(store, part, owner, fields)
    return {
        "e": Contents({}, envelope, rows.place(row_id)),
        **{f"k{at}": piece for at, piece in enumerate(key)},
        **{f"w{at}": held for at, held in enumerate(witnesses)},
        **{f"i{at}": indexes[name] for at, name in enumerate(part.indexes)},
    }


def _statement(part: Part, dialect: str) -> Any:
    here = and_(*(c == bindparam(f"k{at}", type_=c.type) for at, c in enumerate(part.keys)))
    unchanged = (same(c, dialect, f"w{at}") for at, c in enumerate(_watched(part)))
    indexes = {c: bindparam(f"i{at}", type_=c.type) for at, c in enumerate(part.indexes.values())}
    return (
        update(part.table)
        .where(here, part.envelope.is_(None), *unchanged)
        .values({part.envelope: bindparam("e", type_=part.envelope.type), **indexes})
    )


def _write(engine: Engine, statement: Any, rows: list[dict[str, object]]) -> int:
    with engine.begin() as connection:
        return int(connection.execute(statement, rows).rowcount)


def _write_singly(engine: Engine, statement: Any, rows: list[dict[str, object]]) -> tuple[int, int]:
    """The same row by row, when a constraint refuses one: how many were written, and refused."""
    done = refused = 0
    for row in rows:
        try:
            done += patiently(lambda row=row: _write(engine, statement, [row]))  # type: ignore[misc]  # mypy cannot infer a default's type
        except IntegrityError:
            refused += 1
    return done, refused
