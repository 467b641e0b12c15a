"""The blind indexes of a row's fields: as they are to be, and whether stored ones are right.

Example:
    >>> index_values(store, part, "tenant-1", fields)              # doctest: +SKIP
    {'email_index': b'…'}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.store import Store
from assay.encryption.blind_index import BlindIndex, BlindIndexValue
from assay.keys import DataKey


def index_values(
    store: Store, part: Part, owner: str, fields: Mapping[str, object]
) -> dict[str, BlindIndexValue | None]:
    """The blind indexes of a row under its owner's index key, by column as in `Part.indexes`.

    Raises:
        UnsupportedValueError: the transform does not accept a value.
        assay.keys.KeysError: there is no index key to be had.
    """
    return {
        column: store.keys.indexes.value(index, owner, fields[name])
        for name in part.group.indexed
        for column, index in part.model.indexes[name].items()
    }


def wrong_indexes(
    keys: Sequence[DataKey],
    part: Part,
    fields: Mapping[str, object],
    stored: Mapping[str, bytes | None],
) -> list[str]:
    """The columns whose blind index is not that of the value, under the key it names.

    Args:
        keys: all index keys of the row's owner.
        part: what is sealed together.
        fields: the opened fields of the row.
        stored: the bytes of each blind index, or None, by column as in `Part.indexes`.
    """
    by_version = {key.version: key for key in keys}
    return [
        column
        for name in part.group.indexed
        for column, index in part.model.indexes[name].items()
        if not _is_right(index, by_version, fields.get(name), stored[column])
    ]


def _is_right(
    index: BlindIndex, keys: Mapping[int, DataKey], value: object, raw: bytes | None
) -> bool:
    if value is None or raw is None:
        return value is None and raw is None
    key = keys.get(int.from_bytes(raw[1:3], "big"))
    return key is not None and index.indexer(key).compute(value) == raw
