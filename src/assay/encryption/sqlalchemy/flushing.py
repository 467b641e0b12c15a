"""Sealing when a session is flushed: just before a row's INSERT or UPDATE.

At that moment relationships have filled in their foreign keys, so the owner is known. What the
application's own listeners of ``before_insert`` and ``before_update`` assign is sealed too: sealing
comes last, whenever they were added.

Specification: ``spec/row-envelope.md``, "Sealing".

Example:
    >>> session.add(Document(tenant_id="tenant-1", text="Dear Ada"))     # doctest: +SKIP
    >>> session.flush()                                                  # doctest: +SKIP
"""

from __future__ import annotations

from threading import Lock
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, LargeBinary, event, select, type_coerce
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.attributes import flag_modified, set_committed_value

from assay.encryption.concealment import concealed
from assay.encryption.errors import TamperedEnvelopeError
from assay.encryption.payload import encode_payload
from assay.encryption.row_version import FIRST_VERSION
from assay.encryption.sqlalchemy.columns import WHATEVER_STANDS, Contents, envelope_of
from assay.encryption.sqlalchemy.errors import (
    OwnerChangedError,
    StaleEnvelopeError,
    UnsealedWriteError,
)
from assay.encryption.sqlalchemy.hierarchies import permit_new_row
from assay.encryption.sqlalchemy.model import UNSET, SealedGroup, SealedModel
from assay.encryption.sqlalchemy.moving import is_moved
from assay.encryption.sqlalchemy.rows import OwnerRows
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.encryption.sqlalchemy.transition import claim, plaintext_fields, write_plaintext
from assay.encryption.sqlalchemy.uniqueness import refuse_duplicate

_MAPPERS: WeakSet[Mapper[Any]] = WeakSet()
_LOCK = Lock()


def seal_when_flushed(mapper: Mapper[Any]) -> None:
    """Let the rows of a mapped class be sealed when they are inserted or updated."""
    with _LOCK:
        _MAPPERS.add(mapper)
        for moment, seal in _MOMENTS.items():
            event.listen(mapper, moment, seal, raw=True, retval=True)


@event.listens_for(Session, "before_flush")
def seal_last(*_of_the_flush: object) -> None:
    """Seal after the listeners that were added later, which may assign sealed fields."""
    with _LOCK:
        for mapper in _MAPPERS:
            for moment, seal in _MOMENTS.items():
                *_, last = getattr(mapper.dispatch, moment)
                if last is not seal:
                    event.remove(mapper, moment, seal)
                    event.listen(mapper, moment, seal, raw=True, retval=True)


@concealed
def seal_new_row(_mapper: object, connection: Connection, state: InstanceState[Any]) -> None:
    """Seal all groups of a row that is about to be inserted.

    Raises:
        IntegrityError: another row has the value of a unique field.
        MappingError: see its leaves.
        assay.keys.KeysError: there is no data key to be had.
    """
    instance: Any = state.obj()
    model: SealedModel | None = getattr(instance, "__sealed__", None)
    if model is None:
        return
    session, held = _session(state), state.dict
    keys = SessionKeys.of(session)
    for attribute, make in model.defaults.items():
        if held.get(attribute) is None:
            setattr(instance, attribute, make())
    owner = model.owner_of(held.get(model.owner))
    row_id = model.row_id_of([*map(held.get, model.key)])
    for group in model.groups.values():
        fields = _seal_new(held, group, keys.rows(group, owner), row_id)
        for name in group.indexed:
            for column, index in model.indexes[name].items():
                held[column] = keys.indexes.value(index, owner, fields[name])
        if model.unique:
            refuse_duplicate(connection, model, keys, owner, fields)
    permit_new_row(connection, state)
    if session._deleted:  # noqa: SLF001 - the public one copies all
        _write_whole_row(instance, model)


def _seal_new(
    held: dict[str, Any], group: SealedGroup, rows: OwnerRows, row_id: bytes
) -> dict[str, object]:
    """Seal one group of a new row; what was sealed."""
    contents = held.get(group.column)
    if contents is None:
        contents = Contents({}, None, None)
    found = held.get(group.version_column) if group.versioned else None  # of a copy of a row
    sealed = held[group.column] = _sealed(rows, contents, row_id, found, FIRST_VERSION)
    if group.versioned:
        held[group.version_column] = FIRST_VERSION
    for field in group.fields:
        if field.plaintext is not None:
            held[field.plaintext_attribute] = sealed.fields[field.name]
    return sealed.fields


