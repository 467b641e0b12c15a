"""What sealing and opening refuse, one name for each reason.

::

    EncryptionError
    ├── EnvelopeError              a row envelope (spec/row-envelope.md)
    │   ├── MissingEnvelopeError     no bytes where an envelope must be
    │   ├── TruncatedEnvelopeError   shorter than a header and a tag
    │   ├── UnknownVersionError      a version that this release does not know
    │   ├── UnknownSuiteError        a suite that this release does not know
    │   ├── WrongKeyError            sealed under another data key
    │   ├── TamperedEnvelopeError    altered, or the envelope of another row
    │   └── RolledBackEnvelopeError  of another version of the row
    ├── PayloadError               the fields within an envelope
    │   ├── MalformedPayloadError    not a map of fields
    │   ├── UnsupportedValueError    a value of a type that has no encoding
    │   ├── UnsupportedTypeError     an enumeration or record that has no encoding
    │   ├── UnknownMemberError       a value of no member of the enumeration
    │   ├── RecordShapeError         a map of other fields than the record has
    │   └── FrozenValueError         a change within a sealed dict or list
    ├── RowIdError                 a primary key of another kind than declared
    ├── RowVersionError            a version that no row can have
    ├── KeyClassError              a data key of another class
    ├── BlindIndexError            an index that cannot be declared or computed
    ├── ObjectError                a sealed object (spec/sealed-object.md)
    │   ├── TruncatedObjectError     cut off
    │   ├── ExtendedObjectError      something follows its end
    │   ├── UnknownObjectVersionError, UnknownObjectSuiteError, WrongObjectKeyError
    │   ├── TamperedObjectError      altered, reordered, or another object
    │   ├── ReplacedObjectError      authentic, but not the sealing that was asked for
    │   ├── ObjectNameError          a name that cannot be bound
    │   ├── ObjectRangeError         a range that is not within it
    │   └── ObjectTooLargeError      more chunks, or parts of an upload, than can be numbered
    ├── BucketError                where sealed objects stand (assay.encryption.buckets)
    │   ├── MissingObjectError       nothing stands under that name
    │   ├── ObjectExistsError        something does, and was not overwritten
    │   ├── ChangedObjectError       it was overwritten while it was read
    │   ├── UnsupportedConditionError   the server would overwrite although told not to
    │   ├── BucketAccessError        the server refused us
    │   └── BucketServiceError       the server cannot be reached, or failed
    ├── SealedFileError            a Parquet file (spec/parquet.md)
    │   ├── PlaintextFileError       a file, a footer or a column in the clear
    │   ├── WrongFileKeyError        sealed under another owner's data key
    │   ├── UnknownFileKeyVersionError   a wrapped key that this release does not know
    │   ├── TamperedFileError        altered, cut off, or another file
    │   ├── ReplacedFileError        authentic, but not the sealing that was asked for
    │   └── UnsupportedFileError     a schema, a column or a name that it cannot have
    ├── BatchError                 an Arrow record batch (assay.encryption.pyarrow)
    │   ├── UnsupportedColumnError   a column that cannot be sealed, or is not as declared
    │   ├── ColumnValueError         a value that is missing, or does not fit the declared type
    │   └── UnknownFieldError        an envelope holds more than is declared
    ├── django.MappingError        sealed Django models (assay.encryption.django.errors)
    └── sqlalchemy.MappingError    sealed models (assay.encryption.sqlalchemy.errors)

No message holds a key, a value or the bytes of an envelope.

Example:
    >>> issubclass(TamperedEnvelopeError, EnvelopeError)
    True
"""

from __future__ import annotations

from assay.core import AssayError


class EncryptionError(AssayError):
    """Anything that the room ``encryption`` refuses or cannot do."""


class EnvelopeError(EncryptionError):
    """A row envelope does not open. No bytes of it are ever returned."""


class MissingEnvelopeError(EnvelopeError):
    """There are no bytes where an envelope must be: NULL, or a value of another type."""


class TruncatedEnvelopeError(EnvelopeError):
    """The envelope is shorter than a header and a tag."""


class UnknownVersionError(EnvelopeError):
    """The envelope's version byte is not known here."""


class UnknownSuiteError(EnvelopeError):
    """The envelope's suite byte is not known here."""


class WrongKeyError(EnvelopeError):
    """The envelope was sealed under another data key than the row's owner has."""


