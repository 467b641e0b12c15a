"""The only file that imports pymongo: its types, as sealed collections need to know them.

Least privileges for the account of the application: find, insert, update and remove on the
collection, and createIndex where it makes its indexes itself.

Example:
    >>> PYMONGO.plain(ObjectId("6745c0de8f3a4b5c6d7e8f90")).hex()
    '6745c0de8f3a4b5c6d7e8f90'
"""

from __future__ import annotations

from typing import Any, TypeAlias

try:
    from bson import Binary, Int64, ObjectId
    from bson.binary import UUID_SUBTYPE, UuidRepresentation
    from pymongo import (
        AsyncMongoClient,
        DeleteMany,
        DeleteOne,
        InsertOne,
        MongoClient,
        ReplaceOne,
        UpdateMany,
        UpdateOne,
    )
    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.collection import Collection
    from pymongo.errors import DuplicateKeyError
    from pymongo.read_preferences import ReadPreference
    from pymongo.results import (
        BulkWriteResult,
        DeleteResult,
        InsertManyResult,
        InsertOneResult,
        UpdateResult,
    )
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "expected the package pymongo, found none; install assay[mongodb]", name=exc.name
    ) from exc

from assay.encryption.errors import RowIdError
from assay.encryption.mongodb.errors import DeclarationError, UnsupportedOperationError
from assay.encryption.mongodb.vendor import Updated, Vendor, Write

__all__ = [
    "PYMONGO",
    "AnyCollection",
    "AsyncCollection",
    "AsyncMongoClient",
    "BulkWriteResult",
    "Collection",
    "DeleteResult",
    "InsertManyResult",
    "InsertOneResult",
    "MongoClient",
    "UpdateResult",
    "primary",
    "suited",
    "update_result",
]

AnyCollection: TypeAlias = Any
"""A `Collection` or an `AsyncCollection`."""


def suited(collection: AnyCollection, kind: type[Any]) -> AnyCollection:
    """The collection, giving out documents as dicts.

    Raises:
        DeclarationError: it is no such collection, or it does not acknowledge writes.
    """
    if not isinstance(collection, kind):
        raise DeclarationError(
            f"expected pymongo's {kind.__name__}, found {type(collection).__name__}"
        )
    if not collection.write_concern.acknowledged:
        raise DeclarationError(
            "expected a collection that acknowledges writes, found a write concern of 0, by which "
            "a lost update would not be noticed; leave w=0 out"
        )
    options = collection.codec_options.with_options(document_class=dict)
    return collection.with_options(codec_options=options)


def primary(collection: AnyCollection) -> AnyCollection:
    """The collection, read where it is written."""
    return collection.with_options(read_preference=ReadPreference.PRIMARY)


def update_result(updated: Updated) -> UpdateResult:
    """What pymongo returns of an update."""
    raw: dict[str, Any] = {"n": updated.matched, "nModified": updated.modified, "ok": 1.0}
    if updated.upserted_id is not None:
        raw |= {"n": 1, "upserted": updated.upserted_id}
    return UpdateResult(raw, acknowledged=True)


def _plain(value: object) -> object:
    if type(value) is ObjectId:
        return value.binary
    if type(value) is Int64:
        return int(value)
    if isinstance(value, bytes):
        if isinstance(value, Binary) and value.subtype == UUID_SUBTYPE:
            return value.as_uuid(UuidRepresentation.STANDARD)
        raise RowIdError(
            "expected an ObjectId, a UUID, a number or text, found binary data; give the document "
            "an _id of one of these, and open collections with uuidRepresentation='standard'"
        )
    return value


def _read_write(write: object) -> Write:
    """Take a write of a bulk apart; pymongo has no public way to."""
    given: Any = write
    match write:
        case InsertOne():
            return Write("insert_one", (given._doc,))  # noqa: SLF001 - see above
        case ReplaceOne():
            return Write("replace_one", (given._filter, given._doc), _options(given))  # noqa: SLF001 - see above
        case UpdateOne():
            return Write("update_one", (given._filter, given._doc), _options(given))  # noqa: SLF001 - see above
        case UpdateMany():
            return Write("update_many", (given._filter, given._doc), _options(given))  # noqa: SLF001 - see above
        case DeleteOne():
            return Write("delete_one", (given._filter,), _options(given))  # noqa: SLF001 - see above
        case DeleteMany():
            return Write("delete_many", (given._filter,), _options(given))  # noqa: SLF001 - see above
        case _:
            raise UnsupportedOperationError(
                f"expected writes such as InsertOne in a bulk, found {type(write).__name__}"
            )


def _options(write: Any) -> dict[str, Any]:
    found = {}
    for name in ("upsert", "collation", "array_filters", "hint", "sort"):
        value = getattr(write, f"_{name}", None)
        if value not in (None, False):
            found[name] = value
    return found


def _make_write(write: Write) -> object:
    return _WRITES[write.method](*write.arguments, **write.options)


_WRITES: dict[str, Any] = {
    "insert_one": InsertOne,
    "update_one": UpdateOne,
    "update_many": UpdateMany,
    "delete_one": DeleteOne,
    "delete_many": DeleteMany,
}

PYMONGO = Vendor(_plain, ObjectId, DuplicateKeyError, _read_write, _make_write)
