"""Documents as the application has them, and as they are stored.

Stored are the fields in the clear, one envelope for each group, and the blind indexes. Each group
has its envelope, whether a document has values for it or not, so that this is hidden too.

Specification: ``spec/row-envelope.md`` and ``spec/blind-index.md``; the table is the declared name
of the collection, the row id that of ``_id``.

Example:
    >>> documents = Documents(declared, keyring, vendor)                 # doctest: +SKIP
    >>> stored = documents.seal({"_id": 7, "tenant_id": "north", "text": "Dear Ada"})  # doctest: +SKIP
    >>> documents.open(stored)["text"]                                   # doctest: +SKIP
    'Dear Ada'
"""  # noqa: E501 - an example

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import uuid4

from assay.core import DataKeyClass
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer
from assay.encryption.errors import MissingEnvelopeError, RowIdError
from assay.encryption.mongodb.declaration import ID, SealedDocument, SealedGroup, index_field, top
from assay.encryption.mongodb.errors import (
    OwnerMissingError,
    RawFieldError,
    RowIdMissingError,
    SealedExpressionError,
    UnsealedFieldError,
)
from assay.encryption.mongodb.vendor import Vendor
from assay.encryption.owner_keys import IndexKeys, key_of_envelope
from assay.encryption.payload import decode_payload
from assay.encryption.row_address import RowAddress, RowIdKind, row_id_encoder
from assay.encryption.row_version import FIRST_VERSION
from assay.keys import Keyring

_ROWS, _INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES


