"""What a sealed model declares.

Example:
    >>> Document.__sealed__.fields["text"].group            # doctest: +SKIP
    'default'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from assay.encryption.blind_index import BlindIndex
from assay.encryption.bucket_index import Buckets
from assay.encryption.conversions import Conversion
from assay.encryption.errors import RowIdError
from assay.encryption.frozen import freeze
from assay.encryption.index_kinds import Equality, Prefix
from assay.encryption.ngram_index import Ngram
from assay.encryption.owner_keys import found_instead, owner_text
from assay.encryption.payload import NATIVE_KINDS
from assay.encryption.row_address import DEFAULT_GROUP, standard_uuid
from assay.encryption.sqlalchemy.errors import (
    OwnerMissingError,
    RowIdMissingError,
    SealedValueError,
)

IndexKind = Equality | Prefix | Ngram | Buckets
"""What can be declared as the index of a field."""

UNSET = object()
"""Stands for a value that nobody gave."""

_FREEZES = (dict, list)


def envelope_column(group: str) -> str:
    """The attribute and column of a group's envelope: ``sealed``, or ``sealed_<group>``."""
    return "sealed" if group == DEFAULT_GROUP else f"sealed_{group}"


def version_column(group: str) -> str:
    """The attribute and column of the version of a group's envelope: ``sealed_version``."""
    return f"{envelope_column(group)}_version"


@dataclass(frozen=True, slots=True)
class SealedField:
    """One sealed field of a model.

    Attributes:
        name: the attribute's name, which is also its name in the payload.
        group: the group in whose envelope it stands.
        kind: the type of its values, as they stand in the payload.
        nullable: whether it may be None.
        default: a value, a function without arguments that makes one, or `UNSET`.
        indexes: the blind indexes that are declared for it, at most one of each kind.
        plaintext: the column in the clear that is written along during a transition, or None.
        retired: the column in the clear that is no longer used and still there, or None.
        conversion: how the model's values stand in the payload, when they are of another type.
    """

    name: str
    group: str
    kind: type
    nullable: bool
    default: object
    indexes: tuple[IndexKind, ...]
    plaintext: str | None = None
    retired: str | None = None
    conversion: Conversion | None = None

    @property
    def type_name(self) -> str:
        """The name of the type that the model declares."""
        return (self.kind if self.conversion is None else self.conversion.model_type).__name__

    @property
    def equality(self) -> Equality | None:
        """The index by which equal values are found, when there is one."""
        return next((each for each in self.indexes if type(each) is Equality), None)

    @property
    def equality_column(self) -> str | None:
        """The attribute and column of the index by which equal values are found."""
        equality = self.equality
        return None if equality is None else next(iter(equality.columns("", self.name)))

    @property
    def index_columns(self) -> tuple[str, ...]:
        """The attributes and columns of its blind indexes."""
        return tuple(name for each in self.indexes for name in each.columns("", self.name))

    @property
    def plaintext_attribute(self) -> str:
        """The attribute of the column in the clear, during a transition."""
        return f"{self.name}_plaintext"

    @property
    def taken_as_it_is(self) -> type | None:
        """The type whose values `accept` gives back as they are, when there is one."""
        return None if self.conversion or self.kind in _FREEZES else self.kind

    def accept(self, value: object) -> object:
        """A value that was assigned, as it is kept.

        Dicts and lists are frozen copies, enumerations and records stand as in the payload.

        Raises:
            SealedValueError: the type is another one than declared. The value is not shown.
            UnsupportedValueError: a record would not be read back as it is.
        """
        if value is None:
            return None
        if self.kind is UUID:
            value = standard_uuid(value)
        conversion = self.conversion
        if conversion is not None:
            if type(value) is conversion.model_type:
                return conversion.to_payload(value)
        elif type(value) is self.kind or (self.kind in _FREEZES and isinstance(value, self.kind)):
            return freeze(value) if self.kind in _FREEZES else value
        raise SealedValueError(
            f"expected {self.type_name} for the sealed field {self.name!r}, found "
            f"{type(value).__name__}; convert it, so that it is read back as it was written"
        )

    def complete(self, value: object) -> object:
        """A value that is about to be sealed, with the default for one that nobody gave.

        Args:
            value: as `accept` returned it, or `UNSET`.

        Raises:
            SealedValueError: None in a field that may not be null, or a default of another type.
        """
        if value is UNSET:
            default = self.default() if callable(self.default) else self.default
            value = None if default is UNSET else self.accept(default)
        if value is None and not self.nullable:
            raise SealedValueError(
                f"expected a value for the sealed field {self.name!r}, found none; assign one, "
                f"give it a default, or declare Mapped[{self.type_name} | None]"
            )
        return value


