"""What happens around a flush: listeners that assign sealed fields, and searches that flush first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import StaticPool, create_engine, delete, event, select, union_all, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from assay.encryption.sqlalchemy import Equality, Sealed, bind, casefold, move_to_owner, sealed
from assay.encryption.sqlalchemy.flushing import seal_last, seal_new_row


@pytest.fixture
def model() -> Any:
    class Base(DeclarativeBase):
        pass

    class Note(Sealed, Base):
        __tablename__ = "notes"
        __owner__ = "owner"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "note"}  # noqa: RUF012 - as models declare it

        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
        owner: Mapped[str | None]
        kind: Mapped[str]
        label: Mapped[str | None]
        email: Mapped[str] = sealed(index=Equality(casefold))
        text: Mapped[str | None] = sealed()
        body: Mapped[str | None] = sealed(group="content")

    class Memo(Note):
        __mapper_args__ = {"polymorphic_identity": "memo"}  # noqa: RUF012 - as models declare it

    return Note


@pytest.fixture
def sessions(model: Any, keyring: Any) -> Iterator[Any]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    model.metadata.create_all(engine)
    yield bind(sessionmaker(engine), keyring)
    engine.dispose()


def write(_mapper: object, _connection: object, note: Any) -> None:
    note.owner = note.owner or "listener"
    note.text, note.body, note.email = f"{note.text}!", "of the listener", f"{note.label}@x"


@pytest.mark.parametrize("subclass", [False, True])
@pytest.mark.parametrize("options", [{}, {"insert": True}, {"propagate": True}])
def test_what_a_listener_assigns_is_sealed(
    model: Any, sessions: Any, options: Any, subclass: bool
) -> None:
    made = model.__subclasses__()[0] if subclass else model
    target = model if "propagate" in options else made
    event.listen(target, "before_insert", write, **options)
    with sessions() as session:
        note = made(email="first@x", text="one", label="new")
        session.add(note)
        session.commit()
        assert (note.owner, note.text, note.body) == ("listener", "one!", "of the listener")
        event.listen(target, "before_update", write, **options)  # after the first flush
        note.label = "changed"
        session.commit()
        assert note.text == "one!!"
        found = session.scalars(select(model).where(model.email == "CHANGED@x")).one()
        assert found is note
        for email in ("first@x", "new@x"):
            assert session.scalars(select(model).where(model.email == email)).first() is None
        event.remove(target, "before_update", write)
        note.body = "last"
        session.commit()
        assert (note.text, note.body) == ("one!!", "last")


def test_a_listener_of_the_flush_assigns_too(model: Any, sessions: Any) -> None:
    with sessions() as session:
        old = model(owner="north", email="old@x")
        session.add(old)
        session.commit()

        @event.listens_for(session, "before_flush")
        def stamp(session: Any, *_: object) -> None:
            for each in [*session.new, *session.dirty]:
                each.email = "stamped@x"

        old.label = "changed"
        session.add(model(owner="north", email="new@x"))
        session.commit()
        found = session.scalars(select(model).where(model.email == "stamped@x")).all()
        assert len(found) == 2


def test_threads_that_flush_at_once_put_sealing_last_together(model: Any) -> None:
    listeners = model.__mapper__.dispatch.before_insert
    first = len(listeners)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for number in range(1, 200):
                event.listen(model, "before_insert", lambda *_: None)
                for done in [pool.submit(seal_last) for _ in range(8)]:
                    done.result()
                assert len(listeners) == first + number
                assert [*listeners][-1] is seal_new_row
    finally:
        sys.setswitchinterval(interval)


_SEARCHES: dict[str, Callable[[Session, Any], int]] = {
    "select": lambda s, m: len(s.scalars(select(m).where(m.email == "ada@x")).all()),
    "owner": lambda s, m: len(
        s.scalars(select(m).where(m.owner == "new", m.email == "ada@x")).all()
    ),
    "negated": lambda s, m: len(s.scalars(select(m).where(m.email != "bob@x")).all()),
    "union": lambda s, m: len(
        s.execute(union_all(select(m.id).where(m.email == "ada@x"), select(m.id).where(m.id.is_(None)))).all()
    ),
    "query": lambda s, m: s.query(m).filter(m.email == "ada@x").count(),
    "update": lambda s, m: s.execute(update(m).where(m.email == "ada@x").values(label="x")).rowcount,  # type: ignore[attr-defined]  # a cursor's
    "delete": lambda s, m: s.execute(delete(m).where(m.email == "ada@x")).rowcount,  # type: ignore[attr-defined]  # a cursor's
    "from_statement": lambda s, m: len(
        s.scalars(
            select(m).from_statement(
                update(m).where(m.email == "ada@x").values(label="x").returning(m)
            )
        ).all()
    ),
}  # fmt: skip


@pytest.mark.parametrize("search", _SEARCHES)
def test_a_search_finds_the_first_row_of_an_owner_that_it_flushes(
    model: Any, sessions: Any, search: str
) -> None:
    with sessions() as session:
        session.add(model(owner="new", email="ada@x"))
        assert _SEARCHES[search](session, model) == 1
        session.rollback()
        moved = model(owner="before", email="ada@x")
        session.add(moved)
        session.commit()
        move_to_owner(moved, "new")
        assert _SEARCHES[search](session, model) == 1


def test_a_search_flushes_only_where_a_session_would(model: Any, sessions: Any) -> None:
    statement = select(model).where(model.email == "ada@x")
    with sessions() as session:
        session.add(model(owner="new", email="ada@x"))
        with session.no_autoflush:
            assert session.scalars(statement).all() == []
        quietly = statement.execution_options(autoflush=False)
        assert session.scalars(quietly).all() == []
        assert session.new
    with sessions(autoflush=False) as session:
        session.add(model(owner="new", email="ada@x"))
        assert session.scalars(statement).all() == []
