"""What is sent instead: filters that match the same documents, and show none of their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.encryption import MissingEnvelopeError
from assay.encryption.mongodb import (
    OwnerChangedError,
    RowIdChangedError,
    SealedCollection,
    SealedDocument,
    sealed,
)
from assay.encryption.mongodb.pipelines import Pipeline
from assay.encryption.mongodb.plans import Plans
from assay.encryption.mongodb.projections import Projection
from assay.encryption.mongodb.pymongo import PYMONGO
from assay.encryption.mongodb.updates import Change
from assay.encryption.mongodb.vendor import Call, run
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

from .conftest import LETTERS

PLANS = Plans(LETTERS, Keyring(MemoryKeyService(), MemoryDataKeyTable()), PYMONGO)
EMAILS = ["ada@example.com", "ADA@EXAMPLE.COM", "bob@example.com", None]
OWNERS = ["north", "south", "west"]


def matches(document: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """MongoDB's reading of the filters that are made below, over plain documents."""
    joined = {"$and": all, "$or": any, "$nor": lambda parts: not any(parts)}
    for name, wanted in condition.items():
        if name in joined:
            holds = joined[name]([matches(document, part) for part in wanted])
        else:
            holds = _compares(document.get(name), wanted)
        if not holds:
            return False
    return True


def _compares(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(value == wanted)
    answers = {
        "$eq": lambda operand: value == operand,
        "$ne": lambda operand: value != operand,
        "$in": lambda operand: value in operand,
        "$nin": lambda operand: value not in operand,
        "$not": lambda operand: not _compares(value, operand),
    }
    return all(answers[operator](operand) for operator, operand in wanted.items())


def folded(condition: Any) -> Any:
    """The same filter over documents whose addresses are lower case."""
    if isinstance(condition, str):
        return condition.lower()
    if isinstance(condition, Mapping):
        return {name: folded(inner) for name, inner in condition.items()}
    if isinstance(condition, list):
        return [folded(inner) for inner in condition]
    return condition


def comparisons(values: list[Any]) -> st.SearchStrategy[Any]:
    value = st.sampled_from(values)
    many = st.lists(value, max_size=3)
    plain = st.fixed_dictionaries(
        {}, optional={"$eq": value, "$ne": value, "$in": many, "$nin": many}
    ).filter(bool)
    return st.one_of(value, plain, st.builds(lambda inner: {"$not": inner}, plain))


leaves = st.fixed_dictionaries(
    {},
    optional={
        "owner_email": comparisons(EMAILS),
        "tenant_id": comparisons([*OWNERS, None]),
        "title": comparisons(["a", "b"]),
    },
)
filters = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda leaf, parts: {**leaf, **parts},
        leaves,
        st.dictionaries(
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, min_size=1, max_size=3),
            min_size=1,
        ),
    ),
    max_leaves=6,
)
documents = st.fixed_dictionaries(
    {"tenant_id": st.sampled_from(OWNERS[:2]), "title": st.sampled_from(["a", "b"])},
    optional={"owner_email": st.sampled_from(EMAILS)},
)


@settings(max_examples=400)
@given(filters, st.lists(documents, min_size=1, max_size=6))
def test_a_rewritten_filter_matches_the_same_documents(condition, letters) -> None:
    sent = PLANS.filters.rewrite(condition, {})
    shown = repr(sent)
    assert "example" not in shown.lower()
    for letter in letters:
        stored = PLANS.documents.seal({"_id": PYMONGO.new_object_id(), **letter})
        # Keys that were made by sealing are searched only by a filter that is rewritten after.
        sent = PLANS.filters.rewrite(condition, {})
        lower = {name: folded(value) for name, value in letter.items()}
        assert matches(stored, sent) == matches(lower, folded(condition)), sent


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["text", "pages", "body", "owner_email", "title", "tenant_id", "_id"]),
        st.booleans(),
    )
)
def test_projections_give_what_mongodb_would(projection) -> None:
    named = {name: on for name, on in projection.items() if name != "_id"}
    if len(set(named.values())) > 1:
        return  # MongoDB itself refuses to mix
    letter = {
        "_id": PYMONGO.new_object_id(), "tenant_id": "north", "title": "a", "text": "x",
        "pages": 2, "body": "y", "owner_email": "ada@example.com",
    }  # fmt: skip
    stored = PLANS.documents.seal(letter)
    including = any(named.values()) or (not named and projection.get("_id", False))
    expected = {
        name: value
        for name, value in letter.items()
        if projection.get(name, name == "_id" if including else True)
    }
    wanted = Projection.of(LETTERS, projection)
    fetched = _project(stored, wanted.sent)
    assert wanted.open(PLANS.documents, fetched) == expected
    if including and not {"body"} & {n for n, on in named.items() if on}:
        assert "sealed_content" not in fetched


