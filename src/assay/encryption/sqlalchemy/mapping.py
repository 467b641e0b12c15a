"""Completing a sealed model once SQLAlchemy has mapped it: owner, primary key, guards.

Example:
    >>> complete(inspect(Document))                     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from inspect import getattr_static
from typing import Any, NoReturn, cast
from uuid import UUID

from sqlalchemy import Column, ColumnDefault, Index, UniqueConstraint, event
from sqlalchemy.orm import ColumnProperty, InstanceState, Mapper
from sqlalchemy.types import NullType, TypeDecorator

from assay.encryption.blind_index import BlindIndex
from assay.encryption.ngram_index import NgramIndex
from assay.encryption.row_address import RowIdKind, row_id_encoder
from assay.encryption.sqlalchemy.attributes import SealedAttribute, SealedClassManager
from assay.encryption.sqlalchemy.columns import BlindIndexType
from assay.encryption.sqlalchemy.constructors import InDataclass, refuse_dataclass
from assay.encryption.sqlalchemy.core_writes import watch_table
from assay.encryption.sqlalchemy.declaration import Sealed, refuse_left_over
from assay.encryption.sqlalchemy.errors import (
    DeclarationError,
    OwnerChangedError,
    RowIdChangedError,
)
from assay.encryption.sqlalchemy.flushing import seal_when_flushed
from assay.encryption.sqlalchemy.hierarchies import watch_hierarchy
from assay.encryption.sqlalchemy.hybrids import guard_bulk_setters
from assay.encryption.sqlalchemy.joining import refuse_joins_in_other_places
from assay.encryption.sqlalchemy.model import (
    SealedField,
    SealedGroup,
    SealedModel,
    envelope_column,
)
from assay.encryption.sqlalchemy.moving import MOVE
from assay.encryption.sqlalchemy.searching import criteria_of
from assay.encryption.sqlalchemy.shapes import inherited_model, refuse_remade, refuse_unsealed
from assay.encryption.sqlalchemy.swapping import guard_table
from assay.encryption.sqlalchemy.transition import refuse_plaintext_write

_ROW_ID_KINDS = {UUID: RowIdKind.UUID, int: RowIdKind.INTEGER, str: RowIdKind.TEXT}


@event.listens_for(Sealed, "after_mapper_constructed", propagate=True)
def complete(mapper: Mapper[Any], cls: Any) -> None:
    """Give a mapped class its `SealedModel`.

    Raises:
        DeclarationError: the owner or the primary key cannot be bound to.
    """
    attributes = [value for value in vars(cls).values() if isinstance(value, SealedAttribute)]
    inherited = inherited_model(cls)
    refuse_unsealed(mapper, cls, inherited, [attribute.field for attribute in attributes])
    of_parents = dict.fromkeys(() if inherited is None else inherited.fields, InDataclass())
    refuse_dataclass(cls, of_parents | {a.field.name: a.in_dataclass for a in attributes})
    refuse_left_over(mapper, cls)
    _call_validators(mapper, cls)
    guard_bulk_setters(cls)
    mapper.class_manager.__class__ = SealedClassManager
    seal_when_flushed(mapper)
    if not attributes:
        if inherited is not None:
            watch_hierarchy(mapper)
        return
    declared = [attribute.field for attribute in attributes]
    name = _stable_name(mapper, cls, inherited)
    groups = {
        group: SealedGroup(
            group,
            name,
            envelope_column(group),
            tuple(field for field in declared if field.group == group),
            padded=bool(cls.__sealed_padding__),
            versioned=bool(cls.__sealed_versions__),
        )
        for group in dict.fromkeys(field.group for field in declared)
    }
    if inherited is None:
        cls.__sealed__ = _first_model(mapper, cls, name, groups)
        for unique in cls.__sealed__.unique:
            _make_unique(mapper, _column(mapper, cls.__owner__), cls.__sealed__.fields[unique])
        _guard(cls, cls.__owner__, _owner_changed)
        for name_of_key in cls.__sealed__.key:
            if name_of_key != cls.__owner__:
                _guard(cls, name_of_key, _row_id_changed)
    else:
        cls.__sealed__ = replace(
            inherited,
            model=cls,
            groups={**inherited.groups, **groups},
            fields={**inherited.fields, **_fields(groups)},
            indexes={**inherited.indexes, **_indexes(groups)},
            parent=inherited,
        )
    for group in groups.values():
        guard_table(mapper.columns[group.column].table)
        watch_table(
            mapper.columns[group.column].table,
            mapper.columns[cls.__sealed__.owner],
            mapper.primary_key,
            {group.version_column: group.column} if group.versioned else {},
            group.names,
        )
    watch_hierarchy(mapper)
    for attribute in attributes:
        attribute.attach(cls.__sealed__)
        del cls.__annotations__[attribute.field.name]  # nobody makes a dataclass of it any more
        if attribute.field.plaintext is not None:
            plaintext = getattr(cls, attribute.field.plaintext_attribute)
            event.listen(plaintext, "set", refuse_plaintext_write, propagate=True)
    _index_all_ngrams(mapper, groups)


@event.listens_for(Mapper, "mapper_configured")
def refuse_computed_criteria(mapper: Mapper[Any], cls: type) -> None:
    """Refuse attributes that compare sealed fields within the columns that are loaded.

    Raises:
        DeclarationError: a session has no chance to compute their blind indexes.
        SealedOperatorError: one says whether two sealed fields are equal.
    """
    for prop in mapper.column_attrs:
        refuse_joins_in_other_places(prop.columns[0])
        if not isinstance(prop.columns[0], Column) and criteria_of(prop.columns[0]):
            raise DeclarationError(
                f"expected {cls.__name__}.{prop.key} to be made of columns, found a comparison of "
                "a sealed field in it, whose blind indexes only a statement's session can "
                "compute; make it a hybrid_property"
            )


@event.listens_for(Mapper, "mapper_configured")
def refuse_copied_indexes(mapper: Mapper[Any], cls: type) -> None:
    """Refuse relationships that would write the blind index of one row into another.

    Raises:
        DeclarationError: one compares sealed fields, and is not only looked at.
    """
    for each in mapper.relationships:
        targets = () if each.viewonly else [target for _, target in each.synchronize_pairs]
        if any(isinstance(target.type, BlindIndexType) for target in targets):
            raise DeclarationError(
                f"expected the relationship {cls.__name__}.{each.key}, which compares sealed "
                "fields, to have viewonly=True, found it without: it would copy the blind index "
                "of one row into another; add it, and assign the sealed fields themselves"
            )


def _first_model(
    mapper: Mapper[Any], cls: Any, name: str, groups: Mapping[str, SealedGroup]
) -> SealedModel:
    """What a model that inherits nothing sealed declares, with what its rows are bound to."""
    owner = _column(mapper, cls.__owner__)
    if _python_type(owner) not in (str, int, UUID):
        raise DeclarationError(
            f"expected the owner {cls.__name__}.{cls.__owner__} to be text, a UUID or an integer, "
            f"found {_found_type(owner)}"
        )
    for column in (owner, *mapper.primary_key):
        refuse_remade(cls, column)
    key = tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)
    return SealedModel(
        model=cls,
        name=name,
        owner=cls.__owner__,
        groups=groups,
        fields=_fields(groups),
        indexes=_indexes(groups),
        key=key,
        encode_row_id=row_id_encoder([_row_id_kind(cls, column) for column in mapper.primary_key]),
        defaults=_defaults(mapper, (*key, cls.__owner__)),
    )


def _fields(groups: Mapping[str, SealedGroup]) -> dict[str, SealedField]:
    return {field.name: field for group in groups.values() for field in group.fields}


def _indexes(groups: Mapping[str, SealedGroup]) -> dict[str, dict[str, BlindIndex]]:
    return {
        field.name: {
            column: index
            for kind in field.indexes
            for column, index in kind.columns(group.table, field.name).items()
        }
        for group in groups.values()
        for field in group.fields
        if field.indexes
    }


def _stable_name(mapper: Mapper[Any], cls: Any, inherited: SealedModel | None) -> str:
    """The name of the table that holds a class's own sealed columns, as it stands in addresses."""
    table: Any = mapper.local_table
    if inherited is None:
        return str(cls.__sealed_name__ or table.fullname)
    for each in cls.__mro__:  # a name that a parent has given to another table does not count
        mapped = vars(each).get("__mapper__")
        if each is cls or (mapped is not None and mapped.local_table is table):
            named = vars(each).get("__sealed_name__")
            if named:
                return str(named)
    return str(table.fullname)


