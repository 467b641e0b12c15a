"""What happens to a sealed model when its class is made: it is understood, or refused.

Example:
    >>> declare(Customer, Sealed)                             # doctest: +SKIP
    >>> Customer.__sealed__.owner                             # doctest: +SKIP
    'tenant_id'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from assay.encryption.blind_index import BlindIndex
from assay.encryption.django.declared import SealedGroup, SealedModel, envelope_column
from assay.encryption.django.errors import DeclarationError
from assay.encryption.django.fields import SealedFieldMixin
from assay.encryption.django.history import guard_history
from assay.encryption.django.interchange import guard_natural_key
from assay.encryption.django.queries import use_sealed_managers
from assay.encryption.index_kinds import Equality
from assay.encryption.row_address import RowIdKind, row_id_encoder


def declare(sender: Any, mixin: type) -> None:
    """Work out what a sealed model declares; refuse what cannot be sealed.

    Args:
        sender: a model whose class was just made.
        mixin: `assay.encryption.django.model.Sealed`.

    Raises:
        DeclarationError: it cannot.
    """
    meta = sender._meta
    fields = [f for f in meta.private_fields if isinstance(f, SealedFieldMixin)]
    if meta.abstract:
        return
    if not fields:
        guard_history(sender)
        return
    use_sealed_managers(sender)
    sender.__sealed_flaws__ = _flaws(sender, {field.name for field in fields})
    if meta.proxy:
        _refuse_more_fields(sender, fields)
        guard_natural_key(sender)
        return
    _refuse_shape(sender, mixin)
    owner = _owner(sender)
    sender.__sealed__ = _declared(sender, owner, fields)
    for name in sender.__sealed__.unique:
        _add_constraint(sender, owner, name)
    guard_natural_key(sender)


def _declared(cls: Any, owner: Any, fields: list[Any]) -> SealedModel:
    """What a model declares, with the owner's field and the sealed ones."""
    name = cls.__sealed_name__ or cls._meta.db_table
    groups = {}
    for group in dict.fromkeys(field.sealed_group for field in fields):
        members = {field.name: field for field in fields if field.sealed_group == group}
        groups[group] = SealedGroup(
            group,
            name,
            envelope_column(group),
            members,
            cls.__sealed_padding__,
            cls.__sealed_versions__,
        )
    indexes: dict[str, dict[str, BlindIndex]] = {
        field.name: {
            column: index
            for kind in field.sealed_indexes
            for column, index in kind.columns(name, field.name).items()
        }
        for field in fields
        if field.sealed_indexes
    }
    unique = tuple(
        field.name
        for field in fields
        if any(type(each) is Equality and each.unique for each in field.sealed_indexes)
    )
    key = cls._meta.pk_fields
    return SealedModel(
        name,
        owner.attname,
        tuple(field.attname for field in key),
        row_id_encoder([_row_id_kind(cls, field) for field in key]),
        groups,
        {group.column: group for group in groups.values()},
        {field.name: field for field in fields},
        indexes,
        unique,
        (owner, *key),
    )


