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
from assay.encryption.buckets import Receipt, SealedBucket, SealedEntry
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer, envelope_key_id
from assay.encryption.errors import (
    BlindIndexError,
    BucketAccessError,
    BucketError,
    BucketServiceError,
    ChangedObjectError,
    EncryptionError,
    EnvelopeError,
    ExtendedObjectError,
    FrozenValueError,
    KeyClassError,
    MalformedPayloadError,
    MissingEnvelopeError,
    MissingObjectError,
    ObjectError,
    ObjectExistsError,
    ObjectNameError,
    ObjectRangeError,
    ObjectTooLargeError,
    PayloadError,
    RecordShapeError,
    ReplacedObjectError,
    RolledBackEnvelopeError,
    RowIdError,
    RowVersionError,
    TamperedEnvelopeError,
    TamperedObjectError,
    TruncatedEnvelopeError,
    TruncatedObjectError,
    UnknownMemberError,
    UnknownObjectSuiteError,
    UnknownObjectVersionError,
    UnknownSuiteError,
    UnknownVersionError,
    UnsupportedConditionError,
    UnsupportedTypeError,
    UnsupportedValueError,
    WrongKeyError,
    WrongObjectKeyError,
)
from assay.encryption.index_planner import (
    Distribution,
    MeasuredColumn,
    MeasuredIndex,
    kinds_for,
    measure_column,
)
from assay.encryption.index_sources import PlainValues, measure_plain_values, values_of_file
from assay.encryption.index_verdict import IndexVerdict, judge_indexes
from assay.encryption.object_store import (
    MemoryObjectStore,
    ObjectStore,
    StoredObject,
    StoredRange,
)
from assay.encryption.objects import (
    ObjectKeys,
    SealedObject,
    object_key_id,
    open_object,
    plain_size_bytes,
    seal_object,
    sealed_size_bytes,
)
from assay.encryption.payload import decode_payload, encode_payload
from assay.encryption.row_address import DEFAULT_GROUP, RowAddress, RowIdKind, encode_row_id

__all__ = [
    "DEFAULT_GROUP",
    "BlindIndex",
    "BlindIndexError",
    "BlindIndexValue",
    "BucketAccessError",
    "BucketError",
    "BucketServiceError",
    "ChangedObjectError",
    "Distribution",
    "EncryptionError",
    "EnvelopeError",
    "EnvelopeOpener",
    "EnvelopeSealer",
    "ExtendedObjectError",
    "FrozenValueError",
    "IndexVerdict",
    "KeyClassError",
    "MalformedPayloadError",
    "MeasuredColumn",
    "MeasuredIndex",
    "MemoryObjectStore",
    "MissingEnvelopeError",
    "MissingObjectError",
    "ObjectError",
    "ObjectExistsError",
    "ObjectKeys",
    "ObjectNameError",
    "ObjectRangeError",
    "ObjectStore",
    "ObjectTooLargeError",
    "PayloadError",
    "PlainValues",
    "Receipt",
    "RecordShapeError",
    "ReplacedObjectError",
    "RolledBackEnvelopeError",
    "RowAddress",
    "RowIdError",
    "RowIdKind",
    "RowVersionError",
    "SealedBucket",
    "SealedEntry",
    "SealedObject",
    "StoredObject",
    "StoredRange",
    "TamperedEnvelopeError",
    "TamperedObjectError",
    "Transform",
    "TruncatedEnvelopeError",
    "TruncatedObjectError",
    "UnknownMemberError",
    "UnknownObjectSuiteError",
    "UnknownObjectVersionError",
    "UnknownSuiteError",
    "UnknownVersionError",
    "UnsupportedConditionError",
    "UnsupportedTypeError",
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
    "judge_indexes",
    "kinds_for",
    "measure_column",
    "measure_plain_values",
    "object_key_id",
    "open_object",
    "plain_size_bytes",
    "seal_object",
    "sealed_size_bytes",
    "values_of_file",
]