def _column(mapper: Mapper[Any], attribute: str) -> Column[Any]:
    if mapper.has_property(attribute):
        prop = mapper.get_property(attribute)
        if isinstance(prop, ColumnProperty) and isinstance(prop.columns[0], Column):
            return prop.columns[0]
    raise DeclarationError(
        f"expected {mapper.class_.__name__}.__owner__ to name a column of the model, found "
        f"{attribute!r}; name the attribute that says whose a row is"
    )


def _index_all_ngrams(mapper: Mapper[Any], groups: Mapping[str, SealedGroup]) -> None:
    """PostgreSQL can index the n-grams of a row; no other database does."""
    for columns in _indexes(groups).values():
        for name, index in columns.items():
            if type(index) is NgramIndex:
                column: Any = mapper.columns[name]
                Index(
                    f"ix_{column.table.name}_{column.name}", column, postgresql_using="gin"
                ).ddl_if(dialect="postgresql")


def _call_validators(mapper: Mapper[Any], cls: type) -> None:
    """SQLAlchemy calls a function that ``@validates`` a column's attribute only."""
    for name in mapper.validators:
        attribute = getattr_static(cls, name, None)
        if isinstance(attribute, SealedAttribute):
            attribute.call_validators()


def _make_unique(mapper: Mapper[Any], owner: Column[Any], field: SealedField) -> None:
    """No two rows of one owner with an equal value."""
    table: Any = mapper.local_table
    column = mapper.columns[str(field.equality_column)]
    # The index column first, so that a search without the owner uses the constraint's index too.
    table.append_constraint(UniqueConstraint(column, owner, name=f"uq_{table.name}_{column.name}"))


