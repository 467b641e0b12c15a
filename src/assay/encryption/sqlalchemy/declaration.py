"""Declaring sealed fields on a model.

Example:
    >>> class Document(Sealed, Base):                                    # doctest: +SKIP
    ...     __tablename__ = "documents"
    ...     __owner__ = "tenant_id"
    ...     id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    ...     tenant_id: Mapped[str]
    ...     owner_email: Mapped[str] = sealed(index=Equality(casefold))
    ...     text: Mapped[str] = sealed()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import getattr_static
from typing import Any, ClassVar, Self

from sqlalchemy import JSON, BigInteger
from sqlalchemy.orm import (
    CompositeProperty,
    Mapped,
    MappedColumn,
    Mapper,
    declared_attr,
    mapped_column,
)
from sqlalchemy.orm.interfaces import _DCAttributeOptions

from assay.encryption.blind_index import index_size_bytes
from assay.encryption.index_kinds import Equality
from assay.encryption.ngram_index import Ngram
from assay.encryption.sqlalchemy.annotations import evaluate, kind_of
from assay.encryption.sqlalchemy.attributes import ConvertedAttribute, SealedAttribute
from assay.encryption.sqlalchemy.columns import (
    BlindIndexType,
    Contents,
    EnvelopeType,
    NgramsType,
    refuse_default,
)
from assay.encryption.sqlalchemy.constructors import InDataclass, attribute_options, leave_out
from assay.encryption.sqlalchemy.errors import DeclarationError
from assay.encryption.sqlalchemy.model import (
    UNSET,
    IndexKind,
    SealedField,
    SealedModel,
    envelope_column,
    version_column,
)
from assay.encryption.sqlalchemy.shapes import (
    default_group,
    inherited_model,
    is_in_transition,
    is_mixin,
    refuse_indexes,
    refuse_shape,
    refuse_taken,
    shares_table,
)

_BEHIND_ALL_OTHERS = 1000
"""Where sealed columns stand in a table."""


@dataclass(frozen=True, slots=True)
class SealedDeclaration(_DCAttributeOptions):
    """What `sealed` leaves on a class until `Sealed` turns it into columns and attributes.

    On a mixin it stays, and is a field of it when that is a dataclass.
    """

    group: str | None
    indexes: tuple[IndexKind, ...]
    default: object
    in_dataclass: InDataclass
    plaintext: str | MappedColumn[Any] | None = None
    retired: str | None = None
    annotation: object = None
    mixin: type | None = None
    _has_dataclass_arguments = False  # `refuse_dataclass` looks at them

    def _get_dataclass_setup_options(self, *_of_the_class: object) -> Any:
        return attribute_options(self.in_dataclass, self.default)

    def __hash__(self) -> int:
        """Refuse ``Annotated[str, sealed()]``, which asks for it and would be in the clear."""
        raise DeclarationError(
            "expected sealed() as the value of a field, found it within Annotated, where "
            "SQLAlchemy does not see it; write name: Mapped[str] = sealed()"
        )

    def __set_name__(self, owner: type, name: str) -> None:
        """Refuse a class on which SQLAlchemy would take this for a column in the clear.

        Python before 3.12 shows the error as the cause of a RuntimeError.
        """
        for base in owner.__mro__[1:]:
            if base is Sealed:
                return
            if hasattr(base, "registry") and not issubclass(base, Sealed):
                break
        raise DeclarationError(
            f"expected {owner.__name__} to be Sealed, and Sealed to stand before its declarative "
            f"base, for its sealed field {name!r}; write class {owner.__name__}(Sealed, Base)"
        )


def sealed(  # noqa: PLR0913 - what columns and fields of dataclasses are declared with
    *,
    group: str | None = None,
    index: IndexKind | Sequence[IndexKind] | None = None,
    default: object = UNSET,
    default_factory: Callable[[], object] | None = None,
    init: bool | None = None,
    compare: bool | None = None,
    kw_only: bool | None = None,
    plaintext: str | MappedColumn[Any] | None = None,
    retired: str | None = None,
) -> Any:
    """Declare a sealed field; its annotation ``Mapped[type]`` says what it holds.

    The types are str, bytes, bool, int, float, UUID, Decimal, date, time, datetime, dict and list
    of such, enumerations (sealed by value), and frozen dataclasses and msgspec structs (sealed as
    maps); each of them ``| None``. See `assay.encryption.conversions`.

    Args:
        group: fields that are large, seldom read, or for other readers than the rest go into a
            group of their own, with an envelope and a column of its own: ``sealed_<group>``. The
            default group's column is ``sealed``. The fields of a model that inherits from another
            one are in a group of theirs: by default it has the class's name in small letters;
            name it when the class may be renamed.
        index: how rows can be found by this field, in one way or in several of different kinds;
            without an index they cannot.
        default: the value of a new row when none is given, or a function that makes one.
        default_factory: such a function, as dataclasses spell it.
        init: in a dataclass, whether the constructor takes the field.
        compare: in a dataclass, whether ``==`` compares it.
        kw_only: in a dataclass, whether the constructor takes it by name only.
        plaintext: the column that has held the field in the clear and is still in the table, by
            its name, or as a ``mapped_column`` with its name when its type is a special one. Both
            are written, until all rows are sealed; see `assay.encryption.sqlalchemy.transition`.
        retired: the name of that column once it is neither read nor written any more, until it is
            dropped (``assay seal contract``).
    """
    if index is None:
        indexes: tuple[IndexKind, ...] = ()
    else:
        indexes = (index,) if isinstance(index, IndexKind) else tuple(index)
    if default_factory is not None:
        if default is not UNSET:
            raise DeclarationError(
                "expected one default of a sealed field, found both default and default_factory; "
                "leave one out"
            )
        default = default_factory
    in_dataclass = InDataclass(init, compare, kw_only)
    return SealedDeclaration(group, indexes, default, in_dataclass, plaintext, retired)


class Sealed:
    """Mix this into a model, before its declarative base, and declare fields as `sealed`.

    Attributes:
        __owner__: the name of the attribute that says whose a row is. Its value names the data
            key that seals the row.
        __sealed_name__: the stable name of the table in associated data and blind indexes, when
            it shall differ from the table's own; set it to the old name when a table is renamed.
        __sealed_padding__: hide the exact length of the sealed values (Padmé).
        __sealed_versions__: bind each envelope to a version of its row, so that an older envelope
            of the same row that is put back into its column is noticed
            (`RolledBackEnvelopeError`). Each group gets a column ``<envelope>_version``. Part of
            the declaration of the table: to be chosen while it holds no envelopes.
        __sealed__: what was declared, once the class is mapped.

    Raises:
        DeclarationError: when the class is made and cannot be sealed as it is declared.
    """

    __owner__: ClassVar[str]
    __sealed_name__: ClassVar[str | None] = None
    __sealed_padding__: ClassVar[bool] = False
    __sealed_versions__: ClassVar[bool] = False
    __sealed__: ClassVar[SealedModel]

    def __init_subclass__(cls, **options: Any) -> None:
        """Turn the declarations into columns and attributes, before the class is mapped."""
        if is_mixin(cls):
            _keep_for_models(cls)
        elif declared := _declarations(cls):
            refuse_shape(cls)
            _declare(cls, declared)
        super().__init_subclass__(**options)

    def __copy__(self) -> Self:
        """A copy for ``copy.copy``, with values of its own where none are sealed yet."""
        copied = type(self).__new__(type(self))
        held = copied.__dict__
        held.update(self.__dict__)
        for name, value in self.__dict__.items():
            if type(value) is Contents and value.envelope is None:
                held[name] = Contents(dict(value.fields), None, None, id(held), value.replaces)
        return copied


def _keep_for_models(cls: type) -> None:
    """Let a mixin or abstract base keep its declarations."""
    annotations = vars(cls).get("__annotations__", {})
    for name, value in list(vars(cls).items()):
        if isinstance(value, SealedDeclaration):
            kept = replace(value, annotation=annotations.get(name), mixin=cls)
            setattr(cls, name, kept)


def _declarations(cls: type) -> dict[str, SealedDeclaration]:
    """The declarations of the class, and of its mixins unless a parent has taken them already."""
    annotations = vars(cls).get("__annotations__", {})
    found: dict[str, SealedDeclaration] = {}
    for each in reversed(cls.__mro__):
        for name, value in vars(each).items():
            if isinstance(value, SealedDeclaration) and getattr_static(cls, name) is value:
                found[name] = (
                    replace(value, annotation=annotations.get(name), mixin=cls)
                    if value.mixin is None
                    else value
                )
    return found


def refuse_left_over(mapper: Mapper[Any], cls: type) -> None:
    """Refuse a mapped class with a declaration that nobody turned into columns.

    Raises:
        DeclarationError: there is one, which would be an ordinary attribute that is never stored,
            or a part of a composite.
    """
    for name in dir(cls):
        if isinstance(getattr_static(cls, name), SealedDeclaration):
            if any(isinstance(vars(each).get(name), declared_attr) for each in cls.__mro__):
                raise DeclarationError(
                    f"expected the sealed field {cls.__name__}.{name} to be declared itself, found "
                    f"it within declared_attr; write {name}: Mapped[...] = sealed(...) on the mixin"
                )
            raise DeclarationError(
                f"expected {cls.__name__} to name its table in __tablename__ for its sealed field "
                f"{name!r}, found it mapped in another way; map it declaratively"
            )
    for name, found in mapper._props.items():  # noqa: SLF001 - the public ones configure all mappers
        for part in found.attrs if isinstance(found, CompositeProperty) else ():
            field = getattr_static(cls, part, None) if isinstance(part, str) else part
            if isinstance(field, SealedAttribute | SealedDeclaration):
                raise DeclarationError(
                    f"expected {cls.__name__}.{name} to be a composite of columns, found a sealed "
                    "field in it, which is none; make it a property that reads and assigns fields"
                )


def _declare(cls: type, declared: dict[str, SealedDeclaration]) -> None:
    shared = shares_table(cls)
    group_of_class = default_group(cls)
    fields, hints = [], {}
    for name, each in declared.items():
        hints[name] = evaluate(each.mixin or cls, name, each.annotation)
        kind, nullable, conversion = kind_of(each.mixin or cls, name, hints[name])
        field = SealedField(
            name,
            each.group or group_of_class,
            kind,
            nullable,
            each.default,
            each.indexes,
            _column_name(cls, name, each),
            each.retired,
            conversion,
        )
        _refuse_field(cls, field)
        refuse_indexes(cls, field)
        attribute = ConvertedAttribute if conversion else SealedAttribute
        setattr(cls, name, attribute(field, each.in_dataclass))
        fields.append(field)
    # For dataclasses, also what comes from mixins that are none.
    cls.__annotations__ = {**vars(cls).get("__annotations__", {}), **hints}
    for group in dict.fromkeys(field.group for field in fields):
        _declare_envelope(cls, group, fields, shared=shared)
    for field in fields:
        plaintext = declared[field.name].plaintext
        if plaintext is not None:
            _declare_plaintext(cls, field, plaintext)
        for kind in field.indexes:
            for column in kind.columns("", field.name):
                _add_column(cls, column, _index_column(kind))


def _declare_envelope(cls: type, group: str, fields: list[SealedField], *, shared: bool) -> None:
    in_transition = is_in_transition(cls, group, fields)
    envelope = mapped_column(
        EnvelopeType(),
        # Rows of other classes in the same table have no envelope of this group.
        nullable=in_transition or shared,
        default=None if shared else refuse_default,
        sort_order=_BEHIND_ALL_OTHERS,
    )
    _add_column(cls, envelope_column(group), envelope)
    if not getattr(cls, "__sealed_versions__", False):
        return
    if in_transition:
        raise DeclarationError(
            f"expected {cls.__name__} without __sealed_versions__ while its fields stand in the "
            "clear as well, found it set: what is sealed now would have no version; leave it out"
        )
    version = mapped_column(BigInteger, nullable=shared, sort_order=_BEHIND_ALL_OTHERS)
    _add_column(cls, version_column(group), version)


def _index_column(kind: IndexKind) -> Any:
    if type(kind) is Ngram:
        return mapped_column(
            NgramsType(kind.bits // 8), nullable=True, deferred=True, sort_order=_BEHIND_ALL_OTHERS
        )
    return mapped_column(
        BlindIndexType(index_size_bytes(kind.bits)),
        nullable=True,
        index=not (type(kind) is Equality and kind.unique),  # its constraint has an index
        deferred=True,
        sort_order=_BEHIND_ALL_OTHERS,
    )


def _refuse_field(cls: type, field: SealedField) -> None:
    place = f"{cls.__name__}.{field.name}"
    _refuse_name(cls, field.name)
    inherited = inherited_model(cls)
    if inherited is not None:
        refuse_taken(cls, field, inherited)
    if field.plaintext is not None and field.conversion is not None:
        raise DeclarationError(
            f"expected {place} to hold what its plaintext column holds, found {field.type_name}; "
            "declare it as text, a number or a dict until the table is sealed"
        )


def _refuse_name(cls: type, name: str) -> None:
    """Refuse a sealed field that would hide something of which a model is made.

    Raises:
        DeclarationError: always with the way out.
    """
    bases = [each for each in cls.__mro__[1:] if "registry" in vars(each)]
    of_models = {"metadata", "registry", *(dir(bases[0]) if bases else ())}
    inherited = getattr_static(bases[0], name, None) if bases else None
    if (name in of_models and not isinstance(inherited, SealedDeclaration)) or name.startswith(
        ("_sa_", "__")
    ):
        raise DeclarationError(
            f"expected another name for a sealed field of {cls.__name__}, found {name!r}, which "
            "its declarative base or SQLAlchemy has taken; rename the field"
        )


def _column_name(cls: type, name: str, declared: SealedDeclaration) -> str | None:
    """The name of a field's plaintext column, or None when it has none."""
    if declared.plaintext is None:
        return None
    found = declared.plaintext
    column = found if isinstance(found, str) else found.column.name
    if not column or declared.retired is not None:
        raise DeclarationError(
            f"expected {cls.__name__}.{name} to name one column in the clear, as plaintext while "
            "it is written or as retired when it is not any more, found "
            f"{'both' if column else 'a mapped_column without a name'}"
        )
    return column


def _declare_plaintext(cls: type, field: SealedField, given: str | MappedColumn[Any]) -> None:
    kind: Any = field.kind
    if isinstance(given, str):
        special = (JSON(none_as_null=True),) if kind in (dict, list) else ()
        given = mapped_column(given, *special, nullable=True)
    _add_column(cls, field.plaintext_attribute, given)
    leave_out(given)
    vars(cls)["__annotations__"][field.plaintext_attribute] = Mapped[kind | None]


def _add_column(cls: type, name: str, column: object) -> None:
    if hasattr(cls, name) or name in vars(cls).get("__annotations__", {}):
        raise DeclarationError(
            f"expected {cls.__name__} to leave the name {name!r} to a sealed column, found an "
            "attribute of that name; rename it"
        )
    setattr(cls, name, column)
