"""Values that do not fit the model's type, or no statement: told apart, and nobody else waits."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import JSON, BigInteger, Engine, Float, Integer, Numeric, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.core import SystemClock
from assay.database import open_engine
from assay.encryption.adoption import (
    VERSION_TABLE,
    Adoption,
    AdoptionBlockedError,
    Crew,
    Options,
    Store,
    Versions,
    run_backfill,
    run_expand,
    run_verify,
)
from assay.encryption.adoption.names import run_as_it_is
from assay.encryption.sqlalchemy import Sealed, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

TAKES_NO = "a value that the model's type does not take"
ANOTHER = "SealedValueError"
TOO_LARGE = "larger than the server takes (max_allowed_packet)"
CASES: list[tuple[str, Any, Any, str, list[str], dict[str, int]]] = [
    # database, type of the field, of its column, the column as it is, its values, who is refused
    ("postgresql", date, None, "DATE", ["'2020-01-01'", "'infinity'", "'0044-03-15 BC'"], {TAKES_NO: 2}),
    ("postgresql", float, Float(53), "FLOAT8", ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'"], {}),
    ("postgresql", Decimal, Numeric(), "NUMERIC", ["'NaN'", "1.10", "1e50"], {}),
    ("postgresql", dict[str, Any], JSON(), "JSON", [r"""'{"a": "\u0000"}'""", "'[1]'"], {ANOTHER: 1}),
    ("postgresql", str, Text(), "TEXT", ["repeat('x', 3000000)", "''"], {}),
    ("mariadb", date, None, "DATE", ["'2020-01-01'", "'0000-00-00'", "'2020-00-00'"], {ANOTHER: 2}),
    ("mariadb", UUID, None, "CHAR(36)", ["'00000000000000000000000000000001'", "'secret'"], {TAKES_NO: 1}),
    ("mariadb", str, Text(), "LONGTEXT",
     ["concat('a', char(0 using utf8mb4))", "repeat('y', 12000000)"], {TOO_LARGE: 1}),
    ("sqlite", int, Integer(), "INTEGER", ["1", "'secret'", "1.5"], {ANOTHER: 2}),
    ("sqlite", date, None, "DATE", ["'2020-01-01'", "'secret'", "5"], {TAKES_NO: 2}),
    ("sqlite", Decimal, Numeric(20, 4), "NUMERIC", ["1.5", "'secret'"], {TAKES_NO: 1}),
    ("sqlite", dict[str, Any], JSON(), "JSON", ["'{}'", "'{secret'"], {TAKES_NO: 1}),
    ("sqlite", str, Text(), "TEXT", ["'a' || char(0)", "CAST(x'736563726574ff' AS TEXT)"], {TAKES_NO: 1}),
]  # fmt: skip


class Way:
    """The first steps of one model, in this process."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())

    def tell(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            if self.engine.dialect.name == "mariadb":
                connection.exec_driver_sql("SET SESSION sql_mode = ''")
            for statement in statements:
                run_as_it_is(connection, statement)

    def run(self, step: Any, base: Any) -> Any:
        adoption = self.adoption(base)
        with ThreadPoolExecutor(1) as executor:
            (report,) = step(adoption, Crew(adoption.store, executor, Options(batch_rows=10)), ())
        return report

    def adoption(self, base: Any) -> Adoption:
        store = Store(self.engine, self.keyring, base)
        return Adoption(store, "db", self.folder / "state", SystemClock())

    def expand(self, base: Any) -> None:
        versions = Versions(self.folder / "versions", apply=True, table=VERSION_TABLE)
        run_expand(self.adoption(base), versions, ())


@pytest.fixture
def way_on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    opened: list[Engine] = []

    def open_on(database: str) -> Way:
        url = f"sqlite:///{tmp_path / 'app.db'}"
        if database != "sqlite":
            url = request.getfixturevalue(f"fresh_{database}_url")
        opened.append(open_engine(url))
        return Way(opened[-1], tmp_path)

    yield open_on
    for engine in opened:
        engine.dispose()


def model(kind: Any, column: Any, key: Any = int) -> Any:
    class Base(DeclarativeBase):
        pass

    class Thing(Sealed, Base):  # its annotations are looked up when it is made
        __tablename__ = "things"
        __owner__ = "tenant"

        id: Mapped[key] = mapped_column(
            BigInteger if key is int else None, primary_key=True, autoincrement=False
        )
        tenant: Mapped[str] = mapped_column(String(40))
        value: Mapped[kind | None] = sealed(
            plaintext="value" if column is None else mapped_column("value", column)
        )

    Base.thing = Thing  # type: ignore[attr-defined]  # of this test; nobody else keeps the class
    return Base


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{case[3]}" for case in CASES])
def test_what_does_not_fit_is_counted_and_left(way_on: Any, case: Any) -> None:
    database, kind, column, made_as, values, refused = case
    way, base = way_on(database), model(kind, column)
    way.tell(
        f"CREATE TABLE things (id BIGINT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, value {made_as})",
        *(f"INSERT INTO things VALUES ({n}, 'north', {each})" for n, each in enumerate(values)),  # noqa: S608 - of this test
    )
    way.expand(base)
    report = way.run(run_backfill, base)
    assert report.tally.refused == refused
    assert report.tally.done == len(values) - sum(refused.values())
    assert report.left == len(report.tally.examples) == sum(refused.values())
    verified = way.run(run_verify, base)
    assert verified.passed == (not refused)
    assert (verified.tally.rows, verified.tally.done) == (len(values), report.tally.done)
    with way.engine.connect() as connection:
        asked = text("SELECT id FROM things WHERE sealed IS NULL ORDER BY id")
        left = connection.execute(asked).scalars().all()
    assert sorted((key,) for key in left) == sorted(report.tally.examples)


def test_a_primary_key_that_cannot_be_read_is_not_quoted(way_on: Any) -> None:
    way, base = way_on("sqlite"), model(str, None, UUID)
    way.tell(
        "CREATE TABLE things (id CHAR(32) PRIMARY KEY, tenant VARCHAR(40) NOT NULL, value TEXT)",
        "INSERT INTO things VALUES ('secret', 'north', 'x')",
    )
    way.expand(base)
    with pytest.raises(AdoptionBlockedError, match="primary keys of things") as caught:
        way.run(run_backfill, base)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
