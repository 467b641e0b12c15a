"""What the room ``database`` refuses or cannot do.

::

    DatabaseError
    ├── DatabaseUrlError         a database URL is malformed, or its driver is missing
    ├── DatabaseUnreachableError the database does not answer
    ├── UnknownTableError        a table, or a column of it, is not there
    ├── StorageUnreachableError  the database's files cannot be read from here
    ├── VolatileKeyTableError    a key table would not survive the process
    └── KeyTableBusyError        the key table cannot be written while the caller writes

Example:
    >>> issubclass(KeyTableBusyError, DatabaseError)
    True
"""

from __future__ import annotations

from assay.core import AssayError, UnavailableError


class DatabaseError(AssayError):
    """Anything that the room ``database`` refuses or cannot do."""


class DatabaseUrlError(DatabaseError):
    """A database URL is malformed, names an unknown database, or its driver is missing."""


class DatabaseUnreachableError(DatabaseError, UnavailableError):
    """The database does not answer, or refuses the login."""


class UnknownTableError(DatabaseError):
    """A table, or a column of it, is not in the database."""


class StorageUnreachableError(DatabaseError):
    """The files in which the database keeps its data cannot be read from here."""


class VolatileKeyTableError(DatabaseError):
    """A table of data keys would be lost with the process, and all data sealed under them."""


class KeyTableBusyError(DatabaseError, UnavailableError):
    """The key table cannot be written because its database is locked by a writer."""
