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
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Engine, Select, select
from sqlalchemy.exc import IntegrityError, OperationalError

from assay.database import DatabaseError
from assay.database.failures import named_errors
from assay.encryption.adoption.expand import refuse_unexpanded
from assay.encryption.adoption.index_values import OwnerIndexes
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.ranges import (
    Checkpoint,
    Span,
    count,
    key_of,
    span_parameters,
    spans,
    within_parameters,
)
from assay.encryption.adoption.reading import UNREADABLE, Found, read_rows
from assay.encryption.adoption.store import Store
from assay.encryption.adoption.sweep import KEYS_SHOWN, Crew, Job, Tally, sweep
from assay.encryption.adoption.writing import (
    TOO_LARGE,
    Writer,
    Written,
    reading_of,
    within_packets,
    writer_of,
)
from assay.encryption.errors import PayloadError, RowIdError
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
    writer = writer_of(part, store.engine.dialect)
    found = _read(store.engine, part, span)  # 1
    ready, refused, examples = _seal(store, part, found.rows)  # 2
    if found.unreadable:
        refused[UNREADABLE] = len(found.unreadable)
    ready, too_large = within_packets(store.engine, part, ready)
    if too_large:
        refused[TOO_LARGE] = len(too_large)
    done, twice = 0, 0
    if ready:
        try:
            done = patiently(lambda: _write(store.engine, writer, ready))  # 3
        except IntegrityError:
            done, twice = _write_singly(store.engine, writer, ready)
    if twice:
        refused["a value that must be unique is there already"] = twice
    examples = (*examples, *found.unreadable, *too_large)[:KEYS_SHOWN]
    rows = len(found.rows) + len(found.unreadable)
    return Tally(rows, done, len(ready) - done - twice, refused, examples)


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


def _read(engine: Engine, part: Part, span: Span) -> Found:
    """The unsealed rows of a span, see `Reading`."""
    statement = _reading(part, engine.dialect.name, span.after is None)
    return read_rows(engine, part, statement, span_parameters(span))


@lru_cache(maxsize=64)
def _reading(part: Part, dialect: str, first: bool) -> Select[Any]:
    return (
        select(*reading_of(part, dialect).columns)
        .where(part.envelope.is_(None), within_parameters(part, dialect, first=first))
        .order_by(*part.keys)
    )


def _seal(
    store: Store, part: Part, rows: Sequence[Any]
) -> tuple[list[Written], dict[str, int], tuple[Any, ...]]:
    ready: list[Written] = []
    refused: Counter[str] = Counter()
    examples = []
    owners: dict[object, _Owner] = {}
    at = len(part.keys)
    for row in rows:
        try:
            owner = owners.get(row[at])
            if owner is None:
                owner = owners[row[at]] = _Owner(store, part, row[at])
            ready.append(owner.seal(row))
        except _OF_THE_ROW as exc:
            refused[type(exc).__name__] += 1
            examples.append(key_of(row, part))
    return ready, dict(refused), tuple(examples[:KEYS_SHOWN])


class _Owner:
    """What is the same for all rows of an owner in a batch, worked out once."""

    def __init__(self, store: Store, part: Part, value: object) -> None:
        name = part.model.owner_of(value)
        self._group = part.group
        self._row_id_of = part.model.row_id_of
        self._rows = store.keys.rows(part.group, name)
        self._key = self._rows.current_key()
        self._indexes = OwnerIndexes(store, part, name) if part.indexes else None
        self._keys = len(part.keys)
        self._fields = [(name, self._keys + 1 + at) for at, name in enumerate(part.plaintext)]
        self._held = reading_of(part, store.engine.dialect.name).held

    def seal(self, row: tuple[Any, ...]) -> Written:
        """A row as `_read` has it, as it is written."""
        given: dict[str, object] = {}
        for name, at in self._fields:
            given[name] = row[at]
        fields = self._group.accept(given)
        envelope = self._rows.envelope(fields, self._row_id_of(row[: self._keys]), self._key)
        if self._indexes is None:
            return (envelope, *self._held(row))
        return (envelope, *self._indexes.values(fields), *self._held(row))


def _write(engine: Engine, writer: Writer, rows: Sequence[Written]) -> int:
    with engine.begin() as connection:
        return writer.write(connection, rows)


def _write_singly(engine: Engine, writer: Writer, rows: Sequence[Written]) -> tuple[int, int]:
    """The same row by row, when a constraint refuses one: how many were written, and refused."""
    done = refused = 0
    for row in rows:
        try:
            done += patiently(lambda row=row: _write(engine, writer, [row]))  # type: ignore[misc]  # mypy cannot infer a default's type
        except IntegrityError:
            refused += 1
    return done, refused
