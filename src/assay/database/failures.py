"""Errors of SQLAlchemy and of the drivers, by the names of this room.

What a driver says may quote rows. So only errors about reaching the database keep the driver's
words; of the others just the kind is told.

Example:
    >>> with named_errors("read the table"):          # doctest: +SKIP
    ...     connection.execute(statement)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc as sa_exc

from assay.database.errors import DatabaseError, DatabaseUnreachableError


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Give errors of SQLAlchemy the names of this room.

    Args:
        what: what was attempted, after "expected to".

    Raises:
        DatabaseUnreachableError: no connection, or the login was refused.
        DatabaseError: anything else that the database refuses.
    """
    try:
        yield
    except (sa_exc.OperationalError, sa_exc.InterfaceError) as exc:
        raise DatabaseUnreachableError(f"expected to {what}, found {said_by_driver(exc)}") from exc
    except sa_exc.TimeoutError as exc:
        raise DatabaseUnreachableError(
            f"expected to {what}, found every connection of the pool in use"
        ) from exc
    except sa_exc.DBAPIError as exc:
        raise DatabaseError(f"expected to {what}, found {type(exc.orig).__name__}") from exc
    except sa_exc.SQLAlchemyError as exc:
        raise DatabaseError(f"expected to {what}, found {type(exc).__name__}") from exc
    except UnicodeError:
        # The error would quote the text.
        raise DatabaseError(
            f"expected to {what}, found text that the database cannot hold"
        ) from None


def said_by_driver(exc: sa_exc.DBAPIError) -> str:
    """The driver's own words, on one line."""
    return " ".join(str(exc.orig).split()) or type(exc.orig).__name__
