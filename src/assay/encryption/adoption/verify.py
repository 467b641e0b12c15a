"""Fourth step: opening every row and comparing it with its plaintext.

A row passes when its envelope opens under its owner's key, each field is equal to what stands in
its column, type included, and each blind index is that of the value. Once the columns are retired
there is nothing to compare with, and what is verified is that every row opens.

Example:
    >>> verify(store, part, Crew(opener, executor)).passed     # doctest: +SKIP
    True
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import LargeBinary, select, type_coerce

from assay.core import AssayError, DataKeyClass, from_rfc3339, to_rfc3339, write_atomically
from assay.encryption.adoption.errors import NotVerifiedError
from assay.encryption.adoption.index_values import wrong_indexes
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.place import Place
from assay.encryption.adoption.ranges import Span, count, kept_in, key_of, spans, within
from assay.encryption.adoption.reading import UNREADABLE, read_rows
from assay.encryption.adoption.store import Store
from assay.encryption.adoption.sweep import KEYS_SHOWN, Crew, Job, Tally, sweep
from assay.encryption.errors import EncryptionError
from assay.encryption.payload import encode_payload

_FORMAT = 2
_BEFORE_PLACES = 1


@dataclass(frozen=True)
class VerifyReport:
    """What verification found.

    Attributes:
        part: of which part of which table.
        tally: ``rows`` read, ``done`` equal, and for each difference how many.
        in_table: how many rows the database counted before.
    """

    part: str
    tally: Tally
    in_table: int

    @property
    def passed(self) -> bool:
        """Whether every row that was read passed, and rows were read unless there are none."""
        return self.tally.done == self.tally.rows and not self.could_not_tell

    @property
    def could_not_tell(self) -> bool:
        """Whether there are rows of which none was read."""
        return not self.tally.rows and self.in_table > 0


def verify(store: Store, part: Part, crew: Crew) -> VerifyReport:
    """Open every row of a part and compare it.

    Args:
        store: the database, here.
        part: what is verified.
        crew: who works, and how.

    Raises:
        DatabaseError, assay.keys.KeyServiceError: no database, or no keys: nothing can be told.
    """
    total, seen = count(store.engine, part), 0

    def on_done(_span: Span, tally: Tally) -> None:
        nonlocal seen
        seen += tally.rows
        crew.progress.advance(min(seen, total), total, f"{part.name}: {seen} rows opened")

    pieces = spans(store.engine, part, batch_rows=crew.options.batch_rows)
    tally = sweep(Job(crew.opener, part.name, verify_span), pieces, crew, on_done)
    return VerifyReport(part.name, tally, total)


def verify_span(store: Store, part: Part, span: Span) -> Tally:
    """Open and compare the rows of a span."""
    statement = (
        select(
            *part.keys,
            part.owner,
            type_coerce(part.envelope, LargeBinary),
            *part.indexes.values(),
            *part.plaintext.values(),
        )
        .where(within(part, span, store.engine.dialect.name))
        .order_by(*part.keys)
    )
    found = read_rows(store.engine, part, statement, {})
    refused: Counter[str] = Counter()
    if found.unreadable:
        refused[UNREADABLE] = len(found.unreadable)
    examples = list(found.unreadable)
    for row in found.rows:
        reasons = _differences(store, part, row)
        refused.update(reasons)
        if reasons:
            examples.append(key_of(row, part))
    rows = len(found.rows) + len(found.unreadable)
    shown = tuple(examples[:KEYS_SHOWN])
    return Tally(rows, rows - len(examples), refused=dict(refused), examples=shown)


def _differences(store: Store, part: Part, row: Any) -> list[str]:
    width = len(part.keys)
    sealed = row[width + 1 : width + 1 + len(part.sealed_columns)]
    clear = dict(zip(part.plaintext, row[width + 1 + len(sealed) :], strict=True))
    if sealed[0] is None:
        return ["no envelope"]
    try:
        owner = part.model.owner_of(row[width])
        row_id = part.model.row_id_of(key_of(row, part))
        fields = store.keys.rows(part.group, owner).open(bytes(sealed[0]), row_id).fields
        found = [
            f"{field.name} differs"
            for field in part.group.fields
            if field.name in clear
            and encode_payload({"value": fields.get(field.name)})
            != encode_payload({"value": field.accept(clear[field.name])})
        ]
    except EncryptionError as exc:
        return [type(exc).__name__]
    raw = [None if each is None else bytes(each) for each in sealed[1:]]
    keys = store.keyring.versions(owner, DataKeyClass.INDEXES) if raw else ()
    wrong = wrong_indexes(keys, part, fields, dict(zip(part.indexes, raw, strict=True)))
    return found + [f"{column}: wrong blind index" for column in wrong]


def record_verified(
    path: Path, part: Part, place: Place, report: VerifyReport, at: datetime
) -> None:
    """Keep that a comparison with the plaintext passed, for the step that removes it.

    Args:
        path: the file.
        part: a part in transition.
        place: which database has it.
        report: that passed.
        at: when the verification began.

    Raises:
        CheckpointError: it cannot be written.
    """
    document = {
        "format": _FORMAT,
        "part": part.name,
        "dialect": place.dialect,
        "place": place.identity,
        "columns": sorted(part.clear_columns),
        "rows": report.tally.rows,
        "at": to_rfc3339(at),
    }
    with kept_in(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document).encode())


def refuse_unopened(report: VerifyReport) -> None:
    """Refuse to remove the plaintext of rows that do not open.

    Raises:
        NotVerifiedError: one does not, or none was read.
    """
    if not report.passed:
        found = ", ".join(f"{rows}: {reason}" for reason, rows in report.tally.refused.items())
        raise NotVerifiedError(
            f"expected every row of {report.part} to open before its plaintext goes, found "
            f"{report.tally.rows - report.tally.done} of {report.tally.rows} that do not "
            f"({found or 'nothing was read'}); go back to sealed(plaintext=...) and backfill them"
        )


def require_verified(
    path: Path, part: Part, place: Place, now: datetime, freshness: timedelta
) -> None:
    """Refuse to go on unless the rows were compared with their plaintext lately, in this place.

    Args:
        path: as `record_verified` was given.
        part: a retired part.
        place: which database has it.
        now: the moment.
        freshness: how old the verification may be.

    Raises:
        NotVerifiedError: they were not.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        at = from_rfc3339(document["at"])
        found = _unfit(document, part, place)
    except FileNotFoundError:
        found = "none"
    except OSError as exc:
        found = f"a file that cannot be read ({type(exc).__name__})"
    except (AssayError, ValueError, KeyError, TypeError, RecursionError):
        found = "a file that is no record of one"
    else:
        if not found and now - freshness <= at <= now:
            return
        found = found or f"one of {document['at']}"
    raise NotVerifiedError(
        f"expected a verification of {part.name} of this database against its plaintext in the "
        f"last {freshness.total_seconds() / 3600:g} hours, found {found}; run `assay seal verify` "
        "here, with the models that still name the columns as plaintext"
    )


def _unfit(document: dict[str, object], part: Part, place: Place) -> str:
    """What a record is of, when not of this part in this place."""
    if document["format"] == _BEFORE_PLACES:
        return "one of an older release, which does not say of which database it is"
    if document["format"] != _FORMAT:
        return "one of another release"
    if (document["dialect"], document["place"]) != (place.dialect, place.identity):
        return (
            "one of another database (or of this one by another address, or from before a restart "
            "by a role that may not call pg_control_system())"
        )
    fits = document["part"] == part.name and document["columns"] == sorted(part.clear_columns)
    return "" if fits else "one of other columns"