class TamperedEnvelopeError(EnvelopeError):
    """The tag does not fit: altered bytes, or the envelope of another row, table or group."""


class RolledBackEnvelopeError(EnvelopeError):
    """The envelope is the row's own, of another version than the row has."""


class PayloadError(EncryptionError):
    """Fields cannot be written as a payload, or a payload cannot be read."""


class MalformedPayloadError(PayloadError):
    """The payload is not a MessagePack map of fields as the specification has it."""


class UnsupportedValueError(PayloadError):
    """A value has a type, or a size, that cannot be sealed without loss."""


class UnsupportedTypeError(PayloadError):
    """An enumeration or a record is declared so that its values could not be sealed, or be lost."""


class UnknownMemberError(PayloadError):
    """A payload holds a value that the enumeration of its field has no member for."""


class RecordShapeError(PayloadError):
    """A payload holds a map with other fields than the record of its field has."""


class FrozenValueError(PayloadError):
    """A dict or list of a sealed field was to be changed in place, which would be lost."""


class RowIdError(EncryptionError):
    """A primary key is of another kind than declared, or of none that can be bound to a row."""


class RowVersionError(EncryptionError):
    """The version of a row is not an integer from 1 to 2^63-1."""


class KeyClassError(EncryptionError):
    """A data key of one class was given for the work of another."""


class BlindIndexError(EncryptionError):
    """A blind index cannot be declared or computed like this."""


class ObjectError(EncryptionError):
    """A sealed object cannot be written or does not open."""


class TruncatedObjectError(ObjectError):
    """The object was cut off."""


class ExtendedObjectError(ObjectError):
    """Bytes follow the end of the object."""


class UnknownObjectVersionError(ObjectError):
    """The object's version byte is not known here."""


class UnknownObjectSuiteError(ObjectError):
    """The object's suite byte is not known here."""


class WrongObjectKeyError(ObjectError):
    """The object was sealed under another data key than the given one."""


class TamperedObjectError(ObjectError):
    """A tag does not fit: altered or reordered bytes, or the object of another name."""


class ObjectRangeError(ObjectError):
    """The wanted range does not lie within the object."""


class ObjectTooLargeError(ObjectError):
    """The object has more chunks, or its upload more parts, than can be numbered."""


class ReplacedObjectError(ObjectError):
    """The object is authentic, but of another sealing than the one that was asked for."""


class ObjectNameError(ObjectError):
    """A name of an owner, bucket or object cannot be bound to an object."""


class BucketError(EncryptionError):
    """A store of objects refused something, or failed. Nothing half is left under any name."""


class MissingObjectError(BucketError):
    """Nothing stands under that name."""


class ObjectExistsError(BucketError):
    """Something stands under that name already; it was not overwritten."""


class ChangedObjectError(BucketError):
    """The object was overwritten or deleted while it was read or moved."""


class UnsupportedConditionError(BucketError):
    """The server does not know the condition; it would overwrite without a word."""


class BucketAccessError(BucketError):
    """The server refused us: credentials, signature or permissions."""


class BucketServiceError(BucketError):
    """The server cannot be reached, or failed."""


class SealedFileError(EncryptionError):
    """A sealed Parquet file cannot be written or does not open."""


class PlaintextFileError(SealedFileError):
    """The file, its footer or one of its columns is in the clear, where all should be sealed."""


class WrongFileKeyError(SealedFileError):
    """The file's key was wrapped under a data key that its owner does not have."""


class UnknownFileKeyVersionError(SealedFileError):
    """A wrapped file key has a version or suite that is not known here."""


class TamperedFileError(SealedFileError):
    """The file was altered or cut off, is another data set's or name's, or no Parquet file."""


class ReplacedFileError(SealedFileError):
    """The file is authentic, but of another sealing than the one that was asked for."""


class UnsupportedFileError(SealedFileError):
    """A schema, a column or a name is not one that the sealed file has or can have."""


class BatchError(EncryptionError):
    """A record batch cannot be sealed or opened."""


class UnsupportedColumnError(BatchError):
    """A column cannot be sealed, is missing, or is not as it is declared."""


class ColumnValueError(BatchError):
    """A value is missing, or does not fit the declared type."""


class UnknownFieldError(BatchError):
    """An envelope holds fields that are not declared; opening would lose them."""
