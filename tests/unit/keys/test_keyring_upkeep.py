"""Keys that are dropped, destroyed, counted, and kept through an outage."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay.core import (
    DataKeyClass,
    KeyUses,
    RecordedEvents,
    UnavailableError,
    WrappedDataKey,
)
from assay.database import DatabaseUnreachableError, SqlDataKeyTable, open_engine
from assay.keys import (
    DataKey,
    DestroyedDataKeyError,
    DestroyedOwnerError,
    Keyring,
    KeyServiceUnavailableError,
    MemoryDataKeyTable,
    MemoryKeyService,
    UnwrapError,
    tell_of_dropped_keys,
)
from assay.keys.data_key import UseMeter

ROWS, INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class AbsentService(MemoryKeyService):
    """A key service that can go away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked = 0
        self.slow = threading.Event()
        self.slow.set()

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self._ask()
        return super().unwrap(wrapped, context)

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        self._ask()
        return super().generate_data_key(context)

    def _ask(self) -> None:
        self.asked += 1
        self.slow.wait()
        if self.away:
            raise KeyServiceUnavailableError("expected an answer within the deadline, found none")


class AbsentTable(MemoryDataKeyTable):
    """A table that can go away."""

    away = False

    def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        if self.away:
            raise DatabaseUnreachableError("expected the database, found nobody there")
        return super().versions(owner, key_class)

    def generation(self) -> int:
        if self.away:
            raise DatabaseUnreachableError("expected the database, found nobody there")
        return super().generation()


class Derived:
    """Somebody who derived something."""

    def __init__(self) -> None:
        self.forgotten: list[DataKey] = []
        tell_of_dropped_keys(self)

    def forget_keys(self, keys: Collection[DataKey]) -> None:
        self.forgotten += keys


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def service() -> AbsentService:
    return AbsentService()


@pytest.fixture
def table() -> AbsentTable:
    return AbsentTable()


@pytest.fixture
def events() -> RecordedEvents:
    return RecordedEvents()


@pytest.fixture
def keyring(
    service: AbsentService, table: AbsentTable, seconds: Seconds, events: RecordedEvents
) -> Keyring:
    return Keyring(
        service,
        table,
        cache_ttl_seconds=300,
        outage_seconds=600,
        monotonic=seconds,
        events=events,
        watch_seconds=3600,  # the tests tend to it themselves
    )


def kinds(events: RecordedEvents) -> list[str]:
    return [event.kind for event in events.events]


def test_a_warm_owner_is_served_through_an_outage_and_not_longer(
    keyring: Keyring, service: AbsentService, seconds: Seconds, events: RecordedEvents
) -> None:
    key = keyring.current("a", ROWS)
    service.away, service.asked = True, 0
    seconds.now = 299.9
    assert keyring.current("a", ROWS) is key
    assert service.asked == 0
    for seconds.now in (300.0, 500.0, 899.9):
        assert keyring.current("a", ROWS) is key
        assert keyring.by_id("a", ROWS, key.key_id) is key
        assert keyring.existing("a", ROWS) is key
    assert kinds(events) == ["data-key.created", "key-service.away"]
    seconds.now = 900.0
    for ask in (keyring.current, keyring.existing):
        with pytest.raises(KeyServiceUnavailableError):
            ask("a", ROWS)
    with pytest.raises(KeyServiceUnavailableError):
        keyring.by_id("a", ROWS, key.key_id)
    service.away = False
    assert keyring.current("a", ROWS) == key
    assert kinds(events)[-2:] == ["data-key.unwrapped", "key-service.back"]


def test_without_a_declared_outage_there_is_no_key_after_its_time(
    service: AbsentService, seconds: Seconds
) -> None:
    keyring = Keyring(service, MemoryDataKeyTable(), cache_ttl_seconds=300, monotonic=seconds)
    keyring.current("a", ROWS)
    service.away = True
    seconds.now = 300.0
    with pytest.raises(KeyServiceUnavailableError):
        keyring.current("a", ROWS)


def test_an_owner_whose_key_is_not_kept_gets_an_error_in_an_outage(
    keyring: Keyring, service: AbsentService, table: AbsentTable
) -> None:
    keyring.current("a", ROWS)
    service.away = True
    for owner, key_class in (("b", ROWS), ("a", INDEXES)):
        with pytest.raises(KeyServiceUnavailableError):
            keyring.current(owner, key_class)
    assert len(list(table.each())) == 1


