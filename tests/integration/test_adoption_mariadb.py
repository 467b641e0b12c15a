"""A table in the clear is sealed on a real MariaDB, and nothing of it is left in the files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Float, Numeric, String, Text, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from assay.assemble import search_storage
from assay.core import DataKeyClass, SystemClock
from assay.database import open_engine
from assay.encryption.adoption import (
    VERSION_TABLE,
    Adoption,
    AdoptionBlockedError,
    Crew,
    MigrationError,
    Options,
    Store,
    Terms,
    Versions,
    parts_in_transition,
    run_backfill,
    run_contract,
    run_expand,
    run_plan,
    run_rekey,
    run_verify,
)
from assay.encryption.adoption import backfill as module
from assay.encryption.adoption.names import run_as_it_is
from assay.encryption.adoption.ranges import Span
from assay.encryption.sqlalchemy import Equality, Sealed, bind, casefold, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

ROWS = 60
CREATE = """
CREATE TABLE things (
    part INT, number VARCHAR(20) COLLATE utf8mb4_general_ci, tenant VARCHAR(40) NOT NULL DEFAULT 'x',
    name VARCHAR(90) COLLATE utf8mb4_general_ci NOT NULL DEFAULT 'it''s NOT NULL' COMMENT '100% NOT NULL',
    price DECIMAL(20, 4), weight FLOAT, body TEXT, label VARCHAR(20),
    PRIMARY KEY (part, number), KEY by_name (name), KEY by_both (label, name), FULLTEXT KEY words (body)
) DEFAULT CHARSET utf8mb4"""


def models(stage: str) -> Any:
    class Base(DeclarativeBase):
        pass

    class Thing(Sealed, Base):
        __tablename__ = "things"
        __owner__ = "tenant"

        part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        number: Mapped[str] = mapped_column(String(20), primary_key=True)
        tenant: Mapped[str] = mapped_column(String(40))
        label: Mapped[str | None] = mapped_column(String(20))

        def clear(name: str, kind: Any) -> Any:  # type: ignore[misc]  # noqa: N805 - no method
            return mapped_column(name, kind) if stage == "plaintext" else name

        name: Mapped[str] = sealed(
            index=Equality(casefold, unique=True), **{stage: clear("name", String(90))}
        )
        price: Mapped[Decimal | None] = sealed(**{stage: clear("price", Numeric(20, 4))})
        weight: Mapped[float | None] = sealed(**{stage: clear("weight", Float())})
        body: Mapped[str | None] = sealed(**{stage: clear("body", Text())})
        del clear

    Base.thing = Thing  # type: ignore[attr-defined]  # of this test
    return Base


Before, After = models("plaintext"), models("retired")
SAME = [
    "name = 'PERSON-001@quartz.example'",  # equal for the column's collation
    "name = 'person-001@quartz.example '",  # and so is this
    "weight = 1.00000012",  # shown as 1
    "price = 2.5",
    "body = NULL",
    "number = 'N1'",
    "tenant = 'NORTH'",
]


@pytest.fixture
def engine(fresh_mariadb_url: str) -> Iterator[Engine]:
    engine = open_engine(fresh_mariadb_url)
    tell(engine, CREATE)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO things VALUES (:p, :n, :t, :name, 1.5, 1, :body, NULL)"),
            [
                {"p": n % 3, "n": f"n{n}", "t": ("north", "south")[n % 2],
                 "name": f"person-{n:03}@quartz.example", "body": f"obsidian shard {n:03}"}
                for n in range(ROWS)
            ],
        )  # fmt: skip
    yield engine
    engine.dispose()


def tell(engine: Engine, statement: str) -> int:
    with engine.begin() as connection:
        return int(run_as_it_is(connection, statement).rowcount)


class Way:
    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable(), settling_seconds=0)
        self.versions = Versions(folder / "versions", apply=True, table=VERSION_TABLE)
        self.sessions = bind(sessionmaker(engine), self.keyring)

    def adoption(self, base: Any = Before) -> Adoption:
        store = Store(self.engine, self.keyring, base)
        return Adoption(store, "db", self.folder / "state", SystemClock())

    def run(self, step: Any, *more: Any, base: Any = Before) -> Any:
        adoption = self.adoption(base)
        with ThreadPoolExecutor(2) as executor:
            crew = Crew(adoption.store, executor, Options(batch_rows=7))
            (report,) = step(adoption, crew, *more)
        return report

    def expand(self) -> None:
        run_expand(self.adoption(), self.versions, ())

    def unsealed(self) -> int:
        with self.engine.connect() as connection:
            asked = text("SELECT count(*) FROM things WHERE sealed IS NULL")
            return int(connection.execute(asked).scalar_one())


@pytest.fixture
def way(engine: Engine, tmp_path: Path) -> Way:
    return Way(engine, tmp_path)


@pytest.fixture
def expanded(way: Way) -> Way:
    way.expand()
    return way


@pytest.fixture
def sealed_way(expanded: Way) -> Way:
    report = expanded.run(run_backfill, ())
    assert (report.tally.done, report.left, report.tally.refused) == (ROWS, 0, {})
    assert expanded.run(run_verify, ()).passed
    return expanded


@pytest.mark.parametrize("change", SAME)
def test_the_trigger_compares_what_is_stored(sealed_way, engine, change):
    assert tell(engine, f"UPDATE things SET {change} WHERE part = 1 AND number = 'n1'") == 1  # noqa: S608 - of this test
    assert sealed_way.unsealed() == 1
    kept = "UPDATE things SET name = name, label = 'x' WHERE part = 1 AND number = 'n4'"
    assert tell(engine, kept) == 1
    assert sealed_way.unsealed() == 1
    assert sealed_way.run(run_backfill, ()).tally.done == 1
    assert sealed_way.run(run_verify, ()).passed


@pytest.mark.parametrize("change", [each for each in SAME if "weight" not in each])
def test_the_backfill_compares_what_is_stored(expanded, engine, monkeypatch, change):
    write = module._write

    def after_another_writer(engine, writer, rows):
        tell(engine, f"UPDATE things SET {change} WHERE part = 1 AND number = 'n1'")  # noqa: S608 - of this test
        return write(engine, writer, rows)

    monkeypatch.setattr(module, "_write", after_another_writer)
    adoption = expanded.adoption()
    (part,) = parts_in_transition(Before)
    tally = module.seal_span(adoption.store, part, Span(None, (1, "n4")))
    assert tally.passed_over == 1
    assert tally.rows == tally.done + 1 == ROWS - expanded.unsealed() + 1


def test_a_batch_that_waits_for_another_writer_looks_again(expanded, engine):
    (part,) = parts_in_transition(Before)
    store = expanded.adoption().store
    found = []
    with engine.connect() as other:
        other.exec_driver_sql("UPDATE things SET body = 'new' WHERE number = 'n0'")
        span = Span(None, (0, "n99"))
        thread = threading.Thread(target=lambda: found.append(module.seal_span(store, part, span)))
        thread.start()
        thread.join(1)
        assert not found
        other.commit()
        thread.join(30)
    assert (found[0].rows, found[0].done, found[0].passed_over) == (20, 19, 1)


def test_both_are_written_and_old_code_is_never_overwritten(expanded, engine):
    thing = Before.thing
    with expanded.sessions.begin() as session:
        session.get(thing, (1, "n1")).body = "sealed now"
        session.add(thing(part=9, number="new", tenant="north", name="Ada@x", weight=2.5))
    with expanded.sessions() as session:
        for name in ("ADA@X", "person-001@quartz.example", "person-002@quartz.example"):
            asked = select(thing).where(thing.tenant.in_(["north", "south"]), thing.name == name)
            assert session.scalars(asked).one().name.casefold() == name.casefold()
    with expanded.sessions(expire_on_commit=False) as session:
        found = session.get(thing, (1, "n1"))
        assert found.body == "sealed now"
        session.commit()
        tell(engine, "UPDATE things SET price = 7 WHERE part = 1 AND number = 'n1'")
        found.body = "overwritten"
        with pytest.raises(StaleDataError):
            session.flush()
    assert expanded.run(run_backfill, ()).left == 0
    assert expanded.run(run_verify, ()).passed


def test_rows_move_to_new_keys(sealed_way):
    rotate = [DataKeyClass.ROWS, DataKeyClass.INDEXES]
    sealed_way.keyring = Keyring(
        sealed_way.keyring._source._service, sealed_way.keyring._source._table, settling_seconds=0
    )
    report = sealed_way.run(run_rekey, (), rotate)
    assert (report.tally.done, report.left) == (ROWS, 0)
    assert sealed_way.run(run_rekey, (), []).tally.done == 0
    assert sealed_way.run(run_verify, ()).passed


def columns(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        shown = connection.exec_driver_sql("SHOW FULL COLUMNS FROM things").all()
    return {row[0]: str(tuple(row[1:])) for row in shown}


def test_expand_keeps_every_definition_and_can_be_taken_back(way, engine, tmp_path):
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.util.pyfiles import load_python_file

    before = columns(engine)
    way.expand()
    loosened = columns(engine)
    assert loosened.pop("sealed")
    assert loosened.pop("name_index")
    assert {name for name in before if before[name] != loosened[name]} == {"name"}
    assert loosened["name"] == before["name"].replace("'NO'", "'YES'")
    (path,) = (tmp_path / "versions").glob("*.py")
    migration = load_python_file(str(path.parent), path.name)
    with engine.connect() as connection:
        for _ in range(2):  # one that was stopped half-way is run again
            with Operations.context(MigrationContext.configure(connection)):
                migration.upgrade()
        with Operations.context(MigrationContext.configure(connection)):
            migration.downgrade()
    assert columns(engine) == before


def test_a_migration_that_is_stopped_half_way_goes_on(way, engine, monkeypatch):
    way.versions = Versions(way.versions.folder, apply=False, table=VERSION_TABLE)
    way.expand()
    (path,) = way.versions.folder.glob("*.py")
    whole = path.read_text()
    path.write_text(whole.replace("CREATE OR REPLACE TRIGGER", "CREATE NONSENSE"))
    way.versions = Versions(way.versions.folder, apply=True, table=VERSION_TABLE)
    with pytest.raises(MigrationError, match="half-way"):
        way.expand()
    path.write_text(whole)
    way.expand()
    assert way.run(run_backfill, ()).left == 0


def test_plan_names_what_holds_the_plaintext_or_stands_in_the_way(way, engine):
    for statement in (
        "CREATE VIEW mails AS SELECT lower(name) AS mail FROM things",
        "CREATE VIEW labels AS SELECT label FROM things",
        "CREATE TRIGGER mine BEFORE UPDATE ON things FOR EACH ROW SET @x = 1",
        "ALTER TABLE things ADD CONSTRAINT long_enough CHECK (length(name) > 2)",
        "ALTER TABLE things ADD COLUMN initial CHAR(1) AS (left(name, 1)) VIRTUAL",
        "ANALYZE TABLE things PERSISTENT FOR ALL",
        "CREATE TABLE tenants (id VARCHAR(40) PRIMARY KEY) DEFAULT CHARSET utf8mb4",
        "INSERT INTO tenants SELECT DISTINCT tenant FROM things",
        "ALTER TABLE things ADD CONSTRAINT owned FOREIGN KEY (tenant) REFERENCES tenants (id) "
        "ON UPDATE CASCADE",
    ):
        tell(engine, statement)
    (plan,) = run_plan(way.adoption(), ())
    assert {(each.kind, each.name) for each in plan.holders} >= {
        ("index", "by_name"), ("index", "by_both"), ("full-text index", "words"), ("view", "mails"),
        ("trigger", "mine"), ("check constraint", "long_enough"), ("generated column", "initial"),
        ("statistics in mysql.column_stats of", "name"), ("foreign key", "owned"),
    }  # fmt: skip
    assert {each.split(":")[0] for each in plan.blockers} == {
        "view mails", "check constraint long_enough", "generated column initial",
        "expected a table things that can be sealed as it is, found the foreign key owned",
    }  # fmt: skip
    assert plan.table_bytes > 1000


def test_what_mariadb_checks_of_json_is_no_rule_that_is_lost(way, engine):
    """It makes such a check itself; what the model's type is made of is JSON."""
    tell(engine, "UPDATE things SET body = NULL")
    tell(engine, "ALTER TABLE things MODIFY body JSON")
    (plan,) = run_plan(way.adoption(), ())
    assert plan.blockers == ()
    tell(engine, "ALTER TABLE things MODIFY name VARCHAR(90) CHECK (json_valid(name) or name > '')")
    tell(engine, "ALTER TABLE things ADD CONSTRAINT twin CHECK (json_valid(body))")
    (plan,) = run_plan(way.adoption(), ())
    assert {each.partition(": it goes with the column")[0] for each in plan.blockers} == {
        "check constraint name", "check constraint twin",
    }  # fmt: skip


