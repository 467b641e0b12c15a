"""Sealing and opening the rows of one owner in one group.

Specification: ``spec/row-envelope.md``, "Sealing" and "Opening".

Example:
    >>> rows = OwnerRows(keyring, sealer, opener, group, "tenant-1")     # doctest: +SKIP
    >>> rows.open(envelope, b"7").fields  # doctest: +SKIP
    {'text': 'Dear Ada'}
"""

from __future__ import annotations

from typing import cast

from assay.core import DataKeyClass
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer, envelope_key_id
from assay.encryption.errors import MissingEnvelopeError, WrongKeyError
from assay.encryption.frozen import freeze
from assay.encryption.payload import decode_payload, encode_checked_payload, encode_payload
from assay.encryption.row_address import RowAddress
from assay.encryption.row_version import FIRST_VERSION, put_version
from assay.encryption.sqlalchemy.columns import Contents
from assay.encryption.sqlalchemy.errors import SealedValueError
from assay.encryption.sqlalchemy.model import SealedGroup
from assay.keys import DataKey, Keyring, UnknownDataKeyError

_ROWS = DataKeyClass.ROWS


class OwnerRows:
    """What does not change from row to row is worked out once.

    Args:
        keyring: has the owner's data keys.
        sealer: seals.
        opener: opens.
        group: what is in the envelopes.
        owner: whose rows they are.
    """

    __slots__ = ("_keyring", "_opener", "_owner", "_prefixes", "_sealer", "group")

    def __init__(
        self,
        keyring: Keyring,
        sealer: EnvelopeSealer,
        opener: EnvelopeOpener,
        group: SealedGroup,
        owner: str,
    ) -> None:
        self._keyring = keyring
        self._sealer = sealer
        self._opener = opener
        self.group = group
        self._owner = owner
        self._prefixes: dict[int, bytes] = {}

    def place(self, row_id: bytes) -> bytes:
        """The associated data of a row."""
        return (self._prefixes.get(len(row_id)) or self._begin_prefix(row_id)) + row_id

    def _begin_prefix(self, row_id: bytes) -> bytes:
        """The associated data up to the row id, the same for all row ids of this length."""
        prefix = self._address(row_id).associated_data().removesuffix(row_id)
        self._prefixes[len(row_id)] = prefix
        return prefix

    def _address(self, row_id: bytes) -> RowAddress:
        version = FIRST_VERSION if self.group.versioned else None
        return RowAddress(self._owner, self.group.table, self.group.name, row_id, version)

    def current_key(self) -> DataKey:
        """The data key under which new envelopes are sealed.

        Raises:
            assay.keys.KeysError: there is none to be had.
        """
        return self._keyring.current(self._owner, _ROWS)

    def seal(
        self, fields: dict[str, object], row_id: bytes, version: int | None = None
    ) -> Contents:
        """Seal the fields of a row and keep them at hand.

        Args:
            fields: as `SealedField.accept` returned them; changed in place.
            row_id: the encoded primary key.
            version: what will stand beside the envelope, of a versioned group.

        Raises:
            SealedValueError: a field is None that may not be.
            UnsupportedValueError: a value within a list or dict cannot be sealed.
            assay.keys.KeysError: there is no data key to be had.
        """
        self.group.complete(fields)
        envelope = self.envelope(fields, row_id, self.current_key(), version)
        return Contents(fields, envelope, self.place(row_id))

    def envelope(
        self,
        fields: dict[str, object],
        row_id: bytes,
        key: DataKey,
        version: int | None = None,
    ) -> bytes:
        """Seal the fields of a row.

        Args:
            fields: as `SealedGroup.complete` left them; unknown fields pass too.
            row_id: the encoded primary key.
            key: see `current_key`.
            version: what will stand beside the envelope, of a versioned group.

        Raises:
            RowVersionError: the group is versioned, and no row can have this version.
            UnsupportedValueError: a value within a list or dict cannot be sealed.
        """
        group = self.group
        if group.plain and len(fields) == len(group.fields):
            payload = encode_checked_payload(fields)
        else:
            payload = encode_payload(fields, padded=group.padded)
        if group.versioned:
            payload = put_version(cast("int", version), payload)
        prefix = self._prefixes.get(len(row_id)) or self._begin_prefix(row_id)
        return self._sealer.seal_payload(key, prefix + row_id, payload)

    def open(self, envelope: object, row_id: bytes, version: object = None) -> Contents:
        """Open the envelope of a row.

        Args:
            envelope: what stands in the column.
            row_id: the encoded primary key.
            version: what stands beside it, of a versioned group.

        Raises:
            EnvelopeError: one of its leaves.
            MalformedPayloadError: authentic, but no map of fields.
            SealedValueError: a field has another type than the model declares.
            assay.keys.KeysError: the data key is not to be had.
        """
        if type(envelope) is not bytes:
            raise MissingEnvelopeError(
                f"expected an envelope in {self.group.table}.{self.group.column}, found "
                f"{'NULL' if envelope is None else type(envelope).__name__}"
            )
        try:
            key = self._keyring.by_id(self._owner, _ROWS, envelope[2:18])
        except UnknownDataKeyError as exc:
            key_id = envelope_key_id(envelope)
            raise WrongKeyError(
                f"expected an envelope under a data key of the row's owner, found one under "
                f"{key_id.hex()}: it belongs to another owner, or its key was destroyed"
            ) from exc
        place = (self._prefixes.get(len(row_id)) or self._begin_prefix(row_id)) + row_id
        if self.group.versioned:
            address = self._address(row_id)
            payload = self._opener.open_versioned_payload(key, address, version, envelope)
        else:
            payload = self._opener.open_payload(key, place, envelope)
        fields = decode_payload(payload)
        for name, kind in self.group.kinds:
            if type(fields.get(name)) is not kind and fields.get(name) is not None:
                raise SealedValueError(
                    f"expected {kind.__name__} in the sealed field {self.group.table}.{name} as "
                    f"the model declares it, found {type(fields[name]).__name__} in the envelope; "
                    "declare the type that was sealed"
                )
        for name in self.group.freezes:
            if name in fields:
                fields[name] = freeze(fields[name])
        return Contents(fields, envelope, place)
