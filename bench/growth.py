"""How the cost of sealed rows grows from a thousand to a million, and that memory stays flat.

    python bench/growth.py                  # 1,000 to 1,000,000 rows; about ten minutes
    python bench/growth.py --rows 1000 3000 # fewer, to see that it works

Each contender writes and streams each number of rows in a process of its own, on a SQLite file of
its own: in batches of 1000 rows, and with ``yield_per`` reading every field of every row. The table
shows time for each row as a ratio to plaintext of the same number of rows, and the growth of the
process's peak memory over what it had before the first row.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import sessionmaker

from assay.encryption.sqlalchemy import bind
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
from contenders import MODELS, Base, make_rows
from times import table

CONTENDERS = ("plaintext", "sealed", "sealed, one blind index")
ROWS = (1_000, 10_000, 100_000, 1_000_000)
BATCH = 1_000


def run_one(contender: str, count: int, folder: Path) -> dict[str, float]:
    """Write and stream so many rows in this process."""
    engine = create_engine(f"sqlite:///{folder / 'rows.db'}")
    model: Any = MODELS[contender]
    Base.metadata.create_all(engine, tables=[model.__table__])
    sessions = sessionmaker(engine)
    bind(sessions, Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    with sessions() as session:  # imports and caches are not what grows
        session.execute(insert(model), make_rows(10))
        session.rollback()
    before = _peak_bytes()
    start = time.process_time()
    with sessions() as session:
        for first in range(0, count, BATCH):
            session.execute(insert(model), make_rows(min(BATCH, count - first), first))
            session.commit()
    written = time.process_time()
    seen = 0
    with sessions() as session:
        for each in session.scalars(select(model).execution_options(yield_per=BATCH)):
            seen += bool(each.email and each.name and each.text)
    read = time.process_time()
    engine.dispose()
    if seen != count:
        raise SystemExit(f"expected to read {count} rows, found {seen}")
    return {"insert": written - start, "stream": read - written, "peak": _peak_bytes() - before}


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run_all(counts: Sequence[int]) -> dict[tuple[str, int], dict[str, float]]:
    """Every contender and number of rows, each in a process and folder of its own."""
    found = {}
    for count in counts:
        for contender in CONTENDERS:
            print(f"{count:>9,} rows, {contender}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                done = subprocess.run(
                    [sys.executable, __file__, "--one", contender, str(count), folder],
                    check=True,
                    capture_output=True,
                )
            found[contender, count] = json.loads(done.stdout)
    return found


def show(found: dict[tuple[str, int], dict[str, float]], counts: Sequence[int]) -> list[str]:
    """The table."""
    sealed = CONTENDERS[1:]
    pairs = [(path, each) for path in ("insert", "stream") for each in sealed]
    head = ["rows, ratio to plaintext and MB", *(f"{path}, {each}" for path, each in pairs)]
    head += [f"peak MB, {each}" for each in CONTENDERS]
    return table(
        head,
        (
            [
                f"{count:,}",
                *(
                    f"{found[each, count][path] / found['plaintext', count][path]:.2f}"
                    for path, each in pairs
                ),
                *(f"{found[each, count]['peak'] / 2**20:.0f}" for each in CONTENDERS),
            ]
            for count in counts
        ),
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        contender, count, folder = given.one
        print(json.dumps(run_one(contender, int(count), Path(folder))))
        return 0
    print("\n".join(show(run_all(given.rows), given.rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
