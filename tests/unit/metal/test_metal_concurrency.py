"""Requests at the same time: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

DOCUMENT = {"owner_name": "Ada", "owner_email": "ada@example.com", "text": "one"}


def at_once(company: Any, tenant: Any, requests: list[tuple[str, str, Any]]) -> list[int]:
    async def send_all() -> list[int]:
        async with httpx.AsyncClient(
            base_url="https://localhost",
            transport=httpx.ASGITransport(company.app),
            headers={"Authorization": f"Bearer {tenant.credential}"},
        ) as client:
            answers = await asyncio.gather(
                *(client.request(method, path, json=body) for method, path, body in requests)
            )
            return [answer.status_code for answer in answers]

    return asyncio.run(send_all())


def test_changes_of_different_fields_at_once_are_all_kept(company: Any) -> None:
    """All sealed fields of a row are one envelope: a lost update would undo another field."""
    tenant = company.tenant()
    made = tenant.send("POST", "/v1/collections", 201, json={"name": "papers"}).json()
    documents = f"/v1/collections/{made['id']}/documents"
    changes = {
        "owner_name": "Grace",
        "owner_email": "grace@example.com",
        "metadata": {"changed": True},
        "text": "two",
    }
    for _ in range(5):
        one = tenant.send("POST", documents, 201, json=DOCUMENT).json()["id"]

        statuses = at_once(
            company,
            tenant,
            [("PATCH", f"{documents}/{one}", {name: value}) for name, value in changes.items()],
        )

        assert statuses == [200] * 4
        read = tenant.send("GET", f"{documents}/{one}", 200).json()
        assert {name: read[name] for name in changes} == changes


def test_a_name_is_taken_once(company: Any) -> None:
    tenant = company.tenant()
    for number in range(5):
        name = f"papers {number}"
        statuses = at_once(company, tenant, [("POST", "/v1/collections", {"name": name})] * 4)
        assert sorted(statuses) == [201, 409, 409, 409]


def test_uploads_at_once_leave_one_whole_object(company: Any) -> None:
    tenant = company.tenant()
    made = tenant.send("POST", "/v1/uploads", 201, json={"file_name": "a"}).json()
    contents = [bytes([number]) * 200_000 for number in range(4)]

    async def send_all() -> None:
        async with httpx.AsyncClient(
            base_url="https://localhost", transport=httpx.ASGITransport(company.app)
        ) as client:
            headers = {"Authorization": f"Bearer {tenant.credential}"}
            await asyncio.gather(
                *(
                    client.put(f"/v1/uploads/{made['id']}", content=content, headers=headers)
                    for content in contents
                )
            )

    asyncio.run(send_all())

    assert tenant.send("GET", f"/v1/uploads/{made['id']}", 200).content in contents
    assert len([path for path in company.settings.bucket.rglob("*") if path.is_file()]) == 1
