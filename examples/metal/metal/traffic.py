"""Real traffic through the API: companies sign up, store documents and files, make mistakes.

The same seed gives the same companies, people and texts; ids and keys are the server's own.

Example:
    >>> drive(os.environ, seed=1)["documents created"]      # doctest: +SKIP
    54
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from metal.client import Caller, Client, open_client
from metal.errors import RefusedError

_COMPANIES = ("Hopper Analytics", "Lovelace Clinics", "Noether Legal", "Curie Materials")
_COLLECTIONS = (
    ("support tickets", "What customers asked and what they were told."),
    ("contracts", "Signed agreements, one document each."),
    ("research notes", "Notes of the laboratory, newest last."),
)
_FIRST = ("Ada", "Grace", "Emmy", "Katherine", "Tu", "Rosalind", "Chien-Shiung", "Zoë", "Søren")
_LAST = ("Okafor", "Lindqvist", "Yamada", "Fernández", "Novák", "O'Brien", "Haddad", "Mbeki")
_OPENINGS = (
    "The shipment of {day} arrived with two crates missing, and the carrier has no trace of them.",
    "After the change of {day} the dashboard shows yesterday's figures in the wrong currency.",
    "We agreed on {day} to extend the term by twelve months at the price of the first year.",
    "The sample that was annealed on {day} cracked along the grain boundary at 410 degrees.",
    "The patient was told on {day} that the second reading confirms the first.",
)
_MIDDLES = (
    "Please look into it before the end of the month; our auditors will ask.",
    "Both sides keep a signed copy, and either may end the agreement in writing.",
    "A repeat with slower cooling is under way, and the results will be added here.",
    "The account number and the delivery address are the same as in the last order.",
    "Nobody else has been told so far, and it should stay that way until the review.",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_FILES = ("invoice {n}.pdf", "scan {n}.tiff", "Gehaltsliste {n}.xlsx", "minutes {n}.txt")
_TAGS = ("urgent", "billing", "legal", "archive", "follow-up")

DOCUMENTS_EACH = 6
"""Documents in each collection, before changes and deletions."""


def drive(environment: Mapping[str, str], *, seed: int = 1) -> Mapping[str, int]:
    """Drive traffic through the API.

    Args:
        environment: names the server and the operator's token, see `metal.client`.
        seed: which companies, people and texts.

    Returns:
        how often each thing was done.

    Raises:
        RefusedError: the API answered otherwise than it must.
    """
    with open_client(environment) as client:
        return drive_with(client, seed=seed)


def drive_with(client: Client, *, seed: int = 1) -> Mapping[str, int]:
    """The same, with a client that is open already."""
    counts: Counter[str] = Counter()
    choices = _Choices(seed)
    tenants = []
    for company in _COMPANIES:
        tenant = client.sign_up(company)
        counts["tenants signed up"] += 1
        tenants.append((tenant, _work_of_a_tenant(tenant, choices, counts)))
    _mistakes(client, tenants, counts)
    for tenant, _ in tenants:
        entries = tenant.send("GET", "/v1/audit?limit=500", 200).json()
        counts["audit entries read"] += len(entries)
    return dict(counts)


class _Choices:
    """Choices that depend on the seed alone, on every machine and version."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._taken = 0

    def number(self, below: int) -> int:
        self._taken += 1
        digest = hashlib.sha256(f"{self._seed}:{self._taken}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % below

    def one(self, options: Sequence[str]) -> str:
        return options[self.number(len(options))]

    def document(self) -> dict[str, Any]:
        first, last = self.one(_FIRST), self.one(_LAST)
        mailbox = "".join(char for char in f"{first}.{last}".lower() if char.isascii())
        sentences = [self.one(_OPENINGS).format(day=self.one(_DAYS))]
        sentences += [self.one(_MIDDLES) for _ in range(1 + self.number(12))]
        return {
            "owner_name": f"{first} {last}",
            "owner_email": f"{mailbox.replace(chr(39), '')}@example.com",
            "text": " ".join(sentences),
            "metadata": {
                "tags": sorted({self.one(_TAGS), self.one(_TAGS)}),
                "pages": 1 + self.number(40),
            },
        }

    def file(self) -> tuple[str, bytes]:
        name = self.one(_FILES).format(n=1000 + self.number(9000))
        lines = [self.document()["text"] for _ in range(2 + self.number(20))]
        return name, "\n".join(lines).encode() * (1 + self.number(200))


def _work_of_a_tenant(tenant: Caller, choices: _Choices, counts: Counter[str]) -> str:
    """One company's day; returns the path of one of its documents."""
    path = ""
    for name, description in _COLLECTIONS:
        body = {"name": name, "description": description}
        made = tenant.send("POST", "/v1/collections", 201, json=body).json()
        counts["collections created"] += 1
        path = _work_in_a_collection(tenant, made["id"], choices, counts)
    spare = tenant.send("POST", "/v1/collections", 201, json={"name": "spare"}).json()
    tenant.send("PATCH", f"/v1/collections/{spare['id']}", 200, json={"name": "to be dropped"})
    tenant.send("DELETE", f"/v1/collections/{spare['id']}", 204)
    counts["collections deleted"] += 1
    _uploads(tenant, choices, counts)
    return path


def _work_in_a_collection(
    tenant: Caller, collection_id: str, choices: _Choices, counts: Counter[str]
) -> str:
    documents = f"/v1/collections/{collection_id}/documents"
    written = []
    for _ in range(DOCUMENTS_EACH):
        body = choices.document()
        made = tenant.send("POST", documents, 201, json=body).json()
        written.append((made["id"], body))
        counts["documents created"] += 1
    for _, body in written[:3]:
        _search(tenant, documents, body["owner_email"], written)
        counts["searches"] += 1
    changed, _ = written[0]
    text = choices.document()["text"]
    after = tenant.send("PATCH", f"{documents}/{changed}", 200, json={"text": text}).json()
    if after["text"] != text:
        raise RefusedError("expected a changed text back, found another")
    counts["documents changed"] += 1
    tenant.send("DELETE", f"{documents}/{written[-1][0]}", 204)
    counts["documents deleted"] += 1
    listed = tenant.send("GET", f"{documents}?limit=500", 200).json()
    if len(listed) != DOCUMENTS_EACH - 1:
        raise RefusedError(f"expected {DOCUMENTS_EACH - 1} documents, found {len(listed)}")
    counts["documents listed"] += len(listed)
    return f"{documents}/{changed}"


def _search(
    tenant: Caller, documents: str, address: str, written: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    found = tenant.send(
        "POST", f"{documents}/search", 200, json={"owner_email": address.title()}
    ).json()
    expected = {one for one, body in written if body["owner_email"] == address}
    if {one["id"] for one in found} != expected:
        raise RefusedError("expected a search to find every document of an owner, it did not")


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 64 * 1024):
        yield content[start : start + 64 * 1024]


def _uploads(tenant: Caller, choices: _Choices, counts: Counter[str]) -> None:
    for number in range(3):
        name, content = choices.file()
        made = tenant.send("POST", "/v1/uploads", 201, json={"file_name": name}).json()
        path = f"/v1/uploads/{made['id']}"
        tenant.send("PUT", path, 200, content=_pieces(content))
        counts["files uploaded"] += 1
        counts["bytes uploaded"] += len(content)
        if tenant.send("GET", path, 200).content != content:
            raise RefusedError("expected the content of a file back, found another")
        counts["files downloaded"] += 1
        if number == 2:
            tenant.send("DELETE", path, 204)
            counts["files deleted"] += 1


def _mistakes(client: Client, tenants: Sequence[tuple[Caller, str]], counts: Counter[str]) -> None:
    """What has to be refused, is."""
    tenant, own = tenants[0]
    _, others = tenants[1]
    nowhere = f"/v1/collections/{UUID(int=0)}"
    attempts: list[tuple[Caller, str, str, int, object]] = [
        (tenant, "GET", others, 404, None),
        (tenant, "PATCH", others, 404, {"text": "mine now"}),
        (tenant, "DELETE", others, 404, None),
        (tenant, "GET", nowhere, 404, None),
        (tenant, "GET", "/v1/collections/not-an-id", 404, None),
        (tenant, "PATCH", own, 422, {"owner_email": "not an address"}),
        (tenant, "PATCH", own, 422, {"colour": "red"}),
        (tenant, "POST", "/v1/collections", 409, {"name": "CONTRACTS"}),
        (tenant, "POST", "/v1/tenants", 401, {"name": "Freeloaders"}),
        (client.stranger(), "GET", "/v1/collections", 401, None),
        (client.stranger(), "GET", own, 401, None),
    ]
    for caller, method, path, status, body in attempts:
        caller.send(method, path, status, json=body)
        counts["mistakes refused"] += 1
