"""Sealed fields: Django's own fields, whose values stand in an envelope and not in a column.

A sealed field stays an instance of its class, so forms, the admin, serializers and ``full_clean``
treat it as they treat that class. It has no column, so migrations do not know it; they create the
columns of the envelope and of the blind indexes.

Example:
    >>> from assay.encryption import casefold
    >>> email = sealed(models.EmailField(), index=Equality(casefold))
    >>> type(email).__name__, isinstance(email, models.EmailField)
    ('SealedEmailField', True)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Any, NoReturn
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.timezone import is_naive

from assay.encryption.bucket_index import Buckets
from assay.encryption.django.attributes import SealedAttribute
from assay.encryption.django.columns import EnvelopeField, IndexField, NgramsField, VersionField
from assay.encryption.django.declared import envelope_column, version_column
from assay.encryption.django.errors import (
    DeclarationError,
    SealedExpressionError,
    SealedValueError,
)
from assay.encryption.django.lookups import SealedCol, lookup_of
from assay.encryption.frozen import freeze
from assay.encryption.index_kinds import Equality, Prefix
from assay.encryption.ngram_index import Ngram
from assay.encryption.row_address import DEFAULT_GROUP

IndexKind = Equality | Prefix | Ngram | Buckets
"""What can be declared as the index of a field."""

_JSON = (dict, list, str, int, float, bool)
_KINDS: tuple[tuple[Any, tuple[type, ...]], ...] = (
    (models.BooleanField, (bool,)),
    (models.DateTimeField, (datetime,)),
    (models.DateField, (date,)),
    (models.TimeField, (time,)),
    (models.IntegerField, (int,)),
    (models.DecimalField, (Decimal,)),
    (models.FloatField, (float,)),
    (models.UUIDField, (UUID,)),
    (models.BinaryField, (bytes,)),
    (models.JSONField, _JSON),
    ((models.CharField, models.TextField, models.GenericIPAddressField), (str,)),
)
"""Which types the values of a field have; the first line that fits."""

_OF_COLUMNS = (
    "primary_key", "unique", "db_index", "db_column", "unique_for_date", "unique_for_month",
    "unique_for_year", "db_tablespace", "db_comment", "auto_now", "auto_now_add", "encoder",
    "decoder",
)  # fmt: skip
"""What a field without a column cannot be told."""


def sealed(
    field: Any,
    *,
    group: str = DEFAULT_GROUP,
    index: IndexKind | Sequence[IndexKind] | None = None,
) -> Any:
    """Declare a sealed field of a model that is `Sealed`.

    Args:
        field: one of Django's fields of text, numbers, truth values, dates and times, UUIDs, bytes
            and JSON, or of a class made of one.
        group: fields that are large, seldom read, or for other readers than the rest go into a
            group of their own, with an envelope and a column of its own: ``sealed_<group>``. The
            default group's column is ``sealed``.
        index: how rows can be found by this field, in one way or in several of different kinds;
            without an index they cannot.

    Returns:
        The field.

    Raises:
        DeclarationError: a field that cannot be sealed, or not be indexed like this.
    """
    indexes = () if index is None else (index,) if isinstance(index, IndexKind) else tuple(index)
    kinds = next((kinds for cls, kinds in _KINDS if isinstance(field, cls)), None)
    name = type(field).__name__
    if isinstance(field, SealedFieldMixin):
        raise DeclarationError(f"expected a field that is not sealed, found {name} sealed twice")
    if kinds is None or isinstance(field, models.AutoField | models.BigAutoField):
        raise DeclarationError(
            "expected a field of text, numbers, truth values, dates, times, UUID, bytes or JSON to "
            f"seal, found {name}; leave it in the clear, or seal what it stands for as text"
        )
    if isinstance(field, models.SlugField):
        field.db_index = False  # what Django gives every slug, and there is no column for
    for option in _OF_COLUMNS:
        if getattr(field, option, None):
            raise DeclarationError(
                f"expected a sealed {name} without {option}, which is of columns, found it; for "
                "unique values declare index=Equality(…, unique=True), and assign moments yourself"
            )
    if field.has_db_default() or (hasattr(field, "from_db_value") and kinds is not _JSON):
        raise DeclarationError(
            f"expected a sealed {name} without db_default and from_db_value, found one: the "
            "database does not see the value; use default=, and convert it in a property"
        )
    for each in indexes:
        if not isinstance(each, IndexKind):
            raise DeclarationError(
                f"expected an index such as Equality(casefold) for a sealed {name}, found "
                f"{type(each).__name__}"
            )
        reason = each.refusal_of(kinds[0])
        if reason is not None:
            raise DeclarationError(f"the index of a sealed {name}: {reason}")
        if type(each) is Equality and field.choices is not None and each.acknowledged is None:
            raise DeclarationError(
                f"expected a sealed {name} with many values to index, found one with choices: how "
                "often each occurs tells which is which; leave the index out, or say in "
                'Equality(…, acknowledged="…") why that is acceptable'
            )
    if len({type(each) for each in indexes}) < len(indexes):
        raise DeclarationError(f"expected one index of each kind for a sealed {name}, found two")
    cls: Any = type(field)
    field.__class__ = _sealed_class(cls)
    field.sealed_group, field.sealed_indexes, field.sealed_kinds = group, indexes, kinds
    return field


@cache
def _sealed_class(cls: Any) -> type:
    return type(f"Sealed{cls.__name__}", (SealedFieldMixin, cls), {"__module__": cls.__module__})


class SealedFieldMixin:
    """What makes one of Django's fields a sealed one; see `sealed`.

    Attributes:
        sealed_group: the group in whose envelope it stands.
        sealed_indexes: its blind indexes.
        sealed_kinds: the types that its values may have.
    """

    name: str
    sealed_group: str
    sealed_indexes: tuple[IndexKind, ...]
    sealed_kinds: tuple[type, ...]

    def get_attname_column(self) -> tuple[str, None]:
        """No column."""
        return self.name, None

    def db_type(self, connection: Any) -> None:
        """No column, so no type of one."""

    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:  # noqa: ARG002 - Django's signature
        """Become a field of a model, and give the model the columns that this field needs."""
        _refuse_class(cls, name)
        super().contribute_to_class(cls, name, private_only=True)  # type: ignore[misc]  # Django's
        setattr(cls, name, SealedAttribute(self, envelope_column(self.sealed_group)))
        if cls._meta.abstract or cls._meta.proxy:
            return
        column = envelope_column(self.sealed_group)
        owner = getattr(cls, "__owner__", None)
        _add(cls, column, EnvelopeField(null=True, blank=True, owner=owner))
        if getattr(cls, "__sealed_versions__", False):
            _add(cls, version_column(column), VersionField(null=True, blank=True))
        for kind in self.sealed_indexes:
            for column in kind.columns("", name):
                _add(cls, column, _index_field(kind))

    def accept(self, value: Any) -> Any:
        """A value as it is sealed, converted as Django converts it.

        Raises:
            SealedValueError: it cannot be converted. It is not shown.
            SealedExpressionError: it is an expression for the database.
        """
        kinds = self.sealed_kinds
        if value is None:
            return None
        if hasattr(value, "resolve_expression"):
            raise SealedExpressionError(
                f"expected a value for the sealed field {self.name!r}, found an expression for the "
                "database, which does not see sealed values; compute it here"
            )
        if kinds is _JSON and isinstance(value, dict | list):
            return freeze(value)
        if type(value) not in kinds:
            value = self._converted(value)
        if type(value) is datetime and settings.USE_TZ and is_naive(value):
            raise SealedValueError(
                f"expected a moment with a time zone for the sealed field {self.name!r}, because "
                "USE_TZ is set, found one without; call django.utils.timezone.make_aware"
            )
        return value

    def _converted(self, value: Any) -> Any:
        kinds = self.sealed_kinds
        found = type(value).__name__
        try:
            value = self.to_python(value)  # type: ignore[attr-defined]  # Django's
            if kinds == (str,) and isinstance(value, str):
                value = str.__str__(value)  # a member of TextChoices, or text marked as safe
            elif kinds == (int,) and isinstance(value, int):
                value = int(value)
            elif kinds == (bytes,) and isinstance(value, memoryview | bytearray):
                value = bytes(value)
        except Exception:  # noqa: BLE001, S110 - Django's errors quote the value
            pass
        else:
            if value is None or type(value) in kinds:
                return value
        raise SealedValueError(
            f"expected {kinds[0].__name__} for the sealed field {self.name!r}, found {found}; "
            "convert it, so that it is read back as it was written"
        )

    def clean(self, value: Any, model_instance: Any) -> Any:
        """As Django's; what is wrong is said without the value.

        Raises:
            ValidationError: a validator, the choices or the type refuse it.
        """
        try:
            return super().clean(value, model_instance)  # type: ignore[misc]  # Django's
        except ValidationError as exc:
            refused = [_unseen(each, value) for each in exc.error_list]
        raise ValidationError(refused)

    def get_col(self, alias: str, output_field: Any = None) -> SealedCol:
        """The field within a query."""
        return SealedCol(alias, self, output_field or self)

    def get_lookup(self, lookup_name: str) -> Any:
        """The comparison that an index of the field answers.

        Raises:
            SealedExpressionError: none does.
        """
        return lookup_of(self, lookup_name)

    def get_transform(self, lookup_name: str) -> NoReturn:
        """Refuse: the database does not see the value.

        Raises:
            SealedExpressionError: always.
        """
        lookup_of(self, lookup_name)
        raise SealedExpressionError(
            f"expected a comparison of the sealed field {self.name!r} itself, found something of "
            f"it in {lookup_name!r}; select by other fields, and compare in Python"
        )

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> NoReturn:  # noqa: ARG002 - Django's
        """Refuse: the value has no column to be compared with or written to.

        Raises:
            SealedExpressionError: always.
        """
        raise SealedExpressionError(
            f"expected the sealed field {self.name!r} to be assigned to instances, found it taken "
            "for a column: in an UPDATE, as an output_field or within another field; assign it and "
            "save each instance"
        )

    def get_db_prep_save(self, value: Any, connection: Any) -> NoReturn:
        """Refuse, as above.

        Raises:
            SealedExpressionError: always.
        """
        self.get_db_prep_value(value, connection)


def _refuse_class(cls: Any, name: str) -> None:
    """Refuse a class that cannot have sealed fields, or no more of them."""
    if not cls._meta.abstract and not hasattr(cls, "__sealed__"):
        raise DeclarationError(
            f"expected {cls.__name__} to be Sealed, found sealed fields without it; write "
            f"class {cls.__name__}(Sealed, models.Model)"
        )
    if vars(cls).get("__sealed__") is not None:
        raise DeclarationError(
            f"expected the sealed fields of {cls.__name__} in its class, found {name!r} added "
            "to it later; declare it there"
        )


def _unseen(error: Any, value: Any) -> ValidationError:
    """An error whose message and parameters do not show a value."""
    shown = {
        name: "…" if name == "value" or given is value or str(given) == str(value) else given
        for name, given in (error.params or {}).items()
    }
    return ValidationError(error.message, error.code, shown)


def _index_field(kind: IndexKind) -> Any:
    options: dict[str, Any] = {"null": True, "blank": True}
    if type(kind) is Ngram:
        return NgramsField(hash_bytes=kind.bits // 8, **options)
    return IndexField(db_index=not (type(kind) is Equality and kind.unique), **options)


def _add(cls: Any, name: str, field: Any) -> None:
    present = next((each for each in cls._meta.local_fields if each.name == name), None)
    if type(present) is type(field) and type(field) in (EnvelopeField, VersionField):
        return
    if present is not None or name in vars(cls):
        raise DeclarationError(
            f"expected {cls.__name__} to leave the name {name!r} to a sealed column, found an "
            "attribute of that name; rename it"
        )
    cls.add_to_class(name, field)
