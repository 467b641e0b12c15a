"""Sealed collections over the wire: what works, sync and async alike."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from bson import Int64, ObjectId
from pymongo import DeleteOne, InsertOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from assay.core import DataKeyClass
from assay.encryption import RowIdKind
from assay.encryption.mongodb import (
    ConcurrentUpdateError,
    Equality,
    SealedCollection,
    SealedDocument,
    exact,
    sealed,
)

LETTER = {
    "tenant_id": "north",
    "title": "Letter",
    "owner_email": "Ada@Example.com",
    "text": "Dear Ada",
    "pages": 2,
    "body": "…",
    "number": "+44 20 7946",
}


def test_a_document_comes_back_as_it_was(office: Any) -> None:
    document = dict(LETTER)
    inserted = office("insert_one", document)

    assert type(inserted.inserted_id) is ObjectId
    assert document == {**LETTER, "_id": inserted.inserted_id}  # as pymongo does
    assert office("find_one", {"_id": inserted.inserted_id}) == document
    assert office("find_one", inserted.inserted_id) == document
    stored = office.raw.find_one()
    assert stored.keys() == {
        "_id", "tenant_id", "title", "sealed", "sealed_content", "owner_email_index", "number_index"
    }  # fmt: skip


def test_a_document_without_sealed_values_has_all_envelopes(office: Any) -> None:
    office("insert_one", {"tenant_id": "north"})
    stored = office.raw.find_one()

    assert stored.keys() == {"_id", "tenant_id", "sealed", "sealed_content"}
    assert office("find_one") == {"_id": stored["_id"], "tenant_id": "north"}


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (RowIdKind.OBJECT_ID, ObjectId()),
        (RowIdKind.UUID, uuid4()),
        (RowIdKind.INTEGER, 7),
        (RowIdKind.INTEGER, 2**40),
        (RowIdKind.TEXT, "räksmörgås"),
    ],
)
def test_ids_of_each_kind(office: Any, kind: RowIdKind, key: Any) -> None:
    papers = office.make(
        SealedDocument("papers", "tenant_id", {"text": sealed(str)}, row_id=kind), name="papers"
    )
    office.finish(papers.insert_one({"_id": key, "tenant_id": "north", "text": "x"}))
    office.finish(papers.update_one({"_id": key}, {"$set": {"text": "y"}}))

    assert office.finish(papers.find_one(key))["text"] == "y"


@pytest.mark.parametrize("owner", ["north", uuid4(), 7, 2**40, ObjectId()])
def test_owners_of_each_kind(office: Any, owner: Any) -> None:
    office.add(owner)
    office.add("another")

    found = office.all({"tenant_id": owner, "owner_email": "ada@example.com"})
    assert [each["tenant_id"] for each in found] == [owner]
    assert office("update_one", {"tenant_id": owner}, {"$set": {"text": "y"}}).matched_count == 1
    assert office("find_one", {"tenant_id": owner})["text"] == "y"


def test_every_type_of_value(office: Any) -> None:
    papers = office.make(
        SealedDocument(
            "papers",
            "_id",
            {"any": sealed(), "day": sealed(date, index=Equality(exact))},
            row_id=RowIdKind.UUID,
            padded=True,
        ),
        name="papers",
    )
    values = [
        None, True, 1, 2**70, 0.5, "text", b"bytes", UUID(int=1), Decimal("1.10"), [1, [2]],
        {"a": {"b": None}}, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), date(2026, 1, 2),
    ]  # fmt: skip
    for value in values:
        document = {"any": value, "day": date(1815, 12, 10)}
        key = office.finish(papers.insert_one(document)).inserted_id
        assert type(key) is UUID
        found = office.finish(papers.find_one(key))
        assert found == {**document, "_id": key}
        assert type(found["any"]) is type(value)
    assert len(office.finish(papers.find({"day": date(1815, 12, 10)}))) == len(values)


def test_many_documents_with_every_option_of_a_cursor(office: Any) -> None:
    inserted = office(
        "insert_many",
        ({"tenant_id": "north", "n": n, "text": f"text {n}"} for n in range(7)),
        ordered=True,
    )
    assert len(inserted.inserted_ids) == 7
    cursor = office.sealed.find({"tenant_id": "north"}).sort("n", -1).skip(1).limit(3)
    cursor = cursor.batch_size(2).hint([("_id", 1)]).max_time_ms(10_000)
    assert [each["text"] for each in office.finish(cursor)] == ["text 5", "text 4", "text 3"]
    options = {"sort": [("n", 1)], "skip": 2, "limit": 2, "batch_size": 1}
    assert [each["n"] for each in office.all({}, **options)] == [2, 3]
    assert [each["n"] for each in office.all(sort={"n": -1}, limit=1)] == [6]


def test_cursors_are_iterated_and_closed(office: Any) -> None:
    office.add(text="one")
    office.add(text="two")
    if type(office.sealed) is SealedCollection:
        with office.sealed.find(sort=[("_id", 1)]) as cursor:
            assert next(cursor)["text"] == "one"
            assert [each["text"] for each in cursor] == ["two"]
            assert not cursor.alive
        return

    async def read() -> list[str]:
        async with office.sealed.find(sort=[("_id", 1)]) as cursor:
            first = (await anext(cursor))["text"]
            return [first, *[each["text"] async for each in cursor]]

    assert office.finish(read()) == ["one", "two"]


def test_filters_on_blind_indexes(office: Any) -> None:
    ada = office.add(number="12 34")
    bob = office.add(owner_email="bob@example.com", title="Note")
    nobody = office.add(owner_email=None)
    south = office.add("south")

    def ids(**given: Any) -> list[Any]:
        return [each["_id"] for each in office.all(given, sort=[("_id", 1)])]

    assert ids(owner_email="ADA@example.com") == [ada, south]
    assert ids(owner_email="ADA@example.com", tenant_id="north") == [ada]
    assert ids(owner_email={"$in": ["ada@example.com", None]}) == [ada, nobody, south]
    assert ids(owner_email=None) == [nobody]
    assert ids(owner_email={"$ne": "ada@example.com"}) == [bob, nobody]
    assert ids(owner_email={"$ne": None}) == [ada, bob, south]
    assert ids(owner_email={"$nin": ["ada@example.com", "bob@example.com"]}) == [nobody]
    assert ids(owner_email={"$not": {"$eq": "ada@example.com"}}) == [bob, nobody]
    assert ids(owner_email={"$in": ["ada@example.com"], "$ne": "bob@example.com"}) == [ada, south]
    assert ids(owner_email="nobody@example.com") == []
    assert ids(tenant_id="west", owner_email="ada@example.com") == []
    assert ids(number="1-2-3-4") == [ada]
    both = [{"owner_email": "bob@example.com"}, {"title": "Letter"}]
    assert ids(**{"$or": both}) == [ada, bob, nobody, south]
    assert ids(**{"$and": both}) == []
    assert ids(**{"$nor": both}) == []
    assert ids(**{"$or": [{"number": "1234"}, {"$and": [both[0], {"tenant_id": "north"}]}]}) == [
        ada, bob
    ]  # fmt: skip
    assert office("count_documents", {"owner_email": "ada@example.com"}) == 2
    assert office("distinct", "title", {"owner_email": "bob@example.com"}) == ["Note"]
    assert office("estimated_document_count") == 4


def test_a_rotated_index_key_finds_old_and_new_documents(office: Any) -> None:
    old = office.add()
    office.keyring.rotate("north", DataKeyClass.ROWS)
    office.keyring.rotate("north", DataKeyClass.INDEXES)
    new = office.add()

    found = office.all({"owner_email": "ada@example.com"}, sort=[("_id", 1)])
    assert [each["_id"] for each in found] == [old, new]
    assert office("update_one", {"_id": old}, {"$set": {"text": "y"}}).matched_count == 1
    assert office("find_one", old)["text"] == "y"


def test_projections(office: Any) -> None:
    key = office("insert_one", dict(LETTER)).inserted_id

    def projected(projection: Any) -> Any:
        return office("find_one", {"_id": key}, projection)

    assert projected(["text"]) == {"_id": key, "text": "Dear Ada"}
    assert projected({"text": 1, "_id": 0}) == {"text": "Dear Ada"}
    assert projected({"title": True}) == {"_id": key, "title": "Letter"}
    assert projected({"title": 1, "tenant_id": 1, "body": 1}) == {
        "_id": key, "title": "Letter", "tenant_id": "north", "body": "…"
    }  # fmt: skip
    whole = {**LETTER, "_id": key}
    assert projected({"body": 0, "number": 0}) == {
        name: v for name, v in whole.items() if name not in ("body", "number")
    }
    assert projected({"text": 0, "_id": 0, "tenant_id": 0}) == {
        name: v for name, v in whole.items() if name not in ("text", "_id", "tenant_id")
    }
    assert projected({"_id": 1}) == {"_id": key}
    assert projected([]) == {"_id": key}
    assert projected({}) == whole
    office.raw.update_one({}, {"$set": {"sealed_content": b"not read"}})
    assert projected(["text", "pages"]) == {"_id": key, "text": "Dear Ada", "pages": 2}


def test_updates(office: Any) -> None:
    key = office("insert_one", dict(LETTER)).inserted_id
    before = office.raw.find_one()
    clear = office("update_one", {"_id": key}, {"$set": {"title": "Note"}, "$inc": {"read": 1}})
    assert (clear.matched_count, clear.modified_count, clear.upserted_id) == (1, 1, None)
    assert office.raw.find_one()["sealed"] == before["sealed"]
    change = {
        "$set": {"text": "Dear Bob", "owner_email": "bob@example.com", "title": "Reply"},
        "$unset": {"pages": "", "number": ""},
        "$push": {"tags": "new"},
    }
    both = office("update_one", {"owner_email": "ada@example.com", "title": "Note"}, change)
    assert (both.matched_count, both.modified_count) == (1, 1)
    assert office("find_one") == {
        "_id": key, "tenant_id": "north", "title": "Reply", "read": 1, "tags": ["new"],
        "owner_email": "bob@example.com", "text": "Dear Bob", "body": "…",
    }  # fmt: skip
    assert office("find_one", {"owner_email": "ada@example.com"}) is None
    assert office("find_one", {"number": None})["_id"] == key
    assert "number_index" not in office.raw.find_one()
    assert office("update_one", {"title": "none"}, {"$set": {"text": "x"}}).matched_count == 0


def test_an_update_leaves_other_groups_alone(office: Any) -> None:
    office("insert_one", dict(LETTER))
    before = office.raw.find_one()
    office("update_one", {}, {"$set": {"text": "y"}})
    after = office.raw.find_one()

    assert after["sealed"] != before["sealed"]
    assert {**after, "sealed": before["sealed"]} == before


def test_update_many(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.encryption.mongodb import changes

    monkeypatch.setattr(changes, "BATCH_DOCUMENTS", 3)
    for n in range(7):
        office.add("north" if n % 2 else "south", n=n)
    office.add("west", n=-1)
    clear = office("update_many", {"owner_email": "ada@example.com"}, {"$set": {"x": 1}})
    assert (clear.matched_count, clear.modified_count) == (8, 8)
    done = office("update_many", {"n": {"$gte": 0}}, {"$set": {"text": "y", "n": -5}})
    assert (done.matched_count, done.modified_count) == (7, 7)
    assert sorted(each["text"] for each in office.all()) == ["Dear Ada", *["y"] * 7]


def test_replacements(office: Any) -> None:
    key = office("insert_one", dict(LETTER)).inserted_id
    done = office(
        "replace_one", {"owner_email": "ada@example.com"}, {"tenant_id": "north", "text": "new"}
    )
    assert (done.matched_count, done.modified_count) == (1, 1)
    assert office("find_one") == {"_id": key, "tenant_id": "north", "text": "new"}
    assert office.raw.find_one().keys() == {"_id", "tenant_id", "sealed", "sealed_content"}
    done = office("replace_one", {"text_": 1}, {"tenant_id": "north"})
    assert done.matched_count == 0


def test_unknown_fields_survive(office: Any) -> None:
    key = office("insert_one", dict(LETTER)).inserted_id
    older = office.make(SealedDocument("letters", "tenant_id", {"text": sealed(str)}))
    office.finish(older.update_one({"_id": key}, {"$set": {"text": "y"}}))
    assert office("find_one", key)["owner_email"] == LETTER["owner_email"]
    office.finish(older.replace_one({"_id": key}, {"tenant_id": "north", "text": "z"}))
    found = office.finish(older.find_one(key))
    assert found["text"] == "z"
    newer = office.make(SealedDocument("letters", "tenant_id", {"pages": sealed(int)}))
    assert office.finish(newer.find_one(key, ["pages"]))["pages"] == 2


def test_find_and_modify(office: Any) -> None:
    key = office("insert_one", dict(LETTER)).inserted_id
    whole = {**LETTER, "_id": key}
    where = {"owner_email": "ada@example.com"}
    assert office("find_one_and_update", where, {"$set": {"title": "a"}}) == whole
    assert office("find_one_and_update", where, {"$set": {"text": "b"}}) == {**whole, "title": "a"}
    after = office(
        "find_one_and_update", where, {"$set": {"text": "c"}}, sort=[("_id", 1)],
        return_document=ReturnDocument.AFTER,
    )  # fmt: skip
    assert after == {**whole, "title": "a", "text": "c"}
    replaced = office(
        "find_one_and_replace", where, {"tenant_id": "north", "text": "d"},
        return_document=ReturnDocument.AFTER,
    )  # fmt: skip
    assert replaced == {"_id": key, "tenant_id": "north", "text": "d"}
    assert office("find_one_and_update", where, {"$set": {"text": "e"}}) is None
    assert office("find_one_and_replace", where, {"tenant_id": "north"}) is None
    assert office("find_one_and_delete", {"tenant_id": "north"}) == replaced
    assert office("find_one_and_delete", {}) is None


def test_deletes(office: Any) -> None:
    for owner in ("north", "north", "south", "west"):
        office.add(owner)
    assert office("delete_one", {"tenant_id": "north"}).deleted_count == 1
    assert (
        office("delete_many", {"owner_email": "ada@example.com", "tenant_id": "west"}).deleted_count
        == 1
    )
    assert office("delete_many", {"owner_email": "ADA@example.com"}).deleted_count == 2


def test_upserts(office: Any) -> None:
    where = {"tenant_id": "north", "owner_email": "ada@example.com"}
    change = {"$set": {"text": "x"}, "$setOnInsert": {"pages": 1, "title": "new"}}
    first = office("update_one", where, change, upsert=True)
    assert first.matched_count == 0
    assert first.upserted_id == office.raw.find_one()["_id"]
    assert office("find_one") == {
        "_id": first.upserted_id, "title": "new", "text": "x", "pages": 1, **where
    }  # fmt: skip
    second = office(
        "update_one", where, {"$set": {"text": "y"}, "$setOnInsert": {"pages": 9}}, upsert=True
    )
    assert (second.matched_count, second.upserted_id) == (1, None)
    assert office("find_one")["pages"] == 1
    third = office("replace_one", where, {**where, "text": "z"}, upsert=True)
    assert (third.matched_count, third.upserted_id) == (1, None)
    south = {"tenant_id": "south", "text": "s"}
    fourth = office(
        "replace_one", {"_id": ObjectId("6745c0de8f3a4b5c6d7e8f90")}, south, upsert=True
    )
    assert fourth.upserted_id == ObjectId("6745c0de8f3a4b5c6d7e8f90")
    assert office("find_one", fourth.upserted_id) == {"_id": fourth.upserted_id, **south}
    assert office("update_one", where, {"$setOnInsert": {"pages": 9}}).matched_count == 1


def test_changing_the_owner_seals_anew(office: Any) -> None:
    key = office("insert_one", dict(LETTER)).inserted_id
    before = office.raw.find_one()
    assert office("change_owner", {"_id": key}, "south").matched_count == 1
    after = office.raw.find_one()

    assert office("find_one", {"owner_email": "ada@example.com", "tenant_id": "south"}) == {
        **LETTER, "_id": key, "tenant_id": "south"
    }  # fmt: skip
    assert office("find_one", {"owner_email": "ada@example.com", "tenant_id": "north"}) is None
    assert [n for n in after if after[n] == before[n]] == ["_id", "title"]
    assert office("change_owner", {"_id": 1}, "south").matched_count == 0


def test_bulk_writes(office: Any) -> None:
    gone = office.add(owner_email="gone@example.com")
    done = office(
        "bulk_write",
        [
            InsertOne({"tenant_id": "north", "owner_email": "new@example.com", "text": "new"}),
            UpdateOne({"owner_email": "new@example.com"}, {"$set": {"title": "one"}}),
            UpdateMany({"tenant_id": "north"}, {"$inc": {"read": 1}}),
            DeleteOne({"_id": gone}),
        ],
        ordered=True,
    )
    assert (done.inserted_count, done.deleted_count) == (1, 1)
    (left,) = office.all()
    assert (left["text"], left["title"], left["read"]) == ("new", "one", 1)


def test_aggregation(office: Any) -> None:
    for n, owner in enumerate(["north", "north", "south"]):
        office.add(owner, n=n, status="open")
    office.add(owner_email="bob@example.com", n=9)
    where = {"$match": {"owner_email": "ada@example.com"}}
    grouped = office(
        "aggregate",
        [where, {"$group": {"_id": "$tenant_id", "n": {"$sum": "$n"}}}, {"$sort": {"_id": 1}}],
    )
    assert grouped == [{"_id": "north", "n": 1}, {"_id": "south", "n": 2}]
    assert office("aggregate", [where, {"$count": "letters"}]) == [{"letters": 3}]
    opened = office(
        "aggregate",
        [where, {"$sort": {"n": -1}}, {"$limit": 2}, {"$set": {"seen": True}}, {"$unset": "title"}],
    )
    assert [(e["tenant_id"], e["text"], e["n"], e["seen"]) for e in opened] == [
        ("south", "Dear Ada", 2, True), ("north", "Dear Ada", 1, True),
    ]  # fmt: skip
    shaped = [{"$match": {"n": 9}}, {"$project": {"_id": 0, "n": 1}}, {"$match": {"n": 9}}]
    assert office("aggregate", shaped) == [{"n": 9}]
    assert len(office("aggregate", [])) == 4


def test_blind_indexes_are_unique_per_owner(office: Any) -> None:
    assert office("create_blind_index", "owner_email", name="mail") == "mail"
    assert office("create_index", [("title", 1)]) == "title_1"
    assert office("create_blind_index", "number") == "number_index_1"
    office.add()
    office.add("south")
    office.add(owner_email=None)
    office.add(owner_email=None)
    with pytest.raises(DuplicateKeyError) as refused:
        office.add(owner_email="ADA@example.com", text="secret of the second")
    assert "secret" not in repr(refused.value.details)
    with pytest.raises(BulkWriteError) as refused_many:
        office(
            "insert_many",
            [{"tenant_id": "north", "owner_email": "ada@example.com", "text": "secret"}],
        )
    assert "secret" not in repr(refused_many.value.details)
    where = {"tenant_id": "north", "owner_email": "ada@example.com"}
    assert office("update_one", where, {"$set": {"text": "y"}}, upsert=True).matched_count == 1
    assert {"mail", "title_1"} <= office("index_information").keys()
    office("drop_index", "mail")
    office.add()
    assert office("count_documents", where) == 2


def test_sixty_four_bit_numbers_are_numbers(office: Any) -> None:
    papers = office.make(
        SealedDocument("papers", "tenant_id", {"text": sealed(str)}, row_id=RowIdKind.INTEGER),
        name="papers",
    )
    office.finish(papers.insert_one({"_id": Int64(7), "tenant_id": Int64(5), "text": "x"}))
    assert office.finish(papers.find_one({"_id": 7, "tenant_id": 5}))["text"] == "x"


def test_no_update_is_lost(office: Any) -> None:
    """Two writers change different sealed fields of one document, each in between the other."""
    key = office("insert_one", dict(LETTER)).inserted_id
    documents = office.sealed._plans.documents
    real, rivals = documents.seal_group, iter(range(3))

    def seal_group(*given: Any) -> Any:
        stored = real(*given)
        for n in rivals:  # another writer is faster, three times
            past = SealedCollection(office.raw, office.sealed.declared, office.keyring)
            past.update_one({"_id": key}, {"$set": {"pages": 10 + n}})
            break
        return stored

    documents.seal_group = seal_group
    assert office("update_one", {"_id": key}, {"$set": {"text": "mine"}}).modified_count == 1
    found = office("find_one", key)
    assert (found["text"], found["pages"]) == ("mine", 12)


def one_command_at_a_time(office: Any) -> None:
    """Make each update atomic, as MongoDB's are.

    FerretDB 1.24 finds the documents of an update in one step and writes them in another, so two
    clients that compare and swap the same document may both be told that they did. Commands of
    several writers still come in any order; only none comes within another.
    """
    if office.folder is None:
        return  # the real MongoDB does it by itself
    perform = office.sealed._perform
    if type(office.sealed) is SealedCollection:
        lock = threading.Lock()

        def performed(call: Any) -> Any:
            with lock:
                return perform(call)

        office.sealed._perform = performed
        return
    waiting = asyncio.Lock()

    async def awaited(call: Any) -> Any:
        async with waiting:
            return await perform(call)

    office.sealed._perform = awaited


def test_concurrent_writers_lose_nothing(office: Any) -> None:
    one_command_at_a_time(office)
    key = office("insert_one", {"tenant_id": "north", "pages": 0, "text": "0"}).inserted_id
    last = 20
    values: dict[str, list[Any]] = {
        "pages": list(range(1, last + 1)),
        "text": [str(n) for n in range(1, last + 1)],
        "owner_email": [f"{n}@x.org" for n in range(1, last + 1)],
    }
    if type(office.sealed) is SealedCollection:

        def write(name: str) -> None:
            for value in values[name]:
                office.sealed.update_one({"_id": key}, {"$set": {name: value}})

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(write, values))
    else:

        async def write_all(name: str) -> None:
            for value in values[name]:
                await office.sealed.update_one({"_id": key}, {"$set": {name: value}})

        async def together() -> None:
            await asyncio.gather(*map(write_all, values))

        office.finish(together())
    found = office("find_one", key)
    assert (found["pages"], found["text"], found["owner_email"]) == (20, "20", "20@x.org")
    assert office("find_one", {"owner_email": "20@x.org"})["_id"] == key
    updates = [text for name, text in office.wire.commands if name == "update"]
    assert len(updates) > 2 * 3 * last, "the writers never met, so nothing was shown"


def test_a_writer_that_is_never_first_gives_up(office: Any) -> None:
    key = office("insert_one", dict(LETTER)).inserted_id
    documents = office.sealed._plans.documents
    real = documents.seal_group

    def seal_group(group: Any, owner: str, row_id: bytes, values: Any, *given: Any) -> Any:
        office.raw.update_one({"_id": key}, {"$set": real(group, owner, row_id, {}, *given)})
        return real(group, owner, row_id, values, *given)

    documents.seal_group = seal_group
    with pytest.raises(ConcurrentUpdateError, match="try again"):
        office("update_one", {"_id": key}, {"$set": {"text": "mine"}})
    documents.seal_group = real
    assert "text" not in office("find_one", key)