def _python_type(column: Any) -> type | None:
    try:
        found: type = column.type.python_type
    except NotImplementedError:
        return None
    return found


def _found_type(column: Any) -> str:
    if column.foreign_keys and isinstance(column.type, NullType):
        return (
            "a foreign key without a type, to a table that is not declared yet; name the type as "
            "well, such as mapped_column(String, ForeignKey(...))"
        )
    if isinstance(column.type, TypeDecorator):
        return f"{column.type!r}, which does not say so; declare the property python_type on it"
    return repr(column.type)


def _row_id_kind(cls: type, column: Any) -> RowIdKind:
    place = f"{cls.__name__}.{column.key}"
    kind = _ROW_ID_KINDS.get(cast("Any", _python_type(column)))
    if kind is None:
        raise DeclarationError(
            f"expected the primary key {place} to be a UUID, an integer or text, which alone can "
            f"be bound to an envelope, found {_found_type(column)}"
        )
    default = column.default
    by_database = (
        column.server_default is not None
        or column.identity is not None
        or (default is not None and not isinstance(default, ColumnDefault))
        or (default is not None and default.is_clause_element)
        or (default is None and column is column.table.autoincrement_column)
    )
    if by_database:
        raise DeclarationError(
            f"expected the primary key {place} to be known before its row is sealed, found one "
            "that the database makes; give it a default on this side, such as "
            "mapped_column(primary_key=True, default=uuid4), or assign it yourself and declare "
            "mapped_column(primary_key=True, autoincrement=False)"
        )
    return kind


def _defaults(
    mapper: Mapper[Any], attributes: tuple[str, ...]
) -> Mapping[str, Callable[[], object]]:
    """For attributes with a default on this side, what makes it."""
    found: dict[str, Callable[[], object]] = {}
    for attribute in attributes:
        default: Any = _column(mapper, attribute).default
        if default is None:
            continue
        if default.is_callable:
            found[attribute] = partial(
                default.arg, _NoStatement(f"{mapper.class_.__name__}.{attribute}")
            )
        elif default.is_scalar:
            found[attribute] = partial(lambda value: value, default.arg)
    return found


class _NoStatement:
    """Stands for the statement's context, which SQLAlchemy gives to the functions of defaults.

    Args:
        place: the attribute whose default it is.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse whatever a function asks for.

        Raises:
            DeclarationError: always.
        """
        raise DeclarationError(
            f"expected a default of {self._place} that can be made before the row is sealed, found "
            f"one that asks the statement for {name}, which there is not yet; assign the attribute "
            "where the instance is made, or in a listener of before_insert"
        )


def _guard(cls: Any, attribute: str, error: Callable[[str], Exception]) -> None:
    """Refuse to assign another value to an attribute that a stored row's envelope is bound to."""

    def refuse_change(
        state: InstanceState[Any], value: object, old: object, initiator: object
    ) -> None:
        # The old value is always loaded (active_history), so for a stored row it is known.
        if state.key is not None and value != old and initiator is not MOVE:
            raise error(f"{cls.__name__}.{attribute}")

    event.listen(
        getattr(cls, attribute), "set", refuse_change,
        active_history=True, propagate=True, raw=True,
    )  # fmt: skip


def _owner_changed(place: str) -> Exception:
    return OwnerChangedError(
        f"expected a stored row to keep its owner, found another one for {place}; its envelope is "
        "sealed under the owner's key: call move_to_owner(instance, owner), which seals it anew"
    )


def _row_id_changed(place: str) -> Exception:
    return RowIdChangedError(
        f"expected a stored row to keep its primary key, found another one for {place}; its "
        "envelope is bound to it: make a new row and delete this one"
    )
