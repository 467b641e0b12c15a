"""What sealed models refuse, one name for each reason.

::

    EncryptionError
    └── MappingError
        ├── DeclarationError         a model that cannot be sealed as it is declared
        ├── SealedExpressionError    an operator that sealed fields do not have
        │   └── SealedOperatorError  the same, where a hybrid property may stumble over it
        ├── UnresolvedCriterionError a comparison that no session has resolved
        ├── KeyringNotBoundError     a session without a keyring
        ├── OwnerMissingError        a row of nobody
        ├── OwnerChangedError        a row that was to be given to another owner
        ├── RowIdMissingError        a row without a primary key
        ├── RowIdChangedError        a row that was to be given another primary key
        ├── StaleEnvelopeError       a row that another session has changed since it was read
        ├── UnsealedWriteError       something else than an envelope on its way into a column
        ├── SealedValueError         a value of another type than the model declares
        ├── MissingFieldError        an envelope without a field that the model needs
        ├── UnopenedError            a field of a detached instance that was never opened
        ├── UnsealedPickleError      an instance with values that are not sealed yet
        ├── DuplicateValueError      a value of a unique field that another row has
        ├── ApproximateSearchError   a search whose candidates nobody would compare
        └── TooManyOwnersError       a search among more owners than is sensible

SQLAlchemy would wrap errors that are raised while a statement runs in one of its own, and print
the statement's parameters with it. ``DontWrapMixin`` keeps these errors as they are.

Example:
    >>> issubclass(OwnerMissingError, MappingError)
    True
"""

from __future__ import annotations

from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.orm.exc import StaleDataError

from assay.encryption.errors import EncryptionError


class MappingError(EncryptionError, DontWrapMixin):
    """A sealed model cannot be declared, written, read or searched like this."""


class DeclarationError(MappingError):
    """A model cannot be sealed as it is declared; raised when the class is made."""


class SealedExpressionError(MappingError):
    """A sealed field has no such operator, or no blind index for it."""


class SealedOperatorError(SealedExpressionError, AttributeError):
    """A sealed field of a class was used as only that of an instance can be.

    An AttributeError too: the class of a hybrid property that says so has no such attribute, and
    SQLAlchemy, which asks for all of them before it inserts rows, goes on without it.
    """


class UnresolvedCriterionError(MappingError):
    """A comparison with a sealed field reached the database layer without index keys."""


class KeyringNotBoundError(MappingError):
    """The session has no keyring: `bind` was not called for it."""


class OwnerMissingError(MappingError):
    """A row does not say whose it is."""


class OwnerChangedError(MappingError):
    """A stored row was to be given to another owner."""


class RowIdMissingError(MappingError):
    """A row has no primary key at the moment of sealing."""


class RowIdChangedError(MappingError):
    """A stored row was to be given another primary key."""


class StaleEnvelopeError(MappingError, StaleDataError):
    """A row's envelope is not the one that was read; nothing was written over it."""


class UnsealedWriteError(MappingError):
    """Something that is not an envelope was to be written into a sealed column; nothing was."""


class SealedValueError(MappingError):
    """A value has another type than the model declares for its field."""


class MissingFieldError(MappingError):
    """An envelope does not hold a field that the model declares and that may not be null."""


class UnopenedError(MappingError):
    """A sealed field of a detached instance was read that had not been opened before."""


class UnsealedPickleError(MappingError):
    """An instance cannot be pickled while it holds values that are not sealed."""


class DuplicateValueError(MappingError):
    """Another row of the owner has this value; stands in SQLAlchemy's IntegrityError."""


class ApproximateSearchError(MappingError):
    """An index finds candidates, and the statement has nobody who opens and compares them."""


class TooManyOwnersError(MappingError):
    """A search does not say whose rows it means, and there are too many owners to try all."""
