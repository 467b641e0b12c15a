"""Changes of stored documents, without I/O: they yield calls and are sent the answers.

A change of sealed fields is read, open, change, seal, and compare-and-swap: the write matches only
while the envelopes are those that were read. When another writer was faster it is done again, so
that no change is lost.

Example:
    >>> run(changes.update_one({"_id": 7}, {"$set": {"text": "…"}}, {}), perform)  # doctest: +SKIP
    Updated(matched=1, modified=1, upserted_id=None)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from assay.encryption.mongodb.declaration import ID, SealedGroup, index_field
from assay.encryption.mongodb.documents import Documents
from assay.encryption.mongodb.errors import (
    ConcurrentUpdateError,
    OwnerChangedError,
    RowIdChangedError,
)
from assay.encryption.mongodb.filters import Filters
from assay.encryption.mongodb.options import (
    DELETING,
    MODIFYING,
    UPDATING,
    WRITING,
    checked,
    looking,
    pinned,
    refuse_order,
    refuse_upsert,
)
from assay.encryption.mongodb.projections import GivenProjection, Projection
from assay.encryption.mongodb.updates import Change
from assay.encryption.mongodb.vendor import Call, Plan, Updated

ATTEMPTS = 64
"""How often a document is read and written again when other writers are faster."""

BATCH_DOCUMENTS = 500
"""How many documents update_many finds at a time."""

Filter = Mapping[str, Any] | None


class Changes:
    """What changes or deletes documents that must be read first.

    Args:
        documents: seal and open.
        filters: rewrite filters.
    """

    def __init__(self, documents: Documents, filters: Filters) -> None:
        self.declared = documents.declared
        self.documents = documents
        self.filters = filters
        self._vendor = documents.vendor

    def find_one_and_delete(
        self, given: Filter, projection: GivenProjection, options: Mapping[str, Any]
    ) -> Plan[dict[str, Any] | None]:
        """Delete a document and return it. One that does not open is not deleted."""
        passed = checked("find_one_and_delete", options, MODIFYING - {"return_document"})
        refuse_order(self.declared, passed.get("sort"), "a sort")
        condition = self.filters.rewrite(given, passed)
        wanted = Projection.of(self.declared, projection)
        groups = list(self.declared.groups.values())
        for _ in range(ATTEMPTS):
            found = yield from self._look(condition, groups, passed)
            if found is None:
                return None
            self.documents.open(found)
            same = self._same(condition, found, groups)
            answer = yield Call(
                "find_one_and_delete", (same,), self._projected(projection, wanted, pinned(passed))
            )
            if answer is not None:
                return wanted.open(self.documents, answer)
        raise self._outrun()

    def update_one(self, given: Filter, update: Any, options: Mapping[str, Any]) -> Plan[Updated]:
        """Update one document, or with ``upsert`` insert one when there is none."""
        passed = checked("update_one", options, UPDATING)
        refuse_order(self.declared, passed.get("sort"), "a sort")
        change = Change.of(self.declared, update)
        condition = self.filters.rewrite(given, passed)
        if passed.pop("upsert", False):
            document = change.inserted(given or {})
            return (
                yield from self._upsert(
                    lambda: self._update_one(condition, change, passed), document, passed
                )
            )
        return (yield from self._update_one(condition, change, passed))

    def update_many(self, given: Filter, update: Any, options: Mapping[str, Any]) -> Plan[Updated]:
        """Update all documents that match; when sealed fields change, one after another."""
        passed = checked("update_many", options, UPDATING - {"sort"})
        refuse_upsert("update_many", passed)
        change = Change.of(self.declared, update)
        condition = self.filters.rewrite(given, passed)
        if not change.is_sealed:
            if not change.clear:
                count = yield Call("count_documents", (condition,), {})
                return Updated(count, 0)
            answer = yield Call("update_many", (condition, change.clear), passed)
            return Updated(answer.matched_count, answer.modified_count)
        matched = modified = 0
        beyond: dict[str, Any] = {}
        while True:
            found = yield Call(
                "find",
                ({"$and": [condition, beyond]} if beyond else condition, {ID: 1}),
                {**looking(passed), "sort": [(ID, 1)], "limit": BATCH_DOCUMENTS},
                from_primary=True,
            )
            for each in found:
                one = {"$and": [condition, {ID: each[ID]}]}
                updated = yield from self._update_one(one, change, pinned(passed))
                matched, modified = matched + updated.matched, modified + updated.modified
            if len(found) < BATCH_DOCUMENTS:
                return Updated(matched, modified)
            beyond = {ID: {"$gt": found[-1][ID]}}

    def replace_one(
        self, given: Filter, replacement: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Plan[Updated]:
        """Replace one document by another of the same owner and ``_id``."""
        passed = checked("replace_one", options, UPDATING - {"array_filters"})
        refuse_order(self.declared, passed.get("sort"), "a sort")
        condition = self.filters.rewrite(given, passed)
        if passed.pop("upsert", False):
            named = {ID: given[ID]} if given and _is_value(given.get(ID)) else {}
            return (
                yield from self._upsert(
                    lambda: self._replace_one(condition, replacement, passed),
                    {**named, **replacement},
                    passed,
                )
            )
        return (yield from self._replace_one(condition, replacement, passed))

    def find_one_and_update(
        self, given: Filter, update: Any, projection: GivenProjection, options: Mapping[str, Any]
    ) -> Plan[dict[str, Any] | None]:
        """Update one document and return it as it was, or as it is."""
        passed = checked("find_one_and_update", options, MODIFYING)
        refuse_order(self.declared, passed.get("sort"), "a sort")
        change = Change.of(self.declared, update)
        condition = self.filters.rewrite(given, passed)
        wanted = Projection.of(self.declared, projection)
        sending = self._projected(projection, wanted, passed)
        if not change.is_sealed:
            answer = yield Call("find_one_and_update", (condition, change.clear), sending)
            return None if answer is None else wanted.open(self.documents, answer)
        for _ in range(ATTEMPTS):
            found = yield from self._look(condition, change.groups, passed)
            if found is None:
                return None
            same = self._same(condition, found, change.groups)
            sent = change.resealed(self.documents, found)
            answer = yield Call("find_one_and_update", (same, sent), pinned(sending))
            if answer is not None:
                return wanted.open(self.documents, answer)
        raise self._outrun()

    def find_one_and_replace(
        self,
        given: Filter,
        replacement: Mapping[str, Any],
        projection: GivenProjection,
        options: Mapping[str, Any],
    ) -> Plan[dict[str, Any] | None]:
        """Replace one document and return it as it was, or as it is."""
        passed = checked("find_one_and_replace", options, MODIFYING - {"array_filters"})
        refuse_order(self.declared, passed.get("sort"), "a sort")
        condition = self.filters.rewrite(given, passed)
        wanted = Projection.of(self.declared, projection)
        groups = list(self.declared.groups.values())
        sending = self._projected(projection, wanted, pinned(passed))
        for _ in range(ATTEMPTS):
            found = yield from self._look(condition, groups, passed)
            if found is None:
                return None
            same = self._same(condition, found, groups)
            sent = self._replacement(found, replacement)
            answer = yield Call("find_one_and_replace", (same, sent), sending)
            if answer is not None:
                return wanted.open(self.documents, answer)
        raise self._outrun()

    def change_owner(
        self, given: Filter, owner: object, options: Mapping[str, Any]
    ) -> Plan[Updated]:
        """Give one document to another owner: everything in it is sealed anew under their key."""
        passed = checked("change_owner", options, DELETING)
        declared = self.declared
        if declared.owner == ID:
            raise OwnerChangedError(
                "expected an owner in a field of its own, found it in _id, which never changes; "
                "insert a new document and delete the old one"
            )
        condition = self.filters.rewrite(given, passed)
        groups = list(declared.groups.values())
        for _ in range(ATTEMPTS):
            found = yield from self._look(condition, groups, passed)
            if found is None:
                return Updated(0, 0)
            values = self.documents.open(found)
            moved = {**values, declared.owner: owner}
            sealed = self.documents.seal(moved, found)
            del sealed[ID]
            gone = {index_field(n): "" for n in declared.indexes if index_field(n) not in sealed}
            sent = {"$set": sealed, **({"$unset": gone} if gone else {})}
            same = self._same(condition, found, groups)
            answer = yield Call("update_one", (same, sent), pinned(passed))
            if answer.matched_count:
                return Updated(1, answer.modified_count)
        raise self._outrun()

    def _look(
        self, condition: Mapping[str, Any], groups: list[SealedGroup], options: Mapping[str, Any]
    ) -> Plan[Mapping[str, Any] | None]:
        fetched = dict.fromkeys([ID, self.declared.owner], 1)
        fetched |= {name: 1 for group in groups for name in group.stored_fields}
        fetched |= dict.fromkeys(self.declared.fields, 1)  # there must be none
        stored = yield Call("find_one", (condition, fetched), looking(options), from_primary=True)
        if stored is not None:
            self.documents.refuse_unsealed(stored)
        return stored  # type: ignore[no-any-return]  # what find_one returns

    def _same(
        self, condition: Mapping[str, Any], found: Mapping[str, Any], groups: list[SealedGroup]
    ) -> dict[str, Any]:
        """Matches the document that was found, while its owner and envelopes are the same."""
        names = [ID, self.declared.owner, *(n for group in groups for n in group.stored_fields)]
        return {"$and": [condition, {name: found.get(name) for name in names}]}

    def _update_one(
        self, condition: Mapping[str, Any], change: Change, options: Mapping[str, Any]
    ) -> Plan[Updated]:
        if not change.is_sealed and change.clear:
            answer = yield Call("update_one", (condition, change.clear), options)
            return Updated(answer.matched_count, answer.modified_count)
        for _ in range(ATTEMPTS):
            found = yield from self._look(condition, change.groups, options)
            if found is None or not change.is_sealed:
                return Updated(0 if found is None else 1, 0)
            same = self._same(condition, found, change.groups)
            sent = change.resealed(self.documents, found)
            answer = yield Call("update_one", (same, sent), pinned(options))
            if answer.matched_count:
                return Updated(1, answer.modified_count)
        raise self._outrun()

    def _replace_one(
        self,
        condition: Mapping[str, Any],
        replacement: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Plan[Updated]:
        groups = list(self.declared.groups.values())
        for _ in range(ATTEMPTS):
            found = yield from self._look(condition, groups, options)
            if found is None:
                return Updated(0, 0)
            same = self._same(condition, found, groups)
            sent = self._replacement(found, replacement)
            answer = yield Call("replace_one", (same, sent), pinned(options))
            if answer.matched_count:
                return Updated(1, answer.modified_count)
        raise self._outrun()

    def _replacement(
        self, found: Mapping[str, Any], replacement: Mapping[str, Any]
    ) -> dict[str, Any]:
        document = {ID: found[ID], **replacement}
        if document[ID] != found[ID]:
            raise RowIdChangedError(
                "expected a replacement to keep the _id of the document, to which its envelopes "
                "are bound, found another; insert a new document and delete the old one"
            )
        if self.documents.owner(document) != self.documents.owner(found):
            raise OwnerChangedError(
                f"expected a replacement to keep the owner in {self.declared.owner!r}, whose key "
                "seals the document, found another; use change_owner first"
            )
        return self.documents.seal(document, found)

    def _upsert(
        self,
        update: Callable[[], Plan[Updated]],
        document: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Plan[Updated]:
        """Update; insert when there is nothing to update; update when another was faster."""
        passed = {name: options[name] for name in WRITING if name in options}
        for last in (False, False, True):
            updated = yield from update()
            if updated.matched:
                return updated
            try:
                answer = yield Call(
                    "insert_one", (self.documents.seal(self.documents.with_id(document)),), passed
                )
            except self._vendor.duplicate_key:
                if last:
                    raise
            else:
                return Updated(0, 0, answer.inserted_id)
        raise self._outrun()

    @staticmethod
    def _projected(
        given: GivenProjection, wanted: Projection, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        return dict(options) if given is None else {**options, "projection": wanted.sent}

    def _outrun(self) -> ConcurrentUpdateError:
        return ConcurrentUpdateError(
            f"expected a document of {self.declared.name} to hold still between reading and "
            f"writing it, found it changed by others {ATTEMPTS} times; nothing was written, try "
            "again"
        )


def _is_value(condition: object) -> bool:
    return condition is not None and not isinstance(condition, Mapping)
