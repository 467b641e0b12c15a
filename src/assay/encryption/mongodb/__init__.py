"""Sealed collections: fields of MongoDB's documents that are sealed before they are sent.

Example:
    >>> letters = SealedDocument(
    ...     name="letters",
    ...     owner="tenant_id",
    ...     fields={
    ...         "owner_email": sealed(str, index=Equality(casefold)),
    ...         "text": sealed(str),
    ...     },
    ... )
    >>> collection = SealedCollection(client.app.letters, letters, keyring)   # doctest: +SKIP
    >>> collection.insert_one(                                                # doctest: +SKIP
    ...     {"tenant_id": "north", "owner_email": "ada@example.com", "text": "Dear Ada"}
    ... )
    >>> collection.find_one({"owner_email": "ADA@example.com"})["text"]       # doctest: +SKIP
    'Dear Ada'

Formats: ``spec/row-envelope.md`` and ``spec/blind-index.md``.
"""

from assay.encryption.blind_index import Transform, casefold, digits, exact
from assay.encryption.index_kinds import Equality
from assay.encryption.mongodb.async_collections import AsyncSealedCollection
from assay.encryption.mongodb.collections import SealedCollection
from assay.encryption.mongodb.cursors import AsyncSealedCursor, SealedCursor
from assay.encryption.mongodb.declaration import SealedDocument, SealedField, sealed
from assay.encryption.mongodb.errors import (
    ConcurrentUpdateError,
    DeclarationError,
    OwnerChangedError,
    OwnerMissingError,
    RawFieldError,
    RowIdChangedError,
    RowIdMissingError,
    SealedCollectionError,
    SealedExpressionError,
    SealedValueError,
    TooManyOwnersError,
    UnsealedFieldError,
    UnsupportedOperationError,
)

__all__ = [
    "AsyncSealedCollection",
    "AsyncSealedCursor",
    "ConcurrentUpdateError",
    "DeclarationError",
    "Equality",
    "OwnerChangedError",
    "OwnerMissingError",
    "RawFieldError",
    "RowIdChangedError",
    "RowIdMissingError",
    "SealedCollection",
    "SealedCollectionError",
    "SealedCursor",
    "SealedDocument",
    "SealedExpressionError",
    "SealedField",
    "SealedValueError",
    "TooManyOwnersError",
    "Transform",
    "UnsealedFieldError",
    "UnsupportedOperationError",
    "casefold",
    "digits",
    "exact",
    "sealed",
]
