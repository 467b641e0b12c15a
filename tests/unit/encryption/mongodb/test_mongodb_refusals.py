"""Everything that cannot be done with sealed fields is refused by name before anything is sent."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from bson import SON, Binary, ObjectId
from pymongo import MongoClient, ReplaceOne, UpdateMany, UpdateOne, WriteConcern

from assay.encryption import EncryptionError, RowIdError, RowIdKind, UnsupportedValueError
from assay.encryption.mongodb import (
    DeclarationError,
    Equality,
    OwnerChangedError,
    OwnerMissingError,
    RawFieldError,
    RowIdChangedError,
    RowIdMissingError,
    SealedCollection,
    SealedDocument,
    SealedExpressionError,
    SealedValueError,
    TooManyOwnersError,
    UnsupportedOperationError,
    casefold,
    sealed,
)

SECRET = "Quartz & Obsidian"


def refused(error: type[Exception], method: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(EncryptionError) as raised:
        method(*arguments, **options)
    assert type(raised.value) is error, raised.value
    shown = str(raised.value)
    assert SECRET not in shown
    assert shown.startswith(("expected", "field")), shown
    return shown


FILTERS = [
    ({"text": SECRET}, SealedExpressionError),
    ({"text": None}, SealedExpressionError),
    ({"text.a": SECRET}, SealedExpressionError),
    ({"owner_email.a": SECRET}, SealedExpressionError),
    ({"owner_email": {"$regex": SECRET}}, SealedExpressionError),
    ({"owner_email": {"$gt": SECRET}}, SealedExpressionError),
    ({"owner_email": {"$exists": True}}, SealedExpressionError),
    ({"owner_email": {"$not": {"$lt": SECRET}}}, SealedExpressionError),
    ({"owner_email": {"$not": SECRET}}, SealedExpressionError),
    ({"owner_email": {"$eq": SECRET, "$type": 2}}, SealedExpressionError),
    ({"owner_email": re.compile(SECRET)}, UnsupportedValueError),
    ({"owner_email": {"$in": [SECRET, 7]}}, UnsupportedValueError),
    ({"owner_email": {"a": SECRET}}, UnsupportedValueError),
    ({"tenant_id": "nobody", "owner_email": 7}, UnsupportedValueError),
    ({"sealed": b"x"}, RawFieldError),
    ({"sealed.x": b"x"}, RawFieldError),
    ({"owner_email_index": b"x"}, RawFieldError),
    ({"$or": [{"title": 1}, {"$and": [{"text": SECRET}]}]}, SealedExpressionError),
    ({"$nor": [{"sealed_content": SECRET}]}, RawFieldError),
    ({"$and": [SECRET]}, UnsupportedOperationError),
    ({"$where": f"this.text == '{SECRET}'"}, UnsupportedOperationError),
    ({"$text": {"$search": SECRET}}, UnsupportedOperationError),
    ({"$jsonSchema": {"required": ["text"]}}, UnsupportedOperationError),
    ({"$expr": {"$eq": ["$text", SECRET]}}, SealedExpressionError),
    ({"$expr": {"$eq": ["$$ROOT.text", SECRET]}}, SealedExpressionError),
    ({"$expr": {"$eq": ["$$CURRENT", SECRET]}}, SealedExpressionError),
    ({"$expr": {"$eq": [{"$getField": "text"}, SECRET]}}, SealedExpressionError),
    (
        {"$expr": {"$function": {"body": "x", "args": ["$title"], "lang": "js"}}},
        SealedExpressionError,
    ),
]


@pytest.mark.parametrize(("given", "error"), FILTERS)
def test_filters(letters: SealedCollection, given: Any, error: type[Exception]) -> None:
    update = {"$set": {"title": "x"}}
    for method, *further in (
        (letters.find,), (letters.find_one,), (letters.count_documents,), (letters.delete_one,),
        (letters.delete_many,), (letters.find_one_and_delete,), (letters.update_one, update),
        (letters.update_many, update), (letters.find_one_and_update, update),
        (letters.replace_one, {"tenant_id": "north"}), (letters.change_owner, "south"),
        (letters.find_one_and_replace, {"tenant_id": "north"}),
    ):  # fmt: skip
        refused(error, method, given, *further)
    refused(error, letters.distinct, "title", given)
    refused(error, letters.aggregate, [{"$match": given}])
    refused(error, letters.bulk_write, [UpdateOne(given, update)])


def test_a_search_among_too_many_owners(letters: SealedCollection, monkeypatch: Any) -> None:
    from assay.encryption.mongodb import filters

    monkeypatch.setattr(filters, "MOST_OWNERS", 1)
    documents = letters._plans.documents
    for owner in ("north", "south"):
        documents.index("owner_email", owner, "x")
    shown = refused(TooManyOwnersError, letters.find, {"owner_email": SECRET})
    assert "tenant_id" in shown
    assert letters.find({"owner_email": SECRET, "tenant_id": "north"})
    assert letters.find({"owner_email": None})


UPDATES = [
    ({"$inc": {"pages": 1}}, SealedExpressionError),
    ({"$min": {"pages": 1}}, SealedExpressionError),
    ({"$push": {"text": SECRET}}, SealedExpressionError),
    ({"$set": {"settings.colour": SECRET}}, SealedExpressionError),
    ({"$set": {"text.$[]": SECRET}}, SealedExpressionError),
    ({"$unset": {"settings.colour": ""}}, SealedExpressionError),
    ({"$currentDate": {"text": True}}, SealedExpressionError),
    ({"$rename": {"text": "title"}}, SealedExpressionError),
    ({"$rename": {"title": "text"}}, SealedExpressionError),
    ({"$rename": {"title": "sealed"}}, RawFieldError),
    ({"$set": {"sealed": SECRET}}, RawFieldError),
    ({"$set": {"owner_email_index": SECRET}}, RawFieldError),
    ({"$unset": {"sealed_content": ""}}, RawFieldError),
    ({"$setOnInsert": {"sealed": SECRET}}, RawFieldError),
    ({"$set": {"tenant_id": "south"}}, OwnerChangedError),
    ({"$unset": {"tenant_id": ""}}, OwnerChangedError),
    ({"$rename": {"title": "tenant_id"}}, OwnerChangedError),
    ({"$set": {"_id": 1}}, RowIdChangedError),
    ({"$rename": {"title": "_id"}}, RowIdChangedError),
    ([{"$set": {"title": SECRET}}], UnsupportedOperationError),
    ({"text": SECRET}, UnsupportedOperationError),
    ({"$set": SECRET}, UnsupportedOperationError),
    ({}, UnsupportedOperationError),
    ({"$set": {"text": SECRET}, "$unset": {"text": ""}}, UnsupportedOperationError),
]


@pytest.mark.parametrize(("update", "error"), UPDATES)
def test_updates(letters: SealedCollection, update: Any, error: type[Exception]) -> None:
    for method in (letters.update_one, letters.update_many, letters.find_one_and_update):
        refused(error, method, {"_id": 1}, update)
    if isinstance(update, dict) and update and all(isinstance(v, dict) for v in update.values()):
        refused(error, letters.bulk_write, [UpdateMany({}, update)])


def test_upserts_that_only_the_server_could_do(letters: SealedCollection) -> None:
    where = {"tenant_id": "north"}
    for update in ({"$inc": {"n": 1}}, {"$set": {"a.b": SECRET}}, {"$push": {"tags": SECRET}}):
        refused(UnsupportedOperationError, letters.update_one, where, update, upsert=True)
    change = {"$set": {"title": "x"}}
    refused(UnsupportedOperationError, letters.update_many, where, change, upsert=True)
    refused(UnsupportedOperationError, letters.find_one_and_update, where, change, upsert=True)
    replacement = {"tenant_id": "north"}
    refused(
        UnsupportedOperationError, letters.find_one_and_replace, where, replacement, upsert=True
    )


def test_bulks(letters: SealedCollection) -> None:
    for write in (
        UpdateOne({}, {"$set": {"text": SECRET}}),
        UpdateMany({}, {"$unset": {"text": ""}}),
        UpdateOne({}, {"$set": {"title": "x", "text": SECRET}}),
        UpdateOne({}, {"$set": {"title": "x"}}, upsert=True),
        ReplaceOne({}, {"tenant_id": "north", "text": SECRET}),
        "insert",
    ):
        refused(UnsupportedOperationError, letters.bulk_write, [write])


STAGES: list[tuple[Any, type[Exception]]] = [
    ({"$lookup": {"from": "x", "as": "y"}}, UnsupportedOperationError),
    ({"$unionWith": "x"}, UnsupportedOperationError),
    ({"$out": "x"}, UnsupportedOperationError),
    ({"$merge": "x"}, UnsupportedOperationError),
    ({"$facet": {"a": []}}, UnsupportedOperationError),
    ({"$replaceRoot": {"newRoot": "$title"}}, UnsupportedOperationError),
    ({"$sort": {"text": 1}, "$limit": 1}, UnsupportedOperationError),
    ({"$project": {"title": 0}}, UnsupportedOperationError),
    ({"$project": {"_id": 0}}, UnsupportedOperationError),
    ({"$project": {"title": {"draft": 0}}}, UnsupportedOperationError),
    ({"$project": {"title": {"draft": {"old": False}}}}, UnsupportedOperationError),
    ({"$sort": {"text": 1}}, SealedExpressionError),
    ({"$sort": {"owner_email_index": 1}}, RawFieldError),
    ({"$group": {"_id": "$text"}}, SealedExpressionError),
    ({"$group": {"_id": "$owner_email"}}, SealedExpressionError),
    ({"$group": {"_id": "$sealed"}}, SealedExpressionError),
    ({"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}, SealedExpressionError),
    ({"$group": {"_id": None, "all": {"$push": "$$CURRENT.sealed"}}}, SealedExpressionError),
    ({"$project": {"x": {"$getField": "text"}}}, SealedExpressionError),
    ({"$project": {"x": {"$concat": ["a", "$text"]}}}, SealedExpressionError),
    ({"$project": {"x": {"$objectToArray": "$$ROOT"}}}, SealedExpressionError),
    ({"$project": {"text": 1}}, SealedExpressionError),
    ({"$project": {"sealed": 1}}, RawFieldError),
    ({"$unset": "text"}, SealedExpressionError),
    ({"$unset": ["title", "sealed"]}, RawFieldError),
    ({"$set": {"text": SECRET}}, SealedExpressionError),
    ({"$set": {"x": "$text"}}, SealedExpressionError),
    ({"$addFields": {"sealed": SECRET}}, RawFieldError),
    ({"$addFields": {"tenant_id": "south"}}, OwnerChangedError),
    ({"$set": {"_id": 1}}, OwnerChangedError),
    ({"$unset": "tenant_id"}, OwnerChangedError),
    ({"$unwind": "$tenant_id"}, OwnerChangedError),
    ({"$unwind": "$text"}, SealedExpressionError),
    ({"$unwind": {"path": "$tags", "includeArrayIndex": "text"}}, SealedExpressionError),
    ({"$unwind": {"path": "$tags", "includeArrayIndex": "sealed"}}, RawFieldError),
    ({"$count": "text"}, SealedExpressionError),
    ({"$sortByCount": "$owner_email"}, SealedExpressionError),
    *(
        ({"$project": {"x": {operator: {"field": "a", "input": "$meta"}}}}, SealedExpressionError)
        for operator in ("$setField", "$unsetField", "$function", "$accumulator")
    ),
]


@pytest.mark.parametrize(("stage", "error"), STAGES)
def test_stages(letters: SealedCollection, stage: Any, error: type[Exception]) -> None:
    refused(error, letters.aggregate, [{"$match": {"title": "x"}}, stage])


def test_a_later_match_has_no_sealed_fields(letters: SealedCollection) -> None:
    for given in ({"owner_email": SECRET}, {"$or": [{"text": 1}]}, {"$where": "1"}):
        pipeline = [{"$group": {"_id": "$title"}}, {"$match": given}]
        refused(SealedExpressionError, letters.aggregate, pipeline)


def test_sorts_and_indexes(letters: SealedCollection) -> None:
    for keys, error in (
        ([("text", 1)], SealedExpressionError),
        ({"owner_email": 1}, SealedExpressionError),
        ([("title", 1), ("settings.a", -1)], SealedExpressionError),
        ([("sealed", 1)], RawFieldError),
    ):
        for method, *further in (
            (letters.find,), (letters.find_one,), (letters.find_one_and_delete,),
            (letters.update_one, {"$set": {"title": 1}}),
            (letters.find_one_and_update, {"$set": {"title": 1}}),
            (letters.replace_one, {"tenant_id": "north"}),
            (letters.find_one_and_replace, {"tenant_id": "north"}),
        ):  # fmt: skip
            refused(error, method, {"_id": 1}, *further, sort=keys)
        refused(error, letters.create_index, keys)
        refused(error, letters.find().sort, keys)
    refused(SealedExpressionError, letters.find().sort, "text", -1)
    refused(SealedExpressionError, letters.distinct, "text")
    refused(SealedExpressionError, letters.distinct, "owner_email")
    refused(RawFieldError, letters.distinct, "owner_email_index")
    refused(SealedExpressionError, letters.create_blind_index, "text")
    refused(SealedExpressionError, letters.create_blind_index, "title")


def test_projections(letters: SealedCollection) -> None:
    for projection, error in (
        ({"settings.colour": 1}, SealedExpressionError),
        (["settings.colour"], SealedExpressionError),
        ({"text": {"$slice": 1}}, SealedExpressionError),
        ({"text": "$title"}, SealedExpressionError),
        ({"x": "$text"}, SealedExpressionError),
        ({"x": {"$concat": ["$sealed"]}}, SealedExpressionError),
        ({"x": "$$ROOT"}, SealedExpressionError),
        ({"sealed": 1}, RawFieldError),
        (["owner_email_index"], RawFieldError),
        ({"sealed": 0}, RawFieldError),
    ):
        for method in (letters.find, letters.find_one, letters.find_one_and_delete):
            refused(error, method, {}, projection)


def test_options_and_operations_that_are_not_known(letters: SealedCollection) -> None:
    refused(UnsupportedOperationError, letters.find, {}, let={"x": SECRET})
    refused(UnsupportedOperationError, letters.find, {}, show_record_id=True)
    refused(UnsupportedOperationError, letters.insert_one, {"tenant_id": "n"}, encrypt=False)
    refused(UnsupportedOperationError, letters.update_one, {}, {"$set": {"a": 1}}, let={})
    refused(UnsupportedOperationError, letters.aggregate, [], let={"x": SECRET})
    refused(UnsupportedOperationError, letters.create_index, "a", partialFilterExpression={})
    for name in ("watch", "rename", "find_raw_batches", "aggregate_raw_batches", "drop"):
        refused(UnsupportedOperationError, getattr, letters, name)
    refused(UnsupportedOperationError, getattr, letters.find(), "where")
    refused(UnsupportedOperationError, getattr, letters.find(), "explain")
    for each in (letters, letters.find()):
        with pytest.raises(AttributeError):
            _ = each.nonsense
        assert not hasattr(each, "__deepcopy__")


DOCUMENTS: list[tuple[Any, type[Exception]]] = [
    ({"text": SECRET}, OwnerMissingError),
    ({"tenant_id": None, "text": SECRET}, OwnerMissingError),
    ({"tenant_id": "", "text": SECRET}, OwnerMissingError),
    ({"tenant_id": 1.5, "text": SECRET}, OwnerMissingError),
    ({"tenant_id": b"twelve bytes", "text": SECRET}, OwnerMissingError),
    ({"tenant_id": "n", "_id": 7, "text": SECRET}, RowIdError),
    ({"tenant_id": "n", "_id": uuid4(), "text": SECRET}, RowIdError),
    ({"tenant_id": "n", "_id": b"twelve bytes", "text": SECRET}, RowIdError),
    ({"tenant_id": "n", "_id": Binary(b"twelve bytes"), "text": SECRET}, RowIdError),
    ({"tenant_id": "n", "_id": None, "text": SECRET}, RowIdMissingError),
    ({"tenant_id": "n", "text": SECRET.encode()}, SealedValueError),
    ({"tenant_id": "n", "pages": True}, SealedValueError),
    ({"tenant_id": "n", "settings": {"x": [SECRET, ObjectId()]}}, UnsupportedValueError),
    ({"tenant_id": "n", "settings": {7: SECRET}}, UnsupportedValueError),
    ({"tenant_id": "n", "text": "\ud800"}, UnsupportedValueError),
    ({"tenant_id": "n", "code": 7}, UnsupportedValueError),
    ({"tenant_id": "n", "sealed": SECRET}, RawFieldError),
    ({"tenant_id": "n", "number_index": SECRET}, RawFieldError),
    ({"tenant_id": "n", "text.a": SECRET}, SealedExpressionError),
]


@pytest.mark.parametrize(("document", "error"), DOCUMENTS)
def test_documents(letters: SealedCollection, document: Any, error: type[Exception]) -> None:
    before = dict(document)
    refused(error, letters.insert_one, document)
    refused(error, letters.insert_many, [{"tenant_id": "n"}, document])
    assert document == before


def test_ids_that_must_come_from_the_application(letters: SealedCollection) -> None:
    for kind in (RowIdKind.INTEGER, RowIdKind.TEXT):
        declared = SealedDocument("x", "tenant_id", {"text": sealed()}, row_id=kind)
        papers = SealedCollection(letters._collection, declared, letters._plans.documents.keyring)
        refused(RowIdMissingError, papers.insert_one, {"tenant_id": "n", "text": SECRET})


def test_an_owner_that_is_the_id_does_not_change(letters: SealedCollection) -> None:
    declared = SealedDocument("x", "_id", {"text": sealed()})
    people = SealedCollection(letters._collection, declared, letters._plans.documents.keyring)
    refused(OwnerChangedError, people.change_owner, {}, "x")


@pytest.mark.parametrize(
    "declare",
    [
        lambda: SealedDocument("", "tenant_id", {"text": sealed()}),
        lambda: SealedDocument("x", "tenant_id", {}),
        lambda: SealedDocument("x", "", {"text": sealed()}),
        lambda: SealedDocument("x", "a.b", {"text": sealed()}),
        lambda: SealedDocument("x", "tenant_id", {"$text": sealed()}),
        lambda: SealedDocument("x", "tenant_id", {"a.b": sealed()}),
        lambda: SealedDocument("x", "tenant_id", {"a\0": sealed()}),
        lambda: SealedDocument("x", "tenant_id", {"_id": sealed()}),
        lambda: SealedDocument("x", "tenant_id", {"tenant_id": sealed()}),
        lambda: SealedDocument("x", "tenant_id", {"sealed": sealed()}),
        lambda: SealedDocument("x", "sealed", {"text": sealed()}),
        lambda: SealedDocument("x", "o", {"sealed_a": sealed(), "b": sealed(group="a")}),
        lambda: SealedDocument(
            "x", "o", {"a": sealed(index=Equality(casefold)), "a_index": sealed()}
        ),
        lambda: SealedDocument(
            "x",
            "o",
            {"sealed_a": sealed(str, index=Equality(casefold)), "b": sealed(group="a_index")},
        ),
        lambda: sealed(ObjectId),
        lambda: sealed(int, index=Equality(casefold)),
        lambda: sealed(str, index=Equality(casefold, bits=32)),
    ],
)
def test_declarations(declare: Any) -> None:
    refused(DeclarationError, declare)


def test_collections_that_cannot_be_sealed(letters: SealedCollection) -> None:
    keyring, declared = letters._plans.documents.keyring, letters.declared
    with MongoClient[dict[str, Any]]("mongodb://127.0.0.1:9/", connect=False) as client:
        refused(DeclarationError, SealedCollection, client["app"], declared, keyring)
        unsure = client["app"].get_collection("x", write_concern=WriteConcern(w=0))
        refused(DeclarationError, SealedCollection, unsure, declared, keyring)


def test_documents_are_dicts_whatever_the_client_makes_of_them(letters: SealedCollection) -> None:
    keyring, declared = letters._plans.documents.keyring, letters.declared
    with MongoClient[SON[str, Any]](
        "mongodb://127.0.0.1:9/", connect=False, document_class=SON
    ) as client:
        papers = SealedCollection(client["app"]["x"], declared, keyring)
        assert papers._collection.codec_options.document_class is dict
