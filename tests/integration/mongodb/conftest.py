"""A MongoDB for tests, and a sealed collection in it.

FerretDB 1.24 speaks MongoDB's wire protocol over SQLite; it is built once, from ``ferretdb/``, into
the tools of the checkout. With ``MONGODB_URI`` set, the same tests run against the real MongoDB
there, each in a database of its own that is dropped afterwards.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import CommandListener
from tests.go_program import built

from assay.encryption.mongodb import (
    AsyncSealedCollection,
    Equality,
    SealedCollection,
    SealedDocument,
    casefold,
    digits,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

SOURCE = Path(__file__).with_name("ferretdb")
_START_SECONDS = 60.0

LETTERS = SealedDocument(
    name="letters",
    owner="tenant_id",
    fields={
        "owner_email": sealed(str, index=Equality(casefold, unique=True)),
        "text": sealed(str),
        "pages": sealed(int),
        "body": sealed(str, group="content"),
        "number": sealed(str, group="content", index=Equality(digits)),
    },
)


@dataclass(frozen=True)
class Server:
    """Where a MongoDB is, and where its files are when they are ours to read."""

    uri: str
    folder: Path | None


@pytest.fixture(scope="session")
def ferretdb(needs: Callable[[str], None], pytestconfig: pytest.Config) -> Path:
    """The server's program, built when its sources have changed."""
    needs("go")
    return built("ferretdb", SOURCE, pytestconfig, takes="about two minutes")


@pytest.fixture(scope="session")
def mongodb(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The MongoDB of this test process."""
    uri = os.environ.get("MONGODB_URI")
    if uri:
        yield Server(uri, None)
        return
    program = request.getfixturevalue("ferretdb")
    folder = Path(tempfile.mkdtemp(prefix="assay-ferretdb-"))
    try:
        yield from _serve(program, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(program: Path, folder: Path) -> Iterator[Server]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    data = folder / "data"
    data.mkdir()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(program), address, str(data)], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    try:
        _await(server, address, folder / "log")
        yield Server(f"mongodb://{address}/", data)
    finally:
        assert server.stdin is not None
        server.stdin.close()  # it ends with its input
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"FerretDB did not start: {log.read_text()[-2000:]}", pytrace=False)


class Wire(CommandListener):
    """Everything that went over the wire, as text."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []

    def started(self, event: Any) -> None:
        self.commands.append((event.command_name, repr(event.command)))

    def succeeded(self, event: Any) -> None:
        self.commands.append((event.command_name, repr(event.reply)))

    def failed(self, event: Any) -> None:
        self.commands.append((event.command_name, repr(event.failure)))


@dataclass
class Office:
    """A sealed collection, sync or async, and the same collection past the sealing.

    Attributes:
        raw: pymongo's collection.
        sealed: the sealed one.
        finish: gives the value of what the sealed one returns: awaits it, and reads cursors.
        keyring: has the data keys.
        wire: what went over the wire.
        folder: the server's files, when they are ours to read.
        make: makes another sealed collection with another declaration or keyring.
    """

    raw: Any
    sealed: Any
    finish: Callable[[Any], Any]
    keyring: Keyring
    wire: Wire
    folder: Path | None
    make: Callable[..., Any] = field(repr=False)

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call the sealed collection."""
        return self.finish(getattr(self.sealed, method)(*arguments, **options))

    def add(self, owner: str = "north", **fields: Any) -> Any:
        """A stored letter; returns its _id."""
        given = {"owner_email": "ada@example.com", "text": "Dear Ada", **fields}
        return self("insert_one", {"tenant_id": owner, "title": "Letter", **given}).inserted_id

    def all(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """What find gives."""
        found: list[dict[str, Any]] = self("find", *arguments, **options)
        return found


@pytest.fixture(params=["sync", "async"])
def office(request: pytest.FixtureRequest, mongodb: Server) -> Iterator[Office]:
    """A sealed collection in a database of its own."""
    name = f"assay_{secrets.token_hex(6)}"
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    wire = Wire()
    settings: dict[str, Any] = {
        "uuidRepresentation": "standard", "event_listeners": [wire],
        "serverSelectionTimeoutMS": 10_000,
    }  # fmt: skip
    with MongoClient[dict[str, Any]](mongodb.uri, uuidRepresentation="standard") as past:
        parts = {
            "raw": past[name]["letters"], "keyring": keyring, "wire": wire,
            "folder": mongodb.folder,
        }  # fmt: skip
        try:
            if request.param == "sync":
                with MongoClient[dict[str, Any]](mongodb.uri, **settings) as client:
                    yield _office(client[name], SealedCollection, finish=_read, **parts)
            else:
                with asyncio.Runner() as runner:
                    waiting = AsyncMongoClient[dict[str, Any]](mongodb.uri, **settings)
                    yield _office(
                        waiting[name],
                        AsyncSealedCollection,
                        finish=lambda value: runner.run(_await_and_read(value)),
                        **parts,
                    )
                    runner.run(waiting.close())
        finally:
            past.drop_database(name)


def _office(database: Any, kind: Any, **parts: Any) -> Office:
    def make(
        declared: SealedDocument = LETTERS, keys: Keyring = parts["keyring"], name: str = "letters"
    ) -> Any:
        return kind(database[name], declared, keys)

    return Office(sealed=make(), make=make, **parts)


def _read(value: Any) -> Any:
    return value.to_list() if hasattr(type(value), "to_list") else value


async def _await_and_read(value: Any) -> Any:
    if inspect.isawaitable(value):
        value = await value
    return await value.to_list() if hasattr(type(value), "to_list") else value