def _project(stored: Mapping[str, Any], sent: Mapping[str, Any] | None) -> dict[str, Any]:
    if not sent:
        return dict(stored)
    if any(on for name, on in sent.items() if name != "_id") or sent == {"_id": 1}:
        kept = {name for name, on in {"_id": 1, **sent}.items() if on}
        return {name: value for name, value in stored.items() if name in kept}
    return {name: value for name, value in stored.items() if sent.get(name, 1)}


def test_a_group_of_which_nothing_is_wanted_is_not_fetched(plans: Plans) -> None:
    without = Projection.of(LETTERS, {"body": 0, "number": 0})
    assert without.sent is not None
    assert without.sent["sealed_content"] == 0
    assert "sealed" not in without.sent
    partly = Projection.of(LETTERS, {"body": 0})
    assert partly.sent is not None
    assert "sealed_content" not in partly.sent


def test_operators_in_projections_pass(plans: Plans) -> None:
    only = Projection.of(LETTERS, {"tags": {"$slice": 2}})
    assert only.sent is not None
    assert only.sent["tags"] == {"$slice": 2}
    assert only.wanted == frozenset(LETTERS.fields)
    computed = Projection.of(LETTERS, {"n": {"$size": "$tags"}, "text": 1})
    assert computed.sent == {
        "n": {"$size": "$tags"}, "_id": 1, "tenant_id": 1, "sealed": 1
    }  # fmt: skip
    assert computed.dropped == {"tenant_id"}


def test_a_part_that_is_left_out_leaves_the_rest_in() -> None:
    without = Projection.of(LETTERS, {"meta": {"draft": 0}})
    assert without.wanted == set(LETTERS.fields)
    assert without.sent is not None
    assert without.sent["meta"] == {"draft": 0}
    assert without.sent.keys() == {"meta", "owner_email_index", "number_index", "code_index"}
    only = Projection.of(LETTERS, {"meta": {"draft": 1}, "text": 1})
    assert only.wanted == {"text"}


def test_upserts_insert_what_the_filter_fixes_by_equality() -> None:
    change = Change.of(LETTERS, {"$set": {"text": "x"}})
    condition = {
        "tenant_id": "north", "title": re.compile("^a"), "kind": {"$eq": "k"}, "n": {"$gt": 1},
    }  # fmt: skip
    assert change.inserted(condition) == {"tenant_id": "north", "kind": "k", "text": "x"}


def test_a_document_without_an_envelope_is_refused_by_name(plans: Plans) -> None:
    stored = {"_id": PYMONGO.new_object_id(), "tenant_id": "north", "title": "raw"}
    for plan in (
        plans.changes.update_one({"title": "raw"}, {"$set": {"text": "x"}}, {}),
        plans.changes.replace_one({"title": "raw"}, {"tenant_id": "north", "text": "x"}, {}),
        plans.changes.find_one_and_delete({"title": "raw"}, None, {}),
        plans.changes.change_owner({"title": "raw"}, "south", {}),
    ):
        with pytest.raises(MissingEnvelopeError):
            run(plan, lambda _: stored)


@pytest.mark.parametrize("found", [None, "text", 7, [b"x"]])
def test_what_is_no_envelope_is_refused_by_name(plans: Plans, found: Any) -> None:
    stored = plans.documents.seal({"_id": PYMONGO.new_object_id(), "tenant_id": "north"})
    with pytest.raises(MissingEnvelopeError):
        plans.documents.open({**stored, "sealed": found})


def test_a_replacement_keeps_id_and_owner(plans: Plans) -> None:
    stored = plans.documents.seal({"_id": PYMONGO.new_object_id(), "tenant_id": "north"})
    for replacement, error in (
        ({"_id": PYMONGO.new_object_id(), "tenant_id": "north"}, RowIdChangedError),
        ({"tenant_id": "south"}, OwnerChangedError),
    ):
        for plan in (
            plans.changes.replace_one({"title": "a"}, replacement, {}),
            plans.changes.find_one_and_replace({"title": "a"}, replacement, None, {}),
        ):
            with pytest.raises(error):
                run(plan, lambda _: stored)


def test_a_padded_document_hides_exact_lengths() -> None:
    def lengths(*, padded: bool) -> set[int]:
        declared = SealedDocument("x", "tenant_id", {"text": sealed(str)}, padded=padded)
        documents = Plans(declared, PLANS.documents.keyring, PYMONGO).documents
        given = [{"_id": PYMONGO.new_object_id(), "tenant_id": "n", "text": "x" * n} for n in range(100, 140)]  # fmt: skip
        return {len(documents.seal(each)["sealed"]) for each in given}

    assert len(lengths(padded=False)) == 40
    assert len(lengths(padded=True)) < 8


