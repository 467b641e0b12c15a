"""The values of sealed fields as they stand in a database, for the index planner.

Example:
    >>> for measured in measure_models(engine, keyring, Base, 10_000, key, random=Random()):
    ...     print(measured.column, judge_indexes(measured).sentence)             # doctest: +SKIP
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from sqlalchemy import Engine, LargeBinary, inspect, select, type_coerce

from assay.core import Progress, SilentProgress
from assay.encryption.index_planner import Distribution, MeasuredColumn, measure_column, sample
from assay.encryption.sqlalchemy.inspection import sealed_tables
from assay.encryption.sqlalchemy.model import SealedGroup, SealedModel
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.keys import DataKey, Keyring

_ROWS_AT_ONCE = 1000


def measure_models(  # noqa: PLR0913 - each is another part
    engine: Engine,
    keyring: Keyring,
    base: Any,
    most_rows: int,
    key: DataKey,
    *,
    random: Random,
    progress: Progress | None = None,
) -> list[MeasuredColumn]:
    """Measure every declared index on what its field holds.

    A table on its way from plaintext to envelopes is measured on its columns in the clear, which
    hold every value: also before it has any sealed column.

    Args:
        engine: the database.
        keyring: opens the rows.
        base: the declarative base of the models.
        most_rows: how many rows of each table are opened at most, chosen by chance.
        key: any index key; a random one.
        random: the chance.
        progress: told what goes on.

    Raises:
        EnvelopeError: a row does not open.
        MappingError: a row has no owner, or the base is none.
        assay.keys.KeysError: a data key is not to be had.
    """
    found, shown = [], progress or SilentProgress()
    keys = SessionKeys(keyring)
    for table in sealed_tables(base):
        for name, declared_by in table.models.items():
            model: SealedModel = declared_by.__sealed__  # type: ignore[attr-defined]  # a sealed one
            group = model.groups[name]
            if not group.indexed:
                continue
            rows, of_rows = sample(_rows(engine, model, group), most_rows, random)
            values: dict[str, Counter[object]] = {each: Counter() for each in group.indexed}
            for number, row in enumerate(rows):
                fields = row if group.in_transition else _open(keys, model, group, row)
                for each in group.indexed:
                    values[each][fields.get(each)] += 1
                if number % 500 == 0:
                    shown.advance(number, len(rows), f"{table.name}: row {number}")
            for each, counted in values.items():
                seen = Distribution(counted, counted.pop(None, 0), of_rows)
                kinds, place = model.fields[each].indexes, f"{table.name}.{each}"
                found.append(measure_column(place, seen, kinds, key, declared=True))
    return found


def _open(
    keys: SessionKeys, model: SealedModel, group: SealedGroup, row: Mapping[str, Any]
) -> Mapping[str, object]:
    row_id = model.row_id_of([row[name] for name in model.key])
    owner = model.owner_of(row[model.owner])
    return keys.rows(group, owner).open(bytes(row[group.column]), row_id).fields


def _rows(engine: Engine, model: SealedModel, group: SealedGroup) -> Iterator[Mapping[str, Any]]:
    """Owner, primary key and envelope of every row that is sealed, or the values in the clear."""
    mapper: Any = inspect(model.model)
    columns = mapper.columns
    if group.in_transition:
        clear = [columns[each.plaintext_attribute].label(each.name) for each in group.fields]
        statement = select(*clear)
    else:
        envelope = columns[group.column]
        names = dict.fromkeys([model.owner, *model.key])
        statement = select(
            type_coerce(envelope, LargeBinary).label(group.column),
            *(columns[name].label(name) for name in names),
        ).where(envelope.is_not(None))
        if mapper.inherits is not None:
            statement = statement.select_from(mapper.selectable)
    with engine.connect().execution_options(yield_per=_ROWS_AT_ONCE) as connection:
        for row in connection.execute(statement).mappings():
            yield dict(row)
