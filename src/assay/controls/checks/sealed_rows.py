"""Sealed rows: every row opens under its owner's key, and nothing sealed stands in the clear.

Every row is read as the database has it, without the mapping that the application uses. Then each
envelope is opened, and the opened values are looked for in the row's other columns: a copy in the
clear is found wherever in the row it is.

Specification: ``spec/row-envelope.md``.

Example:
    >>> SealedRows().judge(facts).population            # doctest: +SKIP
    Population(in_scope=412, evaluated=412, failed=0, unit='rows')
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.controls.asset import Asset, Datastore
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result, Status

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from assay.encryption.sqlalchemy import SealedTable
    from assay.keys import Keyring

_SHORTEST_COPY = 6
"""Characters; a shorter value may stand in another column by coincidence."""


class TableFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was read in one sensitive table.

    Attributes:
        table: its name.
        rows: how many rows the database counts.
        read: how many rows were read and all their envelopes tried.
        bad_rows: how many of these did not open, or hold a sealed value in the clear.
        refused: for each reason how many envelopes did not open.
        clear_columns: real columns that carry the name of a sealed field.
        copies: for each other column in how many rows it holds a sealed value in the clear.
    """

    table: str
    rows: int
    read: int
    bad_rows: int
    refused: dict[str, int]
    clear_columns: tuple[str, ...]
    copies: dict[str, int]


class SealedRowsFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was read in one datastore.

    Attributes:
        dialect: the kind of database.
        tables: every table whose model is sealed.
        absent: sealed tables that the models declare and the database does not have.
    """

    dialect: str
    tables: tuple[TableFacts, ...]
    absent: tuple[str, ...]


class SealedRows:
    """Every row of every table declared sensitive opens, and nothing sealed is in the clear."""

    id = "sealed-rows"
    version = 1
    asset_kind = "datastore"
    title = "opening every sealed row"
    facts = SealedRowsFacts

    def collect(self, asset: Asset, context: Context) -> SealedRowsFacts:
        """Read every row of every sealed table and try to open it."""
        from assay.database import real_tables
        from assay.encryption.sqlalchemy import sealed_tables

        if not isinstance(asset, Datastore):
            raise CollectError(f"expected a datastore, found {asset.id}")
        declared = sealed_tables(context.load(asset.models))
        engine, keyring = context.engine(asset.url), context.keyring(asset)
        real = set(real_tables(engine))
        present = [table for table in declared if table.name in real]
        return SealedRowsFacts(
            dialect=engine.dialect.name,
            tables=tuple(_read_table(table, engine, keyring, context) for table in present),
            absent=tuple(sorted(table.name for table in declared if table.name not in real)),
        )

    def judge(self, facts: SealedRowsFacts) -> Result:
        """Pass when all rows were read, all opened, and no value stands in the clear."""
        wrong: list[str] = []
        for table in facts.tables:
            wrong += [
                f"{table.table}: column {column} holds a sealed field in the clear"
                for column in table.clear_columns
            ]
            wrong += [
                f"{table.table}: column {column} repeats a sealed value (rows: {count})"
                for column, count in sorted(table.copies.items())
            ]
            wrong += [
                f"{table.table}: refused envelopes: {count} ({reason})"
                for reason, count in sorted(table.refused.items())
            ]
        counts = Population(
            in_scope=sum(max(table.rows, table.read) for table in facts.tables),
            evaluated=sum(table.read for table in facts.tables),
            failed=sum(t.read if t.clear_columns else t.bad_rows for t in facts.tables),
            unit="rows",
        )
        if wrong:
            return Result(Status.FAIL, wrong[0], counts, Fidelity.LIVE, tuple(wrong))
        if facts.absent:
            return Result.error(
                f"could not tell: the database has no table {', '.join(facts.absent)}, which the "
                "models declare",
                Fidelity.LIVE,
                unit="rows",
            )
        empty = [table.table for table in facts.tables if not table.rows]
        note = f"; without rows: {', '.join(empty)}" if empty else ""
        reason = f"all rows of {len(facts.tables)} sealed tables open under their keys{note}"
        return Result.of(counts, Fidelity.LIVE, reason)

    def violations(self) -> Sequence[Violation]:
        """Plaintext instead of an envelope, a swapped row, and copies in the clear."""
        return tuple(
            Violation(name, description, _twin_of(name))
            for name, description in (
                ("plaintext-row", "one row's envelope is replaced by its text"),
                ("swapped-rows", "two rows of different owners exchange their envelopes"),
                ("copied-value", "a sealed e-mail address is copied into an ordinary column"),
                ("clear-index", "a blind index holds the value instead of its keyed hash"),
                ("clear-column", "a column with the name of a sealed field is added and filled"),
            )
        )


def _read_table(
    table: SealedTable, engine: Engine, keyring: Keyring, context: Context
) -> TableFacts:
    from sqlalchemy import inspect

    from assay.database import count_rows, raw_joined_rows, raw_rows

    columns = [str(column["name"]) for column in inspect(engine).get_columns(table.name)]
    rows = count_rows(engine, table.name)
    refused: Counter[str] = Counter()
    copies: Counter[str] = Counter()
    read = bad_rows = 0
    if table.owner_table == table.name:
        stored, known = raw_rows(engine, table.name, columns), columns
    else:  # the owner stands in the parent's table
        owner = [table.owner_column]
        stored = raw_joined_rows(engine, table.name, columns, table.owner_table, owner)
        known = [*columns, *owner]
    for values in stored:
        row = dict(zip(known, values, strict=True))
        reasons, copied = _try_row(table, row, keyring)
        refused.update(reasons)
        copies.update(copied)
        bad_rows += bool(reasons or copied)
        read += 1
        if read % 500 == 0:
            context.progress.advance(read, max(rows, read), f"{table.name}: row {read}")
    return TableFacts(
        table=table.name,
        rows=rows,
        read=read,
        bad_rows=bad_rows,
        refused=dict(sorted(refused.items())),
        clear_columns=tuple(sorted(set(columns) & {*table.fields, *table.plaintext_columns})),
        copies=dict(sorted(copies.items())),
    )


def _try_row(
    table: SealedTable, row: Mapping[str, Any], keyring: Keyring
) -> tuple[list[str], list[str]]:
    """Reasons why envelopes of the row do not open, and columns that repeat an opened value."""
    from assay.encryption import EncryptionError
    from assay.encryption.sqlalchemy import open_row
    from assay.keys import KeysError

    reasons: list[str] = []
    opened: list[object] = []
    for group, column in table.groups.items():
        if row.get(column) is None:
            if table.needs_envelope(group, row):
                reasons.append("no envelope")
            continue
        try:
            opened += open_row(keyring, table.models[group], row, group).values()
        except (EncryptionError, KeysError) as exc:
            reasons.append(type(exc).__name__)
    # Blind indexes are looked into as well: an index that was filled with the value itself leaks.
    others = {name: value for name, value in row.items() if name not in table.groups.values()}
    secrets = {
        value for value in opened if isinstance(value, str | bytes) and len(value) >= _SHORTEST_COPY
    }
    copied = [name for name, value in others.items() if _holds(value, secrets)]
    return reasons, copied


def _holds(value: object, secrets: set[str | bytes]) -> bool:
    """Whether a column repeats one of the values, as it is or in lower case."""
    texts = [secret for secret in secrets if isinstance(secret, str)]
    if isinstance(value, str):
        folded = value.casefold()
        return any(text in value or text.casefold() in folded for text in texts)
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        folded_raw = raw.lower()
        return any(secret in raw for secret in secrets if isinstance(secret, bytes)) or any(
            text.encode() in raw or text.casefold().encode() in folded_raw for text in texts
        )
    return False


def _twin_of(name: str) -> Callable[[Path, bool], AbstractContextManager[Twin]]:
    """The twin company, with one of the violations in its database."""
    statements = {
        "plaintext-row": (
            "UPDATE notes SET sealed = CAST('the text of a note, for all to read' AS BLOB) "
            "WHERE id = (SELECT min(id) FROM notes)",
        ),
        "swapped-rows": (
            "UPDATE notes SET sealed = (SELECT sealed FROM notes WHERE id = "
            "(SELECT max(id) FROM notes)) WHERE id = (SELECT min(id) FROM notes)",
        ),
        "copied-value": (
            "UPDATE notes SET label = 'for grace@twin.example' "
            "WHERE id = (SELECT max(id) FROM notes)",
        ),
        "clear-index": (
            "UPDATE notes SET author_email_index = CAST('grace@twin.example' AS BLOB) "
            "WHERE id = (SELECT max(id) FROM notes)",
        ),
        "clear-column": (
            "ALTER TABLE notes ADD COLUMN text TEXT",
            "UPDATE notes SET text = 'as it was before the migration'",
        ),
    }

    @contextmanager
    def build(folder: Path, inject: bool) -> Iterator[Twin]:
        from assay.controls.twins.company import company, execute

        with company(folder) as twin:
            for statement in statements[name] if inject else ():
                execute(twin, statement)
            yield Twin(twin.datastore, twin.context)

    return build
