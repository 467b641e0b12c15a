"""Which classes can have sealed fields, and where these stand: models, mixins, subclasses.

=========================== ====================================================================
class                       where its sealed fields stand
=========================== ====================================================================
model with a table          in its table, in the group "default" and in others
mixin, abstract base        in the tables of the models that use it, as if they had declared them
subclass with a table       in its own table (joined inheritance), in groups of their own
subclass without a table    in its parent's table (single table inheritance), in groups of their
                            own, whose columns are NULL in the rows of other classes
=========================== ====================================================================

A row of a hierarchy has one owner and one primary key: those that the first model names.

Example:
    >>> class Letter(Document):                                          # doctest: +SKIP
    ...     __mapper_args__ = {"polymorphic_identity": "letter"}
    ...     city: Mapped[str] = sealed()            # in the group "letter", column sealed_letter
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import getattr_static
from typing import Any

from sqlalchemy import CHAR, NCHAR, TypeDecorator, Uuid

from assay.encryption.row_address import DEFAULT_GROUP
from assay.encryption.sqlalchemy.errors import DeclarationError
from assay.encryption.sqlalchemy.model import (
    IndexKind,
    SealedField,
    SealedModel,
    envelope_column,
)


def is_mixin(cls: type) -> bool:
    """Whether a class is no model itself but is there for models to inherit from."""
    is_declarative = any(
        "registry" in vars(each) or "__mapper__" in vars(each) for each in cls.__mro__[1:]
    )
    names_table = isinstance(vars(cls).get("__tablename__"), str) or "__table__" in vars(cls)
    return bool(vars(cls).get("__abstract__")) or (not is_declarative and not names_table)


def mapped_parent(cls: type) -> Any:
    """The nearest mapped class that a class inherits from, or None."""
    return next((each for each in cls.__mro__[1:] if "__mapper__" in vars(each)), None)


def inherited_model(cls: type) -> SealedModel | None:
    """What the nearest sealed model that a class inherits from declares, or None."""
    found = (vars(each).get("__sealed__") for each in cls.__mro__[1:])
    return next((each for each in found if each is not None), None)


def shares_table(cls: type) -> bool:
    """Whether a class stands in its parent's table (single table inheritance)."""
    return table_name(cls) is None and mapped_parent(cls) is not None


def table_name(cls: Any) -> object:
    """The name of the table that a class gets, found as SQLAlchemy finds it; None for no table."""
    for each in cls.__mro__:
        found = vars(each).get("__tablename__")
        # What a mapped parent says is meant for itself alone, unless a function says it.
        is_asked = each is cls or "__mapper__" not in vars(each) or hasattr(found, "__get__")
        if found is not None and is_asked and cls.__tablename__:
            return cls.__tablename__
    return None


def default_group(cls: type) -> str:
    """The group of a class's fields that name none."""
    return DEFAULT_GROUP if mapped_parent(cls) is None else cls.__name__.lower()


def refuse_shape(cls: Any) -> None:
    """Refuse a class that cannot be sealed, before it is mapped.

    Raises:
        DeclarationError: always with the way out.
    """
    name = cls.__name__
    if "__table__" in vars(cls) or not (isinstance(table_name(cls), str) or shares_table(cls)):
        raise DeclarationError(
            f"expected sealed fields on a model that names its table in __tablename__, found "
            f"{name}; give it a __tablename__ of text"
        )
    if not isinstance(getattr(cls, "__owner__", None), str):
        raise DeclarationError(
            f"expected {name}.__owner__ to name the attribute that says whose a row is, found "
            'none; add for example __owner__ = "tenant_id"'
        )
    inherited = inherited_model(cls)
    if inherited is not None and cls.__owner__ != inherited.owner:
        raise DeclarationError(
            f"expected one owner for all of a row, found {cls.__owner__!r} on {name} and "
            f"{inherited.owner!r} on {inherited.model.__name__}; leave it to the latter"
        )


def refuse_taken(cls: type, field: SealedField, inherited: SealedModel) -> None:
    """Refuse a field of a subclass that would replace, or share an envelope with, an inherited one.

    Raises:
        DeclarationError: always with the way out.
    """
    if field.name in inherited.fields:
        raise DeclarationError(
            f"expected a new name for a sealed field of {cls.__name__}, found {field.name!r}, "
            f"which {inherited.model.__name__} has sealed; leave it to that model"
        )
    if field.group in inherited.groups:
        raise DeclarationError(
            f"expected the sealed fields of {cls.__name__} in groups of their own, found "
            f"{field.name!r} in the group {field.group!r} of {inherited.model.__name__}; name "
            "another group"
        )
    if field.equality is not None and field.equality.unique:
        raise DeclarationError(
            f"expected unique sealed fields on the first model of a hierarchy only, found "
            f"{cls.__name__}.{field.name}: the owner stands in that model's table; declare it there"
        )
    if field.plaintext is not None:
        raise DeclarationError(
            f"expected plaintext columns on the first model of a hierarchy only, found one for "
            f"{cls.__name__}.{field.name}; declare the field on the first model"
        )


