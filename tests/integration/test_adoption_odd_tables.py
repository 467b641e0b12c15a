"""Tables as they are found in production: names that need quotes, keys and values of every kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    MetaData,
    String,
    Table,
    event,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.core import DataKeyClass, SystemClock
from assay.database import open_engine
from assay.encryption.adoption import (
    VERSION_TABLE,
    Adoption,
    AdoptionBlockedError,
    Crew,
    CrewError,
    MigrationError,
    NotVerifiedError,
    Options,
    Store,
    Terms,
    Versions,
    place,
    process_pool,
    retired_parts,
    run_backfill,
    run_contract,
    run_expand,
    run_plan,
    run_rekey,
    run_verify,
)
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.purge import purge
from assay.encryption.adoption.ranges import Span
from assay.encryption.adoption.sweep import sweep
from assay.encryption.sqlalchemy import Equality, Sealed, bind, exact, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

LONG_NAME = "a_table_whose_name_is_as_long_as_postgresql_allows_names_to_be_"
assert len(LONG_NAME) == 63
NAMES = {
    "spaces": ("my  customers", "e mail", "the  tenant"),
    "quotes": ("cust\"omers'", "e\"ma'il", 'ten"ant'),
    "upper case": ("Customers", "EMail", "Tenant"),
    "reserved": ("select", "from", "group"),
    "unicode": ("Käufer·é漢", "ä✉", "Mieter_ß"),
    "percent and colon": ("100%s:customers", "e:mail%(x)s", "%tenant:t"),
    "63 bytes": (LONG_NAME, f"{LONG_NAME[:-1]}e", f"{LONG_NAME[:-1]}t"),
    "backslash": ("back\\slash", "e\\nmail", "ten\\ant"),
}


@pytest.fixture(params=["postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = open_engine(request.getfixturevalue(f"fresh_{request.param}_url"))
    yield engine
    engine.dispose()


class Way:
    """The way of one model, in this process."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.versions = Versions(folder / "versions", apply=True, table=VERSION_TABLE)

    def adoption(self, base: Any) -> Adoption:
        store = Store(self.engine, self.keyring, base)
        return Adoption(store, "db", self.folder / "state", SystemClock())

    def run(self, step: Any, base: Any, *more: Any) -> Any:
        adoption = self.adoption(base)
        with ThreadPoolExecutor(2) as executor:
            crew = Crew(adoption.store, executor, Options(batch_rows=3))
            return step(adoption, crew, *more)

    def seal(self, base: Any) -> Any:
        run_expand(self.adoption(base), self.versions, ())
        (report,) = self.run(run_backfill, base, ())
        return report

    def contract(self, base: Any) -> None:
        from datetime import timedelta

        self.run(run_contract, base, self.versions, (), Terms(timedelta(hours=1), None))

    def columns(self, table: str, schema: str | None = None) -> set[str]:
        return {each["name"] for each in inspect(self.engine).get_columns(table, schema)}


