"""Querysets and managers of sealed models: what would bypass sealing is refused by name.

Example:
    >>> class CustomerQuerySet(SealedQuerySet): ...
    >>> manager = SealedManager.from_queryset(CustomerQuerySet)()
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from django.db import models
from django.db.models.options import Options

from assay.encryption.concealment import concealed
from assay.encryption.django.columns import EnvelopeField, IndexField, VersionField
from assay.encryption.django.concealing import concealing_manager, concealing_queryset
from assay.encryption.django.declared import AFTER_THE_MIGRATION, SealedModel, known_owner
from assay.encryption.django.errors import (
    DeclarationError,
    OwnerChangedError,
    RowIdChangedError,
    SealedExpressionError,
)
from assay.encryption.django.sealing import begin_writing, end_writing
from assay.encryption.django.uniqueness import refuse_duplicates


@concealing_queryset
class SealedQuerySet(models.QuerySet):
    """The queryset of a sealed model; derive your own from it."""

    def _declared(self) -> SealedModel:
        """What the model declares; of one as a migration sees it, whose its rows are."""
        found: SealedModel = self.model.__sealed__ or self.model.__sealed_history__
        return found

    def _refuse_sealed(self, names: Iterable[str], operation: str, way_out: str) -> None:
        declared = self._declared()
        if self.model.__sealed__ is None:
            known_owner(declared)
            way_out = AFTER_THE_MIGRATION
        for name in names:
            raw = name != "pk" and name not in declared.fields and self._is_raw(name)
            if name in declared.fields or raw:
                raise SealedExpressionError(
                    f"expected fields in the clear in {operation}, found {name!r}, which "
                    f"{'holds an envelope or an index' if raw else 'is sealed'}; {way_out}"
                )
            field = self.model._meta.pk if name == "pk" else self.model._meta.get_field(name)
            if operation == "values()":
                continue
            if field.attname == declared.owner:
                raise OwnerChangedError(
                    f"expected rows of {declared.name} to keep their owner, found {name!r} in "
                    f"{operation}; call move_to_owner(instance, owner) and save each instance"
                )
            if field.attname in declared.key or field.primary_key:
                raise RowIdChangedError(
                    f"expected rows of {declared.name} to keep their primary key, found {name!r} "
                    f"in {operation}; make new rows and delete the old ones"
                )

    def _is_raw(self, name: str) -> bool:
        field = next((f for f in self.model._meta.concrete_fields if f.attname == name), None)
        return isinstance(field, EnvelopeField | IndexField | VersionField)

    @concealed
    def update(self, **kwargs: Any) -> int:
        """As Django's; fields in the clear only, and neither owner nor primary key.

        Raises:
            SealedExpressionError: a sealed field.
            OwnerChangedError: the owner.
            RowIdChangedError: the primary key.
        """
        self._refuse_sealed(kwargs, "update()", "assign it and save each instance")
        return int(super().update(**kwargs))

    update.alters_data = True  # type: ignore[attr-defined]  # Django's mark for templates

    @concealed
    def bulk_update(self, objs: Any, fields: Any, batch_size: Any = None) -> int:
        """As Django's; fields in the clear only, and neither owner nor primary key.

        Raises:
            SealedExpressionError: a sealed field.
            OwnerChangedError: the owner.
            RowIdChangedError: the primary key.
        """
        fields = list(fields)
        self._refuse_sealed(fields, "bulk_update()", "save each instance, in one transaction")
        return int(super().bulk_update(objs, fields, batch_size=batch_size))

    bulk_update.alters_data = True  # type: ignore[attr-defined]  # as above

    @concealed
    def bulk_create(  # noqa: PLR0913, PLR0917 - Django's signature
        self,
        objs: Any,
        batch_size: Any = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Any = None,
        unique_fields: Any = None,
    ) -> Any:
        """As Django's; each instance is sealed.

        Raises:
            SealedExpressionError: update_conflicts, which would put envelopes into rows that they
                were not sealed for.
            MappingError: as when an instance is saved.
        """
        if update_conflicts or update_fields or unique_fields:
            raise SealedExpressionError(
                "expected bulk_create() without update_conflicts, found it: the envelope of a new "
                "row would be put into an old one, which it was not sealed for; call "
                "update_or_create() for each"
            )
        objs, declared = list(objs), self._declared()
        self._for_write = True
        for each in objs:
            begin_writing(each, declared, self.db)
            if declared.unique:
                refuse_duplicates(each, declared, self.db)
        created = super().bulk_create(objs, batch_size, ignore_conflicts=ignore_conflicts)
        if not ignore_conflicts:  # else nobody knows which rows were written
            for each in objs:
                end_writing(each, declared)
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]  # as above

    def _values(self, *fields: Any, **expressions: Any) -> Any:
        way_out = "read it from instances; only() loads no more than it needs"
        if not fields and not expressions:
            raise SealedExpressionError(
                "expected the names of fields in values() of a sealed model, found none, which "
                f"would give envelopes out; name fields in the clear, or {way_out}"
            )
        top = {name.partition("__")[0] for name in fields if isinstance(name, str)}
        declared = self._declared()
        for name in sorted(top):
            if name in declared.fields:
                self._refuse_sealed([name], "values()", way_out)
        return super()._values(*fields, **expressions)

    def only(self, *fields: Any) -> Any:
        """As Django's; for a sealed field its envelope and the row's owner are loaded."""
        if fields == (None,):
            return super().only(*fields)
        declared = self._declared()
        wanted = self._columns(fields)
        if wanted != list(fields):
            wanted.append(declared.owner)
        return super().only(*dict.fromkeys(wanted))

    def defer(self, *fields: Any) -> Any:
        """As Django's; for a sealed field its whole envelope is loaded on first access."""
        return super().defer(*dict.fromkeys(self._columns(fields)))

    def _columns(self, names: Iterable[Any]) -> list[Any]:
        """The columns that are read for fields: of a sealed one its envelope, and its version."""
        declared = self._declared()
        found: list[Any] = []
        for name in names:
            sealed = name in declared.fields
            found += declared.read_with(declared.group_of(name)) if sealed else [name]
        return found


