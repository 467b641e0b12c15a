"""The operations of a sealed collection, without I/O: they yield calls and are sent the answers.

Those that must read a document before they change it stand in ``changes.py``.

Example:
    >>> run(plans.count_documents({"tenant_id": "north"}, {}), perform)      # doctest: +SKIP
    1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from assay.encryption.mongodb.changes import Changes, Filter
from assay.encryption.mongodb.declaration import ID, SealedDocument, index_field
from assay.encryption.mongodb.documents import Documents
from assay.encryption.mongodb.errors import (
    SealedExpressionError,
    UnsupportedOperationError,
)
from assay.encryption.mongodb.filters import Filters
from assay.encryption.mongodb.options import (
    COUNTING,
    DELETING,
    FINDING,
    INDEXING,
    WRITING,
    checked,
    refuse_order,
    refuse_upsert,
)
from assay.encryption.mongodb.projections import GivenProjection, Projection
from assay.encryption.mongodb.updates import Change
from assay.encryption.mongodb.vendor import Call, Plan, Vendor, Write
from assay.keys import Keyring


class Plans:
    """The operations of one collection.

    Args:
        declared: what is sealed.
        keyring: has the owners' data keys.
        vendor: see `Vendor`.
    """

    def __init__(self, declared: SealedDocument, keyring: Keyring, vendor: Vendor) -> None:
        self.declared = declared
        self.documents = Documents(declared, keyring, vendor)
        self.filters = Filters(self.documents)
        self.changes = Changes(self.documents, self.filters)
        self._vendor = vendor

    # Reading

    def find_one(
        self, given: Any, projection: GivenProjection, options: Mapping[str, Any]
    ) -> Plan[dict[str, Any] | None]:
        """One document, opened; a filter that is no mapping is an ``_id``."""
        if given is not None and not isinstance(given, Mapping):
            given = {ID: given}
        arguments, passed, wanted = self.find(given, projection, options)
        stored = yield Call("find_one", arguments, passed)
        return None if stored is None else wanted.open(self.documents, stored)

    def find(
        self, given: Filter, projection: GivenProjection, options: Mapping[str, Any]
    ) -> tuple[tuple[Any, Any], dict[str, Any], Projection]:
        """Arguments and options of ``find``, and how what comes is opened."""
        passed = checked("find", options, FINDING)
        refuse_order(self.declared, passed.get("sort"), "a sort")
        wanted = Projection.of(self.declared, projection)
        return (self.filters.rewrite(given, passed), wanted.sent), passed, wanted

    def count_documents(self, given: Filter, options: Mapping[str, Any]) -> Plan[int]:
        """How many documents match."""
        passed = checked("count_documents", options, COUNTING)
        counted = yield Call("count_documents", (self.filters.rewrite(given, passed),), passed)
        return int(counted)

    def distinct(self, key: str, given: Filter, options: Mapping[str, Any]) -> Plan[list[Any]]:
        """The different values of a field in the clear."""
        passed = checked("distinct", options, DELETING)
        refuse_order(self.declared, key, "the different values")
        return list((yield Call("distinct", (key, self.filters.rewrite(given, passed)), passed)))

    # Inserting and deleting

    def insert_one(self, document: Mapping[str, Any], options: Mapping[str, Any]) -> Plan[Any]:
        """Seal and insert a document; it gets its ``_id`` here."""
        passed = checked("insert_one", options, WRITING - {"ordered"})
        return (yield Call("insert_one", (self._new(document),), passed))

    def insert_many(
        self, documents: Iterable[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> Plan[Any]:
        """Seal and insert documents. All of them are sealed before the first one is sent."""
        passed = checked("insert_many", options, WRITING)
        sealed = [self._new(document) for document in documents]
        return (yield Call("insert_many", (sealed,), passed))

    def delete(self, method: str, given: Filter, options: Mapping[str, Any]) -> Plan[Any]:
        """``delete_one`` or ``delete_many``."""
        passed = checked(method, options, DELETING)
        return (yield Call(method, (self.filters.rewrite(given, passed),), passed))

    def bulk_write(self, writes: Iterable[object], options: Mapping[str, Any]) -> Plan[Any]:
        """Inserts, deletes, and updates of fields in the clear, in one go."""
        passed = checked("bulk_write", options, WRITING)
        sent = [self._vendor.make_write(self._bulk(self._vendor.read_write(w))) for w in writes]
        return (yield Call("bulk_write", (sent,), passed))

    # Indexes

    def create_index(self, keys: Any, options: Mapping[str, Any]) -> Plan[str]:
        """An index of fields in the clear."""
        known = INDEXING | {"unique", "sparse", "expireAfterSeconds"}
        refuse_order(self.declared, keys, "an index")
        return str((yield Call("create_index", (keys,), checked("create_index", options, known))))

    def create_blind_index(self, name: str, options: Mapping[str, Any]) -> Plan[str]:
        """The server's index of a blind index."""
        passed = checked("create_blind_index", options, INDEXING)
        if name not in self.declared.indexes:
            raise SealedExpressionError(
                f"expected a sealed field with a blind index, found {name!r}; declare "
                "index=Equality(…) for it"
            )
        index = self.declared.fields[name].index
        if index is not None and index.unique:
            passed |= {"unique": True, "sparse": True}
        return str((yield Call("create_index", ([(index_field(name), 1)],), passed)))

    def _new(self, document: Mapping[str, Any]) -> dict[str, Any]:
        named = self.documents.with_id(document)
        stored = self.documents.seal(named)
        if isinstance(document, MutableMapping):
            document.setdefault(ID, named[ID])  # as pymongo does
        return stored

    def _bulk(self, write: Write) -> Write:
        if write.method == "insert_one":
            return Write(write.method, (self._new(write.arguments[0]),))
        condition = self.filters.rewrite(write.arguments[0], write.options)
        if write.method in ("delete_one", "delete_many"):
            return Write(write.method, (condition,), write.options)
        refuse_upsert("bulk_write", write.options)
        refuse_order(self.declared, write.options.get("sort"), "a sort")
        if write.method in ("update_one", "update_many"):
            change = Change.of(self.declared, write.arguments[1])
            if change.clear and not change.is_sealed:
                return Write(write.method, (condition, change.clear), write.options)
        raise UnsupportedOperationError(
            f"expected inserts, deletes and updates of fields in the clear in a bulk, found "
            f"{write.method} of a whole document or of sealed fields, which must be read first; "
            f"call {write.method} of the collection"
        )
