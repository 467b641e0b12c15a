"""What sealing columns costs: Parquet files and Arrow record batches, beside plaintext.

    python bench/columns.py            # a minute
    python bench/columns.py --quick    # seconds; proves that it works

A Parquet file is compared with the same file in the clear, written and read in memory with the same
compression. A batch is compared with what handling its rows in Python costs without any sealing:
its three fields as Python values, and an Arrow batch made of them again.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from assay.encryption import EnvelopeOpener, EnvelopeSealer, casefold
from assay.encryption.index_kinds import Equality
from assay.encryption.pyarrow import (
    RowIdKind,
    SealedColumns,
    SealedParquet,
    open_batch,
    seal_batch,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
from times import Times, table

FIELDS = ("email", "name", "text")
FILE_PATHS = ("write", "read", "read one column of five")
BATCH_PATHS = ("seal", "open")
COMPRESSION = "zstd"


def declared(*, index: bool) -> SealedColumns:
    """The three fields, one of them with a blind index or not."""
    fields = {name: sealed(pa.string()) for name in FIELDS}
    if index:
        fields["email"] = sealed(pa.string(), index=Equality(casefold))
    return SealedColumns("documents", {"id": RowIdKind.INTEGER}, "tenant", fields)


def make_table(rows: int) -> pa.Table:
    """The rows that every contender writes."""
    return pa.table(
        {
            "id": range(rows),
            "tenant": [("north", "south", "west", "east")[number % 4] for number in range(rows)],
            "email": [f"person-{number}@example.com" for number in range(rows)],
            "name": [f"Person Number {number}" for number in range(rows)],
            "text": [f"A note of about sixty-four characters, number {n:08d}" for n in range(rows)],
        }
    )


def run_files(rows: int, rounds: int, clock: Callable[[], float]) -> Times:
    """Parquet files, each contender in turn; the first round only warms up."""
    times, given = Times(clock), make_table(rows)
    files = SealedParquet(
        Keyring(MemoryKeyService(), MemoryDataKeyTable()), owner="north", dataset="documents"
    )

    def write_plain(sink: io.BytesIO) -> None:
        pq.write_table(given, sink, compression=COMPRESSION)

    def write_sealed(sink: io.BytesIO) -> None:
        files.write(given, sink, compression=COMPRESSION)

    def read_plain(data: bytes, columns: list[str] | None) -> pa.Table:
        return pq.ParquetFile(pa.BufferReader(data)).read(columns=columns)

    def read_sealed(data: bytes, columns: list[str] | None) -> pa.Table:
        return files.read(data, columns=columns)

    contenders = {"plaintext": (write_plain, read_plain), "sealed": (write_sealed, read_sealed)}
    for number in range(rounds + 1):
        for contender, (write, read) in contenders.items():
            kept, sink = times if number else Times(clock), io.BytesIO()
            with kept.measure(contender, "write"):
                write(sink)
            data = sink.getvalue()
            with kept.measure(contender, "read"):
                back = read(data, None)
            with kept.measure(contender, "read one column of five"):
                one = read(data, ["text"])
            if not back.equals(given) or not one.equals(given.select(["text"])):
                raise SystemExit(f"expected {contender} to read back what it wrote, it did not")
    return times


def run_batches(rows: int, rounds: int, clock: Callable[[], float]) -> Times:
    """Record batches, each contender in turn; the first round only warms up."""
    times = Times(clock)
    (batch,) = make_table(rows).combine_chunks().to_batches()
    keyring, sealer, opener = (
        Keyring(MemoryKeyService(), MemoryDataKeyTable()), EnvelopeSealer(), EnvelopeOpener(),
    )  # fmt: skip
    for number in range(rounds + 1):
        kept = times if number else Times(clock)
        for path in BATCH_PATHS:
            with kept.measure("plaintext", path):
                plain = pa.RecordBatch.from_pydict(batch.to_pydict(), schema=batch.schema)
        for contender in ("sealed", "sealed, one blind index"):
            declaration = declared(index=contender != "sealed")
            with kept.measure(contender, "seal"):
                stored = seal_batch(batch, declaration, keyring, sealer=sealer)
            with kept.measure(contender, "open"):
                back = open_batch(stored, declaration, keyring, opener=opener)
            if not back.equals(batch) or not plain.equals(batch):
                raise SystemExit(f"expected {contender} to open what it sealed, it did not")
    return times


def show(head: str, times: Times, paths: Sequence[str]) -> list[str]:
    """A table of ratios to plaintext."""
    contenders = times.contenders[1:]
    return table(
        [head, *contenders],
        (
            [path, *(f"{times.ratio(each, 'plaintext', path):.2f}" for each in contenders)]
            for path in paths
        ),
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument("--cpu", action="store_true", help="this process's own time")
    parser.add_argument("--file-rows", type=int, default=500_000)
    parser.add_argument("--batch-rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args(arguments)
    if given.quick:
        given.file_rows, given.batch_rows, given.rounds = 500, 200, 1
    clock = time.process_time if given.cpu else time.perf_counter
    files = run_files(given.file_rows, given.rounds, clock)
    batches = run_batches(given.batch_rows, given.rounds, clock)
    print("\n".join(show("Parquet file of 5 columns, ratio to plaintext", files, FILE_PATHS)))
    print()
    print("\n".join(show("record batch of 3 fields, ratio to plaintext", batches, BATCH_PATHS)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
