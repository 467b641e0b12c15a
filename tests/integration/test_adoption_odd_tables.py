"""Tables as they are found in production: names that need quotes, keys and values of every kind."""

from __future__ import annotations

from collections.abc import Iterator
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
    inspect,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.core import SystemClock
from assay.database import open_engine
from assay.encryption.adoption import (
    VERSION_TABLE,
    Adoption,
    Crew,
    Options,
    Store,
    Terms,
    Versions,
    run_backfill,
    run_contract,
    run_expand,
    run_plan,
    run_verify,
)
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