class Documents:
    """Seals and opens the documents of one collection. Safe between threads and over a fork.

    Args:
        declared: what is sealed.
        keyring: has the owners' data keys.
        vendor: see `Vendor`.
    """

    def __init__(self, declared: SealedDocument, keyring: Keyring, vendor: Vendor) -> None:
        self.declared = declared
        self.keyring = keyring
        self.vendor = vendor
        self._sealer = EnvelopeSealer()
        self._opener = EnvelopeOpener()
        self._encode_row_id = row_id_encoder([declared.row_id])
        self._indexes = IndexKeys(keyring)

    def owner(self, document: Mapping[str, Any]) -> str:
        """The name of a document's owner.

        Raises:
            OwnerMissingError: there is none.
        """
        value = document.get(self.declared.owner)
        try:
            return self.declared.owner_of(self.vendor.plain(value))
        except RowIdError:
            pass  # binary data, which is nobody's name
        raise OwnerMissingError(
            f"expected the field {self.declared.owner!r} to say whose a document of "
            f"{self.declared.name} is, found binary data; the owner is text, UUID, int or ObjectId"
        )

    def row_id(self, document: Mapping[str, Any]) -> bytes:
        """The encoded ``_id`` of a document.

        Raises:
            RowIdMissingError: there is none.
            RowIdError: it is of another kind than declared.
        """
        value = document.get(ID)
        if value is None:
            raise RowIdMissingError(
                f"expected an _id in a document of {self.declared.name} before it is sealed, "
                "found none; give it one"
            )
        return self._encode_row_id([self.vendor.plain(value)])

    def with_id(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of a new document, with an ``_id`` that is made here when it has none.

        Raises:
            RowIdMissingError: ids of the declared kind must come from the application.
        """
        if document.get(ID) is not None or ID in document:
            return dict(document)
        if self.declared.row_id is RowIdKind.OBJECT_ID:
            return {ID: self.vendor.new_object_id(), **document}
        if self.declared.row_id is RowIdKind.UUID:
            return {ID: uuid4(), **document}
        raise RowIdMissingError(
            f"expected an _id of kind {self.declared.row_id.value} in a new document of "
            f"{self.declared.name}, found none; give it one"
        )

    def seal(
        self, document: Mapping[str, Any], replaced: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The stored form of a document that has an ``_id``.

        Args:
            document: in the clear.
            replaced: the stored document in whose place it is put. What its envelopes hold that
                the declaration does not know is kept, and their versions go on.

        Raises:
            RawFieldError: it names an envelope or a blind index.
            SealedExpressionError: a dotted name leads into a sealed field.
            OwnerMissingError: it is nobody's.
            RowIdMissingError: it has no ``_id``.
            RowIdError: its ``_id`` is of another kind than declared.
            SealedValueError: a value has another type than declared.
            UnsupportedValueError: a value cannot be sealed, or not be indexed.
            assay.keys.KeysError: there is no data key to be had.
        """
        fields = self.declared.fields
        refuse_raw(self.declared, document)
        stored = {name: value for name, value in document.items() if name not in fields}
        for name in stored:
            if "." in name and top(name) in fields:
                raise SealedExpressionError(
                    f"expected the sealed field {top(name)!r} as a whole, found a field with a "
                    "dotted name beside it, which would be stored in the clear; put it into a dict"
                )
        owner, row_id = self.owner(document), self.row_id(document)
        for group in self.declared.groups.values():
            values = {} if replaced is None else self.open_group(group, replaced)
            values = {name: value for name, value in values.items() if name not in group.fields}
            values |= {name: document[name] for name in group.fields if name in document}
            stored |= self.seal_group(group, owner, row_id, values, replaced)
        for name in self.declared.indexes:
            index = self.index(name, owner, document.get(name))
            if index is not None:
                stored[index_field(name)] = index
        return stored

    def seal_group(
        self,
        group: SealedGroup,
        owner: str,
        row_id: bytes,
        values: Mapping[str, object],
        replaced: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The stored fields of a group: its envelope, and its version when it has one.

        Args:
            group: which.
            owner: the name of the document's owner.
            row_id: the encoded ``_id``.
            values: what is sealed.
            replaced: the stored document whose envelope is replaced; its group was opened.

        Raises:
            SealedValueError: a value has another type than declared.
            UnsupportedValueError: a value cannot be sealed.
            assay.keys.KeysError: there is no data key to be had.
        """
        for name in group.fields:
            if name in values:
                self.declared.fields[name].accept(name, values[name])
        key = self.keyring.current(owner, _ROWS)
        version = self._next_version(group, replaced)
        address = RowAddress(owner, self.declared.name, group.name, row_id, version)
        stored: dict[str, Any] = {
            group.envelope_field: self._sealer.seal(
                key, address, values, padded=self.declared.padded
            )
        }
        if group.version_field is not None:
            stored[group.version_field] = version
        return stored

    def _next_version(self, group: SealedGroup, replaced: Mapping[str, Any] | None) -> int | None:
        if group.version_field is None:
            return None
        if replaced is None:
            return FIRST_VERSION
        return int(replaced[group.version_field]) + 1

    def open_group(self, group: SealedGroup, stored: Mapping[str, Any]) -> dict[str, object]:
        """All fields in the envelope of a group, known and unknown.

        Raises:
            EnvelopeError: one of its leaves.
            MalformedPayloadError: authentic, but no map of fields.
            OwnerMissingError: the document is nobody's.
            RowIdError: its ``_id`` is of another kind than declared.
            SealedValueError: a field has another type than declared.
            assay.keys.KeysError: the data key is not to be had.
        """
        envelope = stored.get(group.envelope_field)
        if type(envelope) is not bytes:
            raise MissingEnvelopeError(
                f"expected an envelope in {self.declared.name}.{group.envelope_field}, found "
                f"{'none' if envelope is None else type(envelope).__name__}"
            )
        owner = self.owner(stored)
        row_id, name = self.row_id(stored), group.version_field
        key = key_of_envelope(self.keyring, owner, envelope)
        if name is None:
            address = RowAddress(owner, self.declared.name, group.name, row_id)
            values = self._opener.open(key, address, envelope)
        else:
            address = RowAddress(owner, self.declared.name, group.name, row_id, FIRST_VERSION)
            version = self.vendor.plain(stored.get(name))
            payload = self._opener.open_versioned_payload(key, address, version, envelope)
            values = decode_payload(payload)
        for name in group.fields:
            if name in values:
                self.declared.fields[name].accept(name, values[name])
        return values

    def open(
        self, stored: Mapping[str, Any], wanted: Collection[str] | None = None
    ) -> dict[str, Any]:
        """A document as the application has it, from its stored form.

        Args:
            stored: with owner, ``_id`` and the envelopes of the wanted fields.
            wanted: the sealed fields that are to be in it; all when None.

        Raises:
            UnsealedFieldError: it holds a value in the clear under the name of a sealed field.
            EncryptionError: as in `open_group`.
        """
        declared = self.declared
        self.refuse_unsealed(stored)
        document = {n: v for n, v in stored.items() if n not in declared.raw_names}
        for group in declared.groups.values():
            names = [name for name in group.fields if wanted is None or name in wanted]
            if names:
                values = self.open_group(group, stored)
                document |= {name: values[name] for name in names if name in values}
        return document

    def refuse_unsealed(self, stored: Mapping[str, Any]) -> None:
        """Refuse a stored document that holds a sealed field in the clear.

        Raises:
            UnsealedFieldError: it does.
        """
        for name in stored:
            if name in self.declared.fields:
                raise UnsealedFieldError(
                    f"expected the field {name!r} of {self.declared.name} in its envelope alone, "
                    "found a value in the clear beside it: it was written past the sealed "
                    "collection, or before the field was sealed; insert such documents anew "
                    "through it"
                )

    def index(self, name: str, owner: str, value: object) -> bytes | None:
        """The blind index to store for a value; of None there is none.

        Raises:
            UnsupportedValueError: the transform does not accept the value.
            assay.keys.KeysError: there is no index key to be had.
        """
        found = self._indexes.value(self.declared.indexes[name], owner, value)
        return None if found is None else bytes(found)

    def indexes_of(self, name: str, owner: str, value: object) -> Iterable[bytes]:
        """The blind indexes under which a value of an owner may be stored: one for each key.

        Raises:
            UnsupportedValueError: the transform does not accept the value.
            assay.keys.KeysError: an index key is not to be had.
        """
        index = self.declared.indexes[name]
        index.transform(value)  # refused just the same when the owner has no key
        return [bytes(each.compute(value) or b"") for each in self._indexes.all(index, owner)]


def refuse_raw(declared: SealedDocument, names: Iterable[str]) -> None:
    """Refuse names of envelopes and blind indexes.

    Raises:
        RawFieldError: one of the names is such.
    """
    for name in names:
        if name in declared.raw_names:
            raise RawFieldError(
                f"expected the sealed fields of {declared.name} to be named, found {name!r}, which "
                "holds an envelope, its version or a blind index; name the sealed field instead"
            )
