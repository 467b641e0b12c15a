"""What sealing costs: one envelope, and rows through SQLAlchemy, each as a ratio.

    python bench/sealing.py                                   # SQLite, a few minutes
    python bench/sealing.py --postgresql postgresql+psycopg://user:password@host/database
    python bench/sealing.py --quick                           # seconds; proves that it works

All contenders take turns in one run, and the table shows the ratios of their medians: absolute
times say more about a machine than about code. Each contender writes the same rows with the same
three fields, and reads the same values back, which is checked.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, StaticPool, Text, create_engine, delete, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy_utils.types.encrypted.encrypted_type import AesGcmEngine, StringEncryptedType

from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeOpener,
    EnvelopeSealer,
    RowAddress,
    encode_payload,
    encode_row_id,
)
from assay.encryption.sqlalchemy import Equality, Sealed, bind, casefold, sealed
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService, data_key_id

FIELDS = ("email", "name", "text")
TENANTS = ("north", "south", "west", "east")
PATHS = ("insert", "insert, instances", "select, not read", "select, all read")


class Base(DeclarativeBase):
    """The models of all contenders."""


class Plain(Base):
    __tablename__ = "bench_plain"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str]
    name: Mapped[str]
    text: Mapped[str]


class SealedRow(Sealed, Base):
    __tablename__ = "bench_sealed"
    __owner__ = "tenant_id"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str] = sealed()
    name: Mapped[str] = sealed()
    text: Mapped[str] = sealed()


class IndexedRow(Sealed, Base):
    __tablename__ = "bench_indexed"
    __owner__ = "tenant_id"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str] = sealed(index=Equality(casefold))
    name: Mapped[str] = sealed()
    text: Mapped[str] = sealed()


def _per_field() -> Any:
    # Each column has an engine of its own, as the library's documentation shows it.
    return mapped_column(StringEncryptedType(Text, "k" * 32, AesGcmEngine))


class PerField(Base):
    __tablename__ = "bench_per_field"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str] = _per_field()
    name: Mapped[str] = _per_field()
    text: Mapped[str] = _per_field()


MODELS: dict[str, type[Any]] = {
    "plaintext": Plain,
    "sealed": SealedRow,
    "sealed, one blind index": IndexedRow,
    "sqlalchemy-utils AES-GCM": PerField,
}


@dataclass
class Times:
    """Seconds for each contender and path, a list with one entry for each round.

    Attributes:
        clock: what tells the time: the wall's, or the process's own.
        seconds: what was measured.
    """

    clock: Callable[[], float]
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @contextmanager
    def measure(self, contender: str, path: str) -> Iterator[None]:
        """Take the time of a block, without what garbage of others costs."""
        gc.collect()
        gc.disable()
        start = self.clock()
        try:
            yield
        finally:
            taken = self.clock() - start
            gc.enable()
        self.seconds.setdefault((contender, path), []).append(taken)

    def ratio(self, contender: str, base: str, path: str) -> float:
        """How much longer one contender takes than another, by the medians."""
        return statistics.median(self.seconds[contender, path]) / statistics.median(
            self.seconds[base, path]
        )


def make_rows(count: int) -> list[dict[str, Any]]:
    """The rows that every contender writes."""
    return [
        {
            "id": number,
            "tenant_id": TENANTS[number % len(TENANTS)],
            "email": f"person-{number}@example.com",
            "name": f"Person Number {number}",
            "text": f"A note of about sixty-four characters, which is number {number:08d}",
        }
        for number in range(count)
    ]


def read(instances: Sequence[Any]) -> list[tuple[str, ...]]:
    """Read the three fields of every instance."""
    return [(each.email, each.name, each.text) for each in instances]


def run_orm_round(
    sessions: sessionmaker[Session],
    contender: str,
    rows: list[dict[str, Any]],
    times: Times,
) -> list[tuple[str, ...]]:
    """One contender's turn: insert in two ways, select, read. Returns what was read."""
    model = MODELS[contender]
    with sessions() as session, times.measure(contender, "insert, instances"):
        session.add_all([model(**row) for row in rows])
        session.commit()
    with sessions.begin() as session:
        session.execute(delete(model))
    with sessions() as session, times.measure(contender, "insert"):
        session.execute(insert(model), rows)
        session.commit()
    with sessions() as session, times.measure(contender, "select, not read"):
        instances = session.scalars(select(model).order_by(model.id)).all()
    with sessions() as session, times.measure(contender, "select, all read"):
        values = read(session.scalars(select(model).order_by(model.id)).all())
    if len(instances) != len(rows) or values != [
        tuple(row[name] for name in FIELDS) for row in rows
    ]:
        raise SystemExit(f"expected {contender} to read back what it wrote, it did not")
    with sessions.begin() as session:
        session.execute(delete(model))
    return values


