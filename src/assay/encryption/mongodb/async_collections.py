"""A sealed collection for pymongo's asynchronous client.

Example:
    >>> letters = AsyncSealedCollection(client.app.letters, declared, keyring)     # doctest: +SKIP
    >>> await letters.insert_one({"tenant_id": "north", "text": "Dear Ada"})        # doctest: +SKIP
    >>> (await letters.find_one({"owner_email": "ada@example.com"}))["text"]  # doctest: +SKIP
    'Dear Ada'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from assay.encryption.concealment import concealed, concealed_async
from assay.encryption.mongodb.changes import Filter
from assay.encryption.mongodb.cursors import AsyncSealedCursor, refuse_attribute
from assay.encryption.mongodb.declaration import SealedDocument
from assay.encryption.mongodb.options import AGGREGATING, checked
from assay.encryption.mongodb.pipelines import Pipeline
from assay.encryption.mongodb.plans import Plans
from assay.encryption.mongodb.projections import GivenProjection
from assay.encryption.mongodb.pymongo import (
    PYMONGO,
    AsyncCollection,
    BulkWriteResult,
    DeleteResult,
    InsertManyResult,
    InsertOneResult,
    UpdateResult,
    primary,
    suited,
    update_result,
)
from assay.encryption.mongodb.vendor import Call, run_async
from assay.keys import Keyring

Document = dict[str, Any]


class AsyncSealedCollection:
    """A collection of pymongo whose declared fields are sealed.

    It takes the arguments of pymongo's operations and returns its results. Only sealed forms are
    sent; what cannot be done with them is refused by a named error before anything is sent. A
    data key that is not in the keyring's cache is fetched within the event loop, which waits for
    the key service.

    Args:
        collection: pymongo's.
        declared: which fields are sealed.
        keyring: has the owners' data keys.

    Raises:
        DeclarationError: not a collection of pymongo, or one that does not acknowledge writes.
    """

    def __init__(
        self, collection: AsyncCollection[Any], declared: SealedDocument, keyring: Keyring
    ) -> None:
        self._collection: AsyncCollection[Any] = suited(collection, AsyncCollection)
        self._primary: AsyncCollection[Any] = primary(self._collection)
        self._plans = Plans(declared, keyring, PYMONGO)
        self._changes = self._plans.changes

    @property
    def declared(self) -> SealedDocument:
        """Which fields are sealed."""
        return self._plans.declared

    @concealed_async
    async def insert_one(self, document: Mapping[str, Any], **options: Any) -> InsertOneResult:
        """Seal and insert a document; its ``_id`` is made here when it has none."""
        return await run_async(self._plans.insert_one(document, options), self._perform)

    @concealed_async
    async def insert_many(
        self, documents: Iterable[Mapping[str, Any]], **options: Any
    ) -> InsertManyResult:
        """Seal all documents, then insert them. Insert very many in portions."""
        return await run_async(self._plans.insert_many(documents, options), self._perform)

    @concealed_async
    async def find_one(
        self, filter: Any = None, projection: GivenProjection = None, **options: Any
    ) -> Document | None:
        """One document, opened."""
        return await run_async(self._plans.find_one(filter, projection, options), self._perform)

    @concealed
    def find(
        self, filter: Filter = None, projection: GivenProjection = None, **options: Any
    ) -> AsyncSealedCursor:
        """The documents that match; each is opened when it is read.

        Groups of which a projection includes no field are neither fetched nor opened.
        """
        arguments, passed, wanted = self._plans.find(filter, projection, options)
        cursor = self._collection.find(*arguments, **passed)
        documents = self._plans.documents
        return AsyncSealedCursor(
            cursor, self.declared, lambda stored: wanted.open(documents, stored)
        )

    @concealed_async
    async def aggregate(
        self, pipeline: Sequence[Mapping[str, Any]], **options: Any
    ) -> AsyncSealedCursor:
        """Aggregate over fields in the clear; a first ``$match`` may compare blind indexes."""
        passed = checked("aggregate", options, AGGREGATING)
        rewritten = Pipeline.of(self._plans.filters, self.declared, pipeline, passed)
        cursor = await self._collection.aggregate(rewritten.sent, **passed)
        opened = self._plans.documents.open if rewritten.gives_documents else dict
        return AsyncSealedCursor(cursor, self.declared, opened)

    @concealed_async
    async def count_documents(self, filter: Filter, **options: Any) -> int:
        """How many documents match."""
        return await run_async(self._plans.count_documents(filter, options), self._perform)

    async def estimated_document_count(self) -> int:
        """About how many documents there are."""
        return await self._collection.estimated_document_count()

    @concealed_async
    async def distinct(self, key: str, filter: Filter = None, **options: Any) -> list[Any]:
        """The different values of a field in the clear."""
        return await run_async(self._plans.distinct(key, filter, options), self._perform)

    @concealed_async
    async def update_one(
        self, filter: Filter, update: Mapping[str, Any], **options: Any
    ) -> UpdateResult:
        """Update a document. Sealed fields may be ``$set`` and ``$unset`` whole."""
        return update_result(
            await run_async(self._changes.update_one(filter, update, options), self._perform)
        )

    @concealed_async
    async def update_many(
        self, filter: Filter, update: Mapping[str, Any], **options: Any
    ) -> UpdateResult:
        """Update all documents that match; when sealed fields change, one after another."""
        return update_result(
            await run_async(self._changes.update_many(filter, update, options), self._perform)
        )

    @concealed_async
    async def replace_one(
        self, filter: Filter, replacement: Mapping[str, Any], **options: Any
    ) -> UpdateResult:
        """Replace a document by another of the same owner and ``_id``."""
        plan = self._changes.replace_one(filter, replacement, options)
        return update_result(await run_async(plan, self._perform))

    @concealed_async
    async def change_owner(self, filter: Filter, owner: object, **options: Any) -> UpdateResult:
        """Give a document to another owner: all of it is sealed anew under the new owner's key."""
        return update_result(
            await run_async(self._changes.change_owner(filter, owner, options), self._perform)
        )

    @concealed_async
    async def delete_one(self, filter: Filter, **options: Any) -> DeleteResult:
        """Delete a document."""
        return await run_async(self._plans.delete("delete_one", filter, options), self._perform)

    @concealed_async
    async def delete_many(self, filter: Filter, **options: Any) -> DeleteResult:
        """Delete all documents that match."""
        return await run_async(self._plans.delete("delete_many", filter, options), self._perform)

    @concealed_async
    async def find_one_and_update(
        self,
        filter: Filter,
        update: Mapping[str, Any],
        projection: GivenProjection = None,
        **options: Any,
    ) -> Document | None:
        """Update a document and return it as it was, or with ``return_document`` as it is."""
        plan = self._changes.find_one_and_update(filter, update, projection, options)
        return await run_async(plan, self._perform)

    @concealed_async
    async def find_one_and_replace(
        self,
        filter: Filter,
        replacement: Mapping[str, Any],
        projection: GivenProjection = None,
        **options: Any,
    ) -> Document | None:
        """Replace a document and return it as it was, or with ``return_document`` as it is."""
        plan = self._changes.find_one_and_replace(filter, replacement, projection, options)
        return await run_async(plan, self._perform)

    @concealed_async
    async def find_one_and_delete(
        self, filter: Filter, projection: GivenProjection = None, **options: Any
    ) -> Document | None:
        """Delete a document and return it; one that does not open is not deleted."""
        plan = self._changes.find_one_and_delete(filter, projection, options)
        return await run_async(plan, self._perform)

    @concealed_async
    async def bulk_write(self, requests: Iterable[object], **options: Any) -> BulkWriteResult:
        """Inserts, deletes, and updates of fields in the clear, in one go."""
        return await run_async(self._plans.bulk_write(requests, options), self._perform)

    @concealed_async
    async def create_index(self, keys: Any, **options: Any) -> str:
        """Let the server index fields in the clear."""
        return await run_async(self._plans.create_index(keys, options), self._perform)

    @concealed_async
    async def create_blind_index(self, field: str, **options: Any) -> str:
        """Let the server index the blind index of a sealed field.

        With ``Equality(…, unique=True)`` the server refuses two documents of one owner with an
        equal value. Documents of two owners never collide, since their index keys differ. While an
        owner's index keys rotate, a value under the older one and the same value under the newer
        do not collide either.

        Args:
            field: the sealed field.
            options: ``name``, ``session``, ``comment``, ``hidden``.
        """
        return await run_async(self._plans.create_blind_index(field, options), self._perform)

    async def drop_index(self, name: str) -> None:
        """Let the server forget an index, by its name."""
        await self._collection.drop_index(name)

    async def index_information(self) -> Mapping[str, Any]:
        """The server's indexes by name."""
        return await self._collection.index_information()

    async def _perform(self, call: Call) -> Any:
        target = self._primary if call.from_primary else self._collection
        answer = getattr(target, call.method)(*call.arguments, **call.options)
        return await (answer.to_list() if call.method == "find" else answer)

    def __getattr__(self, name: str) -> NoReturn:
        refuse_attribute(type(self).__name__, name, hasattr(AsyncCollection, name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.declared.name}>"
