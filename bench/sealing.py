"""What sealing costs: one envelope, and rows through SQLAlchemy, each as a ratio.

    python bench/sealing.py                                   # SQLite, a few minutes
    python bench/sealing.py --postgresql postgresql+psycopg://user:password@host/database
    python bench/sealing.py --quick                           # seconds; proves that it works

All contenders take turns in one run, and the table shows the ratios of their medians: absolute
times say more about a machine than about code. Each contender writes the same rows with the same
three fields, and reads the same values back, which is checked. What they do not have in common
stands in ``docs/speed.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, StaticPool, create_engine, delete, insert, select
from sqlalchemy.orm import Session, sessionmaker

from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeOpener,
    EnvelopeSealer,
    RowAddress,
    encode_payload,
    encode_row_id,
)
from assay.encryption.sqlalchemy import bind
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService, data_key_id
from contenders import FIELDS, MODELS, PEERS, Base, make_rows, value_functions
from times import Times, table

PATHS = ("insert", "insert, instances", "select, not read", "select, all read")


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


RAW = "raw AESGCM call"


def singles() -> dict[str, Callable[[], object]]:
    """One row sealed and opened in every way, by the way's name.

    The raw call seals as many bytes as the payload has, on a cached key, with a fresh random nonce
    and the same associated data. An envelope holds the three fields in one; peers seal three
    values, which is what a row costs them. Reading is compared with the raw call as well.
    """
    material = os.urandom(32)
    key = DataKey("north", DataKeyClass.ROWS, 1, data_key_id(material), material)
    fields = {name: make_rows(1)[0][name] for name in FIELDS}
    sealer, opener, raw = EnvelopeSealer(), EnvelopeOpener(), AESGCM(material)
    address = RowAddress("north", "documents", "default", encode_row_id(7))
    payload, associated_data = encode_payload(fields), address.associated_data()
    envelope = sealer.seal(key, address, fields)
    if opener.open(key, address, envelope) != fields:
        raise SystemExit("expected to open what was sealed")
    found: dict[str, Callable[[], object]] = {
        RAW: lambda: raw.encrypt(os.urandom(12), payload, associated_data),
        "seal": lambda: sealer.seal(key, address, fields),
        "open": lambda: opener.open(key, address, envelope),
        "seal, payload given": lambda: sealer.seal_payload(key, associated_data, payload),
        "open, payload left": lambda: opener.open_payload(key, associated_data, envelope),
    }
    for name, model in PEERS.items():
        found |= _single_of_peer(name, model, list(fields.values()))
    return found


def _single_of_peer(
    name: str, model: type[Any], values: list[str]
) -> dict[str, Callable[[], object]]:
    encrypt, decrypt = value_functions(model)
    stored = [encrypt(value) for value in values]
    if [decrypt(each) for each in stored] != values:
        raise SystemExit(f"expected {name} to open what it sealed")
    return {
        f"{name}, seal {len(values)} values": lambda: [encrypt(each) for each in values],
        f"{name}, open {len(values)} values": lambda: [decrypt(each) for each in stored],
    }


def run_single(calls: int, rounds: int, clock: Callable[[], float] = time.perf_counter) -> Times:
    """All ways in turn, round after round; the first round only warms up."""
    times, ways = Times(clock), singles()
    for number in range(rounds + 1):
        for name, call in ways.items():
            kept = times if number else Times(clock)
            with kept.measure(name, "single"):
                for _ in range(calls):
                    call()
    return times


def show_single(times: Times) -> list[str]:
    """The table of single envelopes."""
    return table(
        (f"one row of {len(FIELDS)} fields", "ratio to one raw AESGCM call"),
        (
            (each, f"{times.ratio(each, RAW, 'single'):.2f}")
            for each in times.contenders
            if each != RAW
        ),
    )


def show_orm(database: str, row_count: int, times: Times) -> list[str]:
    """The table of rows through SQLAlchemy."""
    contenders = [name for name in MODELS if name != "plaintext"]
    return table(
        (f"{database}, {row_count} rows of {len(FIELDS)} fields, ratio to plaintext", *contenders),
        (
            (path, *(f"{times.ratio(each, 'plaintext', path):.2f}" for each in contenders))
            for path in PATHS
        ),
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument(
        "--cpu", action="store_true", help="this process's own time: steady on a busy machine"
    )
    parser.add_argument("--postgresql", metavar="URL", help="measure PostgreSQL as well")
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.rounds, given.calls = 100, 1, 50
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
