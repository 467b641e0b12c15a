"""Sealing and opening many rows that come as columns: row envelopes, without any data frame.

Specification: ``spec/row-envelope.md``. A row that was sealed here opens in a sealed model of the
same table, group and primary key, and the other way round.

Example:
    >>> rows = ColumnarRows(keyring, "documents", {"id": RowIdKind.INTEGER})  # doctest: +SKIP
    >>> places = rows.places(["tenant-1"], [[7]])                             # doctest: +SKIP
    >>> rows.seal("default", places, ["text"], [["Dear Ada"]])                # doctest: +SKIP
    [b'...']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from assay.core import DataKeyClass
from assay.encryption.blind_index import BlindIndex, BlindIndexer
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer
from assay.encryption.errors import (
    ColumnValueError,
    MissingEnvelopeError,
    RowIdError,
)
from assay.encryption.owner_keys import OwnerKeys, found_instead, key_of_envelope, owner_text
from assay.encryption.payload import decode_payload, encode_payload
from assay.encryption.row_address import RowAddress, RowIdKind, row_id_encoder
from assay.keys import DataKey

_ROWS, _INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES

Place = tuple[str, bytes]
"""Where a row stands: its owner's name and its row id."""


class ColumnarRows:
    """The rows of one table.

    Args:
        keyring: has or makes the owners' data keys.
        table: the stable name of the table.
        key: the columns of the primary key, in their order, and their kinds.
        sealer: takes the nonces.
        opener: keeps derived keys.
    """

    def __init__(
        self,
        keyring: OwnerKeys,
        table: str,
        key: Mapping[str, RowIdKind],
        *,
        sealer: EnvelopeSealer | None = None,
        opener: EnvelopeOpener | None = None,
    ) -> None:
        self._keyring = keyring
        self._table = table
        self._kinds = tuple(key.values())
        self._encode = row_id_encoder(self._kinds)
        self._sealer = sealer or EnvelopeSealer()
        self._opener = opener or EnvelopeOpener()

    def places(self, owners: Sequence[object], keys: Sequence[Sequence[object]]) -> list[Place]:
        """Where each row stands.

        Args:
            owners: whose each row is: text, UUID or integer.
            keys: the columns of the primary key. A UUID may also come as 16 bytes or as text.

        Raises:
            ColumnValueError: a row without owner.
            RowIdError: a row without primary key, or with one of another kind.
        """
        plain = [
            [_as_uuid(value) for value in column] if kind is RowIdKind.UUID else column
            for kind, column in zip(self._kinds, keys, strict=True)
        ]
        encode = self._encode
        return [
            (owner_name(owner), encode(key))
            for owner, key in zip(owners, zip(*plain, strict=True), strict=True)
        ]

    def seal(
        self,
        group: str,
        places: Sequence[Place],
        names: Sequence[str],
        columns: Sequence[Sequence[object]],
        *,
        padded: bool = False,
    ) -> list[bytes]:
        """One envelope for each row.

        Args:
            group: the name of the group of fields.
            places: see `places`.
            names: the names of the fields.
            columns: the columns of the fields, in the order of their names.
            padded: hide the exact lengths (Padmé).

        Raises:
            UnsupportedValueError: a value has no encoding.
            assay.keys.KeysError: a data key is not to be had.
        """
        current: dict[str, DataKey] = {}
        seal, place_of = self._sealer.seal_payload, _Addresses(self._table, group)
        envelopes = []
        for (owner, row_id), values in zip(places, zip(*columns, strict=True), strict=True):
            key = current.get(owner)
            if key is None:
                key = current[owner] = self._keyring.current(owner, _ROWS)
            payload = encode_payload(dict(zip(names, values, strict=True)), padded=padded)
            envelopes.append(seal(key, place_of[owner, len(row_id)] + row_id, payload))
        return envelopes

    def open(
        self,
        group: str,
        places: Sequence[Place],
        envelopes: Sequence[object],
        versions: Sequence[object] | None = None,
    ) -> list[dict[str, object]]:
        """The fields of each row, known and unknown.

        Args:
            group: the name of the group of fields.
            places: where the envelopes were found.
            envelopes: one for each row.
            versions: what stands beside them, when the table has versions.

        Raises:
            EnvelopeError: an envelope is missing, was altered, or is another row's.
            MalformedPayloadError: authentic, but no map of fields.
            assay.keys.KeysError: a data key is not to be had.
        """
        known: dict[tuple[str, bytes], DataKey] = {}
        opener, table, place_of = self._opener, self._table, _Addresses(self._table, group)
        rows = []
        for number, ((owner, row_id), envelope) in enumerate(zip(places, envelopes, strict=True)):
            if type(envelope) is not bytes:
                raise MissingEnvelopeError(
                    f"expected an envelope in each row, found {type(envelope).__name__}"
                )
            key = known.get((owner, envelope[2:18]))
            if key is None:
                key = known[owner, envelope[2:18]] = key_of_envelope(self._keyring, owner, envelope)
            if versions is None:
                place = place_of[owner, len(row_id)] + row_id
                payload = opener.open_payload(key, place, envelope)
            else:
                address = RowAddress(owner, table, group, row_id, 1)
                version = versions[number]
                payload = opener.open_versioned_payload(key, address, version, envelope)
            rows.append(decode_payload(payload))
        return rows

    def index(
        self, index: BlindIndex, places: Sequence[Place], values: Sequence[object]
    ) -> list[bytes | None]:
        """The blind index of each row's value; None of None.

        Raises:
            UnsupportedValueError: the transform does not accept a value.
            assay.keys.KeysError: an index key is not to be had.
        """
        indexers: dict[str, BlindIndexer] = {}
        found: list[bytes | None] = []
        for (owner, _), value in zip(places, values, strict=True):
            if value is None:
                found.append(None)
                continue
            indexer = indexers.get(owner)
            if indexer is None:
                indexer = index.indexer(self._keyring.current(owner, _INDEXES))
                indexers[owner] = indexer
            computed = indexer.compute(value)
            found.append(None if computed is None else bytes(computed))
        return found


class _Addresses(dict[tuple[str, int], bytes]):
    """What stands before the row id in associated data, by owner and length of the row id."""

    def __init__(self, table: str, group: str) -> None:
        super().__init__()
        self._place = table, group

    def __missing__(self, key: tuple[str, int]) -> bytes:
        owner, length = key
        whole = RowAddress(owner, *self._place, bytes(length)).associated_data()
        self[key] = whole[: len(whole) - length]
        return self[key]


def owner_name(value: object) -> str:
    """The owner's name, from the value of the owner's column: UUID and integer as text.

    Raises:
        ColumnValueError: there is none.
    """
    owner = owner_text(value)
    if owner is None:
        raise ColumnValueError(
            "expected text, UUID or an integer that says whose each row is, found "
            f"{found_instead(value)}"
        )
    return owner


def _as_uuid(value: object) -> object:
    if type(value) is UUID:
        return value
    if type(value) is bytes and len(value) == 16:
        return UUID(bytes=value)
    if type(value) is str and len(value) in (32, 36):
        try:
            return UUID(value)
        except ValueError:
            pass
    raise RowIdError(
        f"expected a primary key of UUID, as 16 bytes or as text, found {type(value).__name__} of "
        "another form"
    )
