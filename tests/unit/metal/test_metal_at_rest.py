"""What lies on the disk, in the log and in the audit trail after real use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DatabaseError

from assay.encryption.sqlalchemy import Sealed
from metal.canaries import KINDS, plant, plant_with
from metal.errors import AppendOnlyError, RefusedError
from metal.models import AuditEntry, Base
from metal.traffic import DOCUMENTS_EACH, drive_with

CANARIES = {
    "text": "quartzite-7f3a91c2 met obsidian-e1b4d8aa",
    "email": "canary-6d20c7f1@roost-93ab.example.com",
    "name": "Wren Feldspat-5c81aa07",
    "file": "Kanarienvogel-2b9e4f60.xlsx",
    "metadata": "basalt-c4e0a913",
}
SHARDS = ("7f3a91c2", "e1b4d8aa", "6d20c7f1", "5c81aa07", "2b9e4f60", "c4e0a913")


def test_canaries_go_everywhere_and_are_found_nowhere(company: Any) -> None:
    paths = plant_with(company.client, CANARIES)

    assert len(paths) > 12
    assert any("search" in path for path in paths)
    assert any("deleted" in path for path in paths)
    assert any("refused" in path for path in paths)
    files = company.raw_bytes()
    assert {"metal.db", "logs/metal.jsonl"} <= set(files)
    assert any(name.startswith("uploads/") for name in files)
    found = {
        (shard, name)
        for name, data in files.items()
        for shard in SHARDS
        if shard.encode() in data.lower()
    }
    assert not found


def test_the_search_for_canaries_can_find_them(company: Any) -> None:
    """The positive control of the test above: the same canaries, written past the sealing."""
    with company.stores.sessions.begin() as session:
        session.execute(text("CREATE TABLE leaky (value TEXT)"))
        session.execute(text("INSERT INTO leaky VALUES (:value)"), {"value": CANARIES["text"]})

    assert any(b"7f3a91c2" in data for data in company.raw_bytes().values())


def test_planting_wants_kinds_that_have_a_place() -> None:
    assert set(CANARIES) == set(KINDS)
    for values in ({}, {"colour": "red"}):
        with pytest.raises(RefusedError, match="expected values of the kinds"):
            plant(values, {})


def test_planting_notices_a_value_that_was_not_kept(
    company: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metal.documents.to_json", lambda _: "{}")

    with pytest.raises(RefusedError, match=r"read back .* metadata"):
        plant_with(company.client, CANARIES)


def test_traffic_is_the_same_for_the_same_seed(
    company: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metal.traffic._COMPANIES", ("Hopper Analytics", "Noether Legal"))
    first, again, other = (drive_with(company.client, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first["bytes uploaded"] != other["bytes uploaded"]
    assert first["documents created"] == 2 * 3 * DOCUMENTS_EACH
    assert first["mistakes refused"] >= 10


def test_the_log_has_a_line_for_each_request_and_no_text_of_customers(company: Any) -> None:
    drive_with(company.client)

    lines = [json.loads(line) for line in company.settings.log_file.read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) > 200
    assert {line["status"] for line in requests} >= {200, 201, 204, 401, 404, 409, 422}
    for line in requests:
        assert set(line) == {
            "at", "duration_ms", "event", "level", "method", "request_id", "route", "status",
            "tenant_id",
        }  # fmt: skip
        assert line["route"] == "unknown" or line["route"].startswith(("/v1/", "/health"))
    whole = company.settings.log_file.read_text()
    for word in ("example.com", "metal_", "Lovelace", "Bearer", "operator-of-the-tests", ".pdf"):
        assert word not in whole
    assert {line["route"] for line in requests if line["status"] == 201} == {
        "/v1/tenants",
        "/v1/collections",
        "/v1/collections/{collection_id}/documents",
        "/v1/uploads",
    }


def test_audit_entries_cannot_be_changed_in_code_or_database(company: Any) -> None:
    company.tenant()
    with company.stores.sessions() as session:
        entry = session.scalars(select(AuditEntry)).first()
        entry.action = "nothing"
        with pytest.raises(AppendOnlyError):
            session.flush()
    with company.stores.sessions() as session:
        session.delete(session.scalars(select(AuditEntry)).first())
        with pytest.raises(AppendOnlyError):
            session.flush()
    for statement in (update(AuditEntry).values(action="nothing"), delete(AuditEntry)):
        with (
            company.stores.sessions.begin() as session,
            pytest.raises(DatabaseError, match="append-only"),
        ):
            session.execute(statement)
    with company.stores.sessions() as session:
        assert [entry.action for entry in session.scalars(select(AuditEntry))] == ["tenant.create"]


def test_every_table_is_sealed_or_says_why_not() -> None:
    undeclared = [
        mapper.class_.__name__
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, Sealed) == bool(getattr(mapper.class_, "__holds__", ""))
    ]

    assert undeclared == []
    assert len(list(Base.registry.mappers)) == len(Base.metadata.tables)
