"""No statement writes anything but envelopes into a sealed table, whoever makes it, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    LargeBinary,
    bindparam,
    delete,
    func,
    insert,
    lambda_stmt,
    literal,
    literal_column,
    null,
    select,
    text,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.encryption.sqlalchemy import Sealed, UnsealedWriteError, sealed
from assay.encryption.sqlalchemy.core_writes import refuse_unsealed

SECRET = "Quartz & Obsidian"
_BYTES = literal(SECRET.encode(), LargeBinary)


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    __tablename__ = "bound_notes"
    __owner__ = "owner"
    __sealed_versions__ = True

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str]
    text: Mapped[str] = sealed()


_EXPRESSIONS: dict[str, Callable[[Any], Any]] = {
    "null": lambda _: null(),
    "literal": lambda _: _BYTES,
    "typed parameter": lambda _: bindparam("given", SECRET.encode(), type_=LargeBinary),
    "coerced": lambda _: type_coerce(SECRET.encode(), LargeBinary),
    "text": lambda _: text(f"'{SECRET}'"),
    "literal column": lambda _: literal_column(f"'{SECRET}'"),
    "function": lambda _: func.upper(SECRET),
    "column": lambda table: table.c.label,
    "other envelope": lambda table: table.c.sealed_content,
    "subquery": lambda table: select(table.c.sealed).limit(1).scalar_subquery(),
}

_STATEMENTS: dict[str, Callable[[Any, str, Any], Any]] = {
    "update": lambda table, name, value: update(table).values({name: value}),
    "table.update": lambda table, name, value: table.update().values({table.c[name]: value}),
    "ordered": lambda table, name, value: update(table).ordered_values((table.c[name], value)),
    "alias": lambda table, name, value: update(table.alias()).values({name: value}),
    "alias of an alias": lambda table, name, value: update(a := table.alias().alias()).values(
        {a.c[name]: value}
    ),
    "insert": lambda table, name, value: insert(table).values({"id": uuid4(), name: value}),
    "many": lambda table, name, value: insert(table).values([{"id": uuid4(), name: value}] * 2),
    "tuples": lambda table, name, value: insert(table).values(
        [[value if each.key == name else None for each in table.c]] * 2
    ),
    "select": lambda table, name, value: insert(table).from_select(["id", name], select(1, value)),
    "upsert": lambda table, name, value: (
        sqlite.insert(table).from_select(["id"], select(table.c.id).where(table.c.id.is_(None)))
    ).on_conflict_do_update(index_elements=["id"], set_={name: value}),
    "CTE": lambda table, name, value: select(
        update(table).values({name: value}).returning(table.c.id).cte()
    ),
    "CTE within": lambda table, name, value: update(table).add_cte(
        update(table).values({name: value}).returning(table.c.id).cte()
    ),
}  # fmt: skip


@pytest.mark.parametrize("column", ["sealed", "sealed_content", "owner_email_index"])
@pytest.mark.parametrize("expression", _EXPRESSIONS)
@pytest.mark.parametrize("form", _STATEMENTS)
def test_expressions_are_refused(library: Any, form: str, expression: str, column: str) -> None:
    row = library.add()
    before = library.column(column, row)
    table = library.Document.__table__
    statement = _STATEMENTS[form](table, column, _EXPRESSIONS[expression](table))
    with library.engine.begin() as connection, pytest.raises(UnsealedWriteError) as raised:
        connection.execute(statement)
    assert f"documents.{column}" in str(raised.value)
    assert "session.execute(insert(Model), rows)" in str(raised.value)
    with library.sessions() as session, pytest.raises(UnsealedWriteError):
        session.execute(statement)
    assert library.column(column, row) == before


_AROUND: dict[str, Callable[[Any, Any], Any]] = {
    "select": lambda write, _: select(write),
    "beside": lambda write, other: select(other.c.id).add_cte(write),
    "in": lambda write, other: select(other.c.id).where(other.c.id.in_(select(write.c.id))),
    "exists": lambda write, other: select(other.c.id).where(select(write.c.id).exists()),
    "subquery": lambda write, _: select(select(write).subquery().c.id),
    "join": lambda write, other: select(other.c.id).join(write, write.c.id == other.c.id),
    "count": lambda write, _: select(func.count()).select_from(write),
    "scalar": lambda write, _: select(select(write.c.id).limit(1).scalar_subquery()),
    "function": lambda write, _: select(func.max(select(write.c.id).scalar_subquery())),
    "union": lambda write, other: union_all(select(write.c.id), select(other.c.id)),
    "CTE": lambda write, _: select(select(write.c.id).cte("outer")),
    "alias": lambda write, _: select(write.alias().c.id),
    "delete": lambda write, other: delete(other).where(other.c.id.in_(select(write.c.id))),
    "update": lambda write, other: update(other).where(other.c.id == write.c.id).values(id="x"),
    "insert": lambda write, other: insert(other).from_select(["id"], select(write.c.id)),
}  # fmt: skip


@pytest.mark.parametrize("around", _AROUND)
@pytest.mark.parametrize("model", [False, True])
def test_writes_within_other_statements_are_refused(library: Any, around: str, model: bool) -> None:
    table = library.Document.__table__
    written = library.Document if model else table
    write = update(written).values(sealed=_BYTES).returning(table.c.id).cte("written")
    statement = _AROUND[around](write, library.Tenant.__table__)
    assert "UPDATE documents" in str(statement.compile(dialect=postgresql.dialect()))
    with library.engine.connect() as connection, pytest.raises(UnsealedWriteError):
        connection.execute(statement)
    with library.sessions() as session, pytest.raises(UnsealedWriteError):
        session.execute(statement)


_SEVERAL: dict[str, Callable[[Any, Any, Any], Any]] = {
    "values": lambda _, other, values: update(other).values(values),
    "ordered": lambda _, other, values: update(other).ordered_values(*values.items()),
    "join": lambda table, other, values: update(
        other.join(table, table.c.tenant_id == other.c.id)
    ).values(values),
    "join by name": lambda table, other, values: update(
        other.join(table, table.c.tenant_id == other.c.id)
    ).values({column.key: value for column, value in values.items()}),
}


@pytest.mark.parametrize("form", _SEVERAL)
@pytest.mark.parametrize(
    ("column", "value"),
    [("sealed", func.upper(SECRET)), ("owner_email_index", _BYTES), ("tenant_id", "south")],
)
def test_updates_of_several_tables_are_refused(
    library: Any, form: str, column: str, value: object
) -> None:
    """As MariaDB executes them; the table that is named first need not be sealed."""
    table, other = library.Document.__table__, library.Tenant.__table__
    statement = _SEVERAL[form](table, other, {table.c[column]: value})
    with library.engine.connect() as connection, pytest.raises(UnsealedWriteError):
        refuse_unsealed(connection, statement, [], {}, {})
    of_the_other = _SEVERAL[form](table, other, {other.c.id: "west"})
    if form != "join by name":
        with library.engine.connect() as connection:
            assert refuse_unsealed(connection, of_the_other, [], {}, {}) is None


def test_parameters_of_one_table_are_no_columns_of_another(library: Any) -> None:
    table, other = library.Document.__table__, library.Tenant.__table__
    statement = (
        update(other).where(other.c.id == bindparam("sealed")).values({table.c.tenant_id: 1})
    )
    with library.engine.connect() as connection, pytest.raises(UnsealedWriteError, match="owner"):
        refuse_unsealed(connection, statement, [], {"sealed": "north"}, {})


def test_lambdas_are_refused(library: Any) -> None:
    table = library.Document.__table__
    with library.engine.begin() as connection, pytest.raises(UnsealedWriteError):
        connection.execute(lambda_stmt(lambda: update(table).values(sealed=null())))


@pytest.mark.parametrize(
    "upsert",
    [
        lambda table: sqlite.insert(table).on_conflict_do_update(
            index_elements=["id"], set_={"sealed": _BYTES}
        ),
        lambda table: postgresql.insert(table).on_conflict_do_update(
            index_elements=["id"], set_={table.c.sealed: _BYTES}
        ),
        lambda table: mysql.insert(table).on_duplicate_key_update(sealed=_BYTES),
        lambda table: mysql.insert(table).on_duplicate_key_update([("sealed", _BYTES)]),
    ],
)
def test_updates_on_conflict_are_refused(library: Any, upsert: Callable[[Any], Any]) -> None:
    statement = upsert(library.Document.__table__)
    with library.engine.connect() as connection, pytest.raises(UnsealedWriteError):
        refuse_unsealed(connection, statement, [], {}, {})


def _written(session: Any, attempt: Callable[[Any], Any]) -> None:
    attempt(session)
    session.commit()


def test_the_orm_is_no_way_round(library: Any) -> None:
    row = library.add()
    document = library.Document
    attempts: list[Callable[[Any], Any]] = [
        lambda s: s.execute(update(document).values(sealed=_BYTES)),
        lambda s: s.execute(update(document).values({document.sealed: document.label})),
        lambda s: s.execute(update(document).values({document.owner_email_index: None})),
        lambda s: s.execute(update(document), [{"id": row, "owner_email_index": None}]),
        lambda s: s.query(document).update({"sealed": _BYTES}),
        lambda s: s.scalars(
            select(document).from_statement(
                update(document).values(sealed=_BYTES).returning(document)
            )
        ),
        lambda s: s.scalars(
            select(document).from_statement(
                insert(document).values(tenant_id="north").returning(document)
            ),
            [{"owner_email": "a", "text": SECRET}],
        ),
        lambda s: s.execute(
            insert(document).values(sealed=_BYTES),
            [{"tenant_id": "north", "owner_email": "a", "text": "x"}],
        ),
        lambda s: setattr(s.get(document, row), "owner_email_index", func.upper(SECRET)),
        lambda s: setattr(s.get(document, row), "owner_email_index", None),
        lambda s: setattr(s.get(document, row), "sealed", _BYTES),
        lambda s: s.add(document(tenant_id="north", sealed=_BYTES)),
    ]
    before = [library.column(name, row) for name in ("sealed", "owner_email_index")]
    for attempt in attempts:
        with library.sessions() as session:
            with pytest.raises(UnsealedWriteError) as raised:
                _written(session, attempt)
            assert SECRET not in str(raised.value)
            assert ";" in str(raised.value), "an error names the way out"
    assert [library.column(name, row) for name in ("sealed", "owner_email_index")] == before


def test_an_index_does_not_change_without_its_envelope(library: Any) -> None:
    row = library.add()
    table = library.Document.__table__
    for statement, given in (
        (update(table).values(owner_email_index=None), None),
        (update(table), [{"owner_email_index": None}]),
        (update(table).where(table.c.id == row), [{"owner_email_index": None, "label": "x"}] * 2),
    ):
        with library.engine.begin() as connection:
            with pytest.raises(UnsealedWriteError, match="together with the envelope"):
                connection.execute(statement, given)
    with library.sessions() as session:
        found = select(library.Document).where(library.Document.owner_email == "ada@example.com")
        assert session.scalars(found).one().id == row


def test_rows_are_not_given_away_without_being_sealed_anew(library: Any) -> None:
    row = library.add()
    document, table = library.Document, library.Document.__table__
    for give in (
        lambda s: s.execute(update(table).values(tenant_id="south")),
        lambda s: s.execute(update(table), [{"tenant_id": "south"}]),
        lambda s: s.execute(update(table).values(tenant_id=func.lower("SOUTH"))),
        lambda s: s.bulk_update_mappings(document, [{"id": row, "tenant_id": "south"}]),
    ):
        with library.sessions.begin() as session:
            with pytest.raises(UnsealedWriteError, match="move_to_owner"):
                give(session)
    with library.sessions() as session:
        assert session.get(document, row).text == "Dear Ada"


def test_the_database_does_not_compute_what_a_new_row_is_bound_to(library: Any) -> None:
    document, everything = library.Document, library.Everything
    row = {"id": uuid4(), "tenant_id": "north", "owner_email": "a", "text": SECRET}
    other = {"part": 1, "name": "x", "owner": uuid4()}
    for statement, rows in (
        (insert(document).values(tenant_id=func.lower("SOUTH")), [row]),
        (
            insert(document).values({document.tenant_id: select(literal("x")).scalar_subquery()}),
            [row],
        ),
        (insert(document).values(id=func.random()), [row]),
        (insert(everything).values(name=func.lower("Y")), [other]),
        (insert(Note).values(sealed_version=func.abs(7)), [{"id": 1, "owner": "x", "text": "y"}]),
    ):
        with library.sessions() as session:
            with pytest.raises(UnsealedWriteError, match="in the rows of"):
                session.execute(statement, rows)
    with library.sessions() as session:
        session.execute(insert(document).values(label=func.lower("X")), [row])
        assert session.get(document, row["id"]).text == SECRET


def test_keys_and_versions_do_not_change_without_their_envelopes(library: Any) -> None:
    row = library.add()
    table, note = library.Document.__table__, Note.__table__
    Base.metadata.create_all(library.engine)
    with library.sessions.begin() as session:
        session.add(Note(id=1, owner="north", text=SECRET))
        session.flush()
        for statement, rows, column in (
            (update(table).values(id=uuid4()), None, "primary key documents.id"),
            (update(table).where(table.c.id == row).values(id=table.c.label), None, "documents.id"),
            (update(note), [{"id": 2}], "primary key bound_notes.id"),
            (update(note).values(sealed_version=2), None, "version bound_notes.sealed_version"),
            (update(note), [{"sealed_version": 2}], "version bound_notes.sealed_version"),
        ):
            with pytest.raises(UnsealedWriteError, match=f"{column} .*alone"):
                session.execute(statement, rows)
        session.execute(update(table).values(id=table.c.id))  # nothing is changed
    with library.sessions() as session:
        assert session.get(library.Document, row).text == "Dear Ada"
        assert session.get(Note, 1).text == SECRET


def test_everything_else_is_left_alone(library: Any) -> None:
    row = library.add()
    document, table = library.Document, library.Document.__table__
    with library.sessions.begin() as session:
        session.execute(update(table).values(label=func.upper("x")))
        session.execute(update(table), [{"label": "y"}])
        found = session.scalars(
            select(document).from_statement(
                update(document).values(label=func.upper("z")).returning(document)
            )
        ).one()
        assert (found.text, found.label) == ("Dear Ada", "Z")
        session.execute(
            insert(library.Tenant).from_select(["id"], select(func.upper(library.Tenant.id)))
        )
    with library.sessions() as session:
        assert session.get(document, row).text == "Dear Ada"
