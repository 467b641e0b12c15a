"""The API as its clients see it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

DOCUMENT = {
    "owner_name": "Ada Lovelace",
    "owner_email": "Ada@Example.com",
    "text": "The engine weaves algebraic patterns.",
    "metadata": {"pages": 3, "tags": ["notes", "ü"], "nested": {"draft": True, "by": None}},
}


def collection_of(tenant: Any, name: str = "papers") -> str:
    made = tenant.send("POST", "/v1/collections", 201, json={"name": name}).json()
    return f"/v1/collections/{made['id']}"


def document_of(tenant: Any, collection: str, **fields: object) -> str:
    body = {**DOCUMENT, **fields}
    made = tenant.send("POST", f"{collection}/documents", 201, json=body).json()
    return f"{collection}/documents/{made['id']}"


def problem_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    assert "expected" in problem["detail"]
    return problem


def test_a_tenant_sees_its_api_key_once_and_only_a_digest_is_stored(company: Any) -> None:
    made = company.client.operator.send("POST", "/v1/tenants", 201, json={"name": "Noether"})

    key = made.json()["api_key"]
    assert key.startswith("metal_")
    assert len(key) > 40
    assert not [name for name, data in company.raw_bytes().items() if key.encode() in data]


def test_a_tenant_has_its_data_keys_before_its_first_row(company: Any) -> None:
    company.tenant()

    assert company.service.generated == 3
    company.tenant()
    assert company.service.generated == 6


@pytest.mark.parametrize("credential", ["", "metal_wrong", "operator-of-the-tests"])
def test_tenants_routes_want_an_api_key(company: Any, credential: str) -> None:
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}

    for path in ("/v1/collections", "/v1/uploads", "/v1/audit"):
        response = company.http.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        problem_of(response)


@pytest.mark.parametrize("scheme", ["Basic b3BlcmF0b3I6", "operator-of-the-tests", "Bearer"])
def test_other_schemes_are_refused(company: Any, scheme: str) -> None:
    response = company.http.post(
        "/v1/tenants", json={"name": "x"}, headers={"Authorization": scheme}
    )

    assert response.status_code == 401


def test_only_the_operator_signs_tenants_up(company: Any) -> None:
    tenant = company.tenant()

    problem_of(tenant.send("POST", "/v1/tenants", 401, json={"name": "Freeloaders"}))


def test_a_document_lives_and_dies(company: Any) -> None:
    tenant = company.tenant()
    collection = collection_of(tenant)
    made = tenant.send("POST", f"{collection}/documents", 201, json=DOCUMENT).json()
    document = f"{collection}/documents/{made['id']}"

    read = tenant.send("GET", document, 200).json()
    assert {name: read[name] for name in DOCUMENT} == DOCUMENT
    assert read["created_at"].endswith("Z")
    assert read == made

    changed = tenant.send("PATCH", document, 200, json={"text": "Anew.", "metadata": {}}).json()
    assert changed["text"] == "Anew."
    assert changed["metadata"] == {}
    assert changed["owner_email"] == DOCUMENT["owner_email"]
    assert changed["updated_at"] > changed["created_at"] == read["created_at"]
    assert tenant.send("GET", document, 200).json()["text"] == "Anew."

    tenant.send("DELETE", document, 204)
    for method in ("GET", "DELETE"):
        problem_of(tenant.send(method, document, 404))
    assert tenant.send("GET", f"{collection}/documents", 200).json() == []


def test_a_change_of_owner_moves_the_document_in_the_index(company: Any) -> None:
    tenant = company.tenant()
    collection = collection_of(tenant)
    document = document_of(tenant, collection)

    tenant.send("PATCH", document, 200, json={"owner_email": "grace@example.com"})

    def found(address: str) -> int:
        body = {"owner_email": address}
        return len(tenant.send("POST", f"{collection}/documents/search", 200, json=body).json())

    assert found("GRACE@example.com") == 1
    assert found("ada@example.com") == 0


def test_documents_are_found_by_the_address_of_their_owner(company: Any) -> None:
    tenant = company.tenant()
    collection, other = collection_of(tenant), collection_of(tenant, "other")
    mine = document_of(tenant, collection, owner_email="ADA@example.com")
    document_of(tenant, collection, owner_email="grace@example.com")
    document_of(tenant, other, owner_email="ada@example.com")

    found = tenant.send(
        "POST", f"{collection}/documents/search", 200, json={"owner_email": "ada@EXAMPLE.com"}
    ).json()

    assert [f"{collection}/documents/{one['id']}" for one in found] == [mine]
    assert "text" not in found[0]


def test_lists_go_on_page_by_page(company: Any) -> None:
    tenant = company.tenant()
    collection = collection_of(tenant)
    written = {document_of(tenant, collection).rsplit("/", 1)[1] for _ in range(5)}

    seen: list[str] = []
    page = tenant.send("GET", f"{collection}/documents?limit=2", 200).json()
    while page:
        seen += [one["id"] for one in page]
        page = tenant.send("GET", f"{collection}/documents?limit=2&after={seen[-1]}", 200).json()

    assert len(seen) == 5
    assert set(seen) == written


def test_a_collection_lives_and_dies_with_its_documents(company: Any) -> None:
    tenant = company.tenant()
    collection, kept = collection_of(tenant), collection_of(tenant, "kept")
    document, other = document_of(tenant, collection), document_of(tenant, kept)

    renamed = tenant.send("PATCH", collection, 200, json={"name": "essays"}).json()
    assert renamed["name"] == "essays"
    described = tenant.send("PATCH", collection, 200, json={"description": "All of them."}).json()
    assert (described["name"], described["description"]) == ("essays", "All of them.")
    assert tenant.send("GET", collection, 200).json() == described
    assert [one["name"] for one in tenant.send("GET", "/v1/collections", 200).json()] == [
        "essays",
        "kept",
    ]

    tenant.send("DELETE", collection, 204)
    for path in (collection, document, f"{collection}/documents"):
        problem_of(tenant.send("GET", path, 404))
    tenant.send("GET", other, 200)


def test_a_tenant_has_each_collection_name_once(company: Any) -> None:
    tenant, other = company.tenant(), company.tenant()
    collection_of(tenant, "Papers")
    second = collection_of(tenant, "essays")

    problem_of(tenant.send("POST", "/v1/collections", 409, json={"name": "papers"}))
    problem_of(tenant.send("PATCH", second, 409, json={"name": "PAPERS"}))
    tenant.send("PATCH", second, 200, json={"name": "ESSAYS"})
    collection_of(other, "papers")


def test_another_tenants_ids_are_not_found(company: Any) -> None:
    mine, theirs = company.tenant(), company.tenant()
    collection = collection_of(theirs)
    document = document_of(theirs, collection)
    announced = theirs.send("POST", "/v1/uploads", 201, json={"file_name": "a"}).json()
    upload = f"/v1/uploads/{announced['id']}"
    theirs.send("PUT", upload, 200, content=b"theirs")

    attempts: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", collection, {}),
        ("PATCH", collection, {"json": {"name": "mine"}}),
        ("DELETE", collection, {}),
        ("GET", f"{collection}/documents", {}),
        ("POST", f"{collection}/documents", {"json": DOCUMENT}),
        ("POST", f"{collection}/documents/search", {"json": {"owner_email": "ada@example.com"}}),
        ("GET", document, {}),
        ("PATCH", document, {"json": {"text": "mine"}}),
        ("DELETE", document, {}),
        ("GET", upload, {}),
        ("PUT", upload, {"content": b"mine"}),
        ("DELETE", upload, {}),
    ]
    for method, path, body in attempts:
        problem = problem_of(mine.send(method, path, 404, **body))
        nowhere = mine.send("GET", f"/v1/collections/{uuid4()}", 404).json()
        assert set(problem) == set(nowhere)
    assert mine.send("GET", "/v1/collections", 200).json() == []
    assert mine.send("GET", "/v1/uploads", 200).json() == []
    assert theirs.send("GET", document, 200).json()["text"] == DOCUMENT["text"]
    assert theirs.send("GET", upload, 200).content == b"theirs"


def test_a_document_is_not_found_through_another_collection(company: Any) -> None:
    tenant = company.tenant()
    document = document_of(tenant, collection_of(tenant))
    other = collection_of(tenant, "other")

    tenant.send("GET", f"{other}/documents/{document.rsplit('/', 1)[1]}", 404)


def test_the_audit_trail_says_who_did_what_and_nothing_else(company: Any) -> None:
    tenant, other = company.tenant(), company.tenant()
    collection = collection_of(tenant)
    document = document_of(tenant, collection)
    tenant.send("GET", document, 200)
    tenant.send("DELETE", document, 204)
    document_of(other, collection_of(other))

    entries = tenant.send("GET", "/v1/audit", 200).json()

    assert [entry["action"] for entry in entries] == [
        "document.delete",
        "document.read",
        "document.create",
        "collection.create",
        "tenant.create",
    ]
    assert entries[-1]["actor"] == "operator"
    assert {entry["actor"] for entry in entries[:-1]} == {f"tenant:{entries[-1]['subject']}"}
    assert entries[0]["subject"] == document.rsplit("/", 1)[1]
    assert set(entries[0]) == {"id", "at", "actor", "action", "subject"}
    older = tenant.send("GET", f"/v1/audit?limit=2&before={entries[1]['id']}", 200).json()
    assert older == entries[2:4]


def test_what_is_refused_leaves_no_trace_in_data_or_audit(company: Any) -> None:
    tenant = company.tenant()
    collection = collection_of(tenant)
    before = tenant.send("GET", "/v1/audit", 200).json()

    tenant.send("POST", f"{collection}/documents", 422, json={**DOCUMENT, "owner_email": "none"})

    assert tenant.send("GET", "/v1/audit", 200).json() == before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner_email": "no address"}, "body.owner_email"),
        ({"owner_email": "a@b"}, "body.owner_email"),
        ({"owner_email": "a b@example.com"}, "body.owner_email"),
        ({"owner_email": "a" * 250 + "@example.com"}, "body.owner_email"),
        ({"owner_name": ""}, "body.owner_name"),
        ({"owner_name": "  "}, "body.owner_name"),
        ({"owner_name": "two\nlines"}, "body.owner_name"),
        ({"owner_name": 7}, "body.owner_name"),
        ({"text": ""}, "body.text"),
        ({"text": "x" * 200_001}, "body.text"),
        ({"metadata": []}, "body.metadata"),
        ({"metadata": {"long": "x" * 16_384}}, "body.metadata"),
        ({"colour": "red"}, "body.(unknown)"),
    ],
)
def test_a_wrong_field_is_named_and_not_quoted(
    company: Any, change: dict[str, object], field: str
) -> None:
    tenant = company.tenant()
    path = f"{collection_of(tenant)}/documents"

    problem = problem_of(tenant.send("POST", path, 422, json={**DOCUMENT, **change}))

    assert [one["field"] for one in problem["fields"]] == [field]
    for value in (*change, *map(str, change.values())):
        if len(value) > 3 and value not in field:
            assert value not in str(problem)


@pytest.mark.parametrize("field", ["owner_name", "owner_email", "text"])
def test_a_field_that_is_missing_is_named(company: Any, field: str) -> None:
    tenant = company.tenant()
    body = {name: value for name, value in DOCUMENT.items() if name != field}

    problem = problem_of(tenant.send("POST", f"{collection_of(tenant)}/documents", 422, json=body))

    assert problem["fields"] == [{"field": f"body.{field}", "expected": "Field required"}]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"owner_name": "\\ud800", "owner_email": "a@example.com", "text": "x"}',
        b'{"owner_name": "A", "owner_email": "a@example.com", "text": "x",'
        b' "metadata": {"a": "\\ud800"}}',
        b'{"owner_name": "A", "owner_email": "a@example.com", "text": "x", "metadata": {"a": NaN}}',
    ],
)
def test_what_is_not_a_document_in_json_is_refused(company: Any, content: bytes) -> None:
    tenant = company.tenant()
    path = f"{collection_of(tenant)}/documents"

    response = company.http.post(
        path,
        content=content,
        headers={
            "Authorization": f"Bearer {tenant.credential}",
            "Content-Type": "application/json",
        },
    )

    assert response.status_code in {400, 422}
    problem_of(response)
    assert "ud800" not in response.text


def test_bodies_that_are_too_large_are_refused(company: Any) -> None:
    tenant = company.tenant()
    path = f"{collection_of(tenant)}/documents"
    body = {**DOCUMENT, "metadata": {"long": "x" * company.settings.body_limit_bytes}}

    response = tenant.send("POST", path, 413, json=body)

    assert response.headers["connection"] == "close"
    problem_of(response)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/collections", 404),
        ("GET", "/v1/collections/not-an-id", 404),
        ("GET", "/v1/uploads/..%2F..%2Fserver.pem", 404),
        ("PUT", "/v1/collections", 405),
        ("GET", "/v1/audit?limit=0", 422),
        ("GET", "/v1/audit?before=ten", 422),
        ("GET", "/docs", 404),
    ],
)
def test_other_paths_and_methods_are_refused(
    company: Any, method: str, path: str, status: int
) -> None:
    problem_of(company.tenant().send(method, path, status))


def test_every_answer_carries_the_security_headers(company: Any) -> None:
    tenant = company.tenant()
    answers = [
        company.http.get("/health"),
        company.http.get("/nowhere"),
        company.http.get("/v1/collections"),
        tenant.send("GET", "/v1/collections", 200),
        tenant.send("POST", "/v1/collections", 422, json={}),
        company.http.get("/v1/openapi.json"),
    ]

    for answer in answers:
        hsts = answer.headers.get_list("strict-transport-security")
        assert hsts == ["max-age=63072000; includeSubDomains; preload"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"]


def test_what_nobody_foresaw_is_a_500_that_says_nothing(
    company: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = company.tenant()

    def broken(*_: object) -> None:
        raise RuntimeError("ada@example.com went wrong")

    monkeypatch.setattr("metal.collections.audit.record", broken)
    answer = tenant.send("POST", "/v1/collections", 500, json={"name": "papers"})

    assert "example.com" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["detail"]
    assert answer.headers["strict-transport-security"]
    log = company.settings.log_file.read_text()
    assert "example.com" not in log
    assert "RuntimeError at test_metal_api.py" in log