def _write_whole_row(instance: Any, model: SealedModel) -> None:
    """Let nothing of a row stay that is deleted in the same flush, under this very key.

    SQLAlchemy turns such a pair into one UPDATE of what was assigned to the new instance.
    """
    for group in model.groups.values():
        flag_modified(instance, group.column)
        getattr(instance, group.column).replaces = WHATEVER_STANDS
        if group.versioned:
            flag_modified(instance, group.version_column)
        for name in group.indexed:
            for column in model.indexes[name]:
                flag_modified(instance, column)
        for field in group.fields:
            if field.plaintext is not None:
                flag_modified(instance, field.plaintext_attribute)


@concealed
def seal_changed_row(_mapper: object, connection: Connection, state: InstanceState[Any]) -> None:
    """Seal the groups of a row in which a field was assigned.

    Raises:
        StaleDataError: another session has changed the row since it was read.
        MappingError: see its leaves.
        assay.keys.KeysError: there is no data key to be had.
    """
    model: SealedModel | None = getattr(state.obj(), "__sealed__", None)
    if model is None:
        return
    moved = is_moved(state, model)
    for group in model.groups.values():
        if group.versioned:
            _refuse_other_version(state, model, group)
        if group.column in state.committed_state:
            _seal_change(state, model, group, connection, moved=moved)
        elif moved:
            raise OwnerChangedError(
                f"expected all groups of a row of {model.name} to move to its new owner, found "
                f"{group.name!r} left behind; call move_to_owner(instance, owner)"
            )


def _seal_change(
    state: InstanceState[Any],
    model: SealedModel,
    group: SealedGroup,
    connection: Connection,
    *,
    moved: bool,
) -> None:
    keys, held, instance = SessionKeys.of(_session(state)), state.dict, state.obj()
    before, contents = state.committed_state[group.column], held.get(group.column)
    if not moved and _same(before, contents):
        set_committed_value(instance, group.column, before)
        return
    if not isinstance(before, bytes | Contents | None):
        before = state.committed_state[group.column] = _stored(connection, state, model, group)
    if group.in_transition:
        claim(connection, state, model.home_of(group), group)
    owner = model.owner_of(getattr(instance, model.owner))
    row_id = model.row_id_of(state.key[1] if state.key is not None else ())
    rows = keys.rows(group, owner)
    version: Any = getattr(instance, group.version_column) if group.versioned else None
    if type(contents) is Contents and _made_from(contents) is None:
        contents = _completed(rows, instance, before, contents, row_id)
    replaces = _replaced(before, contents, model)
    following = version + 1 if type(version) is int else version
    sealed = held[group.column] = _sealed(rows, contents, row_id, version, following)
    sealed.replaces = WHATEVER_STANDS if replaces is None else replaces
    if group.versioned:
        setattr(instance, group.version_column, following)
    if group.in_transition:
        write_plaintext(instance, group, sealed.fields)
    known = before.fields if type(before) is Contents and not moved else {}
    if model.unique:
        key = state.key[1] if state.key is not None else ()
        changed = {n: v for n, v in sealed.fields.items() if known.get(n, UNSET) != v}
        refuse_duplicate(connection, model, keys, owner, changed, key)
    for name in group.indexed:
        value = sealed.fields[name]
        if known.get(name, UNSET) != value:
            for column, index in model.indexes[name].items():
                setattr(instance, column, keys.indexes.value(index, owner, value))


def _stored(
    connection: Connection, state: InstanceState[Any], model: SealedModel, group: SealedGroup
) -> bytes | None:
    """The envelope of a row that the session has not loaded: an instance was merged into it.

    Raises:
        StaleEnvelopeError: there is no such row any more.
    """
    column: Any = state.mapper.columns[group.column]
    keys = [_in_table(state.mapper.attrs[name], column.table) for name in model.key]
    identity = zip(keys, state.key[1] if state.key is not None else (), strict=True)
    found = connection.execute(
        select(type_coerce(column, LargeBinary)).where(*(key == value for key, value in identity))
    ).one_or_none()
    if found is None:
        raise StaleEnvelopeError(
            f"expected the row of {model.name} into which an instance was merged, found none: "
            "another session has deleted it since; roll back, and merge it again"
        )
    envelope: bytes | None = found[0]
    return None if envelope is None else bytes(envelope)


