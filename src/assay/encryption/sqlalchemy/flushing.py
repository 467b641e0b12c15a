"""Sealing when a session is flushed: just before a row's INSERT or UPDATE.

At that moment relationships have filled in their foreign keys, so the owner is known.

Specification: ``spec/row-envelope.md``, "Sealing".

Example:
    >>> session.add(Document(tenant_id="tenant-1", text="Dear Ada"))     # doctest: +SKIP
    >>> session.flush()                                                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.base import instance_state

from assay.encryption.payload import encode_payload
from assay.encryption.sqlalchemy.columns import Contents, envelope_of
from assay.encryption.sqlalchemy.declaration import Sealed
from assay.encryption.sqlalchemy.errors import UnsealedWriteError
from assay.encryption.sqlalchemy.model import UNSET, SealedGroup, SealedModel
from assay.encryption.sqlalchemy.rows import OwnerRows
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.encryption.sqlalchemy.transition import claim, write_plaintext
from assay.encryption.sqlalchemy.uniqueness import refuse_duplicate


@event.listens_for(Sealed, "before_insert", propagate=True)
def seal_new_row(_mapper: object, connection: Connection, instance: Any) -> None:
    """Seal all groups of a row that is about to be inserted.

    Raises:
        IntegrityError: another row has the value of a unique field.
        MappingError: see its leaves.
        assay.keys.KeysError: there is no data key to be had.
    """
    model: SealedModel | None = getattr(instance, "__sealed__", None)
    if model is None:
        return
    state = instance_state(instance)
    keys = _keys(state)
    held = state.dict
    for attribute, make in model.defaults.items():
        if held.get(attribute) is None:
            setattr(instance, attribute, make())
    owner = model.owner_of(held.get(model.owner))
    row_id = model.row_id_of([held.get(attribute) for attribute in model.key])
    for group in model.groups.values():
        contents = held.get(group.column)
        if contents is None:
            contents = Contents({}, None, None)
        sealed = held[group.column] = _sealed(keys.rows(group, owner), contents, row_id)
        for name in group.indexed:
            value = sealed.fields[name]
            for column, index in model.indexes[name].items():
                held[column] = keys.index(index, owner, value)
        if model.unique:
            refuse_duplicate(connection, model, keys, owner, sealed.fields)
        for field in group.fields:
            if field.plaintext is not None:
                held[field.plaintext_attribute] = sealed.fields[field.name]


@event.listens_for(Sealed, "before_update", propagate=True)
def seal_changed_row(_mapper: object, connection: Connection, instance: Any) -> None:
    """Seal the groups of a row in which a field was assigned.

    Raises:
        StaleDataError: another writer changed the row during a transition.
        MappingError: see its leaves.
        assay.keys.KeysError: there is no data key to be had.
    """
    model: SealedModel | None = getattr(instance, "__sealed__", None)
    if model is None:
        return
    state = instance_state(instance)
    for group in model.groups.values():
        if group.column in state.committed_state:
            _seal_change(state, model, group, instance, connection)


def _seal_change(
    state: InstanceState[Any],
    model: SealedModel,
    group: SealedGroup,
    instance: Any,
    connection: Connection,
) -> None:
    keys = _keys(state)
    held = state.dict
    before, contents = state.committed_state[group.column], held[group.column]
    if _same(before, contents):
        set_committed_value(instance, group.column, before)
        return
    if group.in_transition:
        claim(connection, state, model, group)
    owner = model.owner_of(getattr(instance, model.owner))
    row_id = model.row_id_of(state.key[1] if state.key is not None else ())
    sealed = held[group.column] = _sealed(keys.rows(group, owner), contents, row_id)
    if group.in_transition:
        write_plaintext(instance, group, sealed.fields)
    known = before.fields if type(before) is Contents else {}
    if model.unique:
        key = state.key[1] if state.key is not None else ()
        changed = {n: v for n, v in sealed.fields.items() if known.get(n, UNSET) != v}
        refuse_duplicate(connection, model, keys, owner, changed, key)
    for name in group.indexed:
        value = sealed.fields[name]
        if known.get(name, UNSET) != value:
            for column, index in model.indexes[name].items():
                setattr(instance, column, keys.index(index, owner, value))


def _sealed(rows: OwnerRows, contents: object, row_id: bytes) -> Contents:
    """What was assigned to a sealed column, sealed for its place."""
    if type(contents) is Contents:
        if contents.envelope is not None and contents.place == rows.place(row_id):
            return contents
        return rows.seal(dict(contents.fields), row_id)
    if isinstance(contents, bytes):
        # An instance that was loaded elsewhere and merged, or made transient: the bytes count
        # only when they are this very row's envelope.
        return rows.open(contents, row_id)
    raise UnsealedWriteError(
        f"expected the sealed column {rows.group.column!r} to be left alone, found a value of type "
        f"{type(contents).__name__} assigned to it; assign the fields instead"
    )


def _same(before: object, now: object) -> bool:
    """Whether an assignment left everything as it was, down to the types."""
    envelope = envelope_of(now)
    if envelope is not None and envelope == envelope_of(before):
        return True
    if type(before) is not Contents or type(now) is not Contents:
        return False
    if before.fields.keys() != now.fields.keys():
        return False
    now_in_order = {name: now.fields[name] for name in before.fields}
    return encode_payload(before.fields) == encode_payload(now_in_order)


def _keys(state: InstanceState[Any]) -> SessionKeys:
    session = state.session
    if session is None:
        raise UnsealedWriteError("expected an instance in a session, found one in none")
    return SessionKeys.of(session)
