"""The benchmark of sealing works, and its contenders do the same work."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import StaticPool, create_engine, event, func, inspect, select
from sqlalchemy.orm import sessionmaker

from assay.encryption.sqlalchemy import bind
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

TABLES = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
NUMBER = re.compile(r"^[\d.,]+$")


@pytest.fixture(scope="module")
def programs(repository: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a program of bench/, as it finds its neighbours when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        # What a peer reads its key from; contenders.py would leave them set.
        patch.setenv("ENCRYPTION_KEY", Fernet.generate_key().decode())
        patch.setenv("ENCRYPTION_METHOD", "fernet")
        patch.syspath_prepend(str(repository / "bench"))
        yield importlib.import_module


@pytest.fixture(scope="module")
def bench(programs: Callable[[str], ModuleType]) -> ModuleType:
    return programs("sealing")


def labels(text: str) -> list[list[tuple[str, ...]]]:
    """Of each table what is no number: its head, and the words of rows, each once."""
    return [
        list(
            dict.fromkeys(
                tuple(
                    re.sub(r"\b[\d,]+ rows", "rows", cell.strip())
                    for cell in line.strip("|\n").split("|")
                    if not NUMBER.match(cell.strip())
                )
                for line in found[0].splitlines()
            )
        )
        for found in TABLES.finditer(text)
    ]


def test_the_documented_tables_are_those_that_are_printed(
    programs: Callable[[str], ModuleType],
    repository: Path,
    fresh_postgresql_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = ["--postgresql", fresh_postgresql_url.replace("://", "+psycopg://", 1)]
    documented = labels((repository / "docs" / "speed.md").read_text())
    printed = []
    for name, arguments in (
        ("sealing", ["--quick", "--cpu", *database]),
        ("django_rows", ["--quick", "--cpu"]),
        ("backfill", ["--quick", *database]),
        ("growth", ["--rows", "100"]),
    ):
        if name == "django_rows":
            done = run_django(repository, "sys.exit(bench.main(sys.argv[1:]))", *arguments)
            assert done.returncode == 0, done.stderr
            printed += labels(done.stdout)
            continue
        assert programs(name).main(arguments) == 0
        printed += labels(capsys.readouterr().out)
    assert documented == printed
    assert len(documented) == 6


def run_django(repository: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Code that has the program as ``bench``: Django is configured once in a process."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys, django_rows as bench\n{code}", *arguments],
        cwd=repository / "bench",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("broken", "noticed"),
    [
        ("bench.read = lambda rows: [('', '', '')] * len(rows)", "to read back what it wrote"),
        ("bench.PlainIndexedRow.id.field.from_db_value = lambda *_: 7", "to find the rows"),
    ],
)
def test_a_django_contender_that_does_something_else_is_noticed(
    repository: Path, broken: str, noticed: str
) -> None:
    done = run_django(repository, f"{broken}\nbench.run(5, 1)")
    assert done.returncode == 1
    assert noticed in done.stderr


def test_only_the_plain_django_contenders_store_plaintext(repository: Path) -> None:
    code = """
bench.run(1, 0)
row = bench.make_rows(1)[0]
for name, model in bench.MODELS.items():
    model.objects.bulk_create([model(**row)])
    with bench.connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {model._meta.db_table}")
        print(name, row["text"] in repr(cursor.fetchall()), sep=": ")
"""
    assert run_django(repository, code).stdout.splitlines() == [
        "plaintext: True",
        "sealed: False",
        "plaintext, one index: True",
        "sealed, one blind index: False",
    ]


def test_a_backfill_that_leaves_rows_is_no_measurement(
    programs: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = programs("backfill")
    monkeypatch.setattr(module, "seal", lambda *_: None)
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with pytest.raises(SystemExit, match="expected 30 rows to be written, found 0"):
        module.run(engine, 30, 1)
    engine.dispose()


def test_contenders_write_and_read_the_same_rows(bench: ModuleType) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    bench.Base.metadata.create_all(engine)
    sessions = bind(sessionmaker(engine), Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    rows = bench.make_rows(30)
    wanted = [tuple(row[name] for name in bench.FIELDS) for row in rows]
    statements: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda _c, _k, text, *_: statements.append(text.split()[0])
    )
    times = bench.Times(clock=lambda: 0.0)
    work = {}
    for contender in bench.MODELS:
        del statements[:]
        assert bench.run_orm_round(sessions, contender, rows, times) == wanted
        work[contender] = list(statements)
    assert len({tuple(each) for each in work.values()}) == 1, "the same statements in each turn"
    assert set(times.seconds) == {(name, path) for name in bench.MODELS for path in bench.PATHS}
    for model in bench.MODELS.values():
        columns = {column.name for column in inspect(model).local_table.columns}
        assert {"id", "tenant_id"} <= columns
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(model)) == 0
    engine.dispose()


def test_only_the_plain_contender_stores_plaintext(bench: ModuleType) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    bench.Base.metadata.create_all(engine)
    sessions = bind(sessionmaker(engine), Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    row = bench.make_rows(1)[0]
    in_clear = {}
    for contender, model in bench.MODELS.items():
        with sessions.begin() as session:
            session.add(model(**row))
        with engine.connect() as connection:
            stored = connection.exec_driver_sql(f"SELECT * FROM {model.__tablename__}").one()  # noqa: S608 - of the benchmark
        in_clear[contender] = row["text"] in repr(stored)
    assert in_clear == {contender: contender == "plaintext" for contender in bench.MODELS}
    engine.dispose()


def test_a_contender_that_reads_something_else_is_noticed(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "read", lambda instances: [("", "", "")] * len(instances))
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with pytest.raises(SystemExit, match="read back"):
        bench.run_orm(engine, 5, 1)
    engine.dispose()


def test_ratios_are_those_of_medians(bench: ModuleType) -> None:
    times = bench.Times(lambda: 0.0, {("a", "p"): [1.0, 2.0, 90.0], ("b", "p"): [4.0, 1.0, 0.5]})
    assert times.ratio("a", "b", "p") == 2.0


def test_the_documented_tables_of_columns_are_those_that_are_printed(
    programs: Callable[[str], ModuleType], repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = programs("columns")
    assert columns.main(["--quick"]) == 0
    page = (repository / "docs" / "parquet.md").read_text()
    printed = labels(capsys.readouterr().out)
    assert len(printed) == 2
    assert printed == labels(page.partition("## What it costs")[2])


def test_a_file_that_is_read_otherwise_is_noticed(
    programs: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = programs("columns")
    read = columns.SealedParquet.read
    monkeypatch.setattr(columns.SealedParquet, "read", lambda *a, **k: read(*a, **k).slice(1))
    with pytest.raises(SystemExit, match="read back"):
        columns.run_files(10, 1, lambda: 0.0)
    monkeypatch.setattr(columns, "open_batch", lambda batch, *_, **__: batch)
    with pytest.raises(SystemExit, match="open what it sealed"):
        columns.run_batches(10, 1, lambda: 0.0)
