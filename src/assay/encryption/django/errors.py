"""What sealed Django models refuse, one name for each reason.

::

    EncryptionError
    └── MappingError
        ├── DeclarationError         a model that cannot be sealed as it is declared
        ├── SealedExpressionError    an operation that sealed fields do not have
        ├── KeyringNotBoundError     a database without a keyring
        ├── UnsupportedDatabaseError a database that sealed models do not work on
        ├── OwnerMissingError        a row of nobody
        ├── OwnerChangedError        a row that was to be given to another owner
        ├── RowIdMissingError        a row without a primary key
        ├── RowIdChangedError        a row that was to be given another primary key
        ├── StaleEnvelopeError       a row that somebody else has changed since it was read
        ├── UnsealedWriteError       something else than an envelope on its way into a column
        ├── SealedValueError         a value that its field does not take
        ├── MissingFieldError        an envelope without a field that the model needs
        ├── UnsealedPickleError      something with values that are not sealed
        ├── DuplicateValueError      a value of a unique field that another row has
        ├── ApproximateSearchError   a search whose candidates nobody would compare
        └── TooManyOwnersError       a search among more owners than is sensible

Some are errors of Django as well, so that what catches those catches these.

Example:
    >>> issubclass(OwnerMissingError, MappingError)
    True
"""

from __future__ import annotations

from django.core.exceptions import FieldError
from django.db import DatabaseError, IntegrityError

from assay.encryption.errors import EncryptionError


class MappingError(EncryptionError):
    """A sealed model cannot be declared, written, read or searched like this."""


class DeclarationError(MappingError):
    """A model cannot be sealed as it is declared.

    Raised when the class is made; for what its options name, when it is written.
    """


class SealedExpressionError(MappingError, FieldError):
    """A sealed field has no such operation, or no blind index for it; nothing was sent."""


class KeyringNotBoundError(MappingError):
    """The database has no keyring: `bind` was not called for it."""


class UnsupportedDatabaseError(MappingError):
    """Sealed models work on SQLite and PostgreSQL; the database is another one."""


class OwnerMissingError(MappingError):
    """A row does not say whose it is."""


class OwnerChangedError(MappingError):
    """A stored row was to be given to another owner."""


class RowIdMissingError(MappingError):
    """A row has no primary key at the moment of sealing."""


class RowIdChangedError(MappingError):
    """A stored row was to be given another primary key."""


class StaleEnvelopeError(MappingError, DatabaseError):
    """A row's envelope is not the one that was read; nothing was written over it."""


class UnsealedWriteError(MappingError):
    """Something that is not an envelope was to be written into a sealed column; nothing was."""


class SealedValueError(MappingError):
    """A value is none that its field takes; it is not shown."""


class MissingFieldError(MappingError):
    """An envelope does not hold a field that the model declares and that may not be null."""


class UnsealedPickleError(MappingError):
    """Something cannot be pickled or written as a fixture while it holds values in the clear."""


class DuplicateValueError(MappingError, IntegrityError):
    """Another row of the owner has this value."""


class ApproximateSearchError(MappingError):
    """An index finds candidates, and the query has nobody who opens and compares them."""


class TooManyOwnersError(MappingError):
    """A search does not say whose rows it means, and there are too many owners to try all."""
