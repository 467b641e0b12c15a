"""What sealing costs rows through Django, as ratios to the same rows in the clear.

    python bench/django_rows.py --cpu                         # SQLite, a few minutes
    python bench/django_rows.py --quick                       # seconds; proves that it works

All contenders take turns in one run, and the table shows the ratios of their medians. Each writes
the same rows with the same three fields, and reads the same values back, which is checked. A model
with a blind index is compared with one in the clear that has the database's index on that field.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import django
from django.conf import settings
from django.db import connection, models, transaction

from assay.encryption.django import Equality, Sealed, bind, casefold, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
from contenders import FIELDS, make_rows
from times import Times, table

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()


class Row(models.Model):
    """What all contenders have in common."""

    id = models.IntegerField(primary_key=True)
    tenant_id = models.CharField(max_length=40)

    class Meta:
        abstract = True
        app_label = "bench"


class PlainRow(Row):
    email = models.CharField(max_length=200)
    name = models.CharField(max_length=200)
    text = models.TextField()


class PlainIndexedRow(Row):
    email = models.CharField(max_length=200, db_index=True)
    name = models.CharField(max_length=200)
    text = models.TextField()


class SealedRow(Sealed, Row):
    __owner__ = "tenant_id"
    email = sealed(models.CharField(max_length=200))
    name = sealed(models.CharField(max_length=200))
    text = sealed(models.TextField())


class SealedIndexedRow(Sealed, Row):
    __owner__ = "tenant_id"
    email = sealed(models.CharField(max_length=200), index=Equality(casefold))
    name = sealed(models.CharField(max_length=200))
    text = sealed(models.TextField())


MODELS: dict[str, type[Any]] = {
    "plaintext": PlainRow,
    "sealed": SealedRow,
    "plaintext, one index": PlainIndexedRow,
    "sealed, one blind index": SealedIndexedRow,
}
PLAIN = {"sealed": "plaintext", "sealed, one blind index": "plaintext, one index"}
"""With whom a contender is compared."""

FILTER = "filter"
PATHS = (
    "bulk_create", "save, new", "save, changed", "select, not read", "select, all read", FILTER,
)  # fmt: skip


def read(instances: Sequence[Any]) -> list[tuple[str, ...]]:
    """Read the three fields of every instance."""
    return [(each.email, each.name, each.text) for each in instances]


def run_round(contender: str, rows: list[dict[str, Any]], times: Times) -> None:
    """One contender's turn: write in three ways, select, read, filter."""
    rows_of = MODELS[contender].objects
    some = rows[:: max(len(rows) // 2000, 1)]
    with times.measure(contender, "save, new"), transaction.atomic():
        for row in some:
            rows_of.model(**row).save(force_insert=True)
    instances = list(rows_of.all())
    with times.measure(contender, "save, changed"), transaction.atomic():
        for each in instances:
            each.text = "another note"
            each.save()
    rows_of.all().delete()
    with times.measure(contender, "bulk_create"):
        rows_of.bulk_create([rows_of.model(**row) for row in rows])
    with times.measure(contender, "select, not read"):
        instances = list(rows_of.order_by("id"))
    with times.measure(contender, "select, all read"):
        values = read(list(rows_of.order_by("id")))
    if len(instances) != len(rows) or values != [tuple(map(row.get, FIELDS)) for row in rows]:
        raise SystemExit(f"expected {contender} to read back what it wrote, it did not")
    if "index" in contender:
        with times.measure(contender, FILTER):
            found = [rows_of.get(tenant_id=r["tenant_id"], email=r["email"]).id for r in some]
        if found != [row["id"] for row in some]:
            raise SystemExit(f"expected {contender} to find the rows it wrote, it did not")
    rows_of.all().delete()


def run(row_count: int, rounds: int, clock: Callable[[], float] = time.perf_counter) -> Times:
    """All contenders in turn, round after round; the first round only warms up."""
    with connection.schema_editor() as editor:
        for model in MODELS.values():
            editor.create_model(model)
    bind(Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    rows, times = make_rows(row_count), Times(clock)
    for number in range(rounds + 1):
        for contender in MODELS:
            run_round(contender, rows, times if number else Times(clock))
    return times


def show(row_count: int, times: Times) -> list[str]:
    """The table of rows through Django."""

    def cell(contender: str, path: str) -> str:
        if (contender, path) not in times.seconds:
            return "-"
        return f"{times.ratio(contender, PLAIN[contender], path):.2f}"

    return table(
        (f"Django, SQLite, {row_count} rows of {len(FIELDS)} fields, ratio to plaintext", *PLAIN),
        ((path, *(cell(each, path) for each in PLAIN)) for path in PATHS),
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--cpu", action="store_true", help="this process's own time: steady on a busy machine"
    )
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.rounds = 100, 1
    clock = time.process_time if given.cpu else time.perf_counter
    print("\n".join(show(given.rows, run(given.rows, given.rounds, clock))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
