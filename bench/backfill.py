"""What sealing a table in the clear costs, beside an UPDATE of the same rows with constant bytes.

    python bench/backfill.py                                   # SQLite, a minute
    python bench/backfill.py --postgresql postgresql+psycopg://user:password@host/database
    python bench/backfill.py --quick                           # seconds; proves that it works

Contenders take turns in one run, each on a table that was made and filled afresh, with the columns,
the index and the trigger that `assay seal expand` makes. All work through the same batches of
primary keys, one transaction for each:

- *constant bytes, one UPDATE for each batch* writes the same bytes, as long as an envelope, into
  every row of the batch. No row is read, and none travels: it is what the database alone needs.
- *constant bytes, one UPDATE for each row* is what any program does whose bytes differ from row to
  row: rows are named one by one.
- *backfill* is `assay.encryption.adoption`'s: it reads the rows, seals them, and writes each where
  nobody changed it meanwhile. *One blind index* adds `Equality(casefold)` on one field.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.database import open_engine
from assay.encryption.adoption import Crew, Options, Store, all_parts
from assay.encryption.adoption.backfill import backfill
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.ranges import Checkpoint
from assay.encryption.adoption.triggers import create_trigger
from assay.encryption.sqlalchemy import Equality, Sealed, casefold, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
from contenders import FIELDS, make_rows
from times import Times, table

BATCH = 500


class Base(DeclarativeBase):
    """Tables on their way from columns in the clear to envelopes."""


class Customer(Sealed, Base):
    __tablename__ = "bench_customers"
    __owner__ = "tenant_id"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str] = sealed(plaintext="email")
    name: Mapped[str] = sealed(plaintext="name")
    text: Mapped[str] = sealed(plaintext="text")


class IndexedCustomer(Sealed, Base):
    __tablename__ = "bench_indexed_customers"
    __owner__ = "tenant_id"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str] = sealed(plaintext="email", index=Equality(casefold))
    name: Mapped[str] = sealed(plaintext="name")
    text: Mapped[str] = sealed(plaintext="text")


AT_ONCE = "constant bytes, one UPDATE for each batch"
BY_ROW = "constant bytes, one UPDATE for each row"
SEALED = "backfill"
INDEXED = "backfill, one blind index"
CONTENDERS = (AT_ONCE, BY_ROW, SEALED, INDEXED)
ENVELOPE_BYTES = 184
"""As long as most envelopes of `make_rows`; `check` compares it with what stands in the table."""


class Table:
    """A table that was made and filled for one turn.

    Args:
        engine: the database.
        contender: whose turn it is.
        row_count: how many rows.
    """

    def __init__(self, engine: Engine, contender: str, row_count: int) -> None:
        wanted = IndexedCustomer if contender == INDEXED else Customer
        self.engine, self.row_count = engine, row_count
        self.part = next(p for p in all_parts(Base) if p.table is wanted.__table__)
        self.name = str(self.part.table.name)

    def make(self) -> None:
        """As it is before a backfill, with nothing left over from making it."""
        self.drop()
        Base.metadata.create_all(self.engine, tables=[self.part.table])
        names = ("id", "tenant_id", *FIELDS)
        given = ", ".join(f":{name}" for name in names)
        fill = text(f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({given})")  # noqa: S608 - of this file
        with self.engine.begin() as connection:
            for statement in create_trigger(self.part, self.engine.dialect.name):
                connection.exec_driver_sql(statement)
            connection.execute(fill, make_rows(self.row_count))
        if self.engine.dialect.name == "postgresql":
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as alone:
                alone.exec_driver_sql(f"VACUUM ANALYZE {self.name}")
                alone.exec_driver_sql("CHECKPOINT")

    def drop(self) -> None:
        """Remove it."""
        Base.metadata.drop_all(self.engine, tables=[self.part.table])
        if self.engine.dialect.name == "postgresql":
            with self.engine.begin() as connection:
                connection.exec_driver_sql(
                    f"DROP FUNCTION IF EXISTS zz_assay_{self.name}_sealed() CASCADE"
                )

    def check(self) -> float:
        """Every row has bytes in its sealed column. Returns their mean length."""
        asked = f"SELECT count(sealed), avg(length(sealed)) FROM {self.name}"  # noqa: S608 - of this file
        with self.engine.connect() as connection:
            count, length = connection.execute(text(asked)).one()
        if count != self.row_count:
            raise SystemExit(f"expected {self.row_count} rows to be written, found {count}")
        return float(length)


def update_at_once(rows: Table) -> None:
    """One UPDATE for each batch of keys."""
    statement = text(
        f"UPDATE {rows.name} SET sealed = :bytes "  # noqa: S608 - of this file
        "WHERE id >= :first AND id < :end AND sealed IS NULL"
    )
    for first in range(0, rows.row_count, BATCH):
        given = {"bytes": bytes(ENVELOPE_BYTES), "first": first, "end": first + BATCH}
        with rows.engine.begin() as connection:
            connection.execute(statement, given)


def update_by_row(rows: Table) -> None:
    """One UPDATE for each key, in the same transactions."""
    statement = text(
        f"UPDATE {rows.name} SET sealed = :bytes WHERE id = :id AND sealed IS NULL"  # noqa: S608 - of this file
    )
    for first in range(0, rows.row_count, BATCH):
        keys = range(first, min(first + BATCH, rows.row_count))
        with rows.engine.begin() as connection:
            connection.execute(statement, [{"bytes": bytes(ENVELOPE_BYTES), "id": k} for k in keys])


def seal(rows: Table, keyring: Keyring, folder: Path) -> None:
    """The backfill, in a thread of this process."""
    store = Store(rows.engine, keyring, Base)
    with ThreadPoolExecutor(1) as executor:
        crew = Crew(store, executor, Options(batch_rows=BATCH))
        place = place_of(rows.part, store.engine)
        backfill(store, rows.part, crew, Checkpoint(folder / "checkpoint.json", rows.part, place))


def run(
    engine: Engine, row_count: int, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """All contenders in turn, round after round; the first round only warms up."""
    keyring, times = Keyring(MemoryKeyService(), MemoryDataKeyTable()), Times(clock)
    with tempfile.TemporaryDirectory() as folder:
        work: dict[str, Callable[[Table], None]] = {
            AT_ONCE: update_at_once,
            BY_ROW: update_by_row,
            SEALED: lambda rows: seal(rows, keyring, Path(folder)),
            INDEXED: lambda rows: seal(rows, keyring, Path(folder)),
        }
        for number in range(rounds + 1):
            for contender in CONTENDERS:
                rows = Table(engine, contender, row_count)
                rows.make()
                try:
                    with (times if number else Times(clock)).measure(contender, "backfill"):
                        work[contender](rows)
                    length = rows.check()
                finally:
                    rows.drop()
                if not 0.9 < length / ENVELOPE_BYTES < 1.1:
                    raise SystemExit(f"expected about {ENVELOPE_BYTES} bytes, found {length}")
    return times


ROWS = (
    (BY_ROW, AT_ONCE),
    (SEALED, AT_ONCE),
    (SEALED, BY_ROW),
    (INDEXED, SEALED),
)
"""What is compared with what."""


def show(row_count: int, measured: Mapping[str, Times]) -> list[str]:
    """The table: one column for each database."""
    head = [f"{row_count} rows of {len(FIELDS)} fields", "ratio to", *measured]
    return table(
        head,
        (
            [what, base, *(f"{t.ratio(what, base, 'backfill'):.2f}" for t in measured.values())]
            for what, base in ROWS
        ),
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--postgresql", metavar="URL", help="measure PostgreSQL as well")
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.rounds = 600, 1
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        databases = {"SQLite": f"sqlite:///{folder}/rows.db"}
        if given.postgresql:
            databases["PostgreSQL"] = given.postgresql
        for name, url in databases.items():
            engine = open_engine(url)
            measured[name] = run(engine, given.rows, given.rounds)
            engine.dispose()
    print("\n".join(show(given.rows, measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
