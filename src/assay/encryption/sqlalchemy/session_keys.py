"""The keyring that a session works with; it travels in ``Session.info``, never in a global.

Example:
    >>> SessionKeys.of(session).rows(group, "tenant-1")       # doctest: +SKIP
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from assay.core import DataKeyClass
from assay.encryption.blind_index import BlindIndex, BlindIndexer, BlindIndexValue
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer
from assay.encryption.generations import Generations
from assay.encryption.sqlalchemy.errors import KeyringNotBoundError
from assay.encryption.sqlalchemy.model import SealedGroup
from assay.encryption.sqlalchemy.rows import OwnerRows
from assay.keys import DataKey, Keyring

INFO_KEY = "assay.encryption.keys"
"""Under which name a session's ``info`` holds its keys."""

_INDEXES = DataKeyClass.INDEXES


class SessionKeys:
    """A keyring and what is derived from its keys, shared by the sessions of a factory.

    Args:
        keyring: has the owners' data keys.
        opener: keeps what is derived from them for reading.
    """

    __slots__ = ("_indexers", "_rows", "keyring", "opener", "sealer")

    def __init__(self, keyring: Keyring, opener: EnvelopeOpener | None = None) -> None:
        self.keyring = keyring
        self.sealer = EnvelopeSealer()
        self.opener = opener or EnvelopeOpener()
        self._rows: Generations[tuple[int, str], OwnerRows] = Generations(4096)
        self._indexers: Generations[tuple[int, str, int], BlindIndexer] = Generations(4096)

    def rows(self, group: SealedGroup, owner: str) -> OwnerRows:
        """The rows of an owner in a group."""
        place = (id(group), owner)
        rows = self._rows.get(place)
        if rows is None or rows.group is not group:
            rows = OwnerRows(self.keyring, self.sealer, self.opener, group, owner)
            self._rows.put(place, rows)
        return rows

    def index(self, index: BlindIndex, owner: str, value: object) -> BlindIndexValue | None:
        """The blind index of a value; of None there is none, and no key is asked for.

        Raises:
            UnsupportedValueError: the transform does not accept the value.
            assay.keys.KeysError: there is no index key to be had.
        """
        return None if value is None else self.indexer(index, owner).compute(value)

    def indexer(self, index: BlindIndex, owner: str) -> BlindIndexer:
        """What computes a blind index that is about to be written.

        Raises:
            assay.keys.KeysError: there is no index key to be had.
        """
        return self.indexer_under(index, self.keyring.current(owner, _INDEXES))

    def indexers(self, index: BlindIndex, owner: str) -> list[BlindIndexer]:
        """What computes a blind index under each key that may still stand in the table.

        Raises:
            assay.keys.KeysError: an index key is not to be had.
        """
        keys = self.keyring.versions(owner, _INDEXES)
        return [self.indexer_under(index, key) for key in keys]

    def indexer_under(self, index: BlindIndex, key: DataKey) -> BlindIndexer:
        """What computes a blind index under a certain index key."""
        place = (id(index), key.owner, key.version)
        indexer = self._indexers.get(place)
        if indexer is None or indexer.key is not key or indexer.index is not index:
            indexer = index.indexer(key)
            self._indexers.put(place, indexer)
        return indexer

    @staticmethod
    def of(session: Session) -> SessionKeys:
        """The keys of a session.

        Raises:
            KeyringNotBoundError: `bind` was not called for it.
        """
        keys = session.info.get(INFO_KEY)
        if type(keys) is not SessionKeys:
            raise KeyringNotBoundError(
                "expected a session with a keyring, found none; call "
                "assay.encryption.sqlalchemy.bind(session_factory, keyring) once, where the "
                "factory is made"
            )
        return keys