def run_orm(
    engine: Engine, row_count: int, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """All contenders in turn, round after round; the first round only warms up."""
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    bind(sessions, Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    rows, times = make_rows(row_count), Times(clock)
    try:
        for number in range(rounds + 1):
            for contender in MODELS:
                run_orm_round(sessions, contender, rows, times if number else Times(clock))
    finally:
        Base.metadata.drop_all(engine)
    return times


def run_single(calls: int, rounds: int, clock: Callable[[], float] = time.perf_counter) -> Times:
    """One envelope, with its payload encoded and its row addressed, against one raw AESGCM call.

    The raw call seals as many bytes, on a cached key, with a fresh random nonce and the same
    associated data. Reading is compared with the same raw call: a nonce is what sealing needs.
    """
    material = os.urandom(32)
    key = DataKey("north", DataKeyClass.ROWS, 1, data_key_id(material), material)
    fields = {name: make_rows(1)[0][name] for name in FIELDS}
    sealer, opener, raw = EnvelopeSealer(), EnvelopeOpener(), AESGCM(material)
    address = RowAddress("north", "documents", "default", encode_row_id(7))
    payload, associated_data = encode_payload(fields), address.associated_data()
    envelope = sealer.seal(key, address, fields)
    sealed_raw = raw.encrypt(bytes(12), payload, associated_data)
    contenders: dict[str, Callable[[], object]] = {
        "raw AESGCM call": lambda: raw.encrypt(os.urandom(12), payload, associated_data),
        "raw AESGCM decryption": lambda: raw.decrypt(bytes(12), sealed_raw, associated_data),
        "seal": lambda: sealer.seal(key, address, fields),
        "open": lambda: opener.open(key, address, envelope),
        "seal, payload given": lambda: sealer.seal_payload(key, associated_data, payload),
        "open, payload left": lambda: opener.open_payload(key, associated_data, envelope),
    }
    if opener.open(key, address, sealer.seal(key, address, fields)) != fields:
        raise SystemExit("expected to open what was sealed")
    times = Times(clock)
    for number in range(rounds + 1):
        for contender, call in contenders.items():
            kept = times if number else Times(clock)
            with kept.measure(contender, "single"):
                for _ in range(calls):
                    call()
    return times


def show_single(times: Times) -> list[str]:
    """The table of single envelopes."""
    lines = ["| one envelope, 3 fields | ratio to one raw AESGCM call |", "|---|---|"]
    for contender in ("seal", "open", "seal, payload given", "open, payload left"):
        ratio = times.ratio(contender, "raw AESGCM call", "single")
        lines.append(f"| {contender} | {ratio:.2f} |")
    return lines


def show_orm(database: str, row_count: int, times: Times) -> list[str]:
    """The table of rows through SQLAlchemy."""
    contenders = [name for name in MODELS if name != "plaintext"]
    lines = [
        f"| {database}, {row_count} rows of {len(FIELDS)} fields, ratio to plaintext | "
        + " | ".join(contenders)
        + " |",
        "|---" * (len(contenders) + 1) + "|",
    ]
    for path in PATHS:
        cells = " | ".join(f"{times.ratio(each, 'plaintext', path):.2f}" for each in contenders)
        lines.append(f"| {path} | {cells} |")
    return lines


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument(
        "--cpu", action="store_true", help="this process's own time: steady on a busy machine"
    )
    parser.add_argument("--postgresql", metavar="URL", help="measure PostgreSQL as well")
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.rounds, given.calls = 200, 1, 500
    clock = time.process_time if given.cpu else time.perf_counter
    tables = [show_single(run_single(given.calls, given.rounds, clock))]
    engines = {"SQLite": create_engine("sqlite://", poolclass=StaticPool)}
    if given.postgresql:
        engines["PostgreSQL"] = create_engine(given.postgresql)
    for database, engine in engines.items():
        times = run_orm(engine, given.rows, given.rounds, clock)
        tables.append(show_orm(database, given.rows, times))
        engine.dispose()
    print("\n\n".join("\n".join(table) for table in tables))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