@pytest.fixture
def way(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    # What is done to the whole server takes a while: see test_adoption_mariadb.py.
    monkeypatch.setattr("assay.encryption.adoption.purge.purge_mariadb", lambda *_, **__: None)
    return Way(engine, tmp_path)


@pytest.fixture
def on_postgresql(fresh_postgresql_url: str, tmp_path: Path) -> Iterator[Way]:
    engine = open_engine(fresh_postgresql_url)
    yield Way(engine, tmp_path)
    engine.dispose()


def customers(name: str, clear: str, owner: str, stage: str, schema: str | None = None) -> Any:
    """A model over a table and columns of these names."""

    class Base(DeclarativeBase):
        pass

    class Customer(Sealed, Base):
        __tablename__ = name
        __owner__ = "tenant"
        __table_args__ = {"schema": schema}  # noqa: RUF012 - as models declare it

        id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
        tenant: Mapped[str] = mapped_column(owner, String(40))
        email: Mapped[str] = sealed(index=Equality(exact), **{stage: clear})

    Base.customer = Customer  # type: ignore[attr-defined]  # of this test
    return Base


def make(engine: Engine, name: str, clear: str, owner: str, schema: str | None = None) -> Table:
    found = Table(
        name,
        MetaData(),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column(owner, String(40), nullable=False),
        Column(clear, String(90), nullable=False, index=True),
        schema=schema,
    )
    found.create(engine)
    rows = [{"id": n, owner: "north", clear: f"person-{n:03}@quartz.example"} for n in range(10)]
    with engine.begin() as connection:
        connection.execute(found.insert(), rows)
    return found


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_that_need_quotes_go_the_whole_way(way: Way, names: tuple[str, str, str]) -> None:
    table, clear, owner = names
    made = make(way.engine, table, clear, owner)
    base = customers(table, clear, owner, "plaintext")
    (plan,) = run_plan(way.adoption(base), ())
    assert plan.blockers == ()
    assert [each.kind for each in plan.holders if each.kind != "binary log"] == ["index"]
    report = way.seal(base)
    assert (report.tally.done, report.left) == (10, 0)
    with way.engine.begin() as connection:  # the trigger watches
        connection.execute(made.update().where(made.c.id == 3).values({clear: "eve@x"}))
        connection.execute(made.update().where(made.c.id == 4).values({owner: "south"}))
        envelope = base.customer.__table__.c.sealed
        asked = select(base.customer.__table__.c.id).where(envelope.is_(None))
        assert sorted(connection.execute(asked).scalars()) == [3, 4]
    assert way.run(run_backfill, base, ())[0].tally.done == 2
    assert way.run(run_verify, base, ())[0].passed
    later = customers(table, clear, owner, "retired")
    way.contract(later)
    assert way.columns(table) == {"id", owner, "sealed", "email_index"}
    with bind(sessionmaker(way.engine), way.keyring)() as session:
        asked = select(later.customer).where(later.customer.email == "person-007@quartz.example")
        assert session.scalars(asked).one().id == 7


T = "id BIGINT PRIMARY KEY, tenant VARCHAR(40) NOT NULL"
OBSTACLES = {
    "a view": ("no table", [f"CREATE TABLE other ({T}, email VARCHAR(90))",
                            "CREATE VIEW people AS SELECT * FROM other"]),
    "a generated column": ("generated column email", [
        f"CREATE TABLE people ({T}, a VARCHAR(9), email VARCHAR(90) GENERATED ALWAYS AS (lower(a)) STORED)"]),
    "tables that inherit": ("inherit", [f"CREATE TABLE people ({T}, email TEXT)",
                                        "CREATE TABLE more () INHERITS (people)"]),
    "a later trigger": ("sorts before", [
        f"CREATE TABLE people ({T}, email TEXT)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER zzz BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION f()"]),
    "a cascade": ("starts no trigger", [
        "CREATE TABLE tenants (id VARCHAR(40) PRIMARY KEY)",
        f"CREATE TABLE people ({T}, email VARCHAR(90), "
        "FOREIGN KEY (tenant) REFERENCES tenants (id) ON UPDATE CASCADE)"]),
}  # fmt: skip
ONLY_ON = {
    "tables that inherit": "postgresql",
    "a later trigger": "postgresql",
    "a cascade": "mariadb",
}


@pytest.mark.parametrize("case", OBSTACLES)
def test_what_cannot_be_sealed_is_refused_before_anything_is_changed(way: Way, case: str) -> None:
    found, statements = OBSTACLES[case]
    if ONLY_ON.get(case, way.engine.dialect.name) != way.engine.dialect.name:
        return
    with way.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    base = customers("people", "email", "tenant", "plaintext")
    before = way.columns("people")
    (plan,) = run_plan(way.adoption(base), ())
    assert any(found in each for each in plan.blockers)
    with pytest.raises(AdoptionBlockedError, match=found):
        way.seal(base)
    assert way.columns("people") == before
    assert not list((way.folder / "versions").glob("*.py"))


def test_columns_on_which_something_depends_stay_and_so_does_the_trigger(way: Way) -> None:
    make(way.engine, "people", "email", "tenant")
    with way.engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW mails AS SELECT email FROM people")
    base = customers("people", "email", "tenant", "plaintext")
    way.seal(base)
    assert way.run(run_verify, base, ())[0].passed
    with pytest.raises(AdoptionBlockedError, match="view mails"):
        way.contract(customers("people", "email", "tenant", "retired"))
    (plan,) = run_plan(way.adoption(base), ())
    assert plan.stage.name == "VERIFY"  # the trigger is there


def test_a_verification_of_one_table_removes_nothing_from_another_of_its_name(way: Way) -> None:
    make(way.engine, "people", "email", "tenant")
    base = customers("people", "email", "tenant", "plaintext")
    way.seal(base)
    assert way.run(run_verify, base, ())[0].passed
    verified, (part,) = way.engine, retired_parts(customers("people", "email", "tenant", "retired"))
    again = open_engine(verified.url.render_as_string(hide_password=False))
    assert place_of(part, verified) == place_of(part, again)
    again.dispose()
    other = f"{verified.url.database}_other"
    with verified.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {other}")
    url = verified.url.set(database=other).render_as_string(hide_password=False)
    way.engine = open_engine(url)
    try:
        make(way.engine, "people", "email", "tenant")
        with pytest.raises(NotVerifiedError, match="another database"):
            way.contract(customers("people", "email", "tenant", "retired"))
        assert "email" in way.columns("people")
    finally:
        way.engine.dispose()
        with verified.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"DROP DATABASE {other}")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_the_database_tells_a_role_without_rights_which_it_is(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """What it tells differs between servers, whatever they are called."""
    engine = open_engine(request.getfixturevalue(f"fresh_{kind}_url"))
    (part,) = retired_parts(customers("people", "email", "tenant", "retired"))
    make(engine, "people", "email", "tenant")
    role = f"nobody_{os.getpid()}"
    with engine.connect() as connection:
        if kind == "postgresql":
            mine = place._postgresql(part, connection)
            connection.exec_driver_sql(f"CREATE ROLE {role}")
            connection.exec_driver_sql(f"SET ROLE {role}")
            assert place._postgresql(part, connection) == mine
            assert int(mine[0]) > 2**32
            assert None not in mine
            connection.rollback()
        else:
            told = dict(place._mariadb(part, connection))
            assert all(told.values())
            assert {"SERVER_ID", "HOSTNAME", "PORT", "DATADIR", "database"} <= set(told)
    engine.dispose()


@pytest.fixture
def nobody(fresh_postgresql_url: str) -> Iterator[str]:
    """The URL of the same database for a role that owns nothing and may do little."""
    engine, name, password = open_engine(fresh_postgresql_url), f"nobody_{os.getpid()}", "secret"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    url = engine.url.set(username=name, password=password)
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {name}")
        connection.exec_driver_sql(f"DROP ROLE {name}")
    engine.dispose()


def tell(way: Way, *statements: str) -> None:
    with way.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_role_that_may_not_ask_for_the_cluster_goes_the_same_way(
    on_postgresql: Way, nobody: str
) -> None:
    way = on_postgresql
    make(way.engine, "people", "email", "tenant")
    role = make_url(nobody).username
    tell(
        way,
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC",
        f"ALTER TABLE people OWNER TO {role}",
        f"GRANT CREATE ON SCHEMA public TO {role}",
    )
    way.engine.dispose()
    way.engine = open_engine(nobody)
    with pytest.raises(ProgrammingError, match="permission denied"), way.engine.connect() as asking:
        asking.exec_driver_sql("SELECT pg_control_system()")
    base = customers("people", "email", "tenant", "plaintext")
    assert way.seal(base).tally.done == 10
    assert way.run(run_verify, base, ())[0].passed
    way.contract(customers("people", "email", "tenant", "retired"))
    assert "email" not in way.columns("people")
    way.engine.dispose()


def test_a_server_that_may_not_be_asked_is_known_until_its_restart(
    on_postgresql: Way, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = on_postgresql
    make(way.engine, "people", "email", "tenant")
    (part,) = retired_parts(customers("people", "email", "tenant", "retired"))
    asked = place_of(part, way.engine)
    tell(way, "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
    engine = open_engine(nobody)
    told = place_of(part, engine)
    assert told == place_of(part, engine) != asked
    # The same oids behind the same address, on a server that was started at another moment.
    monkeypatch.setattr(
        place, "_STARTED", place._STARTED.replace("()", "() + interval '1 microsecond'")
    )
    assert place_of(part, engine) != told
    engine.dispose()


def test_rows_that_a_role_does_not_see_are_refused_at_every_step(
    on_postgresql: Way, nobody: str
) -> None:
    way, base = on_postgresql, customers("people", "email", "tenant", "plaintext")
    retired = customers("people", "email", "tenant", "retired")
    make(way.engine, "people", "email", "tenant")
    way.seal(base)
    assert way.run(run_verify, base, ())[0].passed
    tell(
        way,
        f"GRANT ALL ON people TO {make_url(nobody).username}",
        "ALTER TABLE people ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON people USING (id < 3)",
    )
    everybody = way.engine
    way.engine = open_engine(nobody)
    with way.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM people").scalar_one() == 3
    keys = way.keyring.owners(DataKeyClass.ROWS), way.keyring.versions("north", DataKeyClass.ROWS)
    steps: list[Callable[[], object]] = [
        lambda: way.run(run_backfill, base, ()),
        lambda: way.run(run_verify, base, ()),
        lambda: way.run(run_rekey, base, (), [DataKeyClass.ROWS]),
        lambda: way.contract(retired),
    ]
    for step in steps:
        with pytest.raises(AdoptionBlockedError, match="BYPASSRLS"):
            step()
    way.engine.dispose()
    way.engine = everybody  # a superuser sees every row
    assert keys == (
        way.keyring.owners(DataKeyClass.ROWS),
        way.keyring.versions("north", DataKeyClass.ROWS),
    )
    assert way.run(run_verify, base, ())[0].passed


def test_expand_of_a_table_whose_rows_are_hidden_is_refused(
    on_postgresql: Way, nobody: str
) -> None:
    way, base = on_postgresql, customers("people", "email", "tenant", "plaintext")
    make(way.engine, "people", "email", "tenant")
    tell(
        way,
        f"ALTER TABLE people OWNER TO {make_url(nobody).username}",
        "ALTER TABLE people ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE people FORCE ROW LEVEL SECURITY",
    )
    way.engine.dispose()
    way.engine = open_engine(nobody)
    (plan,) = run_plan(way.adoption(base), ())
    assert any("BYPASSRLS" in each for each in plan.blockers)
    with pytest.raises(AdoptionBlockedError, match="BYPASSRLS"):
        way.seal(base)
    assert "sealed" not in way.columns("people")
    way.engine.dispose()


LOST = {
    "unique index": ("CREATE UNIQUE INDEX lost ON people (email)", True),
    "unique index with the owner": ("CREATE UNIQUE INDEX lost ON people (tenant, email)", True),
    "unique index of an expression": ("CREATE UNIQUE INDEX lost ON people (lower(email))", True),
    "partial unique index": (
        "CREATE UNIQUE INDEX lost ON people (tenant, id) WHERE email IS NOT NULL", True),
    "unique index that includes": (
        "CREATE UNIQUE INDEX lost ON people (tenant, id) INCLUDE (email)", True),
    "unique constraint": ("ALTER TABLE people ADD CONSTRAINT lost UNIQUE (tenant, email)", True),
    "unique constraint that includes": (
        "ALTER TABLE people ADD CONSTRAINT lost UNIQUE (tenant, id) INCLUDE (email)", True),
    "exclusion constraint": (
        "ALTER TABLE people ADD CONSTRAINT lost EXCLUDE (email WITH =)", True),
    "index of an expression": ("CREATE INDEX lost ON people (lower(email))", False),
    "partial index": ("CREATE INDEX lost ON people (tenant) WHERE email > 'm'", False),
    "index that includes": ("CREATE INDEX lost ON people (tenant) INCLUDE (email)", False),
    "check constraint": ("ALTER TABLE people ADD CONSTRAINT lost CHECK (email != '')", True),
    "check constraint with another column": (
        "ALTER TABLE people ADD CONSTRAINT lost CHECK (tenant != email)", True),
}  # fmt: skip


@pytest.mark.parametrize("case", LOST)
def test_what_goes_with_a_column_is_planned_and_no_rule_is_lost(
    on_postgresql: Way, case: str
) -> None:
    statement, blocks = LOST[case]
    way = on_postgresql
    make(way.engine, "people", "email", "tenant")
    with way.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    base = customers("people", "email", "tenant", "plaintext")
    (plan,) = run_plan(way.adoption(base), ())
    (holder,) = [each for each in plan.holders if each.name == "lost"]
    assert holder.kind in case
    assert bool(holder.blocks) is blocks
    assert list(plan.blockers) == [f"{holder.kind} lost: {holder.blocks}"] * blocks
    assert not blocks or "it goes with the column" in holder.blocks
    way.seal(base)
    assert way.run(run_verify, base, ())[0].passed
    later = customers("people", "email", "tenant", "retired")
    if blocks:
        with pytest.raises(AdoptionBlockedError, match="lost"):
            way.contract(later)
        assert "email" in way.columns("people")
        with way.engine.begin() as connection:  # the way out
            drop = "ALTER TABLE people DROP CONSTRAINT" if "ALTER" in statement else "DROP INDEX"
            connection.exec_driver_sql(f"{drop} lost")
    way.contract(later)
    assert "email" not in way.columns("people")


PARTITIONED = (
    f"CREATE TABLE people ({T.replace(' PRIMARY KEY', '')}, email VARCHAR(90) NOT NULL, "
    "PRIMARY KEY (id)) PARTITION BY RANGE (id)",
    "CREATE TABLE low PARTITION OF people FOR VALUES FROM (0) TO (5)",
    "CREATE TABLE high PARTITION OF people FOR VALUES FROM (5) TO (99) PARTITION BY RANGE (id)",
    'CREATE TABLE "High Low" PARTITION OF high FOR VALUES FROM (5) TO (8)',
    "CREATE TABLE high_high PARTITION OF high FOR VALUES FROM (8) TO (50)",
    "INSERT INTO people SELECT n, 'north', 'person-' || n FROM generate_series(0, 11) n",
)
VALID = (
    "SELECT x.relname, i.indisvalid FROM pg_index i JOIN pg_class x ON x.oid = i.indrelid "
    "JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisprimary "
    "AND x.relnamespace = 'public'::regnamespace ORDER BY 1"
)


def test_a_partitioned_table_goes_the_whole_way(on_postgresql: Way) -> None:
    way = on_postgresql
    with way.engine.begin() as connection:
        for statement in PARTITIONED:
            connection.exec_driver_sql(statement)
    base = customers("people", "email", "tenant", "plaintext")
    assert run_plan(way.adoption(base), ())[0].blockers == ()
    unapplied = Versions(way.versions.folder, apply=False, table=VERSION_TABLE)
    run_expand(way.adoption(base), unapplied, ())
    with way.engine.begin() as connection:  # newer than the migration
        connection.exec_driver_sql(
            "CREATE TABLE last PARTITION OF high FOR VALUES FROM (50) TO (99)"
        )
    assert way.seal(base).tally.done == 12
    with way.engine.connect() as connection:
        tables = [tuple(row) for row in connection.exec_driver_sql(VALID)]
    names = ["High Low", "high", "high_high", "last", "low", "people"]
    assert sorted(tables) == sorted((name, True) for name in names)
    assert way.run(run_verify, base, ())[0].passed
    later = customers("people", "email", "tenant", "retired")
    way.contract(later)
    assert way.columns("people") == {"id", "tenant", "sealed", "email_index"}
    with bind(sessionmaker(way.engine), way.keyring)() as session:
        asked = select(later.customer).where(later.customer.email == "person-7")
        assert session.scalars(asked).one().id == 7


def test_what_a_single_partition_has_of_its_own_is_named(on_postgresql: Way) -> None:
    way = on_postgresql
    tell(
        way,
        *PARTITIONED,
        "CREATE INDEX everywhere ON people (email)",
        "CREATE UNIQUE INDEX once ON high_high (email)",
        "ALTER TABLE people ADD CONSTRAINT filled CHECK (email != '')",
        'ALTER TABLE "High Low" ADD CONSTRAINT long CHECK (length(email) > 2)',
    )
    (plan,) = run_plan(way.adoption(customers("people", "email", "tenant", "plaintext")), ())
    assert {(each.kind, each.name): bool(each.blocks) for each in plan.holders} == {
        ("index", "everywhere"): False,
        ("unique index", "once on high_high"): True,
        ("check constraint", "filled"): True,
        ("check constraint", 'long on "High Low"'): True,
    }


def test_indexes_of_partitions_that_were_stopped_are_built_again(on_postgresql: Way) -> None:
    way = on_postgresql
    with way.engine.begin() as connection:
        for statement in PARTITIONED:
            connection.exec_driver_sql(statement)
    base = customers("people", "email", "tenant", "plaintext")
    unapplied = Versions(way.versions.folder, apply=False, table=VERSION_TABLE)
    (migration,) = run_expand(way.adoption(base), unapplied, ())
    good = migration.path.read_text()
    for stop in ("high_high", "people"):
        broken = "\n".join(
            line.replace("(email_index)", "(nonsense)") if f'"{stop}" (' in line else line
            for line in good.splitlines()
        )
        assert "nonsense" in broken
        migration.path.write_text(broken)
        with pytest.raises(MigrationError, match="stopped half-way"):
            run_expand(way.adoption(base), way.versions, ())
    migration.path.write_text(good)
    assert way.seal(base).tally.done == 12
    with way.engine.connect() as connection:
        assert all(valid for _, valid in connection.exec_driver_sql(VALID))


def test_a_unique_blind_index_without_what_partitions_are_by_is_refused(on_postgresql: Way) -> None:
    way = on_postgresql
    with way.engine.begin() as connection:
        for statement in PARTITIONED:
            connection.exec_driver_sql(statement)

    class Base(DeclarativeBase):
        pass

    class Person(Sealed, Base):
        __tablename__ = "people"
        __owner__ = "tenant"
        id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
        tenant: Mapped[str]
        email: Mapped[str] = sealed(index=Equality(exact, unique=True), plaintext="email")

    before = way.columns("people")
    (plan,) = run_plan(way.adoption(Base), ())
    assert any("partitions by id" in each for each in plan.blockers)
    with pytest.raises(AdoptionBlockedError, match="partitions by id"):
        way.seal(Base)
    assert way.columns("people") == before


def _die(*_: object) -> None:
    os._exit(9)


def test_a_worker_that_is_killed_is_told_with_the_way_out() -> None:
    with process_pool(1) as executor, pytest.raises(CrewError, match="run this step again"):
        sweep(_die, [(Span(None, (1,)), 1)], Crew(_die, executor), lambda *_: None)


def test_a_pool_that_died_before_more_work_is_told_in_the_same_way() -> None:
    with process_pool(1) as executor:
        with pytest.raises(CrewError):
            sweep(_die, [(Span(None, (1,)), 1)], Crew(_die, executor), lambda *_: None)
        with pytest.raises(CrewError, match="run this step again"):
            sweep(_die, [(Span(None, (1,)), 1)], Crew(_die, executor), lambda *_: None)


def test_statistics_that_a_role_may_not_rewrite_are_not_called_rewritten(
    fresh_postgresql_url: str,
) -> None:
    engine, role = open_engine(fresh_postgresql_url), f"owner_{os.getpid()}"
    base = customers("people", "email", "tenant", "retired")
    make(engine, "people", "email", "tenant")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(f"ALTER TABLE people OWNER TO {role}")
    limited = open_engine(fresh_postgresql_url)

    def become(connection: Any, _record: object) -> None:
        connection.execute(f"SET ROLE {role}")
        connection.commit()

    event.listen(limited, "connect", become)
    try:
        (part,) = retired_parts(base)
        purged = purge(part, limited)
    finally:
        limited.dispose()
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE people")
            connection.exec_driver_sql(f"DROP ROLE {role}")
        engine.dispose()
    assert purged.cleaned == ["the table was rewritten, with its indexes and large values"]
    assert [each.partition(" ")[0] for each in purged.remains] == ["statistics", "the", "backups,"]
