"""Row envelopes, blind indexes and sealed objects: data is sealed before it is stored.

Example:
    >>> from assay.encryption import EnvelopeOpener, EnvelopeSealer, RowAddress, encode_row_id
    >>> from assay.core import DataKeyClass
    >>> from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
    >>> keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    >>> key = keyring.current("tenant-1", DataKeyClass.ROWS)
    >>> address = RowAddress("tenant-1", "documents", "default", encode_row_id(7))
    >>> envelope = EnvelopeSealer().seal(key, address, {"text": "Dear Ada"})
    >>> EnvelopeOpener().open(key, address, envelope)
    {'text': 'Dear Ada'}

Sealed models live in ``assay.encryption.sqlalchemy``, which is imported only by who uses it.
"""

from assay.encryption.blind_index import (
    BlindIndex,
    BlindIndexValue,
    Transform,
    casefold,
    digits,
    exact,
)
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer, envelope_key_id
from assay.encryption.errors import (
    BlindIndexError,
    EncryptionError,
    EnvelopeError,
    ExtendedObjectError,
    FrozenValueError,
    KeyClassError,
    MalformedPayloadError,
    MissingEnvelopeError,
    ObjectError,
    ObjectRangeError,
    ObjectTooLargeError,
    PayloadError,
    RowIdError,
    TamperedEnvelopeError,
    TamperedObjectError,
    TruncatedEnvelopeError,
    TruncatedObjectError,
    UnknownObjectSuiteError,
    UnknownObjectVersionError,
    UnknownSuiteError,
    UnknownVersionError,
    UnsupportedValueError,
    WrongKeyError,
    WrongObjectKeyError,
)
from assay.encryption.objects import (
    ObjectKeys,
    SealedObject,
    object_key_id,
    open_object,
    seal_object,
)
from assay.encryption.payload import decode_payload, encode_payload
from assay.encryption.row_address import DEFAULT_GROUP, RowAddress, RowIdKind, encode_row_id

__all__ = [
    "DEFAULT_GROUP",
    "BlindIndex",
    "BlindIndexError",
    "BlindIndexValue",
    "EncryptionError",
    "EnvelopeError",
    "EnvelopeOpener",
    "EnvelopeSealer",
    "ExtendedObjectError",
    "FrozenValueError",
    "KeyClassError",
    "MalformedPayloadError",
    "MissingEnvelopeError",
    "ObjectError",
    "ObjectKeys",
    "ObjectRangeError",
    "ObjectTooLargeError",
    "PayloadError",
    "RowAddress",
    "RowIdError",
    "RowIdKind",
    "SealedObject",
    "TamperedEnvelopeError",
    "TamperedObjectError",
    "Transform",
    "TruncatedEnvelopeError",
    "TruncatedObjectError",
    "UnknownObjectSuiteError",
    "UnknownObjectVersionError",
    "UnknownSuiteError",
    "UnknownVersionError",
    "UnsupportedValueError",
    "WrongKeyError",
    "WrongObjectKeyError",
    "casefold",
    "decode_payload",
    "digits",
    "encode_payload",
    "encode_row_id",
    "envelope_key_id",
    "exact",
    "object_key_id",
    "open_object",
    "seal_object",
]
