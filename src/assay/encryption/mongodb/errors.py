"""What sealed collections refuse, one name for each reason.

::

    EncryptionError
    └── SealedCollectionError
        ├── DeclarationError           a collection that cannot be sealed as it is declared
        ├── UnsupportedOperationError  an operation that sealed collections do not have
        ├── SealedExpressionError      an operator that a sealed field does not have
        ├── RawFieldError              an envelope or a blind index named by the application
        ├── UnsealedFieldError         a stored value in the clear under a sealed field's name
        ├── OwnerMissingError          a document of nobody
        ├── OwnerChangedError          a document that was to be given to another owner
        ├── RowIdMissingError          a document without an _id
        ├── RowIdChangedError          a document that was to be given another _id
        ├── SealedValueError           a value of another type than declared
        ├── ConcurrentUpdateError      a document that others changed again and again
        └── TooManyOwnersError         a search among more owners than is sensible

No message holds a value, a key or the bytes of an envelope. Errors of pymongo itself come through
as they are: what they show of an operation is what was sent, and only sealed forms are.

Example:
    >>> issubclass(OwnerMissingError, SealedCollectionError)
    True
"""

from __future__ import annotations

from assay.encryption.errors import EncryptionError


class SealedCollectionError(EncryptionError):
    """A sealed collection cannot be declared, written, read or searched like this."""


class DeclarationError(SealedCollectionError):
    """A collection cannot be sealed as it is declared; raised when the declaration is made."""


class UnsupportedOperationError(SealedCollectionError):
    """Sealed collections do not have this operation, option or stage; nothing was sent."""


class SealedExpressionError(SealedCollectionError):
    """A sealed field has no such operator, or no blind index for it; nothing was sent."""


class RawFieldError(SealedCollectionError):
    """The field of an envelope or a blind index was named; only the sealed fields may be."""


class UnsealedFieldError(SealedCollectionError):
    """A stored document holds a value in the clear under the name of a sealed field."""


class OwnerMissingError(SealedCollectionError):
    """A document does not say whose it is."""


class OwnerChangedError(SealedCollectionError):
    """A stored document was to be given to another owner."""


class RowIdMissingError(SealedCollectionError):
    """A document has no ``_id`` at the moment of sealing, and none can be made for it."""


class RowIdChangedError(SealedCollectionError):
    """A stored document was to be given another ``_id``."""


class SealedValueError(SealedCollectionError):
    """A value has another type than the declaration says."""


class ConcurrentUpdateError(SealedCollectionError):
    """Other writers changed the document each time it was to be written; nothing was."""


class TooManyOwnersError(SealedCollectionError):
    """A search does not say whose documents it means, and there are too many owners to try."""
