"""Reading rows of which some hold a value that the model's type cannot be made of.

Databases keep more than Python's types do: ``'infinity'`` in a date on PostgreSQL, any text in any
column on SQLite, half a JSON document. The driver or SQLAlchemy then refuses the whole result. So
such a batch is read again row by row, and the rows that cannot be read are told apart; they are
left as they are, and stand in nobody's way.

Example:
    >>> read_rows(engine, part, statement, {}).unreadable             # doctest: +SKIP
    ((17,),)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Select, bindparam
from sqlalchemy.exc import DataError, OperationalError

from assay.database.failures import named_errors
from assay.encryption.adoption.errors import AdoptionBlockedError
from assay.encryption.adoption.parts import Part

UNREADABLE = "a value that the model's type does not take"
"""Why a row is counted that could not be read."""
_UNFIT = (ValueError, TypeError, LookupError, ArithmeticError, DataError, OperationalError)
_NO_TEXT = "Could not decode to UTF-8"
"""How Python's driver of SQLite begins to say so, before it quotes the value."""


@dataclass(frozen=True)
class Found:
    """What was read.

    Attributes:
        rows: those that could be.
        unreadable: the primary keys of the others.
    """

    rows: list[Any]
    unreadable: tuple[tuple[object, ...], ...] = ()


def read_rows(
    engine: Engine, part: Part, statement: Select[Any], given: Mapping[str, object]
) -> Found:
    """The rows of a statement, without those that cannot be read.

    Args:
        engine: the database.
        part: whose table; its primary key comes first among the statement's columns.
        statement: what is read.
        given: the statement's parameters.

    Raises:
        AdoptionBlockedError: a primary key cannot be read.
        DatabaseError: the database does not answer.
    """
    with named_errors(f"read rows of {part.name}"):
        try:
            return Found(_all(engine, statement, given))
        except _UNFIT as exc:
            _refuse_other(exc)
        with readable_keys(part):
            keys = _all(engine, statement.with_only_columns(*part.keys), given)
        names = [f"key_{at}" for at in range(len(part.keys))]
        here = (c == bindparam(n, type_=c.type) for c, n in zip(part.keys, names, strict=True))
        single = statement.where(*here)
        rows: list[Any] = []
        unreadable = []
        for key in keys:
            try:
                rows += _all(engine, single, {**given, **dict(zip(names, key, strict=True))})
            except _UNFIT as exc:
                _refuse_other(exc)
                unreadable.append(tuple(key))
        return Found(rows, tuple(unreadable))


@contextmanager
def readable_keys(part: Part) -> Iterator[None]:
    """Say which table it is when a primary key cannot be read.

    Raises:
        AdoptionBlockedError: it cannot; without its key no row is found again.
    """
    try:
        yield
    except _UNFIT as exc:
        _refuse_other(exc)
        raise AdoptionBlockedError(
            f"expected primary keys of {part.name} that the model's types take, found one that "
            "they do not; correct or delete that row, or give the model the type that the column "
            "really has"
        ) from None  # the error would quote the key


def _all(engine: Engine, statement: Select[Any], given: Mapping[str, object]) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(statement, dict(given)).all())


def _refuse_other(exc: Exception) -> None:
    """Raise an error again that is about the database, and not about a value."""
    if isinstance(exc, OperationalError) and not str(exc.orig).startswith(_NO_TEXT):
        raise exc
