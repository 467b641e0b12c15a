"""What the statements of a flush may write that no other statement may.

Rows that are flushed are looked at one by one before anything is executed, and then written by
statements that say nothing of it. So each row that was found to be right is permitted: to one
connection, for one table and primary key, in an INSERT or an UPDATE that the unit of work itself
executes, once, and at most until its flush ends, however it ends.

Example:
    >>> permit(Update, connection, state, table, (4,))                       # doctest: +SKIP
    >>> are_permitted(Update, connection, options, table, [(4,)])            # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Insert, Table, Update, event
from sqlalchemy.orm import InstanceState, Session, SessionTransaction

Key = tuple[object, ...]
_Permitted = tuple[type[Insert | Update], Table, Key, int]

_GIVEN: WeakKeyDictionary[Connection, dict[int, set[_Permitted]]] = WeakKeyDictionary()
"""For each connection what is permitted, by the ``id`` of the session that is flushed."""
_CONNECTIONS: WeakKeyDictionary[Session, set[Connection]] = WeakKeyDictionary()
"""The connections to which a session has permitted something."""


def permit(
    kind: type[Insert | Update],
    connection: Connection,
    state: InstanceState[Any],
    table: Table,
    key: Key,
) -> None:
    """Permit the flush of an instance to write one of its rows.

    Args:
        kind: of the statement.
        connection: the one that is going to execute it.
        state: the instance's.
        table: the row's.
        key: the row's primary key.
    """
    session = state.session
    if session is None:
        return
    _CONNECTIONS.setdefault(session, set()).add(connection)
    given = _GIVEN.setdefault(connection, {}).setdefault(id(session), set())
    given.add((kind, table, key, _sign(state.mapper.base_mapper._compiled_cache)))  # noqa: SLF001 - see `_sign`


def are_permitted(
    kind: type[Insert | Update],
    connection: Connection,
    options: Mapping[str, Any],
    table: Table,
    keys: Iterable[Key],
) -> bool:
    """Whether all rows of a statement are permitted; if so, they are not any more.

    Args:
        kind: of the statement.
        connection: the one that executes it.
        options: with which it is executed.
        table: the rows'.
        keys: the rows' primary keys.
    """
    known = _GIVEN.get(connection)
    if not known:
        return False
    sign = _sign(options.get("compiled_cache"))
    meant = {(kind, table, key, sign) for key in keys}
    if not all(any(each in given for given in known.values()) for each in meant):
        return False
    for given in known.values():
        given.difference_update(meant)
    return True


@event.listens_for(Session, "after_transaction_end")
def withdraw(session: Session, transaction: SessionTransaction) -> None:
    """Forget what was permitted: a flush has ended, which has a transaction of its own."""
    if transaction.nested:
        return  # a savepoint, which may begin and end within a flush
    for connection in _CONNECTIONS.pop(session, ()):
        _GIVEN.get(connection, {}).pop(id(session), None)


def _sign(cache: object) -> int:
    """By what the statements of a unit of work are told from all others.

    It executes them with a cache of their mappers' as an execution option.
    """
    return id(cache)
