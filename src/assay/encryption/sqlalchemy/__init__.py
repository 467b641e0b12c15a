"""Sealed models: fields of SQLAlchemy models that are sealed before they reach the database.

Example:
    >>> class Document(Sealed, Base):                                    # doctest: +SKIP
    ...     __tablename__ = "documents"
    ...     __owner__ = "tenant_id"
    ...     id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    ...     tenant_id: Mapped[str]
    ...     owner_email: Mapped[str] = sealed(index=Equality(casefold))
    ...     text: Mapped[str] = sealed()
    >>> bind(session_factory, keyring)                                   # doctest: +SKIP
    >>> select(Document).where(Document.owner_email == "ada@example.com")  # doctest: +SKIP

Formats: ``spec/row-envelope.md`` and ``spec/blind-index.md``.
"""

from assay.encryption.blind_index import Transform, casefold, digits, exact
from assay.encryption.bucket_index import Buckets
from assay.encryption.index_kinds import Equality, Prefix
from assay.encryption.ngram_index import Ngram
from assay.encryption.sqlalchemy import flushing as _flushing
from assay.encryption.sqlalchemy import mapping as _mapping
from assay.encryption.sqlalchemy import statements as _statements
from assay.encryption.sqlalchemy.binding import bind
from assay.encryption.sqlalchemy.declaration import Sealed, sealed
from assay.encryption.sqlalchemy.errors import (
    ApproximateSearchError,
    DeclarationError,
    DuplicateValueError,
    KeyringNotBoundError,
    MappingError,
    MissingFieldError,
    OwnerChangedError,
    OwnerMissingError,
    RowIdChangedError,
    RowIdMissingError,
    SealedExpressionError,
    SealedOperatorError,
    SealedValueError,
    StaleEnvelopeError,
    TooManyOwnersError,
    UnopenedError,
    UnresolvedCriterionError,
    UnsealedPickleError,
    UnsealedWriteError,
)
from assay.encryption.sqlalchemy.inspection import (
    SealedTable,
    open_row,
    owner_of_row,
    sealed_tables,
)
from assay.encryption.sqlalchemy.matching import matching
from assay.encryption.sqlalchemy.moving import move_to_owner
from assay.encryption.sqlalchemy.planning import measure_models

# Imported for the events they listen to: mapping a class, flushing, running a statement.
_LISTENERS = (_mapping, _flushing, _statements)

__all__ = [
    "ApproximateSearchError",
    "Buckets",
    "DeclarationError",
    "DuplicateValueError",
    "Equality",
    "KeyringNotBoundError",
    "MappingError",
    "MissingFieldError",
    "Ngram",
    "OwnerChangedError",
    "OwnerMissingError",
    "Prefix",
    "RowIdChangedError",
    "RowIdMissingError",
    "Sealed",
    "SealedExpressionError",
    "SealedOperatorError",
    "SealedTable",
    "SealedValueError",
    "StaleEnvelopeError",
    "TooManyOwnersError",
    "Transform",
    "UnopenedError",
    "UnresolvedCriterionError",
    "UnsealedPickleError",
    "UnsealedWriteError",
    "bind",
    "casefold",
    "digits",
    "exact",
    "matching",
    "measure_models",
    "move_to_owner",
    "open_row",
    "owner_of_row",
    "sealed",
    "sealed_tables",
]
