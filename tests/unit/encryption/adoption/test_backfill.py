"""Every row is sealed once, none that somebody changed meanwhile is overwritten."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import pytest

from assay.core import DataKeyClass, SystemClock
from assay.encryption.adoption import (
    Adoption,
    NotExpandedError,
    NotVerifiedError,
    run_backfill,
    run_verify,
)
from assay.encryption.adoption import backfill as module
from assay.encryption.adoption.backfill import backfill, seal_span
from assay.encryption.adoption.errors import CheckpointError
from assay.encryption.adoption.index_values import OwnerIndexes
from assay.encryption.adoption.pool import process_pool
from assay.encryption.adoption.ranges import Checkpoint, Span, spans
from assay.encryption.adoption.store import Store
from assay.encryption.adoption.sweep import Crew, Options, Tally, sweep
from assay.encryption.adoption.verify import record_verified, require_verified, verify
from assay.keys import KeyServiceError

LAST = (UUID(int=2**128 - 1),)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def store(expanded):
    return Store(expanded.engine, expanded.keyring, expanded.Base)


def fill(shop, count):
    for number in range(count):
        shop.old_insert(f"Person-{number}@x", ("north", "south")[number % 2], visits=number)


def run(shop, store, executor, part=0, checkpoint=None):
    each = shop.parts[part]
    checkpoint = checkpoint or Checkpoint(shop.folder / f"{part}.json", each, shop.place)
    return backfill(store, each, Crew(store, executor, Options(batch_rows=7)), checkpoint)


def check(shop, store, executor, part=0):
    return verify(store, shop.parts[part], Crew(store, executor, Options(batch_rows=7)))


def test_every_row_is_sealed_and_compared(expanded, store, executor):
    fill(expanded, 30)
    for part in range(2):
        report = run(expanded, store, executor, part)
        assert (report.tally.done, report.left, report.tally.refused) == (30, 0, {})
        found = check(expanded, store, executor, part)
        assert (found.tally.rows, found.tally.done, found.passed) == (30, 30, True)
    model = expanded.Customer
    with expanded.sessions() as session:
        found = session.query(model).where(model.email == "person-5@X").one()
        assert found.visits == 5


def test_a_second_backfill_leaves_everything_as_it_is(expanded, store, executor):
    fill(expanded, 10)
    run(expanded, store, executor)
    before = expanded.read("SELECT id, sealed FROM customers ORDER BY id")
    report = run(expanded, store, executor)
    assert (report.tally.rows, report.left) == (0, 0)
    assert expanded.read("SELECT id, sealed FROM customers ORDER BY id") == before


@pytest.mark.parametrize(
    "meanwhile",
    [
        "email = 'new@x'",
        "email = upper(email)",  # equal for the column's collation
        "notes = ''",  # not NULL any more
        "tenant = 'south'",
        "sealed = x'00'",  # somebody sealed it first
    ],
)
def test_a_change_between_reading_and_writing_is_not_overwritten(
    expanded, store, monkeypatch, meanwhile
):
    key = expanded.old_insert("ada@x")
    write = module._write

    def after_another_writer(engine, statement, rows):
        expanded.write(f"UPDATE customers SET {meanwhile}")  # noqa: S608 - of this test
        return write(engine, statement, rows)

    monkeypatch.setattr(module, "_write", after_another_writer)
    tally = seal_span(store, expanded.parts[0], Span(None, LAST))
    assert (tally.rows, tally.done, tally.passed_over) == (1, 0, 1)
    envelope = b"\0" if "sealed" in meanwhile else None
    assert expanded.read("SELECT id, sealed FROM customers") == [(key, envelope)]


def test_changes_during_the_backfill_are_sealed_by_a_later_sweep(expanded, store, executor):
    fill(expanded, 20)
    changed = itertools.count()

    class Busy(Checkpoint):
        def save(self, after):
            if next(changed) < 3:  # old code changes rows that are sealed already, and adds one
                expanded.write("UPDATE customers SET email = email || 'x' WHERE sealed IS NOT NULL")
                expanded.old_insert(f"late-{uuid4()}@x")
            super().save(after)

    part = expanded.parts[0]
    report = run(
        expanded, store, executor, checkpoint=Busy(expanded.folder / "c.json", part, expanded.place)
    )
    assert report.left == 0
    assert report.sweeps > 1
    found = check(expanded, store, executor)
    assert (found.tally.done, found.passed) == (23, True)


def test_rows_that_cannot_be_sealed_are_counted_and_left(expanded, store, executor):
    fill(expanded, 3)
    bad = [expanded.old_insert("x"), expanded.old_insert("y"), expanded.old_insert("z")]
    expanded.write("UPDATE customers SET email = NULL WHERE id = :id", id=bad[0])
    expanded.write("UPDATE customers SET tenant = '' WHERE id = :id", id=bad[1])
    expanded.write("UPDATE customers SET notes = x'ff' WHERE id = :id", id=bad[2])
    report = run(expanded, store, executor)
    assert report.left == 3
    assert report.tally.done == 3
    assert report.tally.refused == {"SealedValueError": 2, "OwnerMissingError": 1}
    assert {key[0].hex for key in report.tally.examples} == set(bad)
    found = check(expanded, store, executor)
    assert not found.passed
    assert found.tally.refused == {"no envelope": 3}


def test_the_checkpoint_spares_what_is_done_and_the_second_sweep_finds_what_it_hid(
    expanded, store, executor
):
    fill(expanded, 10)
    part = expanded.parts[0]
    keys = sorted(UUID(row[0]) for row in expanded.read("SELECT id FROM customers"))
    checkpoint = Checkpoint(expanded.folder / "c.json", part, expanded.place)
    checkpoint.save((keys[4],))
    assert checkpoint.load() == (keys[4],)
    assert [rows for _, rows in spans(expanded.engine, part, batch_rows=7, after=(keys[4],))] == [5]
    report = run(expanded, store, executor, checkpoint=checkpoint)
    assert (report.tally.done, report.left, report.sweeps) == (10, 0, 2)
    assert not (expanded.folder / "c.json").exists()


FIRST = (UUID(int=1),)


def kept(shop, key=FIRST, **changes):
    """The text of a checkpoint, with changes that somebody made who knows the format."""
    path, part = shop.folder / "kept.json", shop.parts[0]
    Checkpoint(path, part, shop.place).save(key)
    document = {**json.loads(path.read_text()), **changes}
    if changes:
        document.pop("digest")
        document["digest"] = sha256(json.dumps(document).encode()).hexdigest()
    return json.dumps(document)


def test_a_checkpoint_comes_back_and_only_its_owner_reads_it(expanded):
    path = expanded.folder / "c.json"
    path.write_text(kept(expanded))
    assert Checkpoint(path, expanded.parts[0], expanded.place).load() == (UUID(int=1),)
    assert (expanded.folder / "kept.json").stat().st_mode & 0o077 == 0
    assert Checkpoint(expanded.folder / "none", expanded.parts[0], expanded.place).load() is None


DAMAGED = {
    "empty": lambda _: "",
    "a list": lambda _: "[]",
    "a number": lambda _: "7",
    "no text": lambda _: "\udcff",
    "nested": lambda _: "[" * 100_000,
    "an older release's": lambda _: json.dumps(
        {"format": 1, "part": "customers", "after": [{"uuid": str(UUID(int=1))}]}
    ),
    "another part's": lambda shop: kept(shop, part="customers:numbers"),
    "another database's": lambda shop: kept(shop, place="0" * 64),
    "another dialect's": lambda shop: kept(shop, dialect="mariadb"),
    "a changed key": lambda shop: kept(shop).replace("-000000000001", "-000000000002"),
    "two keys": lambda shop: kept(shop, (UUID(int=1), UUID(int=2))),
    "no key": lambda shop: kept(shop, ()),
    "a number for a key": lambda shop: kept(shop, (1,)),
    "a text for a key": lambda shop: kept(shop, ("x",)),
    "a fraction": lambda shop: kept(shop, after=[1.5]),
    "a UUID of a number": lambda shop: kept(shop, after=[{"uuid": 5}]),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_checkpoint_of_something_else_is_refused_and_no_row_is_touched(
    expanded, store, executor, case
):
    fill(expanded, 3)
    path = expanded.folder / "c.json"
    path.write_bytes(DAMAGED[case](expanded).encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="delete it"):
        run(
            expanded,
            store,
            executor,
            checkpoint=Checkpoint(path, expanded.parts[0], expanded.place),
        )
    assert expanded.read("SELECT count(*) FROM customers WHERE sealed IS NULL") == [(3,)]


def test_a_truncated_checkpoint_is_refused_wherever_it_ends(expanded):
    path, whole = expanded.folder / "c.json", kept(expanded)
    for end in range(len(whole)):
        path.write_text(whole[:end])
        with pytest.raises(CheckpointError):
            Checkpoint(path, expanded.parts[0], expanded.place).load()


def test_a_checkpoint_that_cannot_be_read_or_written_is_told(expanded, store, executor):
    fill(expanded, 3)
    path = expanded.folder / "c.json"
    path.mkdir()
    checkpoint = Checkpoint(path, expanded.parts[0], expanded.place)
    for attempt in (checkpoint.load, lambda: checkpoint.save((UUID(int=1),)), checkpoint.clear):
        with pytest.raises(CheckpointError, match=r"c\.json"):
            attempt()
    (expanded.folder / "state").write_text("no folder")
    adoption = Adoption(store, "shop", expanded.folder / "state", SystemClock())
    crew = Crew(store, executor)
    for step in (lambda: run_backfill(adoption, crew, ()), lambda: run_verify(adoption, crew, ())):
        with pytest.raises(CheckpointError, match="writable"):
            step()
    assert expanded.read("SELECT count(*) FROM customers WHERE sealed IS NULL") == [(3,)]


def test_the_checkpoint_is_written_once_a_second(expanded):
    moments = iter([0.0, 0.0, 0.0, 0.9, 1.0, 1.0])
    path, key = expanded.folder / "c.json", UUID(int=1)
    checkpoint = Checkpoint(path, expanded.parts[0], expanded.place, lambda: next(moments))
    checkpoint.save((key,))
    checkpoint.save((UUID(int=2),))
    assert checkpoint.load() == (key,)
    checkpoint.save((UUID(int=3),))
    assert checkpoint.load() == (UUID(int=3),)


def test_without_the_trigger_nothing_is_sealed(shop, executor):
    store = Store(shop.engine, shop.keyring, shop.Base)
    with pytest.raises(NotExpandedError, match="column sealed"):
        run(shop, store, executor)
    shop.expand()
    shop.write("DROP TRIGGER zz_assay_customers_sealed")
    with pytest.raises(NotExpandedError, match="no trigger"):
        run(shop, store, executor)


def test_no_index_key_is_made_where_nothing_is_indexed(expanded, store):
    indexes = OwnerIndexes(store, expanded.parts[1], "north")
    assert indexes.values({"visits": None}) == [None]
    assert list(store.keyring.owners(DataKeyClass.INDEXES)) == []
    (value,) = indexes.values({"visits": 7})
    index = expanded.parts[1].model.indexes["visits"]["visits_index"]
    assert value == store.keys.indexes.value(index, "north", 7)
    assert list(store.keyring.owners(DataKeyClass.INDEXES)) == ["north"]


def test_no_keys_no_backfill(expanded, executor, monkeypatch):
    fill(expanded, 3)

    def fail(*_):
        raise KeyServiceError("the key service is away")

    monkeypatch.setattr(expanded.keyring, "current", fail)
    with pytest.raises(KeyServiceError):
        run(expanded, Store(expanded.engine, expanded.keyring, expanded.Base), executor)
    assert expanded.read("SELECT count(*) FROM customers WHERE sealed IS NULL") == [(3,)]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("sealed = (SELECT max(sealed) FROM customers)", "TamperedEnvelopeError"),
        ("sealed = x'00', email_index = x'00'", "TruncatedEnvelopeError"),
        ("email_index = x'01'", "email_index: wrong blind index"),
        ("email_index = NULL", "email_index: wrong blind index"),
        ("email = email || 'x'", "email differs"),
        ("notes = ''", "notes differs"),
    ],
)
def test_verification_finds_every_difference(expanded, store, executor, damage, reason):
    for number in range(9):
        expanded.old_insert(f"Person-{number}@x")
    run(expanded, store, executor)
    expanded.write("DROP TRIGGER zz_assay_customers_sealed")
    expanded.write(
        f"UPDATE customers SET {damage} WHERE id = (SELECT id FROM customers "  # noqa: S608 - of this test
        "WHERE sealed != (SELECT max(sealed) FROM customers) LIMIT 1)"
    )
    found = check(expanded, store, executor)
    assert (found.tally.done, found.tally.refused, found.passed) == (8, {reason: 1}, False)
    assert len(found.tally.examples) == 1


def test_an_empty_table_passes_and_an_unread_one_does_not(expanded, store, executor, monkeypatch):
    found = check(expanded, store, executor)
    assert (found.in_table, found.passed, found.could_not_tell) == (0, True, False)
    fill(expanded, 1)
    monkeypatch.setattr("assay.encryption.adoption.verify.spans", lambda *_, **__: [])
    found = check(expanded, store, executor)
    assert (found.in_table, found.passed, found.could_not_tell) == (1, False, True)


def test_the_rate_is_limited():
    slept = []
    now = itertools.count()  # each look at the clock takes a second

    def monotonic():
        return float(next(now)) * 0.001 + sum(slept)

    options = Options(rows_per_second=10, monotonic=monotonic, sleep=slept.append)
    with ThreadPoolExecutor(1) as executor:
        pieces = [(Span(None, (number,)), 5) for number in range(10)]
        tally = sweep(
            lambda _span: Tally(5, 5), pieces, Crew(None, executor, options), lambda *_: None
        )
    assert tally.done == 50
    assert sum(slept) == pytest.approx(4.5, abs=0.1)  # the last five are not waited for


def test_spans_are_told_of_in_order_and_an_error_ends_the_sweep():
    told = []

    def job(span):
        if span.until == (3,):
            raise KeyServiceError("gone")
        return Tally(1, 1)

    pieces = [(Span(None, (number,)), 1) for number in range(6)]
    with ThreadPoolExecutor(2) as executor, pytest.raises(KeyServiceError):
        sweep(job, pieces, Crew(None, executor), lambda span, _: told.append(span.until))
    assert told == [(0,), (1,), (2,)]


def test_work_runs_in_processes():
    with process_pool(1) as executor:
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize(
    ("hours", "found"),
    [(0, None), (23, None), (25, "one of 2026"), (-1, "one of 2026")],
)
def test_verification_gets_old(expanded, hours, found, executor, store):
    part, path = expanded.parts[0], expanded.folder / "v.json"
    record_verified(path, part, expanded.place, check(expanded, store, executor), NOW)
    moment = NOW + timedelta(hours=hours)
    if found is None:
        require_verified(path, part, expanded.place, moment, timedelta(hours=24))
        return
    with pytest.raises(NotVerifiedError, match=found):
        require_verified(path, part, expanded.place, moment, timedelta(hours=24))


def test_no_record_or_another_one_is_no_verification(expanded, executor, store):
    part, path, place = expanded.parts[0], expanded.folder / "v.json", expanded.place
    hour = timedelta(hours=1)
    with pytest.raises(NotVerifiedError, match="found none"):
        require_verified(path, part, place, NOW, hour)
    record_verified(path, part, place, check(expanded, store, executor), NOW)
    require_verified(path, part, place, NOW, hour)
    good = json.loads(path.read_text())
    for change, found in (
        ({"columns": ["email"]}, "other columns"),
        ({"part": "x"}, "other columns"),
        ({"format": 1}, "older release"),
        ({"format": 3}, "another release"),
        ({"at": 7}, "no record"),
        ({"at": "yesterday"}, "no record"),
        ({"place": "0" * 64}, "another database"),
        ({"dialect": "postgresql"}, "another database"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(NotVerifiedError, match=found):
            require_verified(path, part, place, NOW, hour)
    without = {name: value for name, value in good.items() if name != "place"}
    for content in (json.dumps(without), json.dumps(good)[:-9], "[]", ""):
        path.write_text(content)
        with pytest.raises(NotVerifiedError, match="no record"):
            require_verified(path, part, place, NOW, hour)
    path.unlink()
    path.mkdir()
    with pytest.raises(NotVerifiedError, match="cannot be read"):
        require_verified(path, part, place, NOW, hour)


def test_a_value_that_may_be_there_once_is_counted_where_it_is_there_twice(
    expanded, store, executor
):
    fill(expanded, 3)
    expanded.old_insert("PERSON-1@x", "south")
    expanded.write("CREATE UNIQUE INDEX once ON customers (email_index)")
    report = run(expanded, store, executor)
    assert (report.tally.done, report.left) == (3, 1)
    assert report.tally.refused == {"a value that must be unique is there already": 1}