def test_an_absent_service_is_asked_once_in_a_while(
    keyring: Keyring, service: AbsentService, seconds: Seconds
) -> None:
    keys = [keyring.current(f"tenant-{number}", ROWS) for number in range(20)]
    service.away, service.asked = True, 0
    seconds.now = 400.0
    for _ in range(3):
        assert [keyring.current(key.owner, ROWS) for key in keys] == keys
        assert service.asked == 1
        seconds.now += 1
    seconds.now = 405.0
    assert [keyring.current(key.owner, ROWS) for key in keys] == keys
    assert service.asked == 2


def test_who_asks_an_absent_service_lets_nobody_wait(
    keyring: Keyring, service: AbsentService, seconds: Seconds
) -> None:
    key, other = keyring.current("a", ROWS), keyring.current("b", ROWS)
    service.away = True
    seconds.now = 400.0
    keyring.current("a", ROWS)
    seconds.now = 500.0
    service.slow.clear()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keyring.current, "a", ROWS)
        while keyring._flights.under_way == {}:
            time.sleep(0.001)
        assert keyring.current("b", ROWS) is other
        assert keyring.current("a", ROWS) is key
        assert not asking.done()
        service.slow.set()
        assert asking.result() is key


def test_the_table_may_be_away_too(keyring: Keyring, table: AbsentTable, seconds: Seconds) -> None:
    key = keyring.current("a", INDEXES)
    assert keyring.versions("a", INDEXES) == (key,)
    table.away = True
    seconds.now = 899.0
    assert keyring.current("a", INDEXES) is key
    assert keyring.versions("a", INDEXES) == (key,)
    seconds.now = 900.0
    with pytest.raises(UnavailableError):
        keyring.versions("a", INDEXES)


def test_a_version_that_cannot_be_opened_is_not_left_out_of_a_search(
    keyring: Keyring, service: AbsentService, table: AbsentTable, seconds: Seconds
) -> None:
    """Leaving it out would find fewer rows than there are, and nobody would know."""
    keyring.current("a", INDEXES)
    assert len(keyring.versions("a", INDEXES)) == 1
    Keyring(service, table).rotate("a", INDEXES)
    service.away = True
    seconds.now = 400.0
    with pytest.raises(KeyServiceUnavailableError):
        keyring.versions("a", INDEXES)


def test_what_is_refused_is_no_outage_and_ends_one(
    keyring: Keyring, service: AbsentService, seconds: Seconds, events: RecordedEvents
) -> None:
    keyring.current("a", ROWS)
    service.away = True
    seconds.now = 300.0
    keyring.current("a", ROWS)
    keyring._source._service = MemoryKeyService()  # another KEK
    seconds.now = 310.0
    with pytest.raises(UnwrapError):
        keyring.current("a", ROWS)
    assert kinds(events)[-2:] == ["key-service.away", "key-service.back"]


def test_what_is_over_is_dropped_though_nobody_asks(keyring: Keyring, seconds: Seconds) -> None:
    derived = Derived()
    key = keyring.current("a", ROWS)
    keyring.versions("a", ROWS)
    seconds.now = 899.9
    keyring.tend()
    assert derived.forgotten == []
    seconds.now = 900.0
    assert not keyring.tend()
    assert derived.forgotten == [key]
    assert keyring._kept.is_empty


def test_a_key_that_stands_in_another_place_is_not_dropped(
    keyring: Keyring, seconds: Seconds
) -> None:
    derived = Derived()
    key = keyring.current("a", ROWS)
    with keyring._lock:
        keyring._kept.current.drop(lambda _, __: True)
    keyring.tend()
    assert keyring.by_id("a", ROWS, key.key_id) is key
    assert derived.forgotten == []


def test_a_key_that_was_unwrapped_again_takes_the_place_of_the_older_object(
    service: AbsentService, seconds: Seconds
) -> None:
    derived = Derived()
    keyring = Keyring(service, MemoryDataKeyTable(), monotonic=seconds, watch_seconds=3600)
    old = keyring.current("a", ROWS)
    seconds.now = 300.0
    new = keyring.current("a", ROWS)
    assert new == old
    assert new is not old
    keyring.tend()
    assert [one is old for one in derived.forgotten] == [True]
    assert keyring.current("a", ROWS) is new


def test_the_material_of_a_dropped_key_is_held_by_nobody(
    keyring: Keyring, seconds: Seconds
) -> None:
    def held() -> list[DataKey]:
        gc.collect()
        return [one for one in gc.get_objects() if isinstance(one, DataKey) and one.owner == "z"]

    keyring.current("z", ROWS)
    keyring.versions("z", ROWS)
    assert len(held()) == 1
    seconds.now = 900.0
    keyring.tend()
    assert held() == []


