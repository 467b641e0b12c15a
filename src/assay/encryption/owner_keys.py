"""Whose a row is, and the keys of that owner: what every adapter asks a keyring for.

Example:
    >>> owner_text(42)
    '42'
    >>> IndexKeys(keyring).newest(index, "42").compute("ada@example.com")    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

from assay.core import DataKeyClass
from assay.encryption.blind_index import BlindIndex, BlindIndexer, BlindIndexValue
from assay.encryption.envelope import envelope_key_id
from assay.encryption.errors import WrongKeyError
from assay.encryption.generations import Generations
from assay.keys import DataKey, Keyring, UnknownDataKeyError, tell_of_dropped_keys

_ROWS, _INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES


class OwnerKeys(Protocol):
    """What is needed of `assay.keys.Keyring`."""

    def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
        """The newest data key of an owner and class."""
        ...

    def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
        """The data key of an owner that has this id."""
        ...


def owner_text(value: object) -> str | None:
    """The owner's name as it stands in addresses: text, or UUID or int as text; None for others."""
    if type(value) is str:
        return value or None
    if isinstance(value, UUID) or type(value) is int:
        return str(value)
    return None


def found_instead(value: object) -> str:
    """What stands where an owner was expected, for a message; never the value."""
    return "nothing" if value is None or value == "" else type(value).__name__


def key_of_envelope(keyring: OwnerKeys, owner: str, envelope: bytes) -> DataKey:
    """The data key that an owner's envelope names.

    Raises:
        WrongKeyError: the owner has no such key.
        EnvelopeError: the envelope is no such thing.
        assay.keys.KeysError: the key is not to be had.
    """
    key_id = envelope_key_id(envelope)
    try:
        return keyring.by_id(owner, _ROWS, key_id)
    except UnknownDataKeyError as exc:
        raise WrongKeyError(
            "expected an envelope under a data key of the row's owner, found one under "
            f"{key_id.hex()}: it belongs to another owner, or its key was destroyed"
        ) from exc


class IndexKeys:
    """The index keys of a keyring.

    Args:
        keyring: has the owners' data keys.
    """

    __slots__ = ("__weakref__", "_indexers", "_keyring")

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._indexers: Generations[tuple[int, str, int], BlindIndexer] = Generations(4096)
        tell_of_dropped_keys(self)

    def value(self, index: BlindIndex, owner: str, value: object) -> BlindIndexValue | None:
        """The blind index of a value; of None there is none, and no key is asked for.

        Raises:
            UnsupportedValueError: the transform does not accept the value.
            assay.keys.KeysError: there is no index key to be had.
        """
        return None if value is None else self.newest(index, owner).compute(value)

    def newest(self, index: BlindIndex, owner: str) -> BlindIndexer:
        """What computes a blind index that is about to be written.

        Raises:
            assay.keys.KeysError: there is no index key to be had.
        """
        return self.under(index, self._keyring.current(owner, _INDEXES))

    def all(self, index: BlindIndex, owner: str) -> list[BlindIndexer]:
        """What computes a blind index under each key that may still stand in the table.

        Raises:
            assay.keys.KeysError: an index key is not to be had.
        """
        return [self.under(index, key) for key in self._keyring.versions(owner, _INDEXES)]

    def forget_keys(self, keys: Collection[DataKey]) -> None:
        """Drop what was derived from exactly these keys."""
        gone = {id(key) for key in keys}
        self._indexers.forget(lambda indexer: id(indexer.key) in gone)

    def under(self, index: BlindIndex, key: DataKey) -> BlindIndexer:
        """What computes a blind index under a certain index key."""
        place = (id(index), key.owner, key.version)
        indexer = self._indexers.get(place)
        if indexer is None or indexer.key is not key or indexer.index is not index:
            indexer = index.indexer(key)
            self._indexers.put(place, indexer)
        return indexer