def _refuse_shape(cls: Any, mixin: type) -> None:
    if cls.__mro__.index(mixin) > cls.__mro__.index(models.Model):
        raise DeclarationError(
            f"expected Sealed to stand before models.Model in {cls.__name__}, found it behind; "
            f"write class {cls.__name__}(Sealed, models.Model)"
        )
    if cls._meta.parents:
        raise DeclarationError(
            f"expected the sealed model {cls.__name__} to have one table, found it inherit from "
            "one that has a table of its own; inherit from an abstract model, or point to the "
            "other one by a OneToOneField"
        )
    names = [field.name for field in cls._meta.local_fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DeclarationError(
            f"expected {cls.__name__} to leave the name {twice!r} to a sealed column, found a "
            "field of that name; rename it"
        )


def _refuse_more_fields(proxy: Any, fields: list[Any]) -> None:
    for field in fields:
        if field.name not in proxy.__sealed__.fields:
            raise DeclarationError(
                f"expected the sealed fields of {proxy.__name__} in the model that has the table, "
                f"found {field.name!r} in its proxy; declare it there"
            )


def _flaws(cls: Any, sealed: set[str]) -> tuple[str, ...]:
    """What options and generated fields name and must not; Django's checks say so, and writing."""
    return tuple(
        f"expected {option} of {cls.__name__} without sealed fields, which the database does not "
        f"see, found {name!r}"
        for option, name in dict.fromkeys(_named_in_options(cls))
        if name in sealed
    )


def _named_in_options(cls: Any) -> Iterator[tuple[str, str]]:
    """Which fields the options of a model and its generated fields name, each with where."""
    meta = cls._meta
    latest = meta.get_latest_by or ()
    named: list[tuple[str, Any]] = [("ordering", each) for each in meta.ordering or ()]
    named += [("get_latest_by", e) for e in ([latest] if isinstance(latest, str) else latest)]
    named += [("unique_together", each) for names in meta.unique_together for each in names]
    for option in ("constraints", "indexes"):
        for each in getattr(meta, option):
            for part in ("fields", "include", "expressions"):
                named += [(option, given) for given in getattr(each, part, None) or ()]
            named.append((option, getattr(each, "condition", None)))
    named.append(("order_with_respect_to", getattr(meta.order_with_respect_to, "name", None)))
    named = [(f"Meta.{option}", given) for option, given in named]
    generated = [field for field in meta.local_fields if field.generated]
    named += [(f"the generated field {field.name!r}", field.expression) for field in generated]
    for option, given in named:
        expression = given[0] if isinstance(given, tuple | list) else given  # of an exclusion
        if isinstance(expression, str):
            yield option, expression.lstrip("-").partition("__")[0]
        else:
            yield from ((option, path[0]) for path in cls._get_expr_references(expression))


_LEAVES_THE_OWNER = (models.CASCADE, models.PROTECT, models.RESTRICT, models.DO_NOTHING)


def _owner(cls: Any) -> Any:
    name = getattr(cls, "__owner__", None)
    try:
        owner = cls._meta.get_field(name) if name else None
    except FieldDoesNotExist:
        owner = None
    if owner is None or getattr(owner, "column", None) is None:
        raise DeclarationError(
            f"expected {cls.__name__}.__owner__ to name the field, in the clear, that says whose a "
            f"row is, found {name!r}"
        )
    deletion = getattr(owner.remote_field, "on_delete", models.CASCADE)
    if deletion not in _LEAVES_THE_OWNER:
        raise DeclarationError(
            f"expected rows of {cls.__name__} to keep their owner or to go with it, found an "
            f"on_delete of {name!r} that gives them another one, whose keys do not open them; "
            "declare CASCADE, PROTECT, RESTRICT or DO_NOTHING"
        )
    return owner


_ROW_ID_KINDS = (
    (models.UUIDField, RowIdKind.UUID),
    (models.IntegerField, RowIdKind.INTEGER),
    ((models.CharField, models.TextField), RowIdKind.TEXT),
)


def _row_id_kind(cls: Any, field: Any) -> RowIdKind:
    if isinstance(field, models.AutoField | models.BigAutoField) or field.has_db_default():
        raise DeclarationError(
            f"expected the primary key of {cls.__name__} to be known before its row is sealed, "
            f"found {field.name!r}, which the database makes; declare "
            "models.UUIDField(primary_key=True, default=uuid4), or a key that you assign"
        )
    while isinstance(field, models.ForeignKey) and not isinstance(field.remote_field.model, str):
        field = field.target_field
    for kind_of_field, kind in _ROW_ID_KINDS:
        if isinstance(field, kind_of_field):
            return kind
    raise DeclarationError(
        f"expected a primary key of UUID, integer or text in {cls.__name__}, found "
        f"{type(field).__name__}"
    )


def _add_constraint(cls: Any, owner: Any, name: str) -> None:
    meta = cls._meta
    constraint = models.UniqueConstraint(
        fields=[owner.name, f"{name}_index"], name=f"{meta.db_table}_{name}_unique"[:60]
    )
    meta.constraints = [*meta.constraints, constraint]
    meta.original_attrs["constraints"] = meta.constraints
