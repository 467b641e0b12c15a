"""Plants values in Metal through its own API, for the leak test to look for.

The programme names this function: ``plant: metal.canaries:plant``. Each value goes where a
customer would put one of its kind, and also where leaks usually show: into an index, through a
search, an update, a deletion, a request that is refused, a text of many pages. Whatever the API
keeps is read back and compared: a value that was not stored cannot be missed.

Example:
    >>> plant({"text": "quartz-41c7"}, os.environ)[0]       # doctest: +SKIP
    'POST /v1/collections: collection: name, description'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from metal.client import Caller, Client, open_client
from metal.errors import RefusedError

KINDS = ("text", "email", "name", "file", "metadata")
"""The kinds of values that have a place here."""

_PAGES = "Lorem ipsum dolor sit amet, consectetur adipisici elit. " * 400
_UNUSED = {
    "text": "A text without a canary.",
    "email": "nobody@example.com",
    "name": "Nobody",
    "file": "nothing.txt",
    "metadata": "nothing",
}


def plant(values: Mapping[str, str], environment: Mapping[str, str]) -> Sequence[str]:
    """Write the values through the API, and read them back.

    Args:
        values: value by kind; kinds are those of `KINDS`.
        environment: names the server and the operator's token, see `metal.client`.

    Returns:
        the paths by which the values were written and read back, in words.

    Raises:
        RefusedError: the API refused a value, or gave another one back; or a kind is unknown.
    """
    unknown = sorted(set(values) - set(KINDS))
    if unknown or not values:
        raise RefusedError(
            f"expected values of the kinds {', '.join(KINDS)}, found {', '.join(unknown) or 'none'}"
        )
    filled = {**_UNUSED, **values}
    with open_client(environment) as client:
        return plant_with(client, filled)


def plant_with(client: Client, values: Mapping[str, str]) -> Sequence[str]:
    """The same, with a client that is open already and a value of every kind."""
    planting = _Planting(client.sign_up("Canary Cage"), values)
    planting.in_collections()
    planting.in_documents()
    planting.in_uploads()
    planting.in_refusals(client.stranger())
    return planting.paths


class _Planting:
    """One tenant who writes every value everywhere."""

    def __init__(self, tenant: Caller, values: Mapping[str, str]) -> None:
        self._tenant = tenant
        self._values = values
        self._document = {
            "owner_name": values["name"],
            "owner_email": values["email"],
            "text": values["text"],
            "metadata": {"note": values["metadata"], "nested": [values["metadata"]]},
        }
        self._collection = ""
        self.paths: list[str] = []

    def in_collections(self) -> None:
        """Name and description of a collection."""
        body = {"name": self._values["name"], "description": self._values["text"][:2000]}
        made = self._kept("POST", "/v1/collections", 201, body, "collection: name, description")
        self._collection = f"/v1/collections/{made['id']}"
        self._read(self._collection, body, "collection: name, description")

    def in_documents(self) -> None:
        """Document fields: created, searched, listed, changed, long, deleted."""
        documents = f"{self._collection}/documents"
        made = self._kept("POST", documents, 201, self._document, "document: every field")
        one = f"{documents}/{made['id']}"
        self._read(one, self._document, "document: every field")
        self._search(documents, made["id"])

        first = {name: value for name, value in self._document.items() if name != "text"}
        plain = {**self._document, "owner_email": "before@example.com", "text": "before"}
        changed = self._kept("POST", documents, 201, plain, "document before a change")
        target = f"{documents}/{changed['id']}"
        self._kept("PATCH", target, 200, first, "document: changed owner and metadata")
        self._kept("PATCH", target, 200, {"text": self._values["text"]}, "document: changed text")
        self._read(target, self._document, "changed document")

        text = f"{_PAGES}{self._values['text']}{_PAGES}"
        long = self._kept("POST", documents, 201, {**self._document, "text": text}, "long text")
        self._read(f"{documents}/{long['id']}", {"text": text}, "long text")

        gone = self._kept("POST", documents, 201, self._document, "document before deletion")
        self._tenant.send("DELETE", f"{documents}/{gone['id']}", 204)
        self._tenant.send("GET", f"{documents}/{gone['id']}", 404)
        self._note("DELETE", documents, "document: every field, deleted")

    def in_uploads(self) -> None:
        """Name and content of a file: stored, replaced, deleted."""
        content = f"{self._values['text']}\n{self._values['file']}\n{_PAGES}".encode()
        for again in ("kept", "deleted"):
            body = {"file_name": self._values["file"]}
            made = self._kept("POST", "/v1/uploads", 201, body, f"file name ({again})")
            one = f"/v1/uploads/{made['id']}"
            self._tenant.send("PUT", one, 200, content=b"before")
            self._tenant.send("PUT", one, 200, content=content)
            if self._tenant.send("GET", one, 200).content != content:
                raise RefusedError("expected the content of an upload back, found another")
            self._note("PUT", "/v1/uploads", f"file content, replacing another ({again})")
        self._tenant.send("DELETE", one, 204)
        self._tenant.send("GET", one, 404)

    def in_refusals(self, stranger: Caller) -> None:
        """Requests that are refused: what they held must not be logged either."""
        documents = f"{self._collection}/documents"
        self._tenant.send("POST", documents, 422, json={**self._document, "owner_email": "none"})
        self._tenant.send("POST", documents, 422, json={**self._document, self._values["text"]: 1})
        self._tenant.send("POST", f"{documents}/search", 422, content=self._values["text"].encode())
        self._tenant.send("GET", f"/v1/{quote(self._values['metadata'])}", 404)
        self._tenant.send("GET", f"/v1/audit?{urlencode({'limit': self._values['email']})}", 422)
        stranger.send("POST", documents, 401, json=self._document)
        self._note("POST", documents, "every field, in requests that are refused")

    def _search(self, documents: str, wanted: str) -> None:
        for address in (self._values["email"], self._values["email"].upper()):
            found = self._tenant.send(
                "POST", f"{documents}/search", 200, json={"owner_email": address}
            ).json()
            if [one["id"] for one in found] != [wanted]:
                raise RefusedError("expected a search by e-mail to find the document, it did not")
        listed = self._tenant.send("GET", documents, 200).json()
        if [one["owner_email"] for one in listed] != [self._values["email"]]:
            raise RefusedError("expected a list to show the document, it did not")
        self._note("POST", f"{documents}/search", "e-mail, in a search that found it")

    def _kept(
        self, method: str, path: str, status: int, body: Mapping[str, Any], what: str
    ) -> dict[str, Any]:
        """Write, and compare what the API says that it kept."""
        kept: dict[str, Any] = self._tenant.send(method, path, status, json=dict(body)).json()
        self._compare(kept, body, what)
        self._note(method, path, what)
        return kept

    def _read(self, path: str, expected: Mapping[str, Any], what: str) -> None:
        self._compare(self._tenant.send("GET", path, 200).json(), expected, what)

    def _compare(self, found: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
        differing = [name for name, value in expected.items() if found.get(name) != value]
        if differing:
            raise RefusedError(
                f"expected to read back what was written ({what}), found other values in "
                f"{', '.join(differing)}"
            )

    def _note(self, method: str, path: str, what: str) -> None:
        steps = path.split("/")
        shown = "/".join("{id}" if len(step) == 36 else step for step in steps)
        self.paths.append(f"{method} {shown}: {what}")
