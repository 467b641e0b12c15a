"""The tamper matrix over bare envelopes and over sealed models on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import StaticPool, create_engine
from tests.sealed_table_vault import Contract, Letter, TableVault
from tests.tamper_adapters import ADAPTERS
from tests.tamper_matrix import ATTACKS, CANARY, Attack, Forgery, Target
from tests.tamper_page import render, shown

from assay.core import DataKeyClass
from assay.encryption import EnvelopeOpener, EnvelopeSealer, RowAddress, encode_row_id
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService, UnknownDataKeyError


class BareVault:
    """One envelope in a variable: the smallest store there is."""

    def __init__(self, keyring: Keyring, version: int | None = None) -> None:
        self.version = version
        self.keyring = keyring
        self.sealer, self.opener = EnvelopeSealer(), EnvelopeOpener()
        self.address = self.place()
        self.fields = {"text": CANARY, "pages": 7}
        self.key = keyring.current("north", DataKeyClass.ROWS)
        self.stored: bytes | None = self.seal(self.address)

    def place(
        self, tenant: str = "north", table: str = "documents", group: str = "default", row: int = 7
    ) -> RowAddress:
        return RowAddress(tenant, table, group, encode_row_id(row), self.version)

    def seal(self, address: RowAddress) -> bytes:
        key = self.keyring.current(address.tenant, DataKeyClass.ROWS)
        return self.sealer.seal(key, address, self.fields)

    def put(self, value: bytes | None) -> None:
        self.stored = value

    def read(self) -> object:
        assert self.stored is not None
        return self.opener.open(self.key, self.address, self.stored)

    def use_key(self, key: DataKey) -> Any:
        before, self.key = self.key, key
        return lambda: setattr(self, "key", before)

    def target(self) -> Target:
        assert self.stored is not None
        seal, place = self.seal, self.place
        older = RowAddress("north", "documents", "default", encode_row_id(7), 1)
        return Target(
            adapter="envelope" if self.version is None else "envelope, versioned",
            own=self.stored,
            put=self.put,
            read=self.read,
            plain=self.fields,
            others={
                "row": seal(place(row=8)),
                "table": seal(place(table="papers")),
                "group": seal(place(group="content")),
                "owner": seal(place("south")),
                "everything": seal(place("south", "papers", "content", 8)),
                "older": seal(older),
            },
            acts={
                "give away": lambda: self.use_key(self.keyring.current("south", DataKeyClass.ROWS)),
                "other keys": lambda: self.use_key(
                    Keyring(MemoryKeyService(), MemoryDataKeyTable()).current(
                        "north", DataKeyClass.ROWS
                    )
                ),
            },
        )


@pytest.mark.parametrize("version", [None, 2])
def test_bare_envelopes(attack: Attack, keyring: Keyring, version: int | None) -> None:
    attack.run(BareVault(keyring, version).target())


@pytest.fixture(params=[Letter, Contract], ids=lambda each: each.__name__)
def model(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[True, False], ids=["mapped", "past-the-mapping"])
def table(model: Any, request: pytest.FixtureRequest) -> Iterator[TableVault]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    vault = TableVault(engine, model, through_mapping=request.param)
    yield vault
    vault.close()
    engine.dispose()


def test_sealed_models(attack: Attack, table: TableVault) -> None:
    attack.run(table.target())


def test_the_table_forges_what_it_says(keyring: Keyring) -> None:
    target = BareVault(keyring).target()
    refused = {attack.name: attack.run(target) for attack in ATTACKS}

    assert {name for name, count in refused.items() if count == 0} == set(target.of.spared)
    assert refused["truncate"] == len(target.own)
    assert refused["flip version"] == refused["flip suite"] == 8
    assert refused["flip key id"] == refused["flip tag"] == 16 * 8
    assert refused["flip nonce"] == 24 * 8
    assert refused["flip ciphertext"] == (len(target.own) - 58) * 8
    assert refused["unknown version"] == refused["unknown suite"] == 255


def test_a_target_that_opens_a_forgery_fails(keyring: Keyring) -> None:
    """The matrix itself must be able to fail, for each way in which an adapter can be wrong."""
    vault = BareVault(keyring)
    target = vault.target()
    broken = Attack("x", lambda _: iter([Forgery("a bit flipped", bytes(100), "version")]))
    assert broken.run(target) == 1
    wrong_name = Attack("x", lambda _: iter([Forgery("a bit flipped", bytes(100), "key")]))
    with pytest.raises(AssertionError, match="expected WrongKeyError"):
        wrong_name.run(target)
    with pytest.raises(AssertionError, match="not a forgery"):
        Attack("x", lambda target: iter([Forgery("itself", target.own, "key")])).run(target)
    with pytest.raises(AssertionError, match="nothing was forged"):
        Attack("x", lambda _: iter([])).run(target)
    target.read = lambda: target.plain  # an adapter that answers from a cache
    with pytest.raises(AssertionError, match="opened dict"):
        broken.run(target)

    def gives_away() -> object:
        if vault.stored != target.own:
            raise vault_error(CANARY)
        return target.plain

    vault_error = target.of.errors["version"]
    target.read = gives_away
    with pytest.raises(AssertionError, match="plaintext"):
        broken.run(target)
    target.read = lambda: (_ for _ in ()).throw(UnknownDataKeyError("no envelope error"))
    with pytest.raises(UnknownDataKeyError):
        broken.run(target)


def test_the_columns_fit_the_lines(repository: Path) -> None:
    """Nothing is missing silently: each reason is about a line, and each column has its target."""
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)
    for name, adapter in ADAPTERS.items():
        assert set(adapter.spared) <= set(names), name
        assert all(adapter.spared.values()), name
        for file in adapter.tests:
            assert f'"{name}"' in (repository / file).read_text(encoding="utf-8"), (name, file)
    assert all(any(name not in each.spared for each in ADAPTERS.values()) for name in names)


def test_the_page_shows_the_matrix() -> None:
    assert shown() == render(), "write it anew: python -m tests.tamper_page"