def refuse_indexes(cls: type, field: SealedField) -> None:
    """Refuse indexes that a field cannot have.

    Raises:
        DeclarationError: always with the way out.
    """
    place = f"{cls.__name__}.{field.name}"
    if field.indexes and field.conversion is not None:
        raise DeclarationError(
            f"expected no blind index on {place}, found one on {field.type_name}: how often each "
            "of few values occurs gives them away; select by other columns, or index a field of "
            "text or numbers beside it"
        )
    for each in field.indexes:
        if not isinstance(each, IndexKind):
            raise DeclarationError(
                f"expected an index such as Equality(casefold) for {place}, found "
                f"{type(each).__name__}"
            )
        reason = each.refusal_of(field.kind)
        if reason is not None:
            raise DeclarationError(f"the index of {place}: {reason}")
    if len({type(each) for each in field.indexes}) < len(field.indexes):
        raise DeclarationError(f"expected one index of each kind for {place}, found two of one")


def is_in_transition(cls: type, group: str, fields: list[SealedField]) -> bool:
    """Whether a group's fields also stand in the clear: all of them, or none.

    Raises:
        DeclarationError: some of them do.
    """
    without = [field.name for field in fields if field.group == group and field.plaintext is None]
    if len(without) == sum(field.group == group for field in fields):
        return False
    if without:
        raise DeclarationError(
            f"expected every field of the group {group!r} of {cls.__name__} to name its plaintext "
            f"column while one of them does, found none for {', '.join(without)}: a row without "
            "an envelope would have no value for it; put it into another group"
        )
    return True


def refuse_unsealed(
    mapper: Any, cls: type, inherited: SealedModel | None, own: Sequence[SealedField]
) -> None:
    """Refuse a mapped class in which a sealed field would stand in the clear, or nowhere.

    Raises:
        DeclarationError: always with the way out.
    """
    sealed = {} if inherited is None else inherited.fields
    if inherited is not None and mapper.concrete:
        raise DeclarationError(
            f"expected {cls.__name__} in the table of {inherited.model.__name__}, or joined to it, "
            "found concrete inheritance, which leaves the sealed columns behind; declare it as a "
            "model of its own, with the sealed fields on a mixin of both"
        )
    if not all(mapper.has_property(envelope_column(field.group)) for field in own):
        raise DeclarationError(
            f"expected {cls.__name__} to be mapped with the columns of its sealed fields, found it "
            "mapped in another way; map it declaratively"
        )
    for name in (*sealed, *(field.name for field in own)):
        if mapper.has_property(name) or not hasattr(getattr_static(cls, name), "field"):
            raise DeclarationError(
                f"expected {cls.__name__}.{name} to stay sealed, found another attribute or column "
                "of that name; rename it"
            )


def refuse_remade(cls: type, column: Any) -> None:
    """Refuse an owner or a primary key that is read otherwise than it was sealed for.

    Raises:
        DeclarationError: always with the way out.
    """
    found, way_out = "", "leave that out: an envelope stays bound to the first value"
    kinds = [*_types_of(column.type)]
    if any(isinstance(each, CHAR | NCHAR) for each in kinds):
        found, way_out = "CHAR, which databases pad or strip", "declare String"
    elif any(isinstance(each, Uuid) and not each.as_uuid for each in kinds):
        found, way_out = "a Uuid as text, which has several spellings", "declare Mapped[UUID]"
    elif column.onupdate is not None or column.server_onupdate is not None:
        found = "a value that every UPDATE makes anew (onupdate)"
    elif any((key.onupdate or "").upper() not in _KEEPING for key in column.foreign_keys):
        found = "a foreign key whose ON UPDATE changes it in the database"
    elif any((key.ondelete or "").upper().startswith("SET") for key in column.foreign_keys):
        found = "a foreign key whose ON DELETE changes it in the database"
    if found:
        raise DeclarationError(
            f"expected {cls.__name__}.{column.key}, to which envelopes are bound, to be read as it "
            f"was written, found {found}; {way_out}"
        )


def _types_of(kind: Any) -> Iterator[Any]:
    """A type, and those that it is on some databases."""
    yield kind
    for each in kind._variant_mapping.values():  # noqa: SLF001 - there is no other way to see them
        yield from _types_of(each)
    if isinstance(kind, TypeDecorator):
        made_anew = type(kind).process_result_value is not TypeDecorator.process_result_value
        if not made_anew:  # what it makes of what is read is its own affair
            yield from _types_of(kind.impl_instance)


_KEEPING = ("", "NO ACTION", "RESTRICT")
