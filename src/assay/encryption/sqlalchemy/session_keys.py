"""The keyring that a session works with; it travels in ``Session.info``, never in a global.

Example:
    >>> SessionKeys.of(session).keyring.current("tenant-1", DataKeyClass.ROWS)  # doctest: +SKIP
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer
from assay.encryption.sqlalchemy.errors import KeyringNotBoundError
from assay.keys import Keyring

INFO_KEY = "assay.encryption.keys"
"""Under which name a session's ``info`` holds its keys."""


class SessionKeys:
    """A keyring and the ciphers derived from its keys, shared by the sessions of a factory.

    Args:
        keyring: has the owners' data keys.
        opener: keeps what is derived from them for reading.
    """

    __slots__ = ("keyring", "opener", "sealer")

    def __init__(self, keyring: Keyring, opener: EnvelopeOpener | None = None) -> None:
        self.keyring = keyring
        self.sealer = EnvelopeSealer()
        self.opener = opener or EnvelopeOpener()

    @staticmethod
    def of(session: Session) -> SessionKeys:
        """The keys of a session.

        Raises:
            KeyringNotBoundError: `bind` was not called for it.
        """
        keys = session.info.get(INFO_KEY)
        if not isinstance(keys, SessionKeys):
            raise KeyringNotBoundError(
                "expected a session with a keyring, found none; call "
                "assay.encryption.sqlalchemy.bind(session_factory, keyring) once, where the "
                "factory is made"
            )
        return keys
