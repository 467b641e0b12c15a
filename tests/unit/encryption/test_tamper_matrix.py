"""The tamper matrix over bare envelopes and over sealed models on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session
from tests.tamper_matrix import ATTACKS, CANARY, Attack, Forgery, Target

from assay.core import DataKeyClass
from assay.encryption import EnvelopeOpener, EnvelopeSealer, RowAddress, encode_row_id
from assay.encryption.sqlalchemy import bind, open_row
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService, UnknownDataKeyError


class BareVault:
    """One envelope in a variable: the smallest store there is."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.sealer, self.opener = EnvelopeSealer(), EnvelopeOpener()
        self.address = RowAddress("north", "documents", "default", encode_row_id(7))
        self.fields = {"text": CANARY, "pages": 7}
        self.key = keyring.current("north", DataKeyClass.ROWS)
        self.stored: bytes | None = self.seal(self.address)

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
        seal, row_id = self.seal, self.address.row_id
        return Target(
            own=self.stored,
            put=self.put,
            read=self.read,
            plain=self.fields,
            others={
                "row": seal(RowAddress("north", "documents", "default", encode_row_id(8))),
                "table": seal(RowAddress("north", "papers", "default", row_id)),
                "group": seal(RowAddress("north", "documents", "content", row_id)),
                "owner": seal(RowAddress("south", "documents", "default", row_id)),
                "everything": seal(RowAddress("south", "papers", "content", b"8")),
            },
            acts={
                "give away": lambda: self.use_key(self.keyring.current("south", DataKeyClass.ROWS)),
                "other keys": lambda: self.use_key(
                    Keyring(MemoryKeyService(), MemoryDataKeyTable()).current(
                        "north", DataKeyClass.ROWS
                    )
                ),
            },
            spared={
                "roll back": "an envelope without a row version does not say how old it is",
                "null": "the signature asks for bytes",
            },
        )


def test_bare_envelopes(attack: Attack, keyring: Keyring) -> None:
    attack.run(BareVault(keyring).target())


class TableVault:
    """A sealed model in a database, read through the mapping or past it."""

    def __init__(self, library: Any, *, through_mapping: bool) -> None:
        self.library = library
        self.through_mapping = through_mapping
        self.row = library.add(text=CANARY, body=CANARY)
        self.neighbour = library.add(text="other", body="other")
        self.southern = library.add("south", text="south", body="south")
        with library.sessions.begin() as session:
            everything = library.Everything(part=1, name="x", owner=uuid4(), a_text="x")
            session.add(everything)
            session.flush()
            self.elsewhere = bytes(everything.__dict__["sealed"].envelope)
        self.connection = library.engine.connect()
        self.session: Session = library.sessions(bind=self.connection)

    def column(self, name: str, row: UUID) -> bytes:
        statement = sql(f"SELECT {name} FROM documents WHERE id = :id")  # noqa: S608 - of this test
        return bytes(self.connection.execute(statement, {"id": row.hex}).scalar_one())

    def change(self, **values: object) -> None:
        for name, value in values.items():
            self.connection.execute(
                sql(f"UPDATE documents SET {name} = :value WHERE id = :id"),  # noqa: S608 - of this test
                {"value": value, "id": self.row.hex},
            )

    def put(self, value: bytes | None) -> None:
        self.change(sealed=value)

    def read(self) -> object:
        document, table = self.library.Document, self.library.Document.__table__
        if self.through_mapping:
            self.session.expire_all()
            stored = self.session.get(document, self.row)
            return {name: getattr(stored, name) for name in ("owner_email", "text", "pages")}
        query = select(table).where(table.c.id == bindparam("id"))
        row = self.connection.execute(query, {"id": self.row}).mappings().one()
        return open_row(self.library.keyring, document, row)

    def give_away(self) -> Any:
        self.change(tenant_id="south")
        return lambda: self.change(tenant_id="north")

    def use_other_keys(self) -> Any:
        own = self.library.keyring
        self.library.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        bind(self.session, self.library.keyring)

        def undo() -> None:
            self.library.keyring = own
            bind(self.session, own)

        return undo

    def target(self) -> Target:
        key = self.library.keyring.current("north", DataKeyClass.ROWS)
        papers = RowAddress("north", "papers", "default", encode_row_id(self.row))
        return Target(
            own=self.column("sealed", self.row),
            put=self.put,
            read=self.read,
            plain={"owner_email": "ada@example.com", "text": CANARY, "pages": 1},
            others={
                "row": self.column("sealed", self.neighbour),
                "table": EnvelopeSealer().seal(key, papers, {"owner_email": "a", "text": "b"}),
                "group": self.column("sealed_content", self.row),
                "owner": self.column("sealed", self.southern),
                "everything": self.elsewhere,
            },
            acts={"give away": self.give_away, "other keys": self.use_other_keys},
            spared={
                "roll back": "a model without a row version does not notice",
                "null": "the column is NOT NULL",
            },
        )


@pytest.fixture(params=[True, False], ids=["mapped", "past-the-mapping"])
def table(library: Any, request: pytest.FixtureRequest) -> Iterator[TableVault]:
    vault = TableVault(library, through_mapping=request.param)
    yield vault
    vault.session.close()
    vault.connection.close()


def test_sealed_models(attack: Attack, table: TableVault) -> None:
    attack.run(table.target())


def test_the_table_forges_what_it_says(keyring: Keyring) -> None:
    target = BareVault(keyring).target()
    refused = {attack.name: attack.run(target) for attack in ATTACKS}

    assert {name for name, count in refused.items() if count == 0} == set(target.spared)
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

    vault_error = target.errors["version"]
    target.read = gives_away
    with pytest.raises(AssertionError, match="plaintext"):
        broken.run(target)
    target.read = lambda: (_ for _ in ()).throw(UnknownDataKeyError("no envelope error"))
    with pytest.raises(UnknownDataKeyError):
        broken.run(target)
