"""What is sealed, and opening rows that were read past the mapping. For checks and tools.

Example:
    >>> [table.name for table in sealed_tables(Base)]         # doctest: +SKIP
    ['documents']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import inspect
from sqlalchemy.orm import registry

from assay.encryption.concealment import concealed
from assay.encryption.envelope import EnvelopeOpener
from assay.encryption.errors import RowIdError
from assay.encryption.owner_keys import owner_text
from assay.encryption.row_address import DEFAULT_GROUP
from assay.encryption.sqlalchemy.errors import DeclarationError
from assay.encryption.sqlalchemy.hierarchies import spellings
from assay.encryption.sqlalchemy.model import SealedModel
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.keys import Keyring

_OPENERS: WeakKeyDictionary[Keyring, EnvelopeOpener] = WeakKeyDictionary()
"""Derived keys, for as long as their keyring lives."""


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sealed columns, as its model declares it.

    Attributes:
        name: the table's name in the database, with its schema when it has one.
        model: the class; of several in one table the first.
        owner_column: the column that says whose a row is.
        owner_table: the table that has this column: another one for a table that is joined to that
            of a parent, in which the row with the same primary key says it.
        groups: the columns of the envelopes by group.
        fields: the groups of the fields by field.
        index_columns: the fields by the columns of their blind indexes.
        models: the classes that declare the groups, by group.
        only_for: for a group of a class that shares the table with others, the column that says
            which class a row is of, and its values for this class and those that inherit from it.
            Rows with other values have NULL instead of an envelope.
        plaintext_columns: the columns that hold fields in the clear during a transition, and those
            that did until they are dropped.
    """

    name: str
    model: type
    owner_column: str
    groups: Mapping[str, str]
    fields: Mapping[str, str]
    index_columns: Mapping[str, str]
    owner_table: str
    models: Mapping[str, type]
    only_for: Mapping[str, tuple[str, frozenset[object]]]
    plaintext_columns: frozenset[str] = frozenset()

    def needs_envelope(self, group: str, row: Mapping[str, Any]) -> bool:
        """Whether a row of the table must have an envelope of a group.

        Args:
            group: which of the groups.
            row: column to value, at least the column that says which class the row is of.
        """
        column, values = self.only_for.get(group, ("", frozenset()))
        return not column or row.get(column) in values


def sealed_tables(base: Any) -> list[SealedTable]:
    """Every sealed table of a declarative base or registry, sorted by name.

    Args:
        base: a declarative base class, or a `registry`.

    Raises:
        DeclarationError: it is neither.
    """
    found = base if isinstance(base, registry) else getattr(base, "registry", None)
    if not isinstance(found, registry):
        raise DeclarationError(
            f"expected a declarative base or a registry, found {type(base).__name__}"
        )
    models = {
        mapper.class_.__sealed__.model: mapper.class_.__sealed__
        for mapper in found.mappers
        if getattr(mapper.class_, "__sealed__", None) is not None
    }
    tables: dict[str, SealedTable] = {}
    for model in sorted(models.values(), key=_depth):
        described = _describe(model)
        first = tables.get(described.name)
        tables[described.name] = described if first is None else _joined(first, described)
    return sorted(tables.values(), key=lambda table: table.name)


def _depth(model: SealedModel) -> tuple[int, str]:
    return len(model.model.__mro__), model.model.__name__


def _joined(first: SealedTable, other: SealedTable) -> SealedTable:
    """Two classes in one table."""
    return replace(
        first,
        groups={**first.groups, **other.groups},
        fields={**first.fields, **other.fields},
        index_columns={**first.index_columns, **other.index_columns},
        models={**first.models, **other.models},
        only_for={**first.only_for, **other.only_for},
        plaintext_columns=first.plaintext_columns | other.plaintext_columns,
    )


