"""What sessions do with sealed instances: savepoints, merging, copies, versions, loader options."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import StaticPool, String, create_engine, event, insert, inspect, select, update
from sqlalchemy.exc import InvalidRequestError, StatementError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    defer,
    load_only,
    make_transient,
    make_transient_to_detached,
    mapped_column,
    sessionmaker,
    synonym,
    undefer,
    validates,
)
from sqlalchemy.orm.attributes import (
    flag_modified,
    get_history,
    set_attribute,
    set_committed_value,
)

from assay.encryption import FrozenValueError, TamperedEnvelopeError, TruncatedEnvelopeError
from assay.encryption.sqlalchemy import (
    Equality,
    RowIdChangedError,
    Sealed,
    SealedExpressionError,
    StaleEnvelopeError,
    UnopenedError,
    UnresolvedCriterionError,
    bind,
    casefold,
    exact,
    move_to_owner,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    """With a version of the model's own, other names in the database, and a default there."""

    __tablename__ = "notes"
    __owner__ = "owner"

    part: Mapped[int] = mapped_column("the part", primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    owner: Mapped[str] = mapped_column("belongs to")
    version: Mapped[int] = mapped_column()
    made: Mapped[str] = mapped_column(server_default="now")
    title: Mapped[str] = sealed(index=Equality(exact))
    text: Mapped[str | None] = sealed(group="content")
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as models declare it


class Checked(Sealed, Base):
    __tablename__ = "checked"
    __owner__ = "owner"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str]
    kind: Mapped[str] = mapped_column(default="checked")
    email: Mapped[str] = sealed(index=Equality(casefold))
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "checked"}  # noqa: RUF012 - as models declare it

    mail = synonym("email")

    @hybrid_property
    def address(self) -> str:
        return self.email

    @validates("email")
    def check(self, name: str, value: str) -> str:
        if "@" not in value:
            raise ValueError(name)
        return value.strip()


class Strict(Checked):
    __mapper_args__ = {"polymorphic_identity": "strict"}  # noqa: RUF012 - as models declare it

    @validates("email", include_removes=True)
    def check(self, name: str, value: str, is_remove: bool = True) -> str:
        assert not is_remove
        return super().check(name, value).upper()


@pytest.fixture
def notes(keyring: Any) -> Any:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    made = bind(sessionmaker(engine), keyring)
    with made.begin() as session:
        session.add(Note(part=1, name="a", owner="north", title="one", text="two"))
    yield made
    engine.dispose()


def test_a_savepoint_that_is_rolled_back_leaves_what_was_before(library: Any) -> None:
    row = library.add(body="body")
    with library.sessions() as session:
        document = session.get(library.Document, row)
        document.text = "outer"
        savepoint = session.begin_nested()
        document.text, document.owner_email = "inner", "inner@example.com"
        session.flush()
        savepoint.rollback()
        assert document.text == "outer"
        document.body = "changed"
        session.commit()
        assert (document.text, document.body) == ("outer", "changed")
        savepoint = session.begin_nested()
        document.text = "never flushed"
        savepoint.rollback()
        assert document.text == "outer"
        with session.begin_nested():
            document.text = "kept"
        session.commit()
        assert document.text == "kept"
        found = select(library.Document).where(library.Document.owner_email == "ada@example.com")
        assert session.scalars(found).one() is document


def test_what_was_new_in_a_savepoint_is_sealed_again(library: Any) -> None:
    document = library.Document(tenant_id="north", owner_email="a@b", text="new")
    with library.sessions() as session:
        savepoint = session.begin_nested()
        session.add(document)
        session.flush()
        savepoint.rollback()
        assert inspect(document).transient
        document.tenant_id = "south"
        session.add(document)
        session.commit()
        assert document.text == "new"


