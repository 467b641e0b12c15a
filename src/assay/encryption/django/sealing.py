"""Sealing and opening the groups of an instance.

Specification: ``spec/row-envelope.md``, "Sealing" and "Opening".

Example:
    >>> open_group(customer, Customer.__sealed__.groups["default"]).fields    # doctest: +SKIP
    {'email': 'ada@example.com'}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import router

from assay.core import DataKeyClass
from assay.encryption.django.binding import keys_of
from assay.encryption.django.contents import Contents, SealedEnvelope, SealedVersion
from assay.encryption.django.declared import AFTER_THE_MIGRATION, AT, SealedGroup, SealedModel
from assay.encryption.django.errors import (
    DeclarationError,
    OwnerChangedError,
    RowIdChangedError,
    SealedValueError,
    UnsealedWriteError,
)
from assay.encryption.errors import MissingEnvelopeError
from assay.encryption.payload import encode_payload
from assay.encryption.row_address import RowAddress
from assay.encryption.row_version import FIRST_VERSION, put_version

UNCHANGED: Any = object()
"""Stands for a column that is left as it is."""

_ROWS = DataKeyClass.ROWS


def declared_by(instance: Any) -> SealedModel:
    """What the instance's model declares.

    Raises:
        UnsealedWriteError: a model as a migration sees it, which cannot seal.
    """
    declared = getattr(type(instance), "__sealed__", None)
    if type(declared) is SealedModel:
        return declared
    raise UnsealedWriteError(
        f"expected a model with its sealed fields, found {type(instance).__name__} as a migration "
        f"sees it, which cannot seal; {AFTER_THE_MIGRATION}"
    )


def place_now(instance: Any, declared: SealedModel) -> tuple[Any, ...]:
    """Owner and primary key as the instance has them now."""
    held = instance.__dict__
    return (held.get(declared.owner), *[held.get(name) for name in declared.key])


def convert_place(instance: Any, declared: SealedModel) -> None:
    """Let an instance have owner and primary key as they will be read back, and be bound to that.

    Such as a UUID that was given as text, in whichever of its forms.

    Raises:
        ValidationError: Django takes it for none of its field.
        ValueError: as above.
    """
    held = instance.__dict__
    for field in declared.bound_to:
        given = held.get(field.attname)
        if given is None or hasattr(given, "resolve_expression"):
            continue
        stored = field.get_prep_value(given)
        if isinstance(stored, str) and type(stored) is not str:
            stored = str.__str__(stored)
        if type(stored) is not type(given) or stored != given:
            held[field.attname] = stored


def open_group(instance: Any, declared: SealedModel, group: SealedGroup) -> Contents:
    """What an instance holds of a group, opened.

    Raises:
        EnvelopeError: one of its leaves.
        MalformedPayloadError: authentic, but no map of fields.
        MappingError: see its leaves.
        assay.keys.KeysError: the data key is not to be had.
    """
    held = instance.__dict__
    found = held.get(group.column)
    if type(found) is Contents:
        return found
    if found is None or group.versioned:
        found = _loaded(instance, group, declared.read_with(group))
        if type(found) is Contents:
            return found
    at = held.get(AT) or place_now(instance, declared)
    owner = at[0] if at[0] is not None else getattr(instance, declared.owner)
    if type(owner) is not str or not owner:
        owner = declared.owner_of(owner)
    envelope = found if type(found) is bytes else bytes(found)
    version = held[group.version_column] if group.versioned else 0
    rows = keys_of(instance._state.db or read_from(instance)).rows(group, owner)
    fields = rows.open(envelope, declared.row_id_of(at[1:]), version)
    contents = held[group.column] = Contents(fields, envelope, version=version)
    return contents


def _loaded(instance: Any, group: SealedGroup, columns: list[str]) -> Any:
    """What stands in the column of a group, which is read if it was deferred.

    Raises:
        MissingEnvelopeError: NULL does.
    """
    held = instance.__dict__
    if any(name not in held for name in columns):  # the version belongs to this very envelope
        instance.refresh_from_db(fields=columns)
    found = held[group.column]
    if found is None:
        raise MissingEnvelopeError(
            f"expected an envelope in {group.table}.{group.column}, found NULL; a row from before "
            "its model was sealed gets one when its sealed fields are assigned and saved"
        )
    return found


def _address(
    declared: SealedModel, group: SealedGroup, owner: str, key: Sequence[object]
) -> RowAddress:
    version = FIRST_VERSION if group.versioned else None
    return RowAddress(owner, group.table, group.name, declared.row_id_of(key), version)


def read_from(instance: Any) -> str:
    """The alias of the database whose keys open what an instance holds."""
    state = instance._state
    found = state.db or getattr(state, "sealed_using", None)
    return str(found or router.db_for_write(type(instance), instance=instance))


def written_to(instance: Any) -> str:
    """The alias of the database that an instance is about to be written to."""
    return str(getattr(instance._state, "sealed_using", None) or read_from(instance))


def is_elsewhere(instance: Any, using: str) -> bool:
    """Whether an instance was read from another database than one."""
    return not instance._state.adding and instance._state.db not in (None, using)


def changed(instance: Any, group: SealedGroup) -> Contents | None:
    """The contents of a group that are not stored as they are, or None."""
    contents = instance.__dict__.get(group.column)
    return contents if type(contents) is Contents and contents.envelope is None else None


def seal_anew(instance: Any, declared: SealedModel, group: SealedGroup) -> None:
    """Let a group be sealed when its instance is saved, also when nothing of it was assigned.

    Raises:
        EnvelopeError: its present envelope does not open.
        MappingError: see its leaves.
        assay.keys.KeysError: the data key is not to be had.
    """
    contents = open_group(instance, declared, group)
    if contents.envelope is not None:
        fields = dict(contents.fields)
        held = Contents(fields, None, contents.envelope, version=contents.version)
        instance.__dict__[group.column] = held


def sealed_for_writing(instance: Any, column: str, *, add: bool) -> Any:
    """The envelope of a group that is about to be written, or `UNCHANGED`.

    Args:
        instance: whose group it is.
        column: the column of the envelope.
        add: the row is new.

    Raises:
        OwnerMissingError: the row is nobody's.
        RowIdMissingError: it has no primary key.
        SealedValueError: a value that its field does not take.
        EnvelopeError: the instance is a copy of a row whose envelope does not open.
        assay.keys.KeysError: there is no data key to be had.
    """
    declared = declared_by(instance)
    group = declared.columns[column]
    contents = open_group(instance, declared, group) if add else changed(instance, group)
    if contents is None:
        return UNCHANGED
    owner, *key = place_now(instance, declared)
    owner = declared.owner_of(owner)
    fields = completed(group, contents.fields)
    keys = keys_of(written_to(instance))
    place = _address(declared, group, owner, key).associated_data()
    payload = encode_payload(fields, padded=group.padded)
    version = FIRST_VERSION if add else contents.version + 1
    if group.versioned:
        payload = put_version(version, payload)
    envelope = keys.sealer.seal_payload(keys.keyring.current(owner, _ROWS), place, payload)
    contents.pending = (fields, envelope, version)
    return SealedEnvelope(envelope)


def version_for_writing(instance: Any, column: str, *, add: bool) -> Any:
    """The version of an envelope that is about to be written, or `UNCHANGED`.

    Raises:
        MappingError: as in `sealed_for_writing`.
        EnvelopeError: as above.
        assay.keys.KeysError: as above.
    """
    groups = declared_by(instance).groups.values()
    group = next(each for each in groups if each.versioned and each.version_column == column)
    contents = pending(instance, group, add=add)
    return UNCHANGED if contents is None else SealedVersion(contents.pending[2])


def pending(instance: Any, group: SealedGroup, *, add: bool) -> Any:
    """The contents of a group that are about to be written, sealed once; None when they are not.

    Raises:
        MappingError: as in `sealed_for_writing`.
        EnvelopeError: as above.
        assay.keys.KeysError: as above.
    """
    contents = instance.__dict__.get(group.column)
    if type(contents) is not Contents or contents.pending is None:
        if sealed_for_writing(instance, group.column, add=add) is UNCHANGED:
            return None
        contents = instance.__dict__[group.column]
    return contents


def completed(group: SealedGroup, given: dict[str, object]) -> dict[str, object]:
    """The fields of a group as they are sealed: converted, with defaults for those not given.

    Raises:
        SealedValueError: a value that its field does not take.
    """
    fields = dict(given)
    for name, field in group.fields.items():
        value = field.accept(given[name] if name in given else field.get_default())
        if value is None and not field.null:
            raise SealedValueError(
                f"expected a value for the sealed field {name!r}, found none; assign one, give it "
                "a default, or declare it with null=True"
            )
        fields[name] = value
    return fields


def indexed(instance: Any, column: str, *, add: bool) -> Any:
    """The blind index of a field that is about to be sealed, or `UNCHANGED`.

    Raises:
        UnsupportedValueError: the value cannot be indexed.
        assay.keys.KeysError: there is no index key to be had.
    """
    declared = declared_by(instance)
    name = next(name for name, columns in declared.indexes.items() if column in columns)
    contents = pending(instance, declared.group_of(name), add=add)
    if contents is None:
        return UNCHANGED
    return index_of(instance, declared, name, column, contents.pending[0][name])


def index_of(instance: Any, declared: SealedModel, name: str, column: str, value: object) -> Any:
    """The blind index of a value of an instance's owner; of None there is none.

    Raises:
        UnsupportedValueError: the value cannot be indexed.
        assay.keys.KeysError: there is no index key to be had.
    """
    if value is None:
        return None
    owner = declared.owner_of(instance.__dict__.get(declared.owner))
    keys = keys_of(written_to(instance))
    return keys.indexes.newest(declared.indexes[name][column], owner).compute(value)


def begin_writing(instance: Any, declared: SealedModel, using: str) -> None:
    """Forget what an earlier attempt to write was about to store; refuse a row that moved.

    Raises:
        DeclarationError: an option of the model names a sealed field.
        OwnerChangedError: its owner is another one than when it was read.
        RowIdChangedError: its primary key is another one.
        ValidationError: owner or primary key are none of their fields.
        ValueError: as above.
    """
    for flaw in type(instance).__sealed_flaws__:
        raise DeclarationError(f"{flaw}; leave it out, manage.py check says more")
    state = instance._state
    state.sealed_using = using
    for group in declared.groups.values():
        contents = instance.__dict__.get(group.column)
        if type(contents) is Contents:
            contents.pending = None
    convert_place(instance, declared)
    refuse_moved(instance, declared)


def refuse_moved(instance: Any, declared: SealedModel) -> None:
    """Refuse a stored row whose place is another one than when it was read.

    Raises:
        OwnerChangedError: its owner is another one.
        RowIdChangedError: its primary key is another one.
    """
    at, now = instance.__dict__.get(AT), place_now(instance, declared)
    if instance._state.adding or at is None:
        return
    if at[1:] != now[1:]:
        raise RowIdChangedError(
            f"expected a row of {declared.name} to keep its primary key, found another one "
            "assigned; for a copy of the row set instance._state.adding = True"
        )
    if declared.owner in instance.__dict__ and at[0] != now[0]:
        raise OwnerChangedError(
            f"expected a row of {declared.name} to keep its owner, found another one in "
            f"{declared.owner!r}; call move_to_owner(instance, owner) and save it"
        )


def end_writing(instance: Any, declared: SealedModel) -> None:
    """Take what was written for what is stored."""
    held = instance.__dict__
    for group in declared.groups.values():
        contents = held.get(group.column)
        if type(contents) is Contents and contents.pending is not None:
            fields, envelope, version = contents.pending
            held[group.column] = Contents(fields, envelope, version=version)
            if group.versioned:
                held[group.version_column] = version
    held[AT] = place_now(instance, declared)
    instance._state.sealed_moving = False
