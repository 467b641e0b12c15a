from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from assay.controls.checks.sealed_rows import (
    SealedRows,
    SealedRowsFacts,
    TableFacts,
    _holds,
    _read_table,
)
from assay.controls.twins.company import company, execute
from assay.core import Status
from assay.encryption.sqlalchemy import Sealed, bind, sealed, sealed_tables
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

TABLE = TableFacts(
    table="notes", rows=3, read=3, bad_rows=0, refused={}, clear_columns=(), copies={}
)


def judged(*tables, absent=()):
    return SealedRows().judge(SealedRowsFacts(dialect="sqlite", tables=tables, absent=absent))


def change(**changes):
    return msgspec.structs.replace(TABLE, **changes)


def test_all_rows_open():
    result = judged(TABLE, change(table="empty", rows=0, read=0))
    assert result.status is Status.PASS
    assert (result.population.in_scope, result.population.evaluated) == (3, 3)
    assert "without rows: empty" in result.reason
    assert "without rows" not in judged(TABLE).reason


@pytest.mark.parametrize(
    "changes",
    [
        {"refused": {"TamperedEnvelopeError": 1}, "bad_rows": 1},
        {"copies": {"label": 2}, "bad_rows": 2},
        {"clear_columns": ("text",)},
        {"clear_columns": ("text",), "rows": 0, "read": 0},
    ],
)
def test_each_thing_in_the_clear_fails(changes):
    result = judged(TABLE, change(table="other", **changes))
    assert result.status is Status.FAIL
    assert result.findings[0].startswith("other: ")


def test_each_row_of_a_table_with_a_clear_column_counts():
    assert judged(TABLE, change(clear_columns=("text",))).population.failed == 3
    assert judged(TABLE, change(refused={"WrongKeyError": 1}, bad_rows=1)).population.failed == 1


@pytest.mark.parametrize(
    ("value", "repeated"),
    [
        ("mail to ada@twin.example", True), ("ADA@TWIN.EXAMPLE", True), ("ada at twin", False),
        (b"\0ada@twin.example\0", True), (b"\xffADA@twin.example", True), (b"\xff" * 16, False),
        (7, False), (None, False), (b"..\x00\xfe\x01\xff\x7f\x80..", True), ("\x00\xfe", False),
    ],
)  # fmt: skip
def test_a_copy_is_seen_in_whatever_case_it_stands(value, repeated):
    assert _holds(value, {"Ada@twin.example", b"\x00\xfe\x01\xff\x7f\x80"}) is repeated


@pytest.mark.parametrize(
    "tables", [(), (change(rows=0, read=0),), (change(read=2),)], ids=["none", "empty", "partly"]
)
def test_what_was_not_read_could_not_be_told(tables):
    assert judged(*tables).status is Status.ERROR


def test_a_table_that_is_not_there_could_not_be_told():
    result = judged(TABLE, absent=("letters",))
    assert result.status is Status.ERROR
    assert "letters" in result.reason


def test_a_row_whose_envelope_is_gone_is_counted_for_what_it_is(tmp_path):
    check = SealedRows()
    with company(tmp_path) as twin:
        for statement in (
            "ALTER TABLE notes RENAME TO before",
            "CREATE TABLE notes AS SELECT * FROM before",  # its columns may be null
            "DROP TABLE before",
            "UPDATE notes SET sealed = NULL WHERE id = (SELECT min(id) FROM notes)",
        ):
            execute(twin, statement)
        facts = check.collect(twin.datastore, twin.context)
    (table,) = facts.tables
    assert (table.rows, table.read, table.bad_rows) == (2, 2, 1)
    assert table.refused == {"no envelope": 1}
    assert table.copies == {}
    assert check.judge(facts).status is Status.FAIL


def test_a_column_that_is_written_along_in_the_clear_counts(tmp_path):
    class Base(DeclarativeBase):
        pass

    class Visit(Sealed, Base):
        __tablename__ = "visits"
        __owner__ = "tenant"
        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
        tenant: Mapped[str]
        count: Mapped[int | None] = sealed(plaintext="visits_before")
        room: Mapped[int | None] = sealed(group="room", retired="room_before")

    engine = create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    Base.metadata.create_all(engine)
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    with bind(Session(engine), keyring) as session:
        session.add(Visit(tenant="north", count=7, room=3))
        session.commit()
        (table,) = sealed_tables(Base)
        assert _read_table(table, engine, keyring, None).clear_columns == ("visits_before",)
        session.execute(text("ALTER TABLE visits ADD COLUMN room_before INTEGER"))
        session.commit()
        found = _read_table(table, engine, keyring, None)
    engine.dispose()
    assert found.clear_columns == ("room_before", "visits_before")
    assert (found.rows, found.bad_rows, found.refused) == (1, 0, {})
    assert judged(found).status is Status.FAIL