def owner_of_row(model: type, row: Mapping[str, Any]) -> str | None:
    """Whose a row is that was read as columns; None when it has no owner.

    Args:
        model: the sealed model.
        row: column to value, at least the owner's.
    """
    sealed: SealedModel = model.__sealed__  # type: ignore[attr-defined]  # a sealed model has it
    column: Any = inspect(model).columns[sealed.owner]
    try:
        return owner_text(_typed(column, row.get(column.name)))
    except RowIdError:
        return None


@concealed
def open_row(
    keyring: Keyring, model: type, row: Mapping[str, Any], group: str = DEFAULT_GROUP
) -> dict[str, object]:
    """Open one group of a row that was read as columns.

    Args:
        keyring: has the owners' data keys.
        model: the sealed model that declares the group, or one that inherits from it.
        row: column to value, at least the primary key, the owner and the group's envelope,
            with its version when it has one; as SQLAlchemy's types give them, or as the driver
            does.
        group: which of the groups.

    Returns:
        The fields, known and unknown, as the payload holds them: an enumeration as its value, a
        record as a dict.

    Raises:
        EnvelopeError: one of its leaves; `MissingEnvelopeError` when there are no bytes.
        MappingError: the row has no owner or no key, or a field has another type than declared.
        assay.keys.KeysError: the data key is not to be had.
    """
    sealed: SealedModel = model.__sealed__  # type: ignore[attr-defined]  # a sealed model has it
    mapper: Any = inspect(model)
    columns = {name: mapper.columns[name] for name in (*sealed.key, sealed.owner)}
    typed = {name: _typed(column, row.get(column.name)) for name, column in columns.items()}
    owner = sealed.owner_of(typed[sealed.owner])
    row_id = sealed.row_id_of([typed[name] for name in sealed.key])
    part = sealed.groups[group]
    envelope = row.get(mapper.columns[part.column].name)
    if isinstance(envelope, memoryview | bytearray):
        envelope = bytes(envelope)
    keys = SessionKeys(keyring, _OPENERS.setdefault(keyring, EnvelopeOpener()))
    version = row.get(mapper.columns[part.version_column].name) if part.versioned else None
    return keys.rows(part, owner).open(envelope, row_id, version).fields


def _describe(sealed: SealedModel) -> SealedTable:
    mapper: Any = inspect(sealed.model)
    column = {name: str(each.name) for name, each in mapper.columns.items()}
    groups = sealed.own_groups
    fields = {field.name: field for group in groups.values() for field in group.fields}
    shared = mapper.inherits is not None and mapper.inherits.local_table is mapper.local_table
    return SealedTable(
        name=str(mapper.local_table.fullname),
        model=sealed.model,
        owner_column=column[sealed.owner],
        groups={name: column[group.column] for name, group in groups.items()},
        fields={name: field.group for name, field in fields.items()},
        index_columns={
            column[each]: name for name in fields for each in sealed.indexes.get(name, ())
        },
        owner_table=str(mapper.columns[sealed.owner].table.fullname),
        models=dict.fromkeys(groups, sealed.model),
        only_for=dict.fromkeys(groups, _identities(mapper)) if shared else {},
        plaintext_columns=frozenset(
            name
            for field in fields.values()
            for name in (field.plaintext, field.retired)
            if name is not None
        ),
    )


def _identities(mapper: Any) -> tuple[str, frozenset[object]]:
    """The column that tells classes apart, and its values, as a driver may give them."""
    spelt = {
        spelling
        for each in mapper.self_and_descendants
        for spelling in spellings(each.polymorphic_identity)
    }
    return str(mapper.polymorphic_on.name), frozenset(spelt)


def _typed(column: Any, value: object) -> object:
    """A value as SQLAlchemy's type would have given it, from what a driver may give."""
    if column.type.python_type is UUID and isinstance(value, str | bytes):
        try:
            return UUID(value) if isinstance(value, str) else UUID(bytes=value)
        except ValueError as exc:
            raise RowIdError(
                f"expected a UUID in {column.table.name}.{column.name}, found something else"
            ) from exc
    return value
