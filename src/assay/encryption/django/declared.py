"""What a sealed Django model declares, worked out once its class is prepared.

Example:
    >>> Customer.__sealed__.groups["default"].column          # doctest: +SKIP
    'sealed'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from assay.encryption.blind_index import BlindIndex
from assay.encryption.django.errors import (
    OwnerMissingError,
    RowIdMissingError,
    UnsealedWriteError,
)
from assay.encryption.errors import RowIdError
from assay.encryption.owner_keys import found_instead, owner_text
from assay.encryption.row_address import DEFAULT_GROUP

AT = "_sealed_at"
"""Under which name an instance's ``__dict__`` holds owner and primary key as they are stored."""


AFTER_THE_MIGRATION = (
    "write other columns by save(update_fields=[…]) or update(), and sealed fields after the "
    "migration, by the model itself"
)
"""What can be done instead of what a migration cannot do."""


def envelope_column(group: str) -> str:
    """The attribute and column of a group's envelope: ``sealed``, or ``sealed_<group>``."""
    return "sealed" if group == DEFAULT_GROUP else f"sealed_{group}"


def version_column(envelope: str) -> str:
    """The attribute and column of the version of an envelope: ``sealed_version``."""
    return f"{envelope}_version"


@dataclass(frozen=True, slots=True, eq=False)
class SealedGroup:
    """The fields that share one envelope.

    Attributes:
        name: the group's name.
        table: the stable name of the table.
        column: the attribute and column of the envelope.
        versioned: whether the envelope is bound to a version that stands beside it.
        fields: the model's fields by name, see `assay.encryption.django.fields`.
        padded: whether the payload is padded.
        kinds: the types of the values that an envelope may hold of each field.
        freezes: the fields whose values may be dicts and lists.
    """

    name: str
    table: str
    column: str
    fields: Mapping[str, Any]
    padded: bool
    versioned: bool
    kinds: Sequence[tuple[str, tuple[type, ...]]] = field(init=False, repr=False)
    freezes: Sequence[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kinds = [(name, (*each.sealed_kinds, type(None))) for name, each in self.fields.items()]
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "freezes", [name for name, each in kinds if dict in each])

    @property
    def version_column(self) -> str:
        """The attribute and column of the envelope's version, of a versioned group."""
        return version_column(self.column)


@dataclass(frozen=True, slots=True)
class SealedModel:
    """Everything that is sealed of one model, and what its rows are bound to.

    Attributes:
        name: the stable name of the table, as it stands in associated data.
        owner: the attribute that says whose a row is.
        key: the attributes of the primary key, in its order.
        encode_row_id: the encoder of the primary key.
        groups: by name.
        columns: the groups by the columns of their envelopes.
        fields: the sealed fields by name.
        indexes: for each indexed field the blind index of each of its columns.
        unique: the fields of which no two rows of an owner may have an equal value.
        bound_to: the fields of Django that hold owner and primary key.
        place: gets owner and primary key from an instance's ``__dict__``; `KeyError` when they are
            deferred.
    """

    name: str
    owner: str
    key: tuple[str, ...]
    encode_row_id: Callable[[Sequence[object]], bytes]
    groups: Mapping[str, SealedGroup]
    columns: Mapping[str, SealedGroup]
    fields: Mapping[str, Any]
    indexes: Mapping[str, Mapping[str, BlindIndex]]
    unique: tuple[str, ...]
    bound_to: tuple[Any, ...] = ()
    place: Callable[[Mapping[str, object]], tuple[object, ...]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", itemgetter(self.owner, *self.key))

    def group_of(self, name: str) -> SealedGroup:
        """The group in whose envelope a sealed field stands."""
        return self.groups[self.fields[name].sealed_group]

    def columns_of(self, group: SealedGroup) -> list[str]:
        """The columns that are written when a group changes: its envelope and its indexes."""
        indexes = (column for name in group.fields for column in self.indexes.get(name, ()))
        return [*self.read_with(group), *indexes]

    @staticmethod
    def read_with(group: SealedGroup) -> list[str]:
        """The columns that are needed to open a group: its envelope, and the version beside it."""
        return [group.column, group.version_column] if group.versioned else [group.column]

    def owner_of(self, value: object) -> str:
        """The owner's name: text, or UUID or int as text.

        Raises:
            OwnerMissingError: there is none.
        """
        owner = owner_text(value)
        if owner is None:
            raise OwnerMissingError(
                f"expected {self.name}.{self.owner} to say whose the row is, found "
                f"{found_instead(value)}; assign text, UUID or int before the row is saved"
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
            f"expected the primary key of {self.name} before its row is sealed, found none; assign "
            f"{', '.join(self.key)} or give it a default"
        )


def known_owner(declared: SealedModel) -> None:
    """Refuse to write rows of which a migration does not know whose they are.

    Raises:
        UnsealedWriteError: it does not.
    """
    if not declared.owner:
        raise UnsealedWriteError(
            f"expected the migrations of {declared.name} to say which field is the owner of its "
            "rows, found none of that name; run makemigrations, and let this migration depend on "
            "what it makes"
        )
