"""Names of sealed fields where SQLAlchemy expects those of columns: refused, and never left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    Engine,
    StaticPool,
    String,
    bindparam,
    create_engine,
    desc,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from assay.encryption.sqlalchemy import (
    Sealed,
    SealedExpressionError,
    UnsealedWriteError,
    bind,
    sealed,
)

SECRET = "Dear Ada, do not tell"


@pytest.fixture
def session(library: Any) -> Iterator[Session]:
    library.add(label="x")
    with library.sessions() as session:
        yield session


_SORTED: dict[str, Callable[[Any], Any]] = {
    "order_by": lambda d: select(d).order_by("text"),
    "with a column": lambda d: select(d).order_by(d.label, "text"),
    "desc": lambda d: select(d).order_by(desc("text")),
    "desc in text": lambda d: select(d).order_by("text desc"),
    "with table": lambda d: select(d).order_by("documents.text"),
    "group_by": lambda d: select(func.count()).select_from(d).group_by("text"),
    "other group": lambda d: select(d.label).order_by("body"),
    "alias": lambda d: select(aliased(d)).order_by("text"),
}


@pytest.mark.parametrize("form", _SORTED)
def test_a_field_by_its_name_sorts_nothing(session: Session, library: Any, form: str) -> None:
    with pytest.raises(SealedExpressionError, match=r"sealed field '(text|body)'.* sort these"):
        session.execute(_SORTED[form](library.Document))


def test_an_older_query_sorts_by_no_field(session: Session, library: Any) -> None:
    with pytest.raises(SealedExpressionError, match="sealed field 'text'"):
        session.query(library.Document).order_by("text").all()


def test_what_has_a_fields_name_sorts(session: Session, library: Any) -> None:
    document = library.Document
    library.add(label="a")
    labelled = select(document.label.label("text")).order_by("text")
    assert session.scalars(labelled).all() == ["a", "x"]
    assert session.scalars(labelled.order_by(None).order_by(desc("text"))).all() == ["x", "a"]
    both = union_all(select(document.label), select(document.label)).order_by("label")
    assert session.scalars(both).all() == ["a", "a", "x", "x"]
    found = session.scalars(select(document).order_by("label")).all()
    assert [each.label for each in found] == ["a", "x"]


_WRITTEN: dict[str, Callable[[Any, Any, dict[str, Any]], Any]] = {
    "insert values": lambda s, t, row: s.execute(insert(t).values(**row, text=SECRET)),
    "insert rows": lambda s, t, row: s.execute(insert(t), [{**row, "text": SECRET}]),
    "later row": lambda s, t, row: s.execute(
        insert(t), [row, {**row, "id": uuid4(), "text": SECRET}]
    ),
    "insert many": lambda s, t, row: s.execute(insert(t).values([{**row, "text": SECRET}])),
    "from select": lambda s, t, _: s.execute(
        insert(t).from_select(["tenant_id", "text"], select(t.c.tenant_id, t.c.label))
    ),
    "update values": lambda s, t, _: s.execute(update(t).values(label="y", text=SECRET)),
    "ordered": lambda s, t, _: s.execute(update(t).ordered_values(("label", "y"), ("text", "z"))),
    "update row": lambda s, t, _: s.execute(update(t), {"label": "y", "text": SECRET}),
    "update rows": lambda s, t, _: s.execute(
        update(t).where(t.c.label == bindparam("was")), [{"was": "x", "label": "y", "text": SECRET}]
    ),
}


@pytest.mark.parametrize("connected", [True, False], ids=["connection", "session"])
@pytest.mark.parametrize("form", _WRITTEN)
def test_a_table_takes_no_field(session: Session, library: Any, form: str, connected: bool) -> None:
    table = library.Document.__table__
    row = {"id": uuid4(), "tenant_id": "north", "label": "new"}
    executing = session.connection() if connected else session
    with pytest.raises(UnsealedWriteError, match="sealed field 'text', which is none") as caught:
        _WRITTEN[form](executing, table, row)
    assert SECRET not in str(caught.value)
    session.rollback()
    assert session.execute(sql("SELECT label FROM documents")).all() == [("x",)]


def test_parameters_may_be_named_like_a_field(session: Session, library: Any) -> None:
    table = library.Document.__table__
    change = update(table).where(table.c.label == bindparam("text")).values(label=bindparam("body"))
    session.execute(change, {"text": "x", "body": "y"})
    session.connection().execute(change, [{"text": "y", "body": "z"}, {"text": "q", "body": "r"}])
    assert session.execute(sql("SELECT label FROM documents")).all() == [("z",)]


def test_columns_may_be_named_like_a_field(keyring: Any) -> None:
    class Base(DeclarativeBase):
        pass

    class Person(Sealed, Base):
        __tablename__ = "people"
        __owner__ = "owner"
        id: Mapped[str] = mapped_column(String(10), primary_key=True)
        owner: Mapped[str]
        email: Mapped[str] = sealed(plaintext="email")
        name: Mapped[str | None] = sealed(group="names")
        other: Mapped[str | None] = mapped_column("name")

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(Person(id="1", owner="north", email="ada@x", name="Ada"))
        session.commit()
        table: Any = Person.__table__
        session.connection().execute(update(table).values(name="column"))
        assert session.scalars(select(Person.other).order_by("name")).all() == ["column"]
        assert session.get_one(Person, "1").name == "Ada"
    engine.dispose()


@pytest.fixture
def sharded(library: Any) -> Iterator[Any]:
    other: Engine = create_engine("sqlite://", poolclass=StaticPool)
    library.Base.metadata.create_all(other)
    shards = {"one": library.engine, "other": other}
    session = ShardedSession(
        shards=shards,
        shard_chooser=lambda _mapper, instance, _clause=None: (
            "one" if getattr(instance, "tenant_id", "north") == "north" else "other"
        ),
        identity_chooser=lambda *_, **__: [*shards],
        execute_chooser=lambda _: [*shards],
    )
    with bind(session, library.keyring):
        yield session
    other.dispose()


def test_rows_in_bulk_have_no_shard(library: Any, sharded: Any) -> None:
    document = library.Document
    rows = [{"tenant_id": "north", "owner_email": "a@x", "text": SECRET}]
    for statement in (insert(document), insert(document).returning(document)):
        with pytest.raises(UnsealedWriteError, match=r"ShardedSession .* add instances") as caught:
            sharded.execute(statement, rows)
        assert SECRET not in str(caught.value)


def test_shards_hold_envelopes_and_are_searched(library: Any, sharded: Any) -> None:
    document = library.Document
    for owner in ("north", "south"):
        sharded.add(document(tenant_id=owner, owner_email="ada@x", text=f"{SECRET} {owner}"))
    sharded.commit()
    found = sharded.scalars(select(document).where(document.owner_email == "ADA@x")).all()
    assert {each.text for each in found} == {f"{SECRET} north", f"{SECRET} south"}
    changed = update(document).where(document.owner_email == "ada@x").values(label="seen")
    sharded.execute(changed, execution_options={"synchronize_session": False})
    with library.sessions() as session:
        assert [each.label for each in session.scalars(select(document))] == ["seen"]
    found[0].text = "changed"
    sharded.commit()
    assert found[0].text == "changed"
