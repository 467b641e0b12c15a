"""What an attacker does to the database is noticed by name, and no plaintext ever gets there."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo import InsertOne
from pymongo.errors import BulkWriteError, DuplicateKeyError
from tests.tamper_matrix import CANARY, Attack, Target

from assay.core import DataKeyClass
from assay.encryption import (
    EncryptionError,
    EnvelopeSealer,
    RolledBackEnvelopeError,
    RowAddress,
)
from assay.encryption.mongodb import (
    RawFieldError,
    SealedDocument,
    SealedValueError,
    UnsealedFieldError,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

from .conftest import LETTERS

HIDDEN = "Obsidian-7f3a"
SHOWN = "Feldspar-91bc"


VERSIONED = replace(LETTERS, versioned=True)


def _target(office: Any, *, versioned: bool) -> Target:
    version = 2 if versioned else None
    victim = office.add(text=CANARY, body=CANARY)
    stored = {
        name: office.raw.find_one({"_id": victim})[name] for name in ("sealed", "sealed_content")
    }
    older = stored["sealed"]
    office("update_one", {"_id": victim}, {"$set": {"pages": 1}})
    neighbour = office.raw.find_one({"_id": office.add(text="other")})
    southern = office.raw.find_one({"_id": office.add("south", text="south")})
    key = office.keyring.current("north", DataKeyClass.ROWS)
    papers = RowAddress("north", "papers", "default", victim.binary, version)
    where = {"_id": victim}

    def put(value: bytes | None) -> None:
        office.raw.update_one(where, {"$set": {"sealed": value}})

    def give_away() -> Callable[[], None]:
        office.raw.update_one(where, {"$set": {"tenant_id": "south"}})
        return lambda: office.raw.update_one(where, {"$set": {"tenant_id": "north"}}) and None

    def use_other_keys() -> Callable[[], None]:
        own = office.sealed
        office.sealed = office.make(keys=Keyring(MemoryKeyService(), MemoryDataKeyTable()))
        return lambda: setattr(office, "sealed", own)

    return Target(
        adapter="MongoDB, versioned" if versioned else "MongoDB",
        own=office.raw.find_one(where)["sealed"],
        put=put,
        read=lambda: office.all(where, ["text", "pages", "owner_email"]),
        plain=[{"_id": victim, "text": CANARY, "pages": 1, "owner_email": "ada@example.com"}],
        others={
            "row": neighbour["sealed"],
            "table": EnvelopeSealer().seal(key, papers, {"text": "b"}),
            "group": stored["sealed_content"],
            "owner": southern["sealed"],
            "everything": southern["sealed_content"],
            "older": older,
        },
        acts={"give away": give_away, "other keys": use_other_keys},
    )


@pytest.mark.parametrize("versioned", [False, True], ids=["unversioned", "versioned"])
def test_every_attack_is_refused(attack: Attack, office: Any, versioned: bool) -> None:
    if versioned:
        office.sealed = office.make(VERSIONED)
    attack.run(_target(office, versioned=versioned))


@pytest.mark.parametrize("office", ["sync"], indirect=True)
def test_each_change_of_a_group_gives_its_envelope_the_next_version(office: Any) -> None:
    office.sealed = office.make(VERSIONED)
    where = {"_id": office.add(text="a", body="b")}

    def versions() -> tuple[int, int]:
        stored = office.raw.find_one(where)
        return stored["sealed_version"], stored["sealed_content_version"]

    document = {"tenant_id": "north", "text": "c", "body": "d"}
    found = [versions()]
    for method, *further in (
        ("update_one", {"$set": {"text": "x"}}), ("update_many", {"$set": {"body": "y"}}),
        ("update_one", {"$set": {"title": "clear"}}), ("find_one_and_update", {"$unset": {"text": ""}}),
        ("replace_one", document), ("find_one_and_replace", document), ("change_owner", "south"),
    ):  # fmt: skip
        office(method, where, *further)
        found.append(versions())
    assert found == [(1, 1), (2, 1), (2, 2), (2, 2), (3, 2), (4, 3), (5, 4), (6, 5)]
    new = {"_id": ObjectId(), "tenant_id": "north"}
    office("update_one", new, {"$set": {"text": "z"}}, upsert=True)
    assert office.raw.find_one(new)["sealed_version"] == 1
    assert office.all(where) == [{"_id": where["_id"], **document, "tenant_id": "south"}]
    projected = office.all(where, {"body": 1, "_id": 0}), office.all(where, {"text": 0})
    assert [each.keys() for (each,) in projected] == [{"body"}, {"_id", "tenant_id", "body"}]


@pytest.mark.parametrize("office", ["sync"], indirect=True)
def test_a_version_that_does_not_fit_its_envelope_is_refused(office: Any) -> None:
    early = office.add(text="before the collection had versions")
    office.sealed = office.make(VERSIONED)
    where = {"_id": office.add(text=CANARY)}
    for forged in (2, 0, -1, 1.0, "1", True, None, Int64(2**40)):
        office.raw.update_one(where, {"$set": {"sealed_version": forged}})
        for method, *further in (("find_one",), ("update_one", {"$set": {"text": "x"}})):
            with pytest.raises(RolledBackEnvelopeError):
                office(method, where, *further)
    office.raw.update_one(where, {"$unset": {"sealed_version": ""}})
    with pytest.raises(RolledBackEnvelopeError):
        office("find_one", where)
    with pytest.raises(RolledBackEnvelopeError, match="before its table had versions"):
        office("find_one", early)
    office.raw.update_one(where, {"$set": {"sealed_version": Int64(1)}})
    assert office("find_one", where, ["text"]) == {**where, "text": CANARY}
    with pytest.raises(RawFieldError):
        office("update_one", where, {"$inc": {"sealed_version": 1}})
    with pytest.raises(RawFieldError):
        office("find", {"sealed_content_version": 1})


@pytest.mark.parametrize("office", ["sync"], indirect=True)
def test_a_forged_document_is_neither_changed_nor_deleted(office: Any) -> None:
    key = office.add(text=CANARY)
    office.raw.update_one(
        {"_id": key}, {"$set": {"sealed": office.raw.find_one()["sealed_content"]}}
    )
    before = office.raw.find_one()
    for method, *further in (
        ("find_one",), ("find_one_and_delete",), ("find_one_and_update", {"$set": {"text": "x"}}),
        ("update_one", {"$set": {"text": "x"}}), ("update_many", {"$unset": {"text": ""}}),
        ("replace_one", {"tenant_id": "north"}), ("find_one_and_replace", {"tenant_id": "north"}),
        ("change_owner", "south"),
    ):  # fmt: skip
        with pytest.raises(EncryptionError, match="altered"):
            office(method, {"_id": key}, *further)
    assert office.raw.find_one() == before
    with pytest.raises(EncryptionError, match="altered"):
        office("aggregate", [{"$match": {"owner_email": "ada@example.com"}}])


def test_a_value_in_the_clear_is_not_taken_for_a_sealed_one(office: Any) -> None:
    key = office.add(text=None)
    office.raw.update_one({"_id": key}, {"$set": {"text": HIDDEN}})
    for method, *further in (
        ("find",), ("find_one",), ("find_one_and_delete",),
        ("update_one", {"$set": {"pages": 1}}), ("replace_one", {"tenant_id": "north"}),
        ("aggregate",),
    ):  # fmt: skip
        given: Any = {"_id": key} if method != "aggregate" else [{"$match": {"_id": key}}]
        with pytest.raises(UnsealedFieldError) as refused:
            office(method, given, *further)
        assert HIDDEN not in str(refused.value)
    assert office.raw.count_documents({}) == 1
    assert office("find_one", key, ["text"]) == {"_id": key, "text": None}


def test_a_value_of_another_type_than_declared_is_refused(office: Any) -> None:
    office("insert_one", {"tenant_id": "north", "pages": 7})
    other = office.make(SealedDocument("letters", "tenant_id", {"pages": sealed(str)}))
    with pytest.raises(SealedValueError, match="expected str"):
        office.finish(other.find_one({}))


def test_no_plaintext_goes_over_the_wire_or_into_files_or_logs(
    office: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hidden = {"owner_email": f"{HIDDEN}@example.com", "text": HIDDEN, "body": HIDDEN * 9}
    where = {"owner_email": hidden["owner_email"]}
    office("create_blind_index", "owner_email")
    key = office.add(**hidden, title=SHOWN)
    office("insert_many", [{"tenant_id": "south", **hidden}])
    office("bulk_write", [InsertOne({"tenant_id": "west", **hidden})])
    assert office("find_one", where)["text"] == HIDDEN
    assert len(office.all({"$or": [where, {"$nor": [where]}]})) == 3
    assert office("count_documents", {**where, "tenant_id": "north"}) == 1
    assert office("aggregate", [{"$match": where}, {"$count": "n"}]) == [{"n": 3}]
    office("update_one", {"_id": key}, {"$set": {"text": HIDDEN + "2", "title": SHOWN}})
    office("update_many", where, {"$set": {"body": HIDDEN + "3"}})
    office("update_one", {**where, "tenant_id": "east"}, {"$set": {"text": HIDDEN}}, upsert=True)
    office("replace_one", {"_id": key}, {"tenant_id": "north", **hidden, "title": SHOWN})
    office("find_one_and_update", where, {"$set": {"body": HIDDEN}})
    office("find_one_and_replace", {"_id": key}, {"tenant_id": "north", **hidden, "title": SHOWN})
    office("change_owner", {"_id": key}, "west2")
    with pytest.raises(DuplicateKeyError):
        office.add("south", **hidden)
    office("find_one_and_delete", {"tenant_id": "south"})

    wire = "\n".join(text for _, text in office.wire.commands)
    assert HIDDEN not in wire
    assert SHOWN in wire, "the listener saw nothing"
    assert HIDDEN not in caplog.text
    assert SHOWN in caplog.text, "pymongo logged nothing"
    if office.folder is not None:
        _search_files(office.folder)


def _search_files(folder: Path) -> None:
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert any(SHOWN.encode() in content for content in files), "no file holds what is in the clear"
    assert not any(HIDDEN.encode() in content for content in files)


def test_tracebacks_with_variables_show_nothing(office: Any) -> None:
    office("create_blind_index", "owner_email")
    key = office.add(text=HIDDEN)
    other = office.make(keys=Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    document = {"tenant_id": "north", "owner_email": "ada@example.com", "text": HIDDEN}
    failing: list[tuple[type[Exception], Callable[[], Any]]] = [
        (DuplicateKeyError, lambda: office("insert_one", document.copy())),
        (BulkWriteError, lambda: office("insert_many", [document.copy()])),
        (BulkWriteError, lambda: office("bulk_write", [InsertOne(document.copy())])),
        (EncryptionError, lambda: office("insert_one", {**document, "pages": HIDDEN})),
        (EncryptionError, lambda: office("find", {"text": HIDDEN})),
        (EncryptionError, lambda: office("update_one", {"_id": key}, {"$inc": {"text": HIDDEN}})),
        (EncryptionError, lambda: office("replace_one", {"_id": key}, {**document, "tenant_id": "s"})),
        (EncryptionError, lambda: office.finish(other.update_one({"_id": key}, {"$set": {"text": HIDDEN}}))),
        (EncryptionError, lambda: office.finish(other.find({}))),
    ]  # fmt: skip
    for error, act in failing:
        with pytest.raises(error) as raised:
            act()
        shown = _shown(raised.value)
        assert HIDDEN not in shown, (error, shown[:4000])
        assert "assay/encryption/mongodb" in shown
        assert HIDDEN not in repr(vars(raised.value))


def _shown(error: BaseException) -> str:
    """The traceback with the variables of every frame but those of this test."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    waiting: list[traceback.TracebackException | None] = [found]
    lines = []
    while waiting:
        each = waiting.pop()
        if each is None:
            continue
        lines.extend(each.format_exception_only())
        lines.extend(
            f"{frame.filename}:{frame.lineno} {frame.locals}"
            for frame in each.stack
            if Path(frame.filename).parent != Path(__file__).parent
        )
        waiting += [each.__cause__, each.__context__]
    return "\n".join(lines)
