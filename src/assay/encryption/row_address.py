"""Where a sealed row stands: tenant, table, group and row id, as associated data.

Specification: ``spec/row-envelope.md``, "Row address and associated data".

Example:
    >>> address = RowAddress("tenant-1", "documents", "default", encode_row_id(7))
    >>> len(address.associated_data())
    85
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

import msgspec

from assay.core import pae
from assay.encryption.errors import RowIdError

LABEL = b"assay row v1"
VERSIONED_LABEL = b"assay versioned row v1"
DEFAULT_GROUP = "default"
OBJECT_ID_BYTES = 12


class RowIdKind(StrEnum):
    """What a column of a primary key holds; part of a table's declaration, never changed."""

    UUID = "uuid"
    INTEGER = "integer"
    TEXT = "text"
    OBJECT_ID = "object-id"


class RowAddress(msgspec.Struct, frozen=True):
    """The place of one group of one row.

    Attributes:
        tenant: the owner's name: whose data key seals the row.
        table: the stable name of the table.
        group: the name of the group of fields.
        row_id: the encoded primary key, see `encode_row_id`.
        version: of a versioned row, 1 to 2^63-1; None when the table has no versions.
    """

    tenant: str
    table: str
    group: str
    row_id: bytes
    version: int | None = None

    def associated_data(self) -> bytes:
        """PAE(["assay row v1", tenant, table, group, row id]); the label says when it has versions.

        The version itself is no part of it: it stands before the payload.
        """
        row_id, label = self.row_id, LABEL if self.version is None else VERSIONED_LABEL
        return _prefix(label, self.tenant, self.table, self.group, len(row_id)) + row_id


@lru_cache(maxsize=4096)
def _prefix(label: bytes, tenant: str, table: str, group: str, row_id_bytes: int) -> bytes:
    """The associated data up to the row id itself: it differs only between groups."""
    try:
        pieces = [tenant.encode(), table.encode(), group.encode()]
    except UnicodeEncodeError:
        pieces = None
    if pieces is None:
        raise RowIdError("expected names of valid Unicode text, found a lone surrogate")
    return pae([label, *pieces, bytes(row_id_bytes)])[: -row_id_bytes or None]


def encode_row_id(*key: UUID | int | str | bytes) -> bytes:
    """The row id of a primary key.

    Args:
        key: the values of the key's columns, in their order; each of exactly the type UUID, int
            or str, or the 12 bytes of an ObjectId.

    Returns:
        For one column its encoding (UUID: 16 bytes; int: decimal ASCII; str: UTF-8; ObjectId: 12
        bytes), for several the PAE of their encodings.

    Raises:
        RowIdError: no column, or a value of another type.
    """
    return row_id_encoder([_kind_of(value) for value in key])(key)


def row_id_encoder(kinds: Sequence[RowIdKind]) -> Callable[[Sequence[object]], bytes]:
    """The encoder for a declared primary key; it refuses values of another kind.

    Args:
        kinds: the kinds of the key's columns, in their order.

    Raises:
        RowIdError: there is no column.
    """
    encoders = [_ENCODERS[kind] for kind in kinds]
    if not encoders:
        raise RowIdError("expected a primary key, found no column in it")
    if len(encoders) == 1:
        only = encoders[0]
        return lambda key: only(key[0])

    def encode_composite(key: Sequence[object]) -> bytes:
        return pae([encode(value) for encode, value in zip(encoders, key, strict=True)])

    return encode_composite


def _kind_of(value: object) -> RowIdKind:
    value = standard_uuid(value)
    for type_, kind in (
        (UUID, RowIdKind.UUID),
        (int, RowIdKind.INTEGER),
        (str, RowIdKind.TEXT),
        (bytes, RowIdKind.OBJECT_ID),
    ):
        if type(value) is type_:
            return kind
    raise RowIdError(
        f"expected a primary key of UUID, int, str or ObjectId, found {type(value).__name__}; "
        "convert it, or give the table a key of one of these"
    )


def standard_uuid(value: object) -> object:
    """A UUID of a driver's own type as a standard one; any other value as it is.

    asyncpg gives UUIDs of a subclass, which are equal to standard ones and stand for the same.
    """
    return UUID(int=value.int) if isinstance(value, UUID) and type(value) is not UUID else value


def _encode_uuid(value: object) -> bytes:
    if not isinstance(value, UUID):
        raise _another_kind("UUID", value)
    return value.bytes


def _encode_integer(value: object) -> bytes:
    if type(value) is not int:
        raise _another_kind("int", value)
    return b"%d" % value


def _encode_text(value: object) -> bytes:
    if type(value) is not str:
        raise _another_kind("str", value)
    try:
        return value.encode()
    except UnicodeEncodeError:
        pass
    raise RowIdError("expected a primary key of valid Unicode text, found a lone surrogate")


def _encode_object_id(value: object) -> bytes:
    if type(value) is not bytes:
        raise _another_kind("ObjectId (its 12 bytes)", value)
    if len(value) != OBJECT_ID_BYTES:
        raise RowIdError(f"expected the {OBJECT_ID_BYTES} bytes of an ObjectId, found {len(value)}")
    return value


def _another_kind(expected: str, value: object) -> RowIdError:
    return RowIdError(
        f"expected a primary key of type {expected} as declared, found {type(value).__name__}"
    )


_ENCODERS: dict[RowIdKind, Callable[[object], bytes]] = {
    RowIdKind.UUID: _encode_uuid,
    RowIdKind.INTEGER: _encode_integer,
    RowIdKind.TEXT: _encode_text,
    RowIdKind.OBJECT_ID: _encode_object_id,
}
