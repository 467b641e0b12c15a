"""One group of one table, on its way from columns in the clear to an envelope.

Example:
    >>> [part.name for part in parts_in_transition(Base)]          # doctest: +SKIP
    ['customers']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Index, Table, UniqueConstraint, inspect

from assay.encryption.adoption.errors import NothingToAdoptError
from assay.encryption.row_address import DEFAULT_GROUP
from assay.encryption.sqlalchemy import sealed_tables
from assay.encryption.sqlalchemy.model import SealedGroup, SealedModel


@dataclass(frozen=True, eq=False)
class Part:
    """What is sealed together, and where it stands in the table.

    A part is equal to itself only, so that what is worked out for it can be kept.

    Attributes:
        model: the sealed model.
        group: the group of its fields.
        table: the table.
        keys: the columns of the primary key.
        owner: the column that says whose a row is.
        envelope: the column of the envelopes.
        version: the column of their versions, of a versioned group.
        indexes: the columns of the blind indexes by their names (`SealedField.index_columns`).
        plaintext: field to the column in the clear, while both are written.
        retired: field to the name of the column in the clear that nobody uses any more.
    """

    model: SealedModel
    group: SealedGroup
    table: Table
    keys: tuple[Column[Any], ...]
    owner: Column[Any]
    envelope: Column[Any]
    version: Column[Any] | None
    indexes: Mapping[str, Column[Any]]
    plaintext: Mapping[str, Column[Any]]
    retired: Mapping[str, str]

    @property
    def name(self) -> str:
        """The table's name; with the group's behind it unless that is the default one."""
        whole = str(self.table.fullname)
        return whole if self.group.name == DEFAULT_GROUP else f"{whole}:{self.group.name}"

    @property
    def clear_columns(self) -> tuple[str, ...]:
        """The names of the columns in the clear, in either stage."""
        return (*(str(column.name) for column in self.plaintext.values()), *self.retired.values())

    @property
    def sealed_columns(self) -> tuple[Column[Any], ...]:
        """The envelope's column, then those of the blind indexes."""
        return (self.envelope, *self.indexes.values())

    def indexes_to_make(self, dialect: str) -> tuple[Index, ...]:
        """The database's own indexes over the columns of the blind indexes.

        Args:
            dialect: the name of the database's dialect; only PostgreSQL can index n-grams.
        """
        ours = {column.name for column in self.indexes.values()}
        found = [
            index
            for index in self.table.indexes
            if ours & {column.name for column in index.columns}
            and (dialect == "postgresql" or not index.dialect_kwargs.get("postgresql_using"))
        ]
        return tuple(sorted(found, key=lambda index: str(index.name)))

    @property
    def unique_to_make(self) -> dict[str, list[str]]:
        """The constraints that make blind indexes unique: name to columns."""
        ours = {column.name for column in self.indexes.values()}
        return {
            str(constraint.name): [str(column.name) for column in constraint.columns]
            for constraint in self.table.constraints
            if isinstance(constraint, UniqueConstraint)
            and ours & {column.name for column in constraint.columns}
        }


def all_parts(base: Any, tables: Sequence[str] = ()) -> list[Part]:
    """Every group of every sealed table, or of the named ones.

    Args:
        base: a declarative base or registry.
        tables: names of tables; all of them when empty.

    Raises:
        NothingToAdoptError: there is no sealed table of a name that was asked for.
        DeclarationError: ``base`` is neither.
    """
    found = {table.name: table for table in sealed_tables(base)}
    unknown = [name for name in tables if name not in found]
    if unknown or not found:
        raise NothingToAdoptError(
            f"expected sealed tables ({', '.join(found) or 'the models declare none'}), found "
            f"none called {', '.join(unknown) or 'anything'}"
        )
    chosen = [table for name, table in found.items() if not tables or name in tables]
    models = [model for table in chosen for model in dict.fromkeys(table.models.values())]
    return [part for model in models for part in _parts(model)]


def parts_in_transition(base: Any, tables: Sequence[str] = ()) -> list[Part]:
    """The groups whose fields are written into columns in the clear as well.

    Raises:
        NothingToAdoptError: there is none.
    """
    found = [part for part in all_parts(base, tables) if part.plaintext]
    if not found:
        raise NothingToAdoptError(
            "expected a sealed field that names its column in the clear, found none; declare "
            'sealed(plaintext="column")'
        )
    return found


def retired_parts(base: Any, tables: Sequence[str] = ()) -> list[Part]:
    """The groups whose columns in the clear are still there and not used any more.

    Raises:
        NothingToAdoptError: there is none, or some are still written.
    """
    found = all_parts(base, tables)
    written = [part.name for part in found if part.plaintext]
    retired = [part for part in found if part.retired]
    if written or not retired:
        raise NothingToAdoptError(
            "expected models that neither read nor write the columns in the clear any more, found "
            f"{'some that still do: ' + ', '.join(written) if written else 'none to drop'}; "
            'declare sealed(retired="column") instead of plaintext, and bring that everywhere '
            "before the columns are dropped"
        )
    return retired


def _parts(cls: type) -> list[Part]:
    model: SealedModel = cls.__sealed__  # type: ignore[attr-defined]  # a sealed model has it
    mapper: Any = inspect(cls)
    columns = mapper.columns
    return [
        Part(
            model=model,
            group=group,
            table=mapper.local_table,
            keys=tuple(columns[name] for name in model.key),
            owner=columns[model.owner],
            envelope=columns[group.column],
            version=columns[group.version_column] if group.versioned else None,
            indexes={name: columns[name] for f in group.fields for name in f.index_columns},
            plaintext={
                f.name: columns[f.plaintext_attribute]
                for f in group.fields
                if f.plaintext is not None
            },
            retired={f.name: f.retired for f in group.fields if f.retired is not None},
        )
        for group in model.own_groups.values()
    ]
