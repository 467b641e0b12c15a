"""Opening the rows of one owner in one group: what does not change from row to row is kept.

Specification: ``spec/row-envelope.md``, "Opening".

Example:
    >>> rows = OwnerRows(keyring, opener, group, "north")     # doctest: +SKIP
    >>> rows.open(envelope, b"7")                             # doctest: +SKIP
    {'email': 'ada@example.com'}
"""

from __future__ import annotations

from assay.core import DataKeyClass
from assay.encryption.django.declared import SealedGroup
from assay.encryption.django.errors import SealedValueError
from assay.encryption.envelope import EnvelopeOpener
from assay.encryption.frozen import freeze
from assay.encryption.owner_keys import key_of_envelope
from assay.encryption.payload import decode_payload
from assay.encryption.row_address import RowAddress
from assay.encryption.row_version import FIRST_VERSION
from assay.keys import Keyring, UnknownDataKeyError

_ROWS = DataKeyClass.ROWS


class OwnerRows:
    """The rows of one owner in one group.

    Args:
        keyring: has the owner's data keys.
        opener: opens.
        group: what is in the envelopes.
        owner: whose rows they are.
    """

    __slots__ = ("_keyring", "_opener", "_owner", "_prefixes", "group")

    def __init__(
        self, keyring: Keyring, opener: EnvelopeOpener, group: SealedGroup, owner: str
    ) -> None:
        self._keyring = keyring
        self._opener = opener
        self._owner = owner
        self._prefixes: dict[int, bytes] = {}
        self.group = group

    def address(self, row_id: bytes) -> RowAddress:
        """Where a row stands."""
        group = self.group
        version = FIRST_VERSION if group.versioned else None
        return RowAddress(self._owner, group.table, group.name, row_id, version)

    def _begin_prefix(self, row_id: bytes) -> bytes:
        """The associated data up to the row id, the same for all row ids of this length."""
        prefix = self.address(row_id).associated_data().removesuffix(row_id)
        self._prefixes[len(row_id)] = prefix
        return prefix

    def open(self, envelope: bytes, row_id: bytes, version: object = None) -> dict[str, object]:
        """The fields of a row.

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
        group = self.group
        try:
            key = self._keyring.by_id(self._owner, _ROWS, envelope[2:18])
        except UnknownDataKeyError:
            key = key_of_envelope(self._keyring, self._owner, envelope)  # says what is wrong
        if group.versioned:
            address = self.address(row_id)
            payload = self._opener.open_versioned_payload(key, address, version, envelope)
        else:
            place = (self._prefixes.get(len(row_id)) or self._begin_prefix(row_id)) + row_id
            payload = self._opener.open_payload(key, place, envelope)
        fields = decode_payload(payload)
        for name, kinds in group.kinds:
            if type(fields.get(name)) not in kinds:
                raise SealedValueError(
                    f"expected {kinds[0].__name__} in the sealed field {group.table}.{name} as the "
                    f"model declares it, found {type(fields[name]).__name__} in the envelope; "
                    "declare the type that was sealed"
                )
        for name in group.freezes:
            if name in fields:
                fields[name] = freeze(fields[name])
        return fields