def test_another_name_for_the_same_server_is_refused_with_the_way_out(way, fresh_mariadb_url):
    engine = open_engine(fresh_mariadb_url.replace("mariadb:", "mysql:"))
    with pytest.raises(AdoptionBlockedError, match="mariadb://"):
        run_plan(Way(engine, way.folder).adoption(), ())
    engine.dispose()


def contract(way: Way, **more: Any) -> Any:
    terms = Terms(timedelta(hours=1), search_storage, **more)
    return way.run(run_contract, way.versions, (), terms, base=After)


def test_every_byte_of_the_plaintext_goes(sealed_way, engine):
    for number in range(ROWS):  # old code leaves old values in undo logs
        change = f"person-{number:03}@quartz.example, changed"
        tell(engine, f"UPDATE things SET name = '{change}' WHERE number = 'n{number}'")  # noqa: S608 - of this test
    tell(engine, "ANALYZE TABLE things PERSISTENT FOR ALL")
    sealed_way.run(run_backfill, ())
    assert sealed_way.run(run_verify, ()).passed
    report = contract(sealed_way, binary_logs=True)
    assert report.before.found
    places = " ".join(report.before.places)
    assert "things.ibd" in places
    assert "ib_logfile0" in places
    assert "changes.0" in places  # the binary log

    assert report.after.places == ()
    assert report.shown_gone, report
    assert len(report.cleaned) == 5
    assert report.remains == (
        "backups, snapshots and freed disk blocks from before hold the plaintext until they go",
    )
    assert set(columns(engine)) == {
        "part", "number", "tenant", "label", "sealed", "name_index"
    }  # fmt: skip
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW TABLES").scalars().all() == [
            "alembic_version",
            "things",
        ]
    with sealed_way.sessions() as session:
        found = session.get(After.thing, (1, "n1"))
        assert (found.price, found.body) == (Decimal("1.5"), "obsidian shard 001")


def test_binary_logs_are_deleted_on_request_only(sealed_way, engine):
    report = contract(sealed_way)
    assert report.still_there
    assert {place.rpartition(".")[0] for place in report.after.places} == {"changes"}
    assert any("--purge-binary-logs" in each for each in report.remains)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT @@sql_log_bin").scalar_one() == 1


def test_rows_without_an_envelope_keep_their_plaintext(sealed_way, engine, monkeypatch):
    """Old code writes between the last look and the migration."""
    from assay.encryption.adoption import steps

    apply = steps.apply_migration

    def after_old_code(*given: Any) -> None:
        tell(engine, "UPDATE things SET body = 'late' WHERE number = 'n1'")
        apply(*given)

    monkeypatch.setattr(steps, "apply_migration", after_old_code)
    with pytest.raises(MigrationError):
        contract(sealed_way)
    with engine.connect() as connection:
        asked = text("SELECT body FROM things WHERE number = 'n1'")
        assert connection.execute(asked).scalar_one() == "late"
    assert tell(engine, "UPDATE things SET body = 'still' WHERE number = 'n1'") == 1