@dataclass(frozen=True, slots=True)
class SealedGroup:
    """The fields that share one envelope.

    Attributes:
        name: the group's name.
        table: the stable name of the table.
        column: the attribute and column of the envelope.
        fields: the fields, in the order of their declaration.
        padded: whether the payload is padded.
        versioned: whether each envelope is bound to a version that stands beside it.
        kinds: name and type of each field.
        freezes: the fields that hold dicts and lists.
        indexed: the fields that have a blind index.
        plain: whether MessagePack has all their types itself, and nothing is padded.
        in_transition: whether the fields stand in columns in the clear as well.
        names: the names of the fields.
    """

    name: str
    table: str
    column: str
    fields: tuple[SealedField, ...]
    padded: bool
    versioned: bool
    kinds: tuple[tuple[str, type], ...] = field(init=False)
    freezes: tuple[str, ...] = field(init=False)
    indexed: tuple[str, ...] = field(init=False)
    plain: bool = field(init=False)
    in_transition: bool = field(init=False)
    names: tuple[str, ...] = field(init=False)
    _taken_as_they_are: list[type | None] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Work out once what is needed for each row."""
        object.__setattr__(self, "names", tuple(each.name for each in self.fields))
        object.__setattr__(self, "_taken_as_they_are", [f.taken_as_it_is for f in self.fields])
        kinds = tuple((each.name, each.kind) for each in self.fields)
        object.__setattr__(self, "kinds", kinds)
        freezes = tuple(f.name for f in self.fields if f.kind in _FREEZES and not f.conversion)
        object.__setattr__(self, "freezes", freezes)
        indexed = tuple(each.name for each in self.fields if each.indexes)
        object.__setattr__(self, "indexed", indexed)
        plain = not self.padded and all(kind in NATIVE_KINDS for _, kind in kinds)
        object.__setattr__(self, "plain", plain)
        in_transition = any(each.plaintext is not None for each in self.fields)
        object.__setattr__(self, "in_transition", in_transition)

    @property
    def version_column(self) -> str:
        """The attribute and column of the envelope's version, of a versioned group."""
        return version_column(self.name)

    def accept(self, given: dict[str, object]) -> dict[str, object]:
        """All fields of a new row, as they are sealed.

        Args:
            given: name to value, or `UNSET`, of each field in the order of their declaration.

        Raises:
            SealedValueError: a value of another type than declared, or none where one must be.
        """
        if [*map(type, given.values())] == self._taken_as_they_are:
            return given
        fields = {
            each.name: each.accept(given[each.name])
            for each in self.fields
            if given[each.name] is not UNSET
        }
        self.complete(fields)
        return fields

    def complete(self, fields: dict[str, object]) -> None:
        """Give fields that nobody gave their defaults.

        Args:
            fields: as `SealedField.accept` returned them; changed in place.

        Raises:
            SealedValueError: a field is None that may not be.
        """
        for each in self.fields:
            if fields.get(each.name) is None:
                fields[each.name] = each.complete(fields.get(each.name, UNSET))


@dataclass(frozen=True, slots=True)
class SealedModel:
    """Everything that is sealed of one model, and what its rows are bound to.

    Attributes:
        model: the class.
        name: the stable name of the table, as it stands in associated data.
        owner: the attribute that says whose a row is.
        groups: by name.
        fields: by name.
        indexes: for each indexed field the blind index of each of its columns.
        key: the attributes of the primary key, in its order.
        encode_row_id: the encoder of the primary key.
        defaults: attributes of owner and primary key that have a default on this side.
        unique: the fields of which no two rows of an owner may have an equal value.
        parent: the sealed model that it inherits from, whose fields and groups are among these.
    """

    model: type
    name: str
    owner: str
    groups: Mapping[str, SealedGroup]
    fields: Mapping[str, SealedField]
    indexes: Mapping[str, Mapping[str, BlindIndex]]
    key: tuple[str, ...]
    encode_row_id: Callable[[Sequence[object]], bytes]
    defaults: Mapping[str, Callable[[], object]]
    parent: SealedModel | None = None
    unique: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Work out once what is needed for each row."""
        unique = tuple(
            name
            for name, each in self.fields.items()
            if each.equality is not None and each.equality.unique
        )
        object.__setattr__(self, "unique", unique)

    @property
    def own_groups(self) -> dict[str, SealedGroup]:
        """The groups that it does not inherit."""
        above = {} if self.parent is None else self.parent.groups
        return {name: group for name, group in self.groups.items() if name not in above}

    def home_of(self, group: SealedGroup) -> SealedModel:
        """The model of a hierarchy that declares a group."""
        parent = self.parent
        return self if parent is None or group.name in self.own_groups else parent.home_of(group)

    def owner_of(self, value: object) -> str:
        """The owner's name, from the value of the owner attribute: text, or UUID or int as text.

        Raises:
            OwnerMissingError: there is none.
        """
        owner = owner_text(value)
        if owner is None:
            raise OwnerMissingError(
                f"expected {self.model.__name__}.{self.owner} to say whose the row is, found "
                f"{found_instead(value)}; assign it before the row is flushed"
            )
        return owner

    def row_id_of(self, values: Sequence[object]) -> bytes:
        """The row id, from the values of the primary key.

        Raises:
            RowIdMissingError: one of them is None.
            RowIdError: one of them is of another kind than declared.
        """
        try:
            return self.encode_row_id(values)
        except RowIdError:
            if all(value is not None for value in values):
                raise
        raise RowIdMissingError(
            f"expected the primary key of {self.model.__name__} before its row is sealed, found "
            f"none; assign {', '.join(self.key)} or give it a default"
        )
