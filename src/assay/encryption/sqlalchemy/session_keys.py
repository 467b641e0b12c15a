"""The keyring that a session works with; it travels in ``Session.info``, never in a global.

Example:
    >>> SessionKeys.of(session).rows(group, "tenant-1")       # doctest: +SKIP
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer
from assay.encryption.generations import Generations
from assay.encryption.owner_keys import IndexKeys
from assay.encryption.sqlalchemy.errors import KeyringNotBoundError
from assay.encryption.sqlalchemy.model import SealedGroup
from assay.encryption.sqlalchemy.rows import OwnerRows
from assay.keys import Keyring

INFO_KEY = "assay.encryption.keys"
"""Under which name a session's ``info`` holds its keys."""


class SessionKeys:
    """A keyring and what is derived from its keys, shared by the sessions of a factory.

    Args:
        keyring: has the owners' data keys.
        opener: keeps what is derived from them for reading.
    """

    __slots__ = ("_rows", "indexes", "keyring", "opener", "sealer")

    def __init__(self, keyring: Keyring, opener: EnvelopeOpener | None = None) -> None:
        self.keyring = keyring
        self.sealer = EnvelopeSealer()
        self.opener = opener or EnvelopeOpener()
        self._rows: Generations[tuple[int, str], OwnerRows] = Generations(4096)
        self.indexes = IndexKeys(keyring)

    def rows(self, group: SealedGroup, owner: str) -> OwnerRows:
        """The rows of an owner in a group."""
        place = (id(group), owner)
        rows = self._rows.young.get(place) or self._rows.get(place)
        if rows is None or rows.group is not group:
            rows = OwnerRows(self.keyring, self.sealer, self.opener, group, owner)
            self._rows.put(place, rows)
        return rows

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
