"""The mixin of sealed models: what their instances do otherwise than Django's.

Example:
    >>> class Customer(Sealed, models.Model):                            # doctest: +SKIP
    ...     __owner__ = "tenant_id"
    ...     id = models.UUIDField(primary_key=True, default=uuid4)
    ...     tenant_id = models.CharField(max_length=40)
    ...     email = sealed(models.EmailField(), index=Equality(casefold))
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, cast

from django.core.exceptions import ValidationError
from django.db import router
from django.db.models.signals import class_prepared, post_init, pre_init

from assay.encryption.concealment import concealed, forget_variables
from assay.encryption.django.checks import admin_errors, database_errors, option_errors
from assay.encryption.django.contents import UNSET, Contents
from assay.encryption.django.declared import AT, SealedGroup, SealedModel
from assay.encryption.django.declaring import declare
from assay.encryption.django.errors import (
    OwnerChangedError,
    SealedExpressionError,
    StaleEnvelopeError,
)
from assay.encryption.django.interchange import admit_fixture, open_fixture
from assay.encryption.django.reading import attributes_of, listened_to, made_of
from assay.encryption.django.sealing import (
    UNCHANGED,
    begin_writing,
    changed,
    end_writing,
    is_elsewhere,
    place_now,
    seal_anew,
)
from assay.encryption.django.uniqueness import refuse_duplicates, taken


class Sealed:
    """Mix this into a model, before ``models.Model``, and declare fields as `sealed`.

    Attributes:
        __owner__: the name of the field that says whose a row is: text, UUID or int, or a foreign
            key to one. Its value names the data key that seals the row.
        __sealed_name__: the stable name of the table in associated data and blind indexes, when it
            shall differ from the table's own; set it to the old name when a table is renamed.
        __sealed_padding__: hide the exact length of the sealed values (Padmé).
        __sealed_versions__: bind each envelope to a version of its row, so that an older envelope
            of the same row that is put back is refused (`RolledBackEnvelopeError`). Each group gets
            a column ``<envelope>_version``. A table that holds envelopes already cannot get them.
        __sealed__: what was declared, once the class is prepared.
        __sealed_flaws__: what its options name and must not; nothing is written until they are
            mended.

    Raises:
        DeclarationError: when the class is made and cannot be sealed as it is declared.
    """

    __owner__: ClassVar[str]
    __sealed_name__: ClassVar[str | None] = None
    __sealed_padding__: ClassVar[bool] = False
    __sealed_versions__: ClassVar[bool] = False
    __sealed__: ClassVar[SealedModel | None] = None
    __sealed_history__: ClassVar[SealedModel | None] = None
    __sealed_flaws__: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **fields: Any) -> None:
        try:
            super().__init__(*args, **fields)
        except Exception as exc:
            forget_variables(exc)
            args, fields = (), {}
            raise

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any) -> Any:
        """As Django's; remembers owner and primary key, to which the envelopes are bound."""
        declared, model = cls.__sealed__, cast("Any", cls)
        names = None if declared is None else attributes_of(model, Sealed)
        try:
            if names is None or ((pre_init.receivers or post_init.receivers) and listened_to(cls)):
                new = super().from_db(db, field_names, values)  # type: ignore[misc]  # of the model
            else:
                new = made_of(model, names, db, field_names, values)
        except Exception as exc:
            forget_variables(exc)
            values = ()
            raise
        if declared is not None:
            held = new.__dict__
            try:
                held[AT] = declared.place(held)
            except KeyError:
                held[AT] = place_now(new, declared)
        return new

    def refresh_from_db(self, using: Any = None, fields: Any = None, **options: Any) -> None:
        """As Django's; ``fields`` may name sealed fields, whose whole group is read anew."""
        declared = type(self).__sealed__
        if declared is None:
            super().refresh_from_db(using, fields, **options)  # type: ignore[misc]  # of the model
            return
        if fields is not None:
            if using is not None and is_elsewhere(self, using):
                raise SealedExpressionError(
                    f"expected the fields of {declared.name} to be read from the database "
                    f"{self._state.db!r} as the rest of the row was, found {using!r}, whose "  # type: ignore[attr-defined]  # of the model
                    "envelopes are others; refresh the whole row"
                )
            sealed = {name for name in fields if name in declared.fields}
            groups = {declared.group_of(name).name for name in sealed}
            columns = [c for name in groups for c in declared.columns_of(declared.groups[name])]
            fields = [*(name for name in fields if name not in sealed), *columns]
        super().refresh_from_db(using, fields, **options)  # type: ignore[misc]  # of the model
        at, now = self.__dict__.get(AT), place_now(self, declared)
        owner = now[0] if fields is None or at is None or declared.owner in fields else at[0]
        self.__dict__[AT] = (owner, *now[1:])

    @concealed
    def _save_table(  # noqa: PLR0913, PLR0917 - Django's signature
        self,
        raw: bool = False,
        cls: Any = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: Any = None,
        update_fields: Any = None,
    ) -> bool:
        declared = type(self).__sealed__
        if declared is None:
            return super()._save_table(raw, cls, force_insert, force_update, using, update_fields)  # type: ignore[misc, no-any-return]  # of the model
        begin_writing(self, declared, using)
        if self._state.adding and not force_update and not update_fields:  # type: ignore[attr-defined]  # of the model
            force_insert = True  # never over a row that was not read
        if raw:
            open_fixture(self, declared)
        if declared.unique:
            refuse_duplicates(self, declared, using)
        if raw:
            admit_fixture(self, declared)
        if is_elsewhere(self, using):
            self._load_groups(declared)
        if update_fields:
            update_fields = self._columns_of(declared, frozenset(update_fields))
        updated = super()._save_table(raw, cls, force_insert, force_update, using, update_fields)  # type: ignore[misc]  # of the model
        end_writing(self, declared)
        return bool(updated)

    def _load_groups(self, declared: SealedModel) -> None:
        """Read the envelopes that were deferred, from the database that the row was read from."""
        for group in declared.groups.values():
            if any(name not in self.__dict__ for name in declared.read_with(group)):
                self.refresh_from_db(fields=declared.read_with(group))

    def _columns_of(self, declared: SealedModel, names: frozenset[str]) -> frozenset[str]:
        """What is written of the fields that ``update_fields`` names: whole groups.

        Of a group that has changed its envelope and all its indexes, for Django leaves out what was
        not loaded, as the index of a field that `only` has named. A group of which a sealed field
        is named is sealed anew if nothing was assigned: under the newest keys, with all indexes.
        """
        for group in declared.groups.values():
            columns = declared.columns_of(group)
            named = names.intersection(group.fields)
            if named and group.column not in names:  # else it is Django that names all there are
                seal_anew(self, declared, group)
            contents = changed(self, group)
            if contents is None or names.isdisjoint([*columns, *named]):
                continue
            others = contents.assigned - names
            if named and others and contents.replaces is not UNSET:
                raise SealedExpressionError(
                    f"expected update_fields to name all assigned fields of the group "
                    f"{group.name!r}, which are sealed together, found {', '.join(sorted(others))} "
                    "left out; name them too"
                )
            names |= set(columns)
        return names

    def _do_update(  # noqa: PLR0913, PLR0917 - Django's signature
        self,
        base_qs: Any,
        using: Any,
        pk_val: Any,
        values: Any,
        update_fields: Any,
        forced_update: Any,
    ) -> bool:
        """Write changed groups where their envelope is still the one that was read."""
        declared = type(self).__sealed__
        if declared is None:
            return super()._do_update(  # type: ignore[misc, no-any-return]  # of the model
                base_qs, using, pk_val, values, update_fields, forced_update
            )
        values = [each for each in values if each[2] is not UNCHANGED]
        elsewhere = is_elsewhere(self, using)
        same = self._where_as_read(declared, base_qs, {each[0].attname for each in values}, using)
        if elsewhere and not values:
            updated = same.filter(pk=pk_val).exists()
        else:
            updated = super()._do_update(same, using, pk_val, values, update_fields, forced_update)  # type: ignore[misc]  # of the model
        if not updated and same is not base_qs and base_qs.filter(pk=pk_val).exists():
            if elsewhere:
                _refuse_another_row(self, declared, using)
            raise StaleEnvelopeError(
                f"expected a row of {declared.name} with the owner and envelope that were read, "
                "found others: somebody else has changed it; call refresh_from_db() and assign its "
                "fields anew"
            )
        return bool(updated)

    def _where_as_read(
        self, declared: SealedModel, rows: Any, written: set[str], using: str
    ) -> Any:
        """The rows whose owner and envelopes are those that were read, of what is written.

        In another database than the row was read from: all its envelopes, for a row of the same key
        can be quite another one there.
        """
        moving = getattr(self._state, "sealed_moving", False)  # type: ignore[attr-defined]  # of the model
        if moving:
            self._refuse_half_a_move(declared, written)
        if declared.owner in written and not moving:
            rows = rows.filter(**{declared.owner: self.__dict__[declared.owner]})
        for group in declared.groups.values():
            if group.column in written or is_elsewhere(self, using):
                rows = rows.filter(**_condition(self, group))
        return rows

    @staticmethod
    def _refuse_half_a_move(declared: SealedModel, written: set[str]) -> None:
        needed = {declared.owner, *declared.columns}
        if not needed <= written:
            raise OwnerChangedError(
                f"expected a row of {declared.name} to move to its new owner as a whole, found "
                f"{', '.join(sorted(needed - written))} left behind; save it without update_fields"
            )

    def __repr__(self) -> str:
        # Not by __str__, which may show a sealed value, for tracebacks and logs show this.
        return f"<{type(self).__name__}: {self.pk}>"  # type: ignore[attr-defined]  # of the model

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        for name, value in state.items():
            if type(value) is Contents:
                state[name] = value.__copy__()  # a copy of the instance changes nothing of it
        return state

    def validate_unique(self, exclude: Any = None) -> None:
        """As Django's; also looks for the values of unique sealed fields of the row's owner.

        Raises:
            ValidationError: another row has one. It does not show it.
        """
        errors: dict[str, Any] = {}
        try:
            super().validate_unique(exclude)  # type: ignore[misc]  # of the model
        except ValidationError as exc:
            errors = exc.update_error_dict(errors)
        declared = type(self).__sealed__
        if declared is not None and self.__dict__.get(declared.owner) is not None:
            using = self._state.db or router.db_for_write(type(self), instance=self)  # type: ignore[attr-defined]  # of the model
            for name in declared.unique:
                if name not in (exclude or ()) and taken(self, declared, name, using):
                    message = self.unique_error_message(type(self), (name,))  # type: ignore[attr-defined]  # of the model
                    errors.setdefault(name, []).append(message)
        if errors:
            raise ValidationError(errors)

    @classmethod
    def check(cls, **options: Any) -> Any:
        """As Django's, of the sealed fields too, of the databases, and of the admin."""
        declared = cls.__sealed__
        if declared is None:
            return super().check(**options)  # type: ignore[misc]  # of the model
        flaws = option_errors(cls)
        if cls.__sealed_flaws__:  # Django would ask the sealed fields what they do not answer
            return flaws
        errors = [*flaws, *super().check(**options)]  # type: ignore[misc]  # of the model
        for field in declared.fields.values():
            errors.extend(field.check(**options))
        errors.extend(database_errors(cls, options.get("databases")))
        errors.extend(admin_errors(cls))
        return errors


def _condition(instance: Any, group: SealedGroup) -> dict[str, Any]:
    stored = instance.__dict__[group.column]
    if type(stored) is Contents:
        stored = stored.replaces if stored.envelope is None else stored.envelope
    if stored is UNSET:
        raise StaleEnvelopeError(
            f"expected an instance that was read from {group.table} or saved to it, found one of "
            "which nobody knows what it would overwrite; load the row and assign its fields"
        )
    if stored is None:
        return {f"{group.column}__isnull": True}
    return {group.column: bytes(stored)}


def _refuse_another_row(instance: Any, declared: SealedModel, using: str) -> NoReturn:
    raise StaleEnvelopeError(
        f"expected the row of {declared.name} in the database {using!r} to be the one that was "
        f"read from {instance._state.db!r}, or none, found one with other envelopes; read it from "
        f"{using!r} and assign its fields, or delete it first"
    )


def _prepare(sender: Any, **_: Any) -> None:
    """Work out what a sealed model declares, when its class is prepared."""
    declare(sender, Sealed)


class_prepared.connect(_prepare, dispatch_uid="assay.encryption.django.model")
