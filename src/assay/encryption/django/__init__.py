"""Sealed Django models: fields that are sealed before they reach the database.

Example:
    >>> class Customer(Sealed, models.Model):                            # doctest: +SKIP
    ...     __owner__ = "tenant_id"
    ...     id = models.UUIDField(primary_key=True, default=uuid4)
    ...     tenant_id = models.CharField(max_length=40)
    ...     email = sealed(models.EmailField(), index=Equality(casefold))
    ...     notes = sealed(models.TextField(blank=True), group="content")
    >>> bind(keyring)                             # in AppConfig.ready   # doctest: +SKIP
    >>> Customer.objects.filter(tenant_id="north", email="ada@example.com")  # doctest: +SKIP

Formats: ``spec/row-envelope.md`` and ``spec/blind-index.md``. The guide: ``docs/django.md``.
"""

try:
    import django as _django  # noqa: F401 - whether it is there
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "expected the package django, found none; install assay[django]", name=exc.name
    ) from exc

from assay.encryption.blind_index import Transform, casefold, digits, exact
from assay.encryption.bucket_index import Buckets
from assay.encryption.django.admin import SealedAdmin
from assay.encryption.django.binding import bind
from assay.encryption.django.concealing import SealedExceptionReporter
from assay.encryption.django.errors import (
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
    SealedValueError,
    StaleEnvelopeError,
    TooManyOwnersError,
    UnsealedPickleError,
    UnsealedWriteError,
    UnsupportedDatabaseError,
)
from assay.encryption.django.fields import sealed
from assay.encryption.django.matching import matching
from assay.encryption.django.model import Sealed
from assay.encryption.django.moving import move_to_owner
from assay.encryption.django.queries import SealedManager, SealedQuerySet
from assay.encryption.index_kinds import Equality, Prefix
from assay.encryption.ngram_index import Ngram

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
    "SealedAdmin",
    "SealedExceptionReporter",
    "SealedExpressionError",
    "SealedManager",
    "SealedQuerySet",
    "SealedValueError",
    "StaleEnvelopeError",
    "TooManyOwnersError",
    "Transform",
    "UnsealedPickleError",
    "UnsealedWriteError",
    "UnsupportedDatabaseError",
    "bind",
    "casefold",
    "digits",
    "exact",
    "matching",
    "move_to_owner",
    "sealed",
]
