"""The benchmark of sealing works, and its contenders do the same work."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import StaticPool, create_engine, event, func, inspect, select
from sqlalchemy.orm import sessionmaker

from assay.encryption.sqlalchemy import bind
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


@pytest.fixture(scope="module")
def bench(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_sealing", repository / "bench/sealing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where SQLAlchemy looks up the names in annotations
    spec.loader.exec_module(module)
    return module


def test_a_quick_run_prints_ratios_of_every_path(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--quick", "--cpu"]) == 0
    printed = capsys.readouterr().out
    for path in (*bench.PATHS, "seal", "open"):
        assert f"| {path} |" in printed
    for contender in bench.MODELS:
        assert contender in printed
    assert " us" not in printed


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
