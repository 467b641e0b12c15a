"""A sealed collection of a client that is connected to nothing: what is sent fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from assay.encryption.mongodb import (
    Equality,
    SealedCollection,
    SealedDocument,
    casefold,
    digits,
    sealed,
)
from assay.encryption.mongodb.plans import Plans
from assay.encryption.mongodb.pymongo import PYMONGO
from assay.keys import Keyring

LETTERS = SealedDocument(
    name="letters",
    owner="tenant_id",
    fields={
        "owner_email": sealed(str, index=Equality(casefold)),
        "text": sealed(str),
        "pages": sealed(int),
        "settings": sealed(dict),
        "body": sealed(str, group="content"),
        "number": sealed(str, group="content", index=Equality(digits)),
        "code": sealed(index=Equality(casefold)),
    },
)


@pytest.fixture
def plans(keyring: Keyring) -> Plans:
    return Plans(LETTERS, keyring, PYMONGO)


@pytest.fixture
def letters(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedCollection]:
    def send(*_: object, **__: object) -> Any:
        pytest.fail("something was sent")

    with MongoClient[dict[str, Any]]("mongodb://127.0.0.1:9/", connect=False) as client:
        monkeypatch.setattr(client, "_select_server", send)
        yield SealedCollection(client["app"]["letters"], LETTERS, keyring)