def test_what_a_group_made_has_an_id_of_its_own(plans: Plans) -> None:
    stages = [{"$group": {"_id": "$title"}}, {"$set": {"_id": 1, "tenant_id": "x"}}]
    assert Pipeline.of(plans.filters, LETTERS, stages, {}).sent == stages


def test_an_owner_beside_narrows_the_search(plans: Plans) -> None:
    for owner in OWNERS:
        plans.documents.index("owner_email", owner, "x")

    def sought(condition: dict[str, Any], options: Mapping[str, Any] | None = None) -> int:
        sent = plans.filters.rewrite(condition, options or {})
        return repr(sent).count("b'\\x01\\x00\\x01") + repr(sent).count('b"\\x01\\x00\\x01')

    assert sought({"owner_email": "a"}) == 3
    assert sought({"owner_email": "a", "tenant_id": "north"}) == 1
    assert sought({"owner_email": "a", "tenant_id": {"$in": ["north", "south"]}}) == 2
    assert sought({"owner_email": "a", "tenant_id": {"$eq": "north"}}) == 1
    assert sought({"owner_email": "a", "tenant_id": {"$gt": "north"}}) == 3
    assert sought({"owner_email": "a", "tenant_id": {"$in": ["north", None]}}) == 3
    assert sought({"tenant_id": "north", "$or": [{"owner_email": "a"}, {"owner_email": "b"}]}) == 2
    assert sought({"$and": [{"tenant_id": "north"}, {"owner_email": "a"}]}) == 1
    assert sought({"$or": [{"tenant_id": "north"}, {"owner_email": "a"}]}) == 3
    assert sought({"owner_email": "a", "tenant_id": "nobody"}) == 0
    # By a collation the owner may equal "North" as well, whose keys are others.
    collated = {"collation": {"locale": "en", "strength": 2}}
    assert sought({"owner_email": "a", "tenant_id": "north"}, collated) == 3
    assert sought({"tenant_id": "north", "$or": [{"owner_email": "a"}]}, collated) == 3


def test_the_options_of_a_search_reach_the_write(plans: Plans) -> None:
    """A compare-and-swap looks by the caller's sort and hint, and writes to what it found."""
    stored = plans.documents.seal({"_id": PYMONGO.new_object_id(), "tenant_id": "north"})
    calls: list[Call] = []

    def perform(call: Call) -> Any:
        calls.append(call)
        return stored

    options = {"sort": [("title", 1)], "hint": "title_1", "session": "s", "comment": "c"}
    plan = plans.changes.find_one_and_update(
        {"title": "a"}, {"$set": {"text": "x"}}, ["title"], options
    )
    run(plan, perform)
    look, write = calls
    assert look.from_primary
    assert look.options == options
    assert write.options == {"session": "s", "comment": "c", "projection": {"title": 1}}
    condition = write.arguments[0]["$and"]
    assert condition == [
        {"title": "a"},
        {"_id": stored["_id"], "tenant_id": "north", "sealed": stored["sealed"]},
    ]


def test_calls_and_changes_do_not_show_values(plans: Plans, letters: SealedCollection) -> None:
    change = Change.of(LETTERS, {"$set": {"text": "Quartz"}})
    for each in (change, Call("find", ({"x": "Quartz"},)), letters, letters.find()):
        assert "Quartz" not in repr(each)
    assert repr(letters) == "<SealedCollection letters>"


@pytest.mark.parametrize("times", [1, 3])
def test_an_upsert_that_loses_the_race_updates_instead(plans: Plans, times: int) -> None:
    calls: list[str] = []

    class Answer:
        matched_count, modified_count = 1, 1

    stored = plans.documents.seal({"_id": PYMONGO.new_object_id(), "tenant_id": "north"})

    def perform(call: Call) -> Any:
        calls.append(call.method)
        if call.method == "insert_one":
            raise PYMONGO.duplicate_key("E11000")
        if call.method == "find_one":
            return stored if calls.count("insert_one") >= times else None
        return Answer()

    plan = plans.changes.update_one(
        {"tenant_id": "north"}, {"$set": {"text": "x"}}, {"upsert": True}
    )
    if times == 1:
        assert run(plan, perform).matched == 1
        assert calls == ["find_one", "insert_one", "find_one", "update_one"]
    else:
        with pytest.raises(PYMONGO.duplicate_key):  # another unique index than the filter's
            run(plan, perform)