@concealing_manager
class SealedManager(models.Manager.from_queryset(SealedQuerySet)):  # type: ignore[misc]  # Django makes the class
    """The manager of a sealed model; a model without one gets it as ``objects``."""


class _SealedOptions(Options):
    """The options of a sealed model: what Django does of its own accord is guarded as well.

    Such as ``owner.customer_set.add(customer)``, which is an UPDATE of the owner.
    """

    @cached_property
    def base_manager(self) -> Any:
        """As Django's, and sealed."""
        found = super().base_manager
        if found.name != "_base_manager":
            return found
        manager = SealedManager()
        manager.name, manager.model, manager.auto_created = found.name, self.model, True
        return manager

    @cached_property
    def _non_pk_concrete_field_names(self) -> frozenset[str]:
        """As Django's, and the sealed fields: ``update_fields`` may name them."""
        declared = getattr(self.model, "__sealed__", None)
        names: frozenset[str] = super()._non_pk_concrete_field_names
        return names if declared is None else names.union(declared.fields)


def use_sealed_managers(cls: Any, *, derive: bool = False) -> None:
    """Let all managers of a sealed model be sealed ones.

    Args:
        cls: the model.
        derive: let other managers have sealed querysets instead of refusing them.

    Raises:
        DeclarationError: the model has another one.
    """
    meta = cls._meta
    meta.__class__ = _SealedOptions
    for manager in meta.managers:
        if issubclass(manager._queryset_class, SealedQuerySet):
            continue
        if derive and not getattr(manager, "auto_created", False):
            own = next(m for m in meta.local_managers if m.name == manager.name)
            name = f"Sealed{own._queryset_class.__name__}"
            own._queryset_class = type(name, (SealedQuerySet, own._queryset_class), {})
            continue
        if not getattr(manager, "auto_created", False):
            raise DeclarationError(
                f"expected the manager {manager.name!r} of {cls.__name__} to be made of "
                "SealedQuerySet, found another one, which would bypass sealing; write "
                "SealedManager(), or SealedManager.from_queryset(…)()"
            )
        meta.local_managers.remove(next(m for m in meta.local_managers if m.name == manager.name))
        sealed_manager = SealedManager()
        sealed_manager.auto_created = True
        cls.add_to_class(manager.name, sealed_manager)
    meta._expire_cache()
