"""The blind indexes of a row's fields: as they are to be, and whether stored ones are right.

Example:
    >>> OwnerIndexes(store, part, "tenant-1").values(fields)       # doctest: +SKIP
    [b'…']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.store import Store
from assay.encryption.blind_index import BlindIndex, BlindIndexer, BlindIndexValue
from assay.keys import DataKey


class OwnerIndexes:
    """Computes the blind indexes of rows of one owner.

    The owner's index key is asked for once, when the first value is met.

    Args:
        store: has the keys.
        part: what is sealed together.
        owner: whose rows they are.
    """

    def __init__(self, store: Store, part: Part, owner: str) -> None:
        self._keys, self._owner = store.keys.indexes, owner
        found = {
            column: (name, index)
            for name in part.group.indexed
            for column, index in part.model.indexes[name].items()
        }
        self._wanted = [(column, *found[column]) for column in part.indexes]
        self._indexers: dict[str, BlindIndexer] = {}

    def values(self, fields: Mapping[str, object]) -> list[BlindIndexValue | None]:
        """The blind indexes of a row, in the order of `Part.indexes`.

        Raises:
            UnsupportedValueError: the transform does not accept a value.
            assay.keys.KeysError: there is no index key to be had.
        """
        values: list[BlindIndexValue | None] = []
        for column, name, index in self._wanted:
            value = fields[name]
            if value is None:
                values.append(None)
                continue
            indexer = self._indexers.get(column)
            if indexer is None:
                indexer = self._indexers[column] = self._keys.newest(index, self._owner)
            values.append(indexer.compute(value))
        return values


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