def test_forgetting_an_owner_drops_all_keys_of_that_owner(keyring: Keyring) -> None:
    derived = Derived()
    keys = {keyring.current("a", ROWS), keyring.current("a", INDEXES)}
    other = keyring.current("b", ROWS)
    keyring.versions("a", INDEXES)
    keyring.forget("a")
    assert set(derived.forgotten) == keys
    assert keyring.current("b", ROWS) is other
    assert keyring.current("a", ROWS) in keys


def test_closing_drops_everything_and_stores_what_was_counted(
    keyring: Keyring, table: AbsentTable
) -> None:
    derived = Derived()
    key = keyring.current("a", ROWS)
    key.uses.count(messages=3)
    keyring.close()
    assert derived.forgotten == [key]
    assert table.uses() == {key.key_id: KeyUses(3, 1)}
    assert keyring.current("a", ROWS) == key


def test_a_closed_keyring_asks_nothing_of_its_table(
    keyring: Keyring, table: AbsentTable, events: RecordedEvents
) -> None:
    keyring.current("a", ROWS).uses.count()
    keyring.close()
    table.away = True
    assert not keyring.tend()
    assert "data-keys.not-tended" not in kinds(events)


def test_closing_waits_for_upkeep_that_is_under_way(keyring: Keyring, table: AbsentTable) -> None:
    keyring.current("a", ROWS)
    inside, go_on, ask = threading.Event(), threading.Event(), table.generation

    def slow() -> int:
        inside.set()
        go_on.wait()
        return ask()

    table.generation = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        tending = pool.submit(keyring.tend)
        inside.wait()
        closing = pool.submit(keyring.close)
        time.sleep(0.05)
        assert not closing.done()
        go_on.set()
        closing.result()
        assert tending.done()


def test_a_key_that_another_process_destroyed_is_dropped(
    keyring: Keyring, table: AbsentTable, seconds: Seconds
) -> None:
    derived = Derived()
    key, other = keyring.current("a", ROWS), keyring.current("b", ROWS)
    keyring.tend()
    table.destroy("a", MOMENT)
    keyring.tend()
    assert derived.forgotten == [key]
    with pytest.raises(DestroyedDataKeyError, match="destroyed"):
        keyring.by_id("a", ROWS, key.key_id)
    with pytest.raises(DestroyedOwnerError):
        keyring.current("a", ROWS)
    assert keyring.existing("a", ROWS) is None
    assert keyring.current("b", ROWS) is other


def test_a_destruction_that_is_seen_late_is_seen(
    keyring: Keyring, table: AbsentTable, seconds: Seconds
) -> None:
    """Of two at the same moment, the one with the smaller number may be the later to commit."""
    key = keyring.current("a", ROWS)
    keyring.current("b", ROWS)
    table.destroy("b", MOMENT)
    keyring.tend()
    number = table.generation()
    table.destroy("a", MOMENT)
    table.generation = lambda: number  # type: ignore[method-assign]
    seconds.now = 30.0
    keyring.tend()
    with pytest.raises(DestroyedDataKeyError):
        keyring.by_id("a", ROWS, key.key_id)


def test_a_destruction_before_the_first_look_is_seen(
    keyring: Keyring, service: AbsentService, table: AbsentTable
) -> None:
    key = Keyring(service, table).current("a", ROWS)
    read = table.versions

    def destroyed_after_it_was_read(
        owner: str, key_class: DataKeyClass
    ) -> Sequence[WrappedDataKey]:
        rows = read(owner, key_class)
        table.destroy(owner, MOMENT)
        return rows

    table.versions = destroyed_after_it_was_read  # type: ignore[method-assign]
    assert keyring.by_id("a", ROWS, key.key_id) == key
    table.versions = read  # type: ignore[method-assign]
    keyring.tend()
    with pytest.raises(DestroyedDataKeyError):
        keyring.by_id("a", ROWS, key.key_id)


def test_a_table_that_is_away_is_asked_again(
    keyring: Keyring, table: AbsentTable, events: RecordedEvents
) -> None:
    key = keyring.current("a", ROWS)
    key.uses.count()
    table.away = True
    assert keyring.tend()
    assert kinds(events)[-1] == "data-keys.not-tended"
    assert events.events[-1].details == {"error": "DatabaseUnreachableError"}
    table.destroy("a", MOMENT)
    table.away = False
    keyring.tend()
    assert table.uses() == {key.key_id: KeyUses(1, 1)}
    with pytest.raises(DestroyedDataKeyError):
        keyring.by_id("a", ROWS, key.key_id)


