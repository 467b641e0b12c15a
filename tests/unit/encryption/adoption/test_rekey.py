"""Rows move to new keys by themselves; nothing that is written meanwhile is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from assay.core import DataKeyClass, SystemClock
from assay.database import SqlDataKeyTable
from assay.encryption.adoption import Adoption, Crew, Options, Store, run_rekey, settled_at
from assay.encryption.adoption import rekey as module
from assay.encryption.adoption.ranges import Checkpoint, Span
from assay.encryption.adoption.rekey import rekey, rekey_span, rotate_keys
from assay.encryption.adoption.verify import verify
from assay.encryption.sqlalchemy import bind
from assay.keys import Keyring

ROWS, INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def fresh(shop, settling_seconds=0):
    """A process that starts now, with nothing cached."""
    table = SqlDataKeyTable(shop.keys)
    shop.keyring = Keyring(shop.keyring._source._service, table, settling_seconds=settling_seconds)
    bind(shop.sessions, shop.keyring)
    return Store(shop.engine, shop.keyring, shop.Base)


def fill(shop, rows=20):
    with shop.sessions.begin() as session:
        for number in range(rows):
            tenant = ("north", "south")[number % 2]
            session.add(shop.Customer(tenant=tenant, email=f"Person-{number}@x", visits=number))


def run(shop, store, executor, part=0):
    each = shop.parts[part]
    crew = Crew(store, executor, Options(batch_rows=7))
    return rekey(store, each, crew, Checkpoint(shop.folder / "r.json", each, shop.place))


def key_ids(shop):
    return {row[0][2:18] for row in shop.read("SELECT sealed FROM customers")}


def index_versions(shop):
    return {row[0][1:3] for row in shop.read("SELECT email_index FROM customers")}


def check(shop, store, executor):
    return all(verify(store, part, Crew(store, executor)).passed for part in shop.parts)


def test_rows_move_to_the_new_data_key(expanded, executor):
    fill(expanded)
    assert rotate_keys(expanded.keyring, ROWS, ()) == 2
    store = fresh(expanded)
    before, wanted = (
        key_ids(expanded),
        {store.keyring.current(o, ROWS).key_id for o in ("north", "south")},
    )
    report = run(expanded, store, executor)
    assert (report.tally.done, report.left, report.tally.refused) == (20, 0, {})
    assert key_ids(expanded) == wanted
    assert not before & wanted
    assert check(expanded, store, executor)
    assert run(expanded, store, executor).tally.done == 0


def test_indexes_move_once_their_new_key_has_settled(expanded, executor):
    fill(expanded)
    rotate_keys(expanded.keyring, INDEXES, ())
    waiting = fresh(expanded, settling_seconds=3600)
    assert settled_at(waiting.keyring) is not None
    assert run(expanded, waiting, executor).tally.done == 0
    store = fresh(expanded)
    assert settled_at(store.keyring) is None
    assert run(expanded, store, executor).tally.done == 20
    assert index_versions(expanded) == {b"\0\2"}
    assert check(expanded, store, executor)
    model = expanded.Customer
    with expanded.sessions() as session:
        assert session.scalars(select(model).where(model.email == "person-3@X")).one().visits == 3


def test_a_row_that_is_written_meanwhile_keeps_what_was_written(expanded, monkeypatch):
    fill(expanded, 1)
    rotate_keys(expanded.keyring, ROWS, ())
    store = fresh(expanded)
    write = module._write

    def after_another_writer(engine, part, rows):
        with expanded.sessions.begin() as session:
            session.scalars(select(expanded.Customer)).one().email = "new@x"
        return write(engine, part, rows)

    monkeypatch.setattr(module, "_write", after_another_writer)
    part = expanded.parts[0]
    (key,) = expanded.read("SELECT id FROM customers")
    del key
    with expanded.sessions() as session:
        last = (session.scalars(select(expanded.Customer)).one().id,)
    tally = rekey_span(store, part, Span(None, last))
    assert (tally.rows, tally.done, tally.passed_over) == (1, 0, 1)
    with expanded.sessions() as session:
        assert session.scalars(select(expanded.Customer)).one().email == "new@x"


def test_rows_without_an_envelope_are_left_to_the_backfill(expanded, executor):
    fill(expanded, 2)
    expanded.old_insert("old@x")
    rotate_keys(expanded.keyring, ROWS, ())
    store = fresh(expanded)
    assert run(expanded, store, executor).tally.done == 2
    assert expanded.read("SELECT count(*) FROM customers WHERE sealed IS NULL") == [(1,)]


def test_a_row_that_does_not_open_is_counted_and_left(expanded, executor):
    fill(expanded, 4)
    expanded.write("UPDATE customers SET sealed = x'01' WHERE email = 'Person-0@x'")
    rotate_keys(expanded.keyring, ROWS, ())
    report = run(expanded, fresh(expanded), executor)
    assert report.tally.done == 3
    assert sum(report.tally.refused.values()) == 1
    assert expanded.read("SELECT sealed FROM customers WHERE email = 'Person-0@x'") == [(b"\1",)]


def test_all_parts_move_and_an_older_checkpoint_hides_nothing(expanded, executor):
    fill(expanded)
    store = fresh(expanded)
    adoption = Adoption(store, "shop", expanded.folder / "state", SystemClock())
    stale = adoption.checkpoint(expanded.parts[0], "rekey")
    with expanded.sessions() as session:
        last = max(session.scalars(select(expanded.Customer.id)))
    stale.save((last,))  # of a run that was killed, before the keys were rotated again
    first, second = run_rekey(adoption, Crew(store, executor), (), [ROWS])
    assert (first.tally.done, second.tally.done) == (20, 20)
    assert check(expanded, store, executor)
