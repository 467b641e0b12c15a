"""Where the values are that indexes are measured on: in a programme's tables, or in the clear.

Example:
    >>> measure_declared_indexes(Path("assay.yaml"), sample=100_000)     # doctest: +SKIP
    [MeasuredColumn(column='documents.owner_email', ...)]
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from assay.assemble.datastores import datastore_of, store_of
from assay.controls import Context, load_programme
from assay.core import Progress, WrongInputError, is_reference, resolve_reference

if TYPE_CHECKING:
    from assay.encryption import MeasuredColumn
    from assay.keys import DataKey


@dataclass(frozen=True)
class PlainColumn:
    """Where the values of a column in the clear are, and how they are to be indexed.

    Attributes:
        database: the database's URL or a reference to it, with a table and a column of it.
        table: the table.
        column: the column, or that of a CSV file.
        values: a file: CSV when a column is named, otherwise one value a line.
        reference: a file of what the attacker knows, one value a line, as often as it occurs.
        kind: what text stands for; see `assay.encryption.PlainValues`.
        transform: the name of a transform of text.
    """

    database: str | None = None
    table: str | None = None
    column: str | None = None
    values: Path | None = None
    reference: Path | None = None
    kind: str = "text"
    transform: str = "casefold"


def measure_declared_indexes(
    path: Path,
    datastore: str | None = None,
    *,
    sample: int,
    progress: Progress | None = None,
) -> list[MeasuredColumn]:
    """Measure every index that a programme's models declare, on the rows of its table.

    Args:
        path: the programme file.
        datastore: its id; the only datastore when None.
        sample: how many rows of each table are opened at most.
        progress: told what goes on.

    Raises:
        ProgrammeError: the file is wrong, or does not say which datastore is meant.
        AssayError: the database, its keys or its rows cannot be opened.
    """
    from assay.database.failures import named_errors
    from assay.encryption.sqlalchemy import measure_models

    programme = load_programme(path)
    with Context(path.absolute().parent, programme, environment=os.environ) as context:
        store = store_of(context, datastore_of(path, programme, datastore))
        with named_errors("measure the columns of the sealed tables"):
            return measure_models(
                store.engine,
                store.keyring,
                store.base,
                sample,
                _random_index_key(),
                random=Random(),  # noqa: S311 - which rows are measured is no secret
                progress=progress,
            )


def measure_plain_column(source: PlainColumn, *, sample: int) -> MeasuredColumn:
    """Measure what indexes of a column in the clear would tell.

    Args:
        source: where its values are.
        sample: how many rows are measured at most.

    Raises:
        WrongInputError: it is not said clearly which values are meant.
        AssayError: they cannot be read.
    """
    from assay.encryption import PlainValues, measure_plain_values, values_of_file

    known = None if source.reference is None else values_of_file(source.reference, None)
    chance = Random()  # noqa: S311 - which rows are measured is no secret
    with _plain_values(source) as (name, values):
        described = PlainValues(name, values, source.kind, source.transform, known)
        return measure_plain_values(described, _random_index_key(), sample, chance)


@contextmanager
def _plain_values(source: PlainColumn) -> Iterator[tuple[str, Iterator[object]]]:
    from assay.encryption import values_of_file

    if source.values is not None and source.database is None and source.table is None:
        yield source.values.name, values_of_file(source.values, source.column)
        return
    if source.values is not None or not (source.database and source.table and source.column):
        raise WrongInputError(
            "expected nothing for the indexes of the programme's models, --values with a file, or "
            "--database with --table and --column, found another choice"
        )
    from assay.database import open_engine, raw_rows

    url = source.database
    if is_reference(url):
        url = resolve_reference(url, Path.cwd(), os.environ)
    engine = open_engine(url, must_exist=True)
    try:
        rows = raw_rows(engine, source.table, [source.column])
        yield f"{source.table}.{source.column}", (row[0] for row in rows)
    finally:
        engine.dispose()


def _random_index_key() -> DataKey:
    from assay.core import DataKeyClass
    from assay.keys import DataKey, data_key_id

    material = os.urandom(32)
    return DataKey("planner", DataKeyClass.INDEXES, 1, data_key_id(material), material)
