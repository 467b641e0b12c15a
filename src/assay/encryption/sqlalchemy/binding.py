"""Binding a keyring to sessions.

Example:
    >>> sessions = sessionmaker(engine)                       # doctest: +SKIP
    >>> bind(sessions, keyring)                               # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from assay.encryption.sqlalchemy.errors import KeyringNotBoundError
from assay.encryption.sqlalchemy.session_keys import INFO_KEY, SessionKeys
from assay.keys import Keyring

Sessions = TypeVar(
    "Sessions",
    bound=(
        "sessionmaker[Any] | Session | scoped_session[Any] | async_sessionmaker[Any] | "
        "AsyncSession | async_scoped_session[Any]"
    ),
)


def bind(sessions: Sessions, keyring: Keyring) -> Sessions:
    """Let sessions seal and open with a keyring.

    Args:
        sessions: a factory of sessions, whose sessions all get the keyring from now on, or one
            session. A session of an asynchronous factory asks the keyring from within the event
            loop; a key that is not in the keyring's cache then waits for the key service.
        keyring: has the owners' data keys.

    Returns:
        The same factory or session.

    Raises:
        KeyringNotBoundError: it is neither.
    """
    keys = SessionKeys(keyring)
    if isinstance(sessions, sessionmaker | async_sessionmaker):
        sessions.configure(info={**(sessions.kw.get("info") or {}), INFO_KEY: keys})
    elif isinstance(sessions, scoped_session | async_scoped_session):
        factory: Any = sessions.session_factory
        bind(factory, keyring)
        if sessions.registry.has():
            sessions().info[INFO_KEY] = keys
    elif isinstance(sessions, Session | AsyncSession):
        sessions.info[INFO_KEY] = keys
    else:
        raise KeyringNotBoundError(
            "expected a sessionmaker or a session to bind a keyring to, found "
            f"{type(sessions).__name__}"
        )
    return sessions