def test_uses_that_could_not_be_stored_are_stored_later(
    keyring: Keyring, table: AbsentTable
) -> None:
    key = keyring.current("a", ROWS)
    key.uses.count(messages=2)
    store = table.add_uses

    def refuse(uses: Mapping[bytes, KeyUses]) -> None:
        raise DatabaseUnreachableError("expected the database, found nobody there")

    table.add_uses = refuse  # type: ignore[method-assign]
    keyring.tend()
    key.uses.count(messages=3)
    table.add_uses = store  # type: ignore[method-assign]
    keyring.tend()
    keyring.tend()
    assert table.uses() == {key.key_id: KeyUses(5, 2)}


def test_two_who_store_uses_at_the_same_time_count_each_once(service: AbsentService) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class SlowTable(MemoryDataKeyTable):
        def add_uses(self, uses: Mapping[bytes, KeyUses]) -> None:
            begun.set()
            assert go_on.wait(20)
            super().add_uses(uses)

    table = SlowTable()
    keyring = Keyring(service, table)
    used = keyring.current("a", ROWS)
    keyring.current("b", ROWS)
    used.uses.count()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(keyring.close)
        assert begun.wait(20)
        second = pool.submit(keyring.close)
        wait([second], timeout=0.2)  # it has to wait, and ends here when it does not
        go_on.set()
        assert (first.result(), second.result()) == (None, None)
    assert table.uses() == {used.key_id: KeyUses(1, 1)}


def test_uses_are_counted_over_the_life_of_several_objects(
    keyring: Keyring, table: AbsentTable, seconds: Seconds
) -> None:
    for seconds.now in (0.0, 1000.0, 2000.0):
        keyring.current("a", ROWS).uses.count()
        keyring.tend()
    (uses,) = table.uses().values()
    assert uses == KeyUses(3, 3)


def test_a_run_of_nonces_is_counted_by_what_it_has_left() -> None:
    meter, numbers, others = UseMeter(), iter(range(10)), iter(range(3))
    meter.begin_run(numbers)
    meter.begin_run(others)
    assert meter.take() == KeyUses(0, 2)
    for _ in range(4):
        next(numbers)
    list(others)
    assert meter.take() == KeyUses(7, 0)
    assert meter.take() == KeyUses(0, 0)
    list(numbers)
    assert meter.take() == KeyUses(6, 0)
    assert not meter._runs


def until(happened: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_one_thread_tends_to_keyrings_and_ends_when_nothing_is_kept(
    service: AbsentService,
) -> None:
    def upkeep() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name == "assay-key-upkeep"]

    keyrings = [
        Keyring(service, MemoryDataKeyTable(), cache_ttl_seconds=0.05, watch_seconds=0.01)
        for _ in range(3)
    ]
    derived = Derived()
    for keyring in keyrings:
        keyring.current("a", ROWS)
    assert len(upkeep()) == 1
    assert until(lambda: len(derived.forgotten) == 3)
    del keyrings, keyring
    gc.collect()
    again = Keyring(service, MemoryDataKeyTable(), cache_ttl_seconds=0.05, watch_seconds=0.01)
    again.current("a", ROWS)
    assert until(lambda: len(derived.forgotten) == 4)


def test_a_keyring_that_nobody_holds_is_not_held_by_its_upkeep(service: AbsentService) -> None:
    keyring = Keyring(service, MemoryDataKeyTable(), watch_seconds=0.01)
    keyring.current("a", ROWS)
    gone = weakref.ref(keyring)
    del keyring
    gc.collect()
    assert until(lambda: gone() is None)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_upkeep_of_its_own(service: AbsentService) -> None:
    table = MemoryDataKeyTable()
    keyring = Keyring(service, table, cache_ttl_seconds=60, watch_seconds=0.01)
    key = keyring.current("a", ROWS)
    key.uses.count(messages=7)
    child = os.fork()
    if child == 0:
        derived = Derived()
        same = keyring.current("a", ROWS) is key
        table.destroy("a", MOMENT)
        noticed = until(lambda: derived.forgotten == [key], 15)
        counted = table.uses() in ({}, {key.key_id: KeyUses(7, 1)})
        os._exit(0 if same and noticed and counted else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_database_that_was_let_go_of_is_left_alone(
    service: AbsentService, tmp_path: Path
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    table = SqlDataKeyTable(engine)
    keyring = Keyring(service, table, watch_seconds=3600)
    key = keyring.current("a", ROWS)
    key.uses.count()
    engine.dispose()
    assert keyring.tend()
    assert keyring.kept_keys == 0, "nobody can tell whether it was destroyed"
    assert engine.pool.checkedin() == engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    keyring.existing("b", ROWS)
    keyring.tend()
    assert table.uses() == {key.key_id: KeyUses(1, 1)}
    engine.dispose()
