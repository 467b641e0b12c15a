"""Moving rows to the newest data key, and blind indexes to the newest index key.

Rotating a key changes no row: new rows are sealed under the new version, old ones still open under
theirs. This opens each row that stands under an older key, seals it anew, computes its blind
indexes anew, and writes them where the row still has the envelope that was opened. A row that the
application wrote meanwhile is looked at again in the next sweep; one that is under the newest keys
already is left alone, so whoever is killed at any point can begin again.

An index that a model has got since its rows were written is NULL in them, and computed as well. One
that is made otherwise than before (another name, transform or length) is computed anew under a new
index key.

A rotated index key settles before it is written under (`Keyring.rotate`); until then there is
nothing to move to, and the report says how long.

Example:
    >>> rekey(store, part, Crew(opener, executor), checkpoint).tally.done   # doctest: +SKIP
    412
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, LargeBinary, and_, bindparam, select, type_coerce, update

from assay.core import DataKeyClass
from assay.database.failures import named_errors
from assay.encryption.adoption.backfill import patiently
from assay.encryption.adoption.errors import AdoptionBlockedError
from assay.encryption.adoption.index_values import OwnerIndexes
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.ranges import Checkpoint, Span, count, key_of, spans, within
from assay.encryption.adoption.store import Store
from assay.encryption.adoption.sweep import Crew, Job, Tally, sweep
from assay.encryption.errors import EncryptionError
from assay.encryption.sqlalchemy.columns import Contents
from assay.keys import Keyring

_MOST_SWEEPS = 3


@dataclass(frozen=True)
class RekeyReport:
    """What became of the rows of a part.

    Attributes:
        part: of which part of which table.
        tally: ``done`` counts rows that were moved, ``refused`` those that do not open.
        left: how many rows were under an older key in the last sweep, which other writers may have
            sealed meanwhile under the older key that they still held.
        sweeps: how often the table was gone through.
    """

    part: str
    tally: Tally
    left: int
    sweeps: int


def rotate_keys(keyring: Keyring, key_class: DataKeyClass, owners: Sequence[str]) -> int:
    """Make a new version of the key of each owner, or of all who have one.

    Returns:
        how many were made.

    Raises:
        UnknownDataKeyError: a named owner has no key of the class.
        KeyServiceError: the key service failed; owners before this one have a new version.
    """
    chosen = owners or keyring.owners(key_class)
    for owner in chosen:
        keyring.rotate(owner, key_class)
    return len(chosen)


def settled_at(keyring: Keyring) -> datetime | None:
    """From when on every rotated index key is written under; None when all are."""
    waiting = [
        keyring.settles_at(owner, DataKeyClass.INDEXES)
        for owner in keyring.owners(DataKeyClass.INDEXES)
    ]
    return max((moment for moment in waiting if moment is not None), default=None)


def rekey(store: Store, part: Part, crew: Crew, checkpoint: Checkpoint) -> RekeyReport:
    """Move every row of a part to the keys that its owner writes under now.

    Args:
        store: the database, here.
        part: what is moved.
        crew: who works, and how.
        checkpoint: where an interrupted one goes on.

    Raises:
        AdoptionBlockedError: the owner stands in another table (joined inheritance).
        DatabaseError, assay.keys.KeyServiceError: no database, or no keys; what is done stays done.
    """
    if part.owner.table is not part.table:
        raise AdoptionBlockedError(
            f"expected the owner of each row in {part.name}, found it in {part.owner.table.name}, "
            "whose rows this table's are joined to; load the instances, assign a field, and flush"
        )
    total, seen = count(store.engine, part), 0

    def on_done(span: Span, tally: Tally) -> None:
        nonlocal seen
        seen += tally.rows
        checkpoint.save(span.until)
        crew.progress.advance(min(seen, total), total, f"{part.name}: {seen} rows looked at")

    job, batch_rows = Job(crew.opener, part.name, rekey_span), crew.options.batch_rows
    whole, after, number = Tally(), checkpoint.load(), 0
    while True:
        number += 1
        seen = 0
        pieces = spans(store.engine, part, batch_rows=batch_rows, after=after)
        swept = sweep(job, pieces, crew, on_done)
        checkpoint.clear()
        # A row that does not open is met again in each sweep; the last one says how many.
        whole = replace(whole + swept, refused=swept.refused, examples=swept.examples)
        left = swept.done + swept.passed_over
        if (after is None and not left) or number == _MOST_SWEEPS:
            return RekeyReport(part.name, whole, left, number)
        after = None


def rekey_span(store: Store, part: Part, span: Span) -> Tally:
    """Move the rows of a span that stand under an older key."""
    statement = (
        select(
            *part.keys,
            part.owner,
            type_coerce(part.envelope, LargeBinary),
            *part.indexes.values(),
            *(() if part.version is None else (part.version,)),
        )
        .where(part.envelope.is_not(None), within(part, span, store.engine.dialect.name))
        .order_by(*part.keys)
    )
    with named_errors(f"read rows of {part.name}"), store.engine.connect() as connection:
        rows = connection.execute(statement).all()
    ready: list[dict[str, object]] = []
    refused: Counter[str] = Counter()
    examples = []
    for row in rows:
        try:
            moved = _moved(store, part, row)
        except EncryptionError as exc:
            refused[type(exc).__name__] += 1
            examples.append(key_of(row, part))
        else:
            ready += [moved] if moved is not None else []
    done = patiently(lambda: _write(store.engine, part, ready)) if ready else 0
    return Tally(len(rows), done, len(ready) - done, dict(refused), tuple(examples[:5]))


def _moved(store: Store, part: Part, row: Any) -> dict[str, object] | None:
    """The parameters of the UPDATE of a row; None when it is under the newest keys already."""
    width = len(part.keys)
    key, owner = key_of(row, part), part.model.owner_of(row[width])
    # The version stays: the fields are the same, and so is what came before them.
    *sealed, version = row[width + 1 :] if part.version is not None else (*row[width + 1 :], None)
    envelope, *indexes = [None if raw is None else bytes(raw) for raw in sealed]
    rows = store.keys.rows(part.group, owner)
    current = rows.current_key()
    stays = envelope is not None and envelope[2:18] == current.key_id
    # A null may stand for no value, or for that of an index which the model has got since.
    if stays and None not in indexes:
        versions = {int.from_bytes(raw[1:3], "big") for raw in indexes if raw is not None}
        if not versions:
            return None
        if versions == {store.keyring.current(owner, DataKeyClass.INDEXES).version}:
            return None
    row_id = part.model.row_id_of(key)
    fields = rows.open(envelope, row_id, version).fields
    part.group.complete(fields)
    computed = OwnerIndexes(store, part, owner).values(fields)
    if stays and computed == indexes:
        return None
    moved = rows.envelope(fields, row_id, current, version)
    return {
        "e": Contents({}, moved, rows.place(row_id)),
        "old": envelope,
        "o": row[width],
        **{f"k{at}": piece for at, piece in enumerate(key)},
        **{f"i{at}": value for at, value in enumerate(computed)},
    }


def _write(engine: Engine, part: Part, rows: list[dict[str, object]]) -> int:
    here = and_(*(c == bindparam(f"k{at}", type_=c.type) for at, c in enumerate(part.keys)))
    old = bindparam("old", type_=LargeBinary())
    indexes = {c: bindparam(f"i{at}", type_=c.type) for at, c in enumerate(part.indexes.values())}
    statement = (
        update(part.table)
        .where(
            here,
            part.owner == bindparam("o", type_=part.owner.type),
            type_coerce(part.envelope, LargeBinary) == old,
        )
        .values({part.envelope: bindparam("e", type_=part.envelope.type), **indexes})
    )
    with engine.begin() as connection:
        return int(connection.execute(statement, rows).rowcount)
