"""Two connections at once: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, connections, transaction

from assay.encryption.django import StaleEnvelopeError, move_to_owner


def customers():
    from tests.sealed_shop.models import Customer

    return Customer.objects


@pytest.fixture
def row(keyring):
    return customers().create(tenant_id="north", email="ada@example.com", age=1, notes="first")


def at_once(*acts: Callable[[Callable[[], None]], object]) -> list[object]:
    """Run each in a connection of its own; its result, or its error.

    Each is given a function to call where all of them must have come to before any goes on.
    """
    barrier = threading.Barrier(len(acts), timeout=30)

    def run(act):
        try:
            return act(barrier.wait)
        except Exception as exc:  # noqa: BLE001 - whichever it is, the test looks at it
            return exc
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def kinds(results):
    return sorted(type(each).__name__ for each in results)


def await_a_waiting_statement():
    """Until another connection waits for a lock of this one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("expected another connection to wait, found none")


def test_equal_values_of_two_open_transactions(keyring):
    def first(wait):
        with transaction.atomic():
            made = customers().create(tenant_id="north", email="ada@example.com")
            wait()
            await_a_waiting_statement()
        return made.email

    def second(wait):
        wait()
        with transaction.atomic():
            return customers().create(tenant_id="north", email="ADA@example.com").email

    results = at_once(first, second)
    assert results[0] == "ada@example.com"
    assert isinstance(results[1], IntegrityError)
    assert customers().filter(email="ada@example.com").count() == 1


def test_equal_values_of_changed_rows(keyring):
    rows = [customers().create(tenant_id="north", email=f"{n}@example.com") for n in range(2)]

    def change(row):
        def act(wait):
            wait()
            row.email = "ada@example.com"
            row.save()

        return act

    assert kinds(at_once(*map(change, rows))) == ["IntegrityError", "NoneType"]
    assert customers().filter(email="ada@example.com").count() == 1
    assert len({each.email for each in customers().all()}) == 2


def test_two_changes_of_different_fields_of_one_group(row):
    """The second waits for the first one's lock, and then finds another envelope."""

    def first(wait):
        with transaction.atomic():
            mine = customers().get(pk=row.pk)
            mine.age = 2
            mine.save()
            wait()
            await_a_waiting_statement()

    def second(wait):
        mine = customers().get(pk=row.pk)
        wait()
        mine.email = "bob@example.com"
        mine.save()

    results = at_once(first, second)
    assert results[0] is None
    assert isinstance(results[1], StaleEnvelopeError)
    read = customers().get()
    assert (read.age, read.email) == (2, "ada@example.com")
    assert customers().filter(email="bob@example.com").count() == 0


def test_changes_of_different_groups_do_not_meet(row):
    def change(name, value):
        def act(wait):
            mine = customers().get(pk=row.pk)
            wait()
            setattr(mine, name, value)
            mine.save(update_fields=[name])

        return act

    results = at_once(change("age", 2), change("notes", "second"), change("label", "x"))
    assert results == [None] * 3
    read = customers().get()
    assert (read.age, read.notes, read.label) == (2, "second", "x")


def test_a_move_and_a_change(row):
    def move(wait):
        with transaction.atomic():
            mine = customers().get(pk=row.pk)
            move_to_owner(mine, "south")
            mine.save()
            wait()
            await_a_waiting_statement()

    def change(wait):
        mine = customers().get(pk=row.pk)
        wait()
        mine.label = "x"
        mine.save()

    results = at_once(move, change)
    assert results[0] is None
    assert isinstance(results[1], StaleEnvelopeError)
    read = customers().get(tenant_id="south", email="ada@example.com")
    assert (read.label, read.notes) == ("", "first")


def test_rows_that_are_locked_first_lose_nothing(row):
    """What `update_or_create` does as well."""

    def count(wait):
        wait()
        for _ in range(10):
            with transaction.atomic():
                mine = customers().select_for_update().get(email="ada@example.com")
                mine.age += 1
                mine.save()

    def note(wait):
        wait()
        for number in range(10):
            customers().update_or_create(
                tenant_id="north", email="ada@example.com", defaults={"extra": {"n": number}}
            )

    assert at_once(count, count, note) == [None] * 3
    read = customers().get()
    assert (read.age, read.extra, read.notes) == (21, {"n": 9}, "first")


def test_changes_that_are_tried_again_lose_nothing(row):
    def count(wait):
        wait()
        stale = 0
        while True:
            mine = customers().get(pk=row.pk)
            mine.age += 1
            try:
                mine.save()
            except StaleEnvelopeError:
                stale += 1
                continue
            return stale

    results = at_once(*[count] * 4)
    assert all(type(each) is int for each in results)
    assert customers().get().age == 5


def test_one_row_is_made(keyring):
    def make(wait):
        wait()
        row, made = customers().get_or_create(
            tenant_id="north", email="ada@example.com", defaults={"age": 5}
        )
        return row.pk, made

    results = at_once(*[make] * 4)
    assert len({pk for pk, _ in results}) == 1
    assert [made for _, made in results].count(True) == 1
    assert customers().get().age == 5