def test_merging_without_loading(library: Any) -> None:
    row = library.add()
    with library.sessions() as session:
        detached = session.get(library.Document, row)
        assert detached.text == "Dear Ada"
    with library.sessions() as session:
        merged = session.merge(pickle.loads(pickle.dumps(detached)), load=False)  # noqa: S301 - made here
        assert merged.text == "Dear Ada"
        merged.text = "changed"
        session.commit()
        assert merged.text == "changed"
    detached.text = "dirty"
    with library.sessions() as session, pytest.raises(InvalidRequestError, match="load=False"):
        session.merge(detached, load=False)


def test_a_pickle_is_read_by_another_process_only_with_the_keys(
    library: Any, tmp_path: Path
) -> None:
    row = library.add()
    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert document.text == "Dear Ada"
    pickled = pickle.dumps(document)
    assert b"Dear Ada" not in pickled
    path = tmp_path / "document"
    path.write_bytes(pickled)
    code = (
        "import importlib.util, pickle, sys\n"
        "spec = importlib.util.spec_from_file_location(sys.argv[1], sys.argv[2])\n"
        "sys.modules[sys.argv[1]] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "document = pickle.load(open(sys.argv[3], 'rb'))\n"
        "try: print(document.text)\n"
        "except Exception as exc: print(type(exc).__name__)\n"
    )
    module = sys.modules[library.Document.__module__]
    run = subprocess.run(
        [sys.executable, "-c", code, module.__name__, str(module.__file__), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "UnopenedError"


def test_copies_are_new_rows_and_share_nothing(library: Any) -> None:
    row = library.add()
    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert document.text == "Dear Ada"
        shallow = copy.copy(document)
        shallow.text = "of the copy"
        session.flush()
        assert document.text == "Dear Ada"
        with pytest.raises(UnopenedError):
            _ = copy.deepcopy(document).text  # no plaintext within, and in no session


def test_made_transient_it_becomes_another_row(library: Any) -> None:
    row = library.add(body="body")
    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert (document.text, document.body) == ("Dear Ada", "body")
        session.expunge(document)
        make_transient(document)
        document.id, document.tenant_id = uuid4(), "south"
        session.add(document)
        session.commit()
        assert (document.text, document.body) == ("Dear Ada", "body")
        email = library.Document.owner_email == "ada@example.com"
        assert len(session.scalars(select(library.Document).where(email)).all()) == 2
        unread = session.get(library.Document, row)
        session.expunge(unread)
        make_transient(unread)
        unread.id = uuid4()
        session.add(unread)
        # Whose it is can only be told where it was.
        with pytest.raises(TamperedEnvelopeError, match=r"make_transient.*read the sealed fields"):
            session.flush()


def test_made_detached_it_is_the_row_that_it_names(library: Any) -> None:
    row = library.add(body="body")
    document = library.Document(id=row, tenant_id="north")
    make_transient_to_detached(document)
    with library.sessions() as session:
        session.add(document)
        document.text = "changed"
        session.commit()
        assert (document.text, document.owner_email) == ("changed", "ada@example.com")
        set_committed_value(document, "sealed", b"Quartz")
        with pytest.raises(TruncatedEnvelopeError):
            document.text = "lost?"


def test_dicts_are_changed_by_assigning_a_copy(library: Any) -> None:
    given = {"list": [1]}
    with library.sessions() as session:
        everything = library.Everything(part=1, name="x", owner=uuid4(), mapping=given)
        session.add(everything)
        given["list"].append(2)
        session.commit()
        assert everything.mapping == {"list": [1]}
        with pytest.raises(FrozenValueError, match="assign a changed copy"):
            everything.mapping["list"].append(3)
        changed = copy.deepcopy(everything.mapping)
        changed["list"].append(3)
        everything.mapping = changed
        session.commit()
        assert everything.mapping == {"list": [1, 3]}


def test_a_version_of_the_model_counts_along(notes: Any) -> None:
    with notes() as session, notes() as other:
        note, same = session.get(Note, (1, "a")), other.get(Note, (1, "a"))
        note.title, same.text = "changed", "elsewhere"
        session.commit()
        assert note.version == 2
        other.rollback()
        same.title = "again"
        session.delete(note)
        session.commit()
        with pytest.raises(StaleEnvelopeError):
            other.commit()
    with notes() as session:
        session.add_all([Note(part=2, name=f"{n}", owner="north", title=f"{n}") for n in range(4)])
        session.commit()
        for note in session.scalars(select(Note)):
            note.title += "!"
            move_to_owner(note, "south")
        session.commit()
        stored = session.scalars(select(Note)).all()
        assert {(note.title, note.version, note.owner) for note in stored} == {
            (f"{n}!", 2, "south") for n in range(4)
        }


def test_keys_of_several_columns_under_other_names(notes: Any) -> None:
    with notes() as session:
        note = session.get(Note, (1, "a"))
        with pytest.raises(RowIdChangedError):
            note.part = 2
        session.execute(update(Note), [{"part": 1, "name": "a", "made": "then", "version": 1}])
        session.commit()
        found = select(Note).where(Note.title == "one", Note.owner == "north")
        assert session.scalars(found).one().text == "two"
        session.delete(note)
        session.add(Note(part=1, name="a", owner="south", title="its successor"))
        session.commit()
        stored = session.get(Note, (1, "a"))
        assert (stored.title, stored.text, stored.owner) == ("its successor", None, "south")


def test_what_is_not_flushed_is_forgotten_when_it_is_loaded_anew(library: Any) -> None:
    row = library.add()
    with library.sessions(autoflush=False) as session:
        document = session.get(library.Document, row)
        for forget in (
            lambda: session.expire(document),
            lambda: session.expire(document, ["sealed"]),
            lambda: session.refresh(document),
            lambda: session.refresh(document, ["sealed"]),
            lambda: session.scalars(
                select(library.Document).execution_options(populate_existing=True)
            ).all(),
        ):
            document.text = "not flushed"
            forget()
            assert document.text == "Dear Ada"
            session.commit()
            assert document.text == "Dear Ada"


@pytest.mark.parametrize("option", [load_only, defer, undefer])
def test_loader_options_name_columns(library: Any, option: Any) -> None:
    for entity in (library.Document, aliased(library.Document)):
        with pytest.raises(SealedExpressionError, match=r"the envelope, \w+\.sealed_content"):
            select(entity).options(option(entity.body))


def test_names_of_columns_are_those_of_envelopes(library: Any) -> None:
    row = library.add()
    with library.sessions() as session:
        document = session.get(library.Document, row)
        for ask in (
            lambda: session.expire(document, ["body"]),
            lambda: session.refresh(document, ["body"]),
            lambda: set_committed_value(document, "body", "x"),
            lambda: set_attribute(document, "body", "x"),
            lambda: flag_modified(document, "body"),
            lambda: get_history(document, "body"),
            lambda: select(library.Document.body.label("x")),
        ):
            with pytest.raises(SealedExpressionError, match=r"name the column of .* envelope"):
                ask()
        with pytest.raises(KeyError):
            session.expire(document, ["nothing"])
        assert document.text == "Dear Ada"


def test_events_of_a_sealed_field_are_refused(library: Any) -> None:
    with pytest.raises(SealedExpressionError, match="@validates"):
        event.listen(library.Document.text, "set", lambda *_: None)


def test_functions_that_validate_see_what_is_assigned(notes: Any) -> None:
    with pytest.raises(ValueError, match="email"):
        Checked(owner="north", email="nobody")
    with notes() as session:
        session.add(Checked(owner="north", email=" ada@example.com "))
        session.add(Strict(owner="north", email=" bob@example.com "))
        session.commit()
        stored = session.scalars(select(Checked)).all()
        assert {one.email for one in stored} == {"ada@example.com", "BOB@EXAMPLE.COM"}
        found = session.scalars(select(Checked).where(Checked.address == "ADA@example.com")).one()
        assert (found.mail, found.address) == ("ada@example.com",) * 2
        with pytest.raises(ValueError, match="email"):
            found.mail = "nobody"
        session.commit()
        assert found.email == "ada@example.com"


@pytest.mark.parametrize("inner", ["subquery", "cte"])
def test_comparisons_within_a_subquery(library: Any, inner: str) -> None:
    row = library.add()
    library.add(owner_email="bob@example.com")
    document = library.Document
    email = document.owner_email == "ada@example.com"
    of_ids = getattr(select(document.id).where(email), inner)()
    alias = aliased(document, getattr(select(document), inner)())
    with library.sessions() as session:
        for statement in (
            select(document).where(document.id.in_(select(of_ids.c.id))),
            select(document).join(of_ids, of_ids.c.id == document.id),
            select(alias).where(alias.owner_email == "ada@example.com"),
        ):
            assert session.scalars(statement).one().id == row
        within = aliased(document, getattr(select(document).where(email), inner)())
        with pytest.raises(UnresolvedCriterionError, match=r"Model\.id\.in_"):
            session.scalars(select(within)).all()


def test_threads_read_one_instance(library: Any) -> None:
    row = library.add()
    failed: list[BaseException] = []
    with library.sessions() as session:
        document = session.get(library.Document, row)
        _ = document.text

        def read() -> None:
            try:
                for _ in range(200):
                    assert document.text == "Dear Ada"
            except BaseException as exc:  # noqa: BLE001 - shown below
                failed.append(exc)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


async def _asynchronous() -> None:
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    sessions = bind(async_sessionmaker(engine), keyring)
    async with sessions() as session:
        note = Note(part=1, name="a", owner="north", title="one", text="two")
        session.add(note)
        await session.commit()
        await session.refresh(note)
        assert (note.title, note.text) == ("one", "two")
        await session.commit()
        await session.run_sync(lambda _: move_to_owner(note, "south"))
        await session.commit()
        await session.refresh(note)
        assert (note.title, note.owner) == ("one", "south")
    async with sessions() as session:
        note = (await session.scalars(select(Note).options(defer(Note.sealed_content)))).one()  # type: ignore[attr-defined]  # the envelope's column
        assert note.title == "one"  # what is loaded is opened without waiting
        note.title = "changed"
        await session.commit()
        found = await session.scalars(select(Note).where(Note.title == "changed"))
        assert found.one().text == "two"
    await engine.dispose()


def test_asynchronous_sessions_open_without_waiting() -> None:
    asyncio.run(_asynchronous())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_what_is_not_loaded_is_refused_outside_of_the_session_s_own_greenlet(keyring: Any) -> None:
    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        sessions = bind(async_sessionmaker(engine), keyring)
        async with sessions() as session:
            note = Note(part=1, name="a", owner="north", title="one")
            session.add(note)
            await session.commit()
            with pytest.raises(StatementError, match="greenlet_spawn"):
                _ = note.title
            with pytest.raises(StatementError, match="greenlet_spawn"):
                note.title = "changed"
            gc.collect()  # what SQLAlchemy did not await
            await session.refresh(note)
            assert note.title == "one"
        await engine.dispose()

    asyncio.run(work())


class DriversUUID(UUID):
    """As asyncpg has one: equal to a standard UUID, and of another type."""


def test_a_drivers_own_uuids_are_taken_as_uuids(library: Any) -> None:
    everything = library.Everything
    owner = DriversUUID(int=1)
    with library.sessions() as session:
        session.add(everything(part=1, name="x", owner=owner, uuid=DriversUUID(int=2)))
        session.flush()
        session.execute(
            insert(everything), [{"part": 2, "name": "x", "owner": owner, "uuid": owner}]
        )
        session.commit()
        for value in (UUID(int=2), DriversUUID(int=2)):
            found = select(everything).where(everything.owner == owner, everything.uuid == value)
            assert type(session.scalars(found).one().uuid) is UUID
