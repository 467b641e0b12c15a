"""Declaring which fields of a collection's documents are sealed.

Example:
    >>> from assay.encryption import casefold
    >>> documents = SealedDocument(
    ...     name="documents",
    ...     owner="tenant_id",
    ...     fields={
    ...         "owner_email": sealed(str, index=Equality(casefold)),
    ...         "text": sealed(str),
    ...         "scan": sealed(bytes, group="content"),
    ...     },
    ... )
    >>> documents.groups["content"].envelope_field
    'sealed_content'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

from assay.encryption.blind_index import FEWEST_BITS_FOR_EQUALITY, BlindIndex
from assay.encryption.index_kinds import Equality
from assay.encryption.mongodb.errors import (
    DeclarationError,
    OwnerMissingError,
    SealedValueError,
)
from assay.encryption.owner_keys import found_instead, owner_text
from assay.encryption.row_address import DEFAULT_GROUP, OBJECT_ID_BYTES, RowIdKind

ID = "_id"

_KINDS: frozenset[type] = frozenset(
    {str, bytes, bool, int, float, UUID, Decimal, date, time, datetime, dict, list}
)


@dataclass(frozen=True, slots=True)
class SealedField:
    """What `sealed` declares of a field.

    Attributes:
        kind: the type of its values, or None when it may hold any that can be sealed.
        group: the group in whose envelope it stands.
        index: its blind index, or None.
    """

    kind: type | None
    group: str
    index: Equality | None

    def accept(self, name: str, value: object) -> object:
        """A value that is about to be sealed, or that was opened.

        Raises:
            SealedValueError: the type is another one than declared. The value is not shown.
        """
        if value is None or self.kind is None or type(value) is self.kind:
            return value
        raise SealedValueError(
            f"expected {self.kind.__name__} for the sealed field {name!r}, found "
            f"{type(value).__name__}; convert it, so that it is read back as it was written"
        )


def sealed(
    kind: type | None = None, *, group: str = DEFAULT_GROUP, index: Equality | None = None
) -> SealedField:
    """Declare a sealed field. Any document may lack it, or hold None in it.

    Args:
        kind: the type of its values: str, bytes, bool, int, float, UUID, Decimal, date, time,
            datetime, dict or list; any of them when None.
        group: fields that are large, seldom read, or for other readers than the rest go into a
            group of their own, with an envelope of its own.
        index: how documents can be found by this field: equality, ``$in``, null; without one they
            cannot.

    Raises:
        DeclarationError: values of this kind cannot be sealed, or not be indexed like this.
    """
    if kind is not None and kind not in _KINDS:
        names = ", ".join(sorted(each.__name__ for each in _KINDS))
        raise DeclarationError(f"expected a sealed field of one of {names}, found {kind!r}")
    if index is not None:
        refusal = None if kind is None else index.refusal_of(kind)
        if refusal is not None:
            raise DeclarationError(refusal)
        if not index.is_exact:
            raise DeclarationError(
                f"expected {FEWEST_BITS_FOR_EQUALITY} bits or more of blind index, found "
                f"{index.bits}: with fewer, unrelated values would be found as equal"
            )
    return SealedField(kind, group, index)


@dataclass(frozen=True, slots=True)
class SealedGroup:
    """The fields that share one envelope.

    Attributes:
        name: the group's name, as it stands in associated data.
        envelope_field: the field of the document that holds the envelope.
        fields: the names of its fields, in the order of their declaration.
        version_field: the field that holds the version of the envelope, or None.
    """

    name: str
    envelope_field: str
    fields: tuple[str, ...]
    version_field: str | None = None

    @property
    def stored_fields(self) -> tuple[str, ...]:
        """The fields of the document that are written and read together."""
        if self.version_field is None:
            return (self.envelope_field,)
        return (self.envelope_field, self.version_field)


@dataclass(frozen=True)
class SealedDocument:
    """Everything that is sealed of a collection's documents, and what they are bound to.

    Attributes:
        name: the stable name of the collection in associated data and blind indexes. It stays as
            it is when the collection is renamed, and no two collections share it.
        owner: the field that says whose a document is: text, UUID, int or ObjectId. Its value
            names the data key that seals the document. It may be ``_id``.
        fields: name to `sealed`; fields of the document itself, not of documents within.
        row_id: the kind of ``_id`` that all documents of the collection have.
        padded: hide the exact length of the sealed values (Padmé).
        versioned: bind each envelope to a version that stands beside it and grows by one with each
            change, so that an older envelope of the same document that is put back is noticed. Only
            for new collections: documents from before have no version and are refused.
        groups: by name.
        indexes: the blind indexes by the names of their fields.
        raw_names: the fields that hold envelopes, their versions and blind indexes.

    Raises:
        DeclarationError: a collection cannot be sealed like this.
    """

    name: str
    owner: str
    fields: Mapping[str, SealedField]
    row_id: RowIdKind = RowIdKind.OBJECT_ID
    padded: bool = False
    versioned: bool = False
    groups: Mapping[str, SealedGroup] = field(init=False)
    indexes: Mapping[str, BlindIndex] = field(init=False)
    raw_names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be sealed, and work out the stored form."""
        _refuse_names(self)
        fields = MappingProxyType(dict(self.fields))
        groups = {
            group: _group(
                group,
                tuple(name for name, each in fields.items() if each.group == group),
                versioned=self.versioned,
            )
            for group in dict.fromkeys(each.group for each in fields.values())
        }
        indexes = {
            name: each.index.columns(self.name, name)[index_field(name)]
            for name, each in fields.items()
            if each.index is not None
        }
        raw = [name for group in groups.values() for name in group.stored_fields]
        raw += [index_field(name) for name in indexes]
        for name in raw:
            if name in fields or name in (self.owner, ID) or raw.count(name) > 1:
                raise DeclarationError(
                    f"expected the name {name!r} to be left to an envelope, its version or a blind "
                    "index, found a field of that name; rename it"
                )
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "groups", MappingProxyType(groups))
        object.__setattr__(self, "indexes", MappingProxyType(indexes))
        object.__setattr__(self, "raw_names", frozenset(raw))

    def group_of(self, name: str) -> SealedGroup:
        """The group in whose envelope a sealed field stands."""
        return self.groups[self.fields[name].group]

    def owner_of(self, value: object) -> str:
        """The owner's name, from the value of the owner field: UUID and int as text, ObjectId as
        24 hexadecimal digits.

        Args:
            value: of type str, UUID or int, or the 12 bytes of an ObjectId.

        Raises:
            OwnerMissingError: there is none.
        """  # noqa: D205 - one sentence
        if type(value) is bytes and len(value) == OBJECT_ID_BYTES:
            return value.hex()
        owner = owner_text(value)
        if owner is None:
            raise OwnerMissingError(
                f"expected the field {self.owner!r} to say whose a document of {self.name} is, "
                f"found {found_instead(value)}; the owner is text, UUID, int or ObjectId"
            )
        return owner


def _group(name: str, fields: tuple[str, ...], *, versioned: bool) -> SealedGroup:
    envelope = "sealed" if name == DEFAULT_GROUP else f"sealed_{name}"
    return SealedGroup(name, envelope, fields, f"{envelope}_version" if versioned else None)


def index_field(name: str) -> str:
    """The field of the document that holds the blind index of a sealed field."""
    return f"{name}_index"


def top(path: str) -> str:
    """The field of the document itself that a dotted path leads into."""
    return path.partition(".")[0]


def _refuse_names(declared: SealedDocument) -> None:
    if not declared.name or not declared.fields:
        raise DeclarationError(
            "expected a stable name for the collection and at least one sealed field, found none"
        )
    names: list[Any] = [declared.owner, *declared.fields]
    for name in names:
        if type(name) is not str or not name or name[0] == "$" or "." in name or "\0" in name:
            raise DeclarationError(
                "expected names of fields of the document itself, without dots and without $ at "
                f"the start, found {name!r}"
            )
    for reserved in (ID, declared.owner):
        if reserved in declared.fields:
            raise DeclarationError(
                f"expected {reserved!r} in the clear, found it among the sealed fields: it is "
                "needed to find the key and the place of a document"
            )