def _in_table(prop: Any, table: object) -> Any:
    """The column of an attribute in one of the tables that are joined for its class."""
    return next(column for column in prop.columns if column.table is table)


def _made_from(contents: object) -> bytes | None:
    """The stored envelope of which contents were made, or that they are."""
    envelope = envelope_of(contents)
    return contents.replaces if envelope is None and type(contents) is Contents else envelope


def _open_brought(rows: OwnerRows, envelope: bytes, row_id: bytes, version: object) -> Contents:
    """Open an envelope that an instance brought along, unread, to the row that it is to become."""
    try:
        return rows.open(envelope, row_id, version)
    except TamperedEnvelopeError as exc:
        raise TamperedEnvelopeError(
            f"expected an instance with the envelope of its own row in {rows.group.table}, found "
            "that of another row, or an altered one; of an instance that was loaded as another "
            "row (make_transient), read the sealed fields before its key changes"
        ) from exc


def _completed(
    rows: OwnerRows, instance: Any, before: object, contents: Contents, row_id: bytes
) -> Contents:
    """Fields of a new instance that was merged into a stored row; the row keeps its others."""
    group = rows.group
    if isinstance(before, bytes):
        version = getattr(instance, group.version_column) if group.versioned else None
        before = rows.open(before, row_id, version)
    elif before is None and group.in_transition:  # then they stand in the clear
        before = Contents(plaintext_fields(instance, group), None, None)
    if type(before) is not Contents:
        return contents
    return Contents({**before.fields, **contents.fields}, None, None)


def _replaced(before: object, contents: object, model: SealedModel) -> bytes | None:
    """The envelope that must still stand in the row when the contents are written.

    Raises:
        StaleEnvelopeError: the session itself has another one already.
    """
    stored, made_from = envelope_of(before), _made_from(contents)
    if made_from is None or stored is None or stored == made_from:
        return made_from or stored
    raise StaleEnvelopeError(
        f"expected an instance of the row of {model.name} as it is stored, found one of another "
        "state of it, which would undo what was changed since; load the row again and assign its "
        "fields anew"
    )


def _refuse_other_version(
    state: InstanceState[Any], model: SealedModel, group: SealedGroup
) -> None:
    """A version is changed where its envelope is, and nowhere else."""
    before = state.committed_state.get(group.version_column)
    if type(before) is int and before != state.dict.get(group.version_column):
        raise StaleEnvelopeError(
            f"expected {model.name}.{group.version_column} to be left alone, found another version "
            "than is stored: it was assigned, or an instance of another state of the row was "
            "merged; load the row again and assign its fields anew"
        )


def _sealed(
    rows: OwnerRows, contents: object, row_id: bytes, found: object, version: int
) -> Contents:
    """What was assigned to a sealed column, sealed for its place.

    Args:
        rows: those of the row's owner.
        contents: what was assigned.
        row_id: the encoded primary key.
        found: the version that came with it, of a versioned group.
        version: the version that it gets.
    """
    group = rows.group
    if isinstance(contents, bytes):
        # An instance that was loaded elsewhere and merged, or made transient: the bytes count
        # only when they are this very row's envelope.
        contents = _open_brought(rows, contents, row_id, found)
    if type(contents) is Contents:
        if (
            contents.envelope is not None
            and not group.versioned
            and contents.place == rows.place(row_id)
        ):
            # A copy, for another instance may hold the same.
            return Contents(contents.fields, contents.envelope, contents.place)
        return rows.seal(dict(contents.fields), row_id, version)
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


def _session(state: InstanceState[Any]) -> Session:
    session = state.session
    if session is None:
        raise UnsealedWriteError("expected an instance in a session, found one in none")
    return session


_MOMENTS = {"before_insert": seal_new_row, "before_update": seal_changed_row}
