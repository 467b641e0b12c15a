"""Uploads: streamed in and out, sealed from the first byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metal.uploads import bucket_path, remove_leftovers, sealed_objects

NAME = "Gehälter 2026, vertraulich.xlsx"
CONTENT = b"salary of Ada Lovelace: 120000\n" * 50_000


def announce(tenant: Any, name: str = NAME) -> str:
    made = tenant.send("POST", "/v1/uploads", 201, json={"file_name": name}).json()
    return f"/v1/uploads/{made['id']}"


def objects(company: Any) -> list[Path]:
    return [path for path in company.settings.bucket.rglob("*") if path.is_file()]


def environment(company: Any) -> dict[str, str]:
    return {"METAL_HOME": str(company.settings.home)}


@pytest.mark.parametrize(
    "content", [b"", b"x", CONTENT, os.urandom(2**20), os.urandom(3 * 2**20 + 1)]
)
def test_a_file_comes_back_as_it_was(company: Any, content: bytes) -> None:
    tenant = company.tenant()
    upload = announce(tenant)

    stored = tenant.send("PUT", upload, 200, content=content).json()
    answer = tenant.send("GET", upload, 200)

    assert stored["size_bytes"] == len(content)
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-disposition"].startswith(
        "attachment; filename*=UTF-8''Geh%C3%A4"
    )
    assert answer.headers["content-type"] == "application/octet-stream"
    assert tenant.send("GET", "/v1/uploads", 200).json() == [stored]


def test_neither_name_nor_content_is_on_the_disk(company: Any) -> None:
    tenant = company.tenant()
    tenant.send("PUT", announce(tenant), 200, content=CONTENT)

    assert len(objects(company)) == 1
    for name, data in company.raw_bytes().items():
        assert b"salary of Ada" not in data, name
        assert b"vertraulich" not in data, name


def put_pieces(
    company: Any,
    tenant: Any,
    upload: str,
    pieces: list[bytes],
    *,
    ends: bool = True,
    look: Callable[[], object] = lambda: None,
) -> tuple[int, int]:
    """PUT as a server hands it on, piece by piece, without a length that is known beforehand.

    Args:
        company: where.
        tenant: who.
        upload: the path.
        pieces: the body.
        ends: whether the body ends properly, or the client goes away before its end.
        look: called when all pieces were taken.

    Returns:
        the status, and how many pieces were taken.
    """
    statuses: list[int] = []
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        if taken < len(pieces):
            taken += 1
            return {"type": "http.request", "body": pieces[taken - 1], "more_body": True}
        look()
        return {"type": "http.request", "body": b""} if ends else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "https",
        "server": ("localhost", 443),
        "path": upload,
        "raw_path": upload.encode(),
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {tenant.credential}".encode())],
    }
    asyncio.run(company.app(scope, receive, send))
    (status,) = statuses
    return status, taken


def test_plaintext_is_not_on_the_disk_while_it_arrives(company: Any) -> None:
    """The client goes away half way; what was sealed until then is removed."""
    tenant = company.tenant()
    upload = announce(tenant)
    seen: dict[str, bytes] = {}
    pieces = [CONTENT[:1_200_000], CONTENT[1_200_000:1_400_000]]

    status, _ = put_pieces(
        company, tenant, upload, pieces, ends=False, look=lambda: seen.update(company.raw_bytes())
    )

    assert status == 400
    assert [name for name in seen if name.startswith("incoming/")]
    assert not [name for name, data in seen.items() if b"salary of Ada" in data]
    assert objects(company) == []
    assert not list(company.settings.incoming.iterdir())
    tenant.send("GET", upload, 409)


def test_a_body_is_read_piece_by_piece(company: Any) -> None:
    """Nothing waits for the whole body: the first chunk is sealed while the rest is to come."""
    tenant = company.tenant()
    upload = announce(tenant)
    sizes: list[int] = []

    status, taken = put_pieces(
        company,
        tenant,
        upload,
        [b"x" * 100_000] * 40,
        look=lambda: sizes.extend(p.stat().st_size for p in company.settings.incoming.iterdir()),
    )

    assert (status, taken) == (200, 40)
    assert sizes[0] >= 2 * 2**20
    assert tenant.send("GET", upload, 200).content == b"x" * 4_000_000


def test_a_replacement_leaves_one_object(company: Any) -> None:
    tenant = company.tenant()
    upload = announce(tenant)

    tenant.send("PUT", upload, 200, content=b"one")
    (first,) = objects(company)
    tenant.send("PUT", upload, 200, content=b"two")
    (second,) = objects(company)

    assert first != second
    assert tenant.send("GET", upload, 200).content == b"two"


def test_a_replacement_that_fails_keeps_what_was_there(
    company: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = company.tenant()
    upload = announce(tenant)
    tenant.send("PUT", upload, 200, content=b"one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("metal.uploads.os.fsync", full)
        tenant.send("PUT", upload, 500, content=b"two")
    with monkeypatch.context() as patch:
        patch.setattr("metal.uploads.audit.record", full)
        tenant.send("PUT", upload, 500, content=b"two")

    assert len(objects(company)) == 1
    assert not list(company.settings.incoming.iterdir())
    assert tenant.send("GET", upload, 200).content == b"one"


def test_deletion_removes_row_and_object(company: Any) -> None:
    tenant = company.tenant()
    upload = announce(tenant)
    tenant.send("PUT", upload, 200, content=b"one")

    tenant.send("DELETE", upload, 204)

    assert objects(company) == []
    for method in ("GET", "DELETE"):
        tenant.send(method, upload, 404)
    tenant.send("PUT", upload, 404, content=b"two")


def test_a_file_without_content_is_said_to_be_so(company: Any) -> None:
    tenant = company.tenant()
    upload = announce(tenant)

    tenant.send("GET", upload, 409)
    assert tenant.send("GET", "/v1/uploads", 200).json()[0]["size_bytes"] is None
    tenant.send("DELETE", upload, 204)


def test_the_limit_holds_whatever_the_request_says(open_company: Callable[..., Any]) -> None:
    company = open_company(METAL_UPLOAD_LIMIT="1000")
    tenant = company.tenant()
    upload = announce(tenant)

    tenant.send("PUT", upload, 200, content=b"x" * 1000)
    tenant.send("PUT", upload, 413, content=b"x" * 1001)
    status, taken = put_pieces(company, tenant, upload, [b"x" * 100] * 50)
    assert (status, taken) == (413, 11)

    assert tenant.send("GET", upload, 200).content == b"x" * 1000
    assert len(objects(company)) == 1


@pytest.mark.parametrize("name", ["", " ", "two\nlines.txt", "x" * 201, "nul\x00.txt"])
def test_names_that_are_none_are_refused(company: Any, name: str) -> None:
    company.tenant().send("POST", "/v1/uploads", 422, json={"file_name": name})


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b.txt", "'; rm -rf ~", 'quo"te.txt', "%00"]
)
def test_a_name_is_never_a_path(company: Any, name: str) -> None:
    tenant = company.tenant()
    upload = announce(tenant, name)
    tenant.send("PUT", upload, 200, content=b"x")

    answer = tenant.send("GET", upload, 200)

    assert answer.headers["content-disposition"].isascii()
    assert tenant.send("GET", "/v1/uploads", 200).json()[0]["file_name"] == name
    (path,) = objects(company)
    assert path.name.isalnum()


@pytest.mark.parametrize("damage", ["flipped", "shortened", "gone", "another's"])
def test_an_object_that_does_not_open_is_an_error_and_not_a_file(company: Any, damage: str) -> None:
    tenant = company.tenant()
    upload, other = announce(tenant), announce(tenant)
    tenant.send("PUT", upload, 200, content=b"mine")
    (path,) = objects(company)
    tenant.send("PUT", other, 200, content=b"other")
    (second,) = set(objects(company)) - {path}
    data = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "shortened":
        path.write_bytes(data[:-1])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(second.read_bytes())

    answer = tenant.send("GET", upload, 500)

    assert b"mine" not in answer.content
    assert tenant.send("GET", other, 200).content == b"other"


def test_the_index_lists_every_object_of_the_bucket(company: Any) -> None:
    first, second = company.tenant(), company.tenant()
    for tenant in (first, second):
        tenant.send("PUT", announce(tenant), 200, content=b"x")
        announce(tenant)

    listed = list(sealed_objects(environment(company)))

    assert len(listed) == 2
    assert {bucket for _, bucket, _, _ in listed} == {"uploads"}
    assert {company.settings.bucket / path for _, _, _, path in listed} == set(objects(company))
    for owner, _, key, path in listed:
        assert path == bucket_path(owner, key)


def test_leftovers_of_a_crash_are_removed_and_nothing_else(company: Any) -> None:
    tenant = company.tenant()
    upload = announce(tenant)
    tenant.send("PUT", upload, 200, content=b"kept")
    (kept,) = objects(company)
    (kept.parent / "0123456789abcdef").write_bytes(b"a crash left this")
    (company.settings.incoming / "fedcba").write_bytes(b"and this")
    unknown = company.settings.bucket / "another-database" / "object"
    unknown.parent.mkdir()
    unknown.write_bytes(b"not ours to judge")

    assert remove_leftovers(company.stores) == 2

    assert set(objects(company)) == {kept, unknown}
    assert tenant.send("GET", upload, 200).content == b"kept"
