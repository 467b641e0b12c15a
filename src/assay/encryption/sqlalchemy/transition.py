"""A table on its way from plaintext to envelopes, while old and new code write to it.

A sealed field that is declared with ``plaintext="column"`` takes over from a column in the clear
that is still in the table. As long as it says so,

- every write of the field writes the envelope and the column, in one statement;
- a row without an envelope is read from the column, and found by it;
- a row with an envelope is read from the envelope, and found by the blind index.

What keeps an envelope from being stale is a trigger (`assay.encryption.adoption.triggers`): when
code that knows nothing of sealing changes the column, the row's envelope becomes NULL, and the
backfill seals the row again. So at every moment a row has no envelope, or one that holds what
stands in its columns.

Example:
    >>> email: Mapped[str] = sealed(index=Equality(casefold), plaintext="email")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from sqlalchemy import Connection, LargeBinary, and_, inspect, or_, select, type_coerce, update
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import AttributeEventToken, flag_modified, set_attribute
from sqlalchemy.orm.exc import StaleDataError

from assay.encryption.sqlalchemy.columns import envelope_of
from assay.encryption.sqlalchemy.errors import UnsealedWriteError
from assay.encryption.sqlalchemy.model import (
    UNSET,
    SealedField,
    SealedGroup,
    SealedModel,
    envelope_column,
)

_DUAL_WRITE: Any = object()
"""Says that a plaintext column is written because its sealed field was."""


def plaintext_fields(instance: Any, group: SealedGroup) -> dict[str, object]:
    """The fields of a group as they stand in the plaintext columns of a stored row.

    Raises:
        SealedValueError: a column gives another type than the field declares.
    """
    return {
        field.name: field.accept(getattr(instance, field.plaintext_attribute))
        for field in group.fields
    }


def write_plaintext(instance: Any, group: SealedGroup, fields: dict[str, object]) -> None:
    """Let the next UPDATE write the plaintext columns of a group, changed or not."""
    for field in group.fields:
        name, value = field.plaintext_attribute, fields[field.name]
        set_attribute(instance, name, value, initiator=_DUAL_WRITE)
        flag_modified(instance, name)


def refuse_plaintext_write(
    _instance: object, _value: object, _old: object, initiator: AttributeEventToken
) -> None:
    """The listener of a plaintext column's attribute: only `write_plaintext` may set it.

    Raises:
        UnsealedWriteError: somebody else does.
    """
    del _instance, _value, _old  # no traceback shows them
    if initiator is not _DUAL_WRITE:
        raise UnsealedWriteError(
            "expected the plaintext column of a sealed field to be left alone, found an "
            "assignment to it; assign the sealed field, which writes both"
        )


def claim(
    connection: Connection, state: InstanceState[Any], model: SealedModel, group: SealedGroup
) -> None:
    """Lock a row that is about to be updated, and see that it is still as it was loaded.

    Code that knows nothing of sealing asks for no permission. Without this a row's new envelope
    would be made of fields that such a writer has changed meanwhile.

    Raises:
        StaleDataError: another writer was first; load the row again.
    """
    mapper: Any = inspect(model.model)
    table = mapper.local_table
    columns = mapper.columns
    keys = [columns[name] for name in model.key]
    values = state.key[1] if state.key is not None else ()
    here = and_(*(column == value for column, value in zip(keys, values, strict=True)))
    if connection.dialect.name == "sqlite":  # which has no FOR UPDATE: write, and so be alone
        connection.execute(update(table).where(here).values({keys[0]: keys[0]}))
    names = [field.plaintext_attribute for field in group.fields]
    found = connection.execute(
        select(type_coerce(columns[group.column], LargeBinary), *(columns[n] for n in names))
        .where(here)
        .with_for_update()
    ).one_or_none()
    before = envelope_of(state.committed_state[group.column])
    if found is not None and before is not None:
        known = found[0] == before
    else:
        loaded = [state.committed_state.get(n, state.dict.get(n, UNSET)) for n in names]
        known = found is not None and found[0] is None and loaded == list(found[1:])
    if not known:
        raise StaleDataError(
            f"expected the row of {model.name} as it was loaded, found that another writer has "
            "changed it; load it again and assign its fields anew"
        )


def refuse_named_plaintext(model: SealedModel, names: set[str]) -> None:
    """Refuse an UPDATE statement that names plaintext columns.

    Raises:
        UnsealedWriteError: it names one.
    """
    for field in model.fields.values():
        if field.plaintext is not None and {field.plaintext, field.plaintext_attribute} & names:
            _refuse_update(field)


def _refuse_update(field: SealedField) -> NoReturn:
    raise UnsealedWriteError(
        f"expected an UPDATE that leaves the plaintext column of {field.name!r} alone, found it "
        "among the values, where nobody seals it; load the rows, assign the field, and flush"
    )


def unsealed_columns(field: SealedField, entity: Any) -> tuple[Any, ...]:
    """The columns that a search in rows without an envelope needs: envelope, and plaintext.

    Args:
        field: what is compared.
        entity: the model, or an alias of it.

    Returns:
        none when every row has an envelope.
    """
    if field.plaintext is None:
        return ()
    names = (envelope_column(field.group), field.plaintext_attribute)
    return tuple(getattr(entity, name).expression for name in names)


def with_unsealed_rows(columns: Sequence[Any], sealed: Any, plaintext: Any) -> Any:
    """A criterion for sealed rows, and the same for rows that have no envelope yet.

    Args:
        columns: see `unsealed_columns`.
        sealed: the comparison of blind indexes.
        plaintext: makes the comparison of the plaintext column. It is the database's own, as it
            was before the field was sealed: ``casefold`` holds for sealed rows only.
    """
    if not columns:
        return sealed
    envelope, column = columns
    return or_(
        and_(envelope.is_not(None), sealed),
        and_(envelope.is_(None), plaintext(column)),
    )
