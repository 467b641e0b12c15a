"""Cached statements, several engines, listeners: what is searched and opened is never another's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    StaticPool,
    create_engine,
    delete,
    event,
    func,
    insert,
    lambda_stmt,
    select,
    update,
)
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import Session, aliased, selectinload, sessionmaker, with_loader_criteria

from assay.core import DataKeyClass
from assay.encryption.sqlalchemy import (
    SealedExpressionError,
    UnresolvedCriterionError,
    UnsealedWriteError,
    bind,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


@pytest.fixture
def filled(library: Any) -> Any:
    for owner in ("north", "south"):
        for number in range(3):
            library.add(owner, owner_email=f"e{number}@x", text=f"{owner}{number}", label="old")
    return library


@pytest.fixture
def second(library: Any) -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    library.Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def compiled(engine: Engine) -> int:
    return len(engine._compiled_cache)  # type: ignore[attr-defined,arg-type]  # what is kept


def test_a_cached_statement_looks_for_what_it_says(filled: Any) -> None:
    document = filled.Document

    def found(owner: str, email: str) -> list[str]:
        with filled.sessions() as session:
            statement = select(document).where(
                document.tenant_id == owner, document.owner_email == email
            )
            return sorted(each.text for each in session.scalars(statement))

    assert found("north", "e0@x") == ["north0"]
    kept = compiled(filled.engine)
    assert found("south", "e0@x") == ["south0"]
    assert found("north", "E1@x") == ["north1"]
    assert found("north", "nobody") == []
    assert found("south", "e1@x") == ["south1"]
    assert compiled(filled.engine) == kept  # it was one statement all the time
    filled.keyring.rotate("north", DataKeyClass.INDEXES)
    filled.add("north", owner_email="e0@x", text="new")
    assert found("north", "e0@x") == ["new", "north0"]
    assert found("south", "e0@x") == ["south0"]


def test_two_keyrings_share_a_cached_statement(filled: Any) -> None:
    document = filled.Document
    other = bind(sessionmaker(filled.engine), Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    statement = select(document).where(
        document.tenant_id == "north", document.owner_email == "e0@x"
    )
    with filled.sessions() as mine, other.begin() as theirs:
        assert [each.text for each in mine.scalars(statement)] == ["north0"]
        theirs.add(document(tenant_id="north", owner_email="e0@x", text="theirs"))
        assert [each.text for each in theirs.scalars(statement)] == ["theirs"]
        assert [each.text for each in mine.scalars(statement)] == ["north0"]


def test_lambdas_are_resolved_each_time(filled: Any) -> None:
    document = filled.Document

    def found(session: Session) -> list[str]:
        whole = lambda_stmt(lambda: select(document).where(document.owner_email == "e0@x"))
        part = select(document).where(lambda: document.owner_email == "e0@x")
        both = [sorted(each.text for each in session.scalars(one)) for one in (whole, part)]
        assert both[0] == both[1]
        return both[0]

    with filled.sessions() as session:
        assert found(session) == ["north0", "south0"]
        filled.keyring.rotate("north", DataKeyClass.INDEXES)
        session.add(document(tenant_id="north", owner_email="e0@x", text="new"))
        assert found(session) == ["new", "north0", "south0"]
    email = "e0@x"
    with pytest.raises(SealedExpressionError, match="parameters that come later"):
        filled.sessions().execute(
            lambda_stmt(lambda: select(document).where(document.owner_email == email))
        )


def test_loader_criteria_of_sealed_fields_are_refused(filled: Any) -> None:
    document, tenant = filled.Document, filled.Tenant
    for criterion in (document.owner_email == "e0@x", lambda cls: cls.owner_email == "e0@x"):
        only = with_loader_criteria(document, criterion)
        for statement in (select(document), select(tenant).options(selectinload(tenant.documents))):
            with filled.sessions() as session, pytest.raises(UnresolvedCriterionError):
                session.scalars(statement.options(only)).all()


@pytest.mark.parametrize("synchronise", ["auto", "evaluate", "fetch", False])
def test_rows_are_deleted_by_a_sealed_field(filled: Any, synchronise: Any) -> None:
    document = filled.Document
    with filled.sessions() as session:
        held = session.scalars(select(document)).all()
        statement = delete(document).where(document.owner_email == "e0@x")
        session.execute(statement, execution_options={"synchronize_session": synchronise})
        gone = [each for each in held if each not in session]
        assert [each.owner_email for each in gone] == ["e0@x"] * (2 if synchronise else 0)
        assert session.scalar(select(func.count()).select_from(document)) == 4


def test_flat_aliases_are_searched(filled: Any) -> None:
    flat = aliased(filled.Document, flat=True)
    with filled.sessions() as session:
        found = session.scalars(select(flat).where(flat.owner_email == "E1@x")).all()
    assert {each.label for each in found} == {"old"}
    assert len(found) == 2


def test_listeners_of_loads_read_sealed_fields(filled: Any) -> None:
    document, seen = filled.Document, list[tuple[str, str]]()

    def loaded(target: Any, _context: object) -> None:
        seen.append(("load", target.text))

    def refreshed(target: Any, _context: object, _names: object) -> None:
        seen.append(("refresh", target.text))

    event.listen(document, "load", loaded)
    event.listen(document, "refresh", refreshed)
    try:
        with filled.sessions() as session:
            statement = select(document).where(document.tenant_id == "north")
            one, *_ = session.scalars(statement.execution_options(yield_per=2)).all()
            one.text = "changed"
            session.commit()
            session.refresh(one)
    finally:
        event.remove(document, "load", loaded)
        event.remove(document, "refresh", refreshed)
    assert sorted(seen[:3]) == [("load", f"north{number}") for number in range(3)]
    assert set(seen[3:]) == {("refresh", "changed")}


def test_a_mapper_with_an_engine_of_its_own(filled: Any, second: Engine) -> None:
    document = filled.Document
    with bind(Session(), filled.keyring) as session:
        session.bind_mapper(document, second)
        session.bind_mapper(filled.Tenant, filled.engine)
        session.add(document(tenant_id="north", owner_email="e0@x", text="one"))
        session.execute(
            insert(document), [{"tenant_id": "south", "owner_email": "e0@x", "text": "two"}]
        )
        statement = select(document).where(document.owner_email == "e0@x")
        assert sorted(each.text for each in session.scalars(statement)) == ["one", "two"]
        with pytest.raises(UnsealedWriteError):
            session.execute(update(document.__table__).values(sealed=b"x"))


def test_shards(filled: Any, second: Engine) -> None:
    document = filled.Document
    sessions = sessionmaker(
        class_=ShardedSession,
        shards={"north": filled.engine, "south": second},
        shard_chooser=lambda _mapper, instance, _clause=None: instance.tenant_id,
        identity_chooser=lambda *_, **__: ["north", "south"],
        execute_chooser=lambda _: ["north", "south"],
    )
    with bind(sessions, filled.keyring)() as session:
        for owner in ("north", "south"):
            session.add(document(tenant_id=owner, owner_email="s@x", text=owner))
        session.commit()
        statement = select(document).where(document.owner_email == "S@x")
        found = {each.tenant_id: each for each in session.scalars(statement)}
        assert {name: each.text for name, each in found.items()} == {
            "north": "north", "south": "south",
        }  # fmt: skip
        found["south"].text = "changed"
        session.commit()
        assert found["south"].text == "changed"
    with Session(second) as session:
        assert session.scalar(select(func.count()).select_from(document)) == 1


def test_core_of_a_session_is_looked_at(filled: Any) -> None:
    document = filled.Document
    with filled.sessions() as session:
        connection = session.connection()
        for statement, row in (
            (insert(document), {"tenant_id": "north", "text": "x"}),
            (update(document).values(tenant_id="south"), {}),
            (update(document.__table__), {"sealed": b"x"}),
        ):
            with pytest.raises(UnsealedWriteError):
                connection.execute(statement, row)
        with pytest.raises(UnresolvedCriterionError):
            connection.execute(select(document).where(document.owner_email == "e0@x"))
