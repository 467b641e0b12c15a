"""Unique values while rows stand under several index keys.

The constraint of a unique index compares what is computed under one key. Until all rows are
computed under the newest one, a writer also looks for its value under the others.

Specification: ``spec/blind-index.md``, "Unique values".

Example:
    >>> refuse_duplicate(connection, model, keys, "tenant-1", {"email": "ada@example.com"})
    ... # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, inspect, not_, select
from sqlalchemy.exc import IntegrityError

from assay.encryption.sqlalchemy.errors import DuplicateValueError
from assay.encryption.sqlalchemy.model import SealedModel
from assay.encryption.sqlalchemy.session_keys import SessionKeys


def refuse_duplicate(  # noqa: PLR0913, PLR0917 - where, of which model, under whose keys, what
    connection: Connection,
    model: SealedModel,
    keys: SessionKeys,
    owner: str,
    fields: Mapping[str, object],
    stored_key: Sequence[object] = (),
) -> None:
    """Refuse a value that another row of the owner has under another index key.

    Args:
        connection: in whose transaction the row is about to be written.
        model: the sealed model.
        keys: have the index keys.
        owner: the owner's name.
        fields: what is about to be written.
        stored_key: the primary key of the row when it is there already.

    Raises:
        IntegrityError: there is such a row. It carries no value.
    """
    for name in model.unique:
        value = fields.get(name)
        if value is None:
            continue
        attribute = str(model.fields[name].equality_column)
        index = model.indexes[name][attribute]
        newest = keys.indexes.newest(index, owner).key
        others = [each for each in keys.indexes.all(index, owner) if each.key is not newest]
        if not others:
            continue
        mapper: Any = inspect(model.model)
        # What is computed under one owner's keys stands in no other owner's rows.
        column = mapper.columns[attribute]
        found = select(column).where(column.in_([each.compute(value) for each in others]))
        if stored_key:
            identity = zip(mapper.primary_key, stored_key, strict=True)
            found = found.where(not_(and_(*(each == key for each, key in identity))))
        if connection.execute(found.limit(1)).first() is not None:
            raise IntegrityError(
                None,
                None,
                DuplicateValueError(
                    f"expected a value of {name!r} that no other row of its owner has, found one "
                    "that is taken; its index is still computed under an older key"
                ),
            )
