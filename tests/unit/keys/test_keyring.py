from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from assay.core import DataKeyClass, RecordedEvents, SteppedClock, WrappedDataKey
from assay.keys import (
    DataKey,
    KeyCommitmentError,
    Keyring,
    KeysError,
    KeyServiceError,
    MemoryDataKeyTable,
    MemoryKeyService,
    UnknownDataKeyError,
    UnwrapError,
    data_key_id,
)

ROWS, INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowService(MemoryKeyService):
    """Gives other threads time to arrive while a call is under way."""

    seconds = 0.05

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        time.sleep(self.seconds)
        return super().unwrap(wrapped, context)


class DownService(MemoryKeyService):
    """A key service that does not answer."""

    def __init__(self) -> None:
        super().__init__(bytes(32))
        self.asked = 0

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        with self._lock:
            self.asked += 1
        time.sleep(0.5)
        raise KeyServiceError("expected an answer, found none")


def add_version(
    service: MemoryKeyService, table: MemoryDataKeyTable, owner: str, version: int
) -> bytes:
    """What a rotation will do: one more version of an owner's row key."""
    context = {"owner": owner, "class": "rows", "version": str(version)}
    material, wrapped = service.generate_data_key(context)
    key_id = data_key_id(material)
    assert table.add(WrappedDataKey(owner, ROWS, version, key_id, service.uri, wrapped, MOMENT))
    return key_id


def in_threads(count: int, call: Callable[[int], object]) -> list[object]:
    barrier = threading.Barrier(count)

    def one(number: int) -> object:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_the_first_key_is_made_once_and_found_again() -> None:
    service, table, events = MemoryKeyService(), MemoryDataKeyTable(), RecordedEvents()
    keyring = Keyring(service, table, clock=SteppedClock(MOMENT), events=events)
    key = keyring.current("tenant-1", ROWS)
    assert (key.owner, key.key_class, key.version) == ("tenant-1", ROWS, 1)
    assert key.key_id == data_key_id(key.material)
    assert keyring.current("tenant-1", ROWS) is key
    assert keyring.by_id("tenant-1", ROWS, key.key_id) is key
    assert (service.generated, service.unwrapped) == (1, 0)
    (row,) = table.versions("tenant-1", ROWS)
    assert (row.kek, row.created_at, row.key_id) == (service.uri, MOMENT, key.key_id)
    other = Keyring(service, table)
    assert other.by_id("tenant-1", ROWS, key.key_id).material == key.material
    (event,) = events.events
    assert event.kind == "data-key.created"
    assert event.details == {"class": "rows", "version": "1", "key_id": key.key_id.hex()}


def test_owners_and_classes_have_keys_of_their_own() -> None:
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    found = {
        keyring.current(owner, key_class).material
        for owner in ("a", "b")
        for key_class in DataKeyClass
    }
    assert len(found) == 2 * len(DataKeyClass)
    assert keyring.owners(ROWS) == ["a", "b"]
    row_key = keyring.current("a", ROWS)
    for owner, key_class in (("b", ROWS), ("a", INDEXES)):
        with pytest.raises(UnknownDataKeyError, match="none for this owner"):
            keyring.by_id(owner, key_class, row_key.key_id)


def test_the_newest_version_is_current_and_the_older_ones_are_found_by_id() -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    first = Keyring(service, table).current("a", ROWS)
    tenth = add_version(service, table, "a", 10)
    second = add_version(service, table, "a", 2)
    keyring = Keyring(service, table)
    assert keyring.current("a", ROWS).key_id == tenth
    assert keyring.by_id("a", ROWS, second).version == 2
    assert keyring.by_id("a", ROWS, first.key_id).material == first.material


def test_an_older_version_that_was_read_by_id_does_not_become_current() -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    first = Keyring(service, table).current("a", ROWS)
    second = add_version(service, table, "a", 2)
    keyring = Keyring(service, table)
    assert keyring.by_id("a", ROWS, first.key_id).version == 1
    assert keyring.current("a", ROWS).key_id == second


def test_the_newest_version_that_was_read_by_id_is_current_without_another_call() -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    key = Keyring(service, table).current("a", ROWS)
    keyring = Keyring(service, table)
    keyring.by_id("a", ROWS, key.key_id)
    assert keyring.current("a", ROWS) == key
    assert service.unwrapped == 1


def test_existing_never_makes_a_key() -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    keyring = Keyring(service, table)
    assert keyring.existing("a", ROWS) is None
    assert service.generated == 0
    assert keyring.owners(ROWS) == []
    key = keyring.current("a", ROWS)
    assert keyring.existing("a", ROWS) is key
    assert Keyring(service, table).existing("a", ROWS) == key


def test_after_its_time_a_key_is_unwrapped_again() -> None:
    service, table, seconds = MemoryKeyService(), MemoryDataKeyTable(), Seconds()
    keyring = Keyring(service, table, cache_ttl_seconds=10, monotonic=seconds)
    key = keyring.current("a", ROWS)
    seconds.now = 9.9
    keyring.by_id("a", ROWS, key.key_id)
    keyring.current("a", ROWS)
    assert service.unwrapped == 0
    seconds.now = 10.0
    add_version(service, table, "a", 2)
    assert keyring.current("a", ROWS).version == 2
    assert keyring.by_id("a", ROWS, key.key_id).version == 1
    assert service.unwrapped == 2


def test_the_cache_is_bounded() -> None:
    service = MemoryKeyService()
    keyring = Keyring(service, MemoryDataKeyTable(), cache_entries=3)
    for number in range(10):
        keyring.current(f"tenant-{number}", ROWS)
    assert len(keyring._current.entries) == len(keyring._by_id.entries) == 3
    keyring.current("tenant-0", ROWS)
    assert service.unwrapped == 1


@pytest.mark.parametrize("ttl_seconds", [300, 0], ids=["cached", "nothing is cached"])
def test_a_hundred_cold_readers_make_one_call(ttl_seconds: int) -> None:
    service, table = SlowService(), MemoryDataKeyTable()
    service.seconds = 0.5
    key = Keyring(service, table).current("a", ROWS)
    keyring = Keyring(service, table, cache_ttl_seconds=ttl_seconds)
    found = in_threads(100, lambda _: keyring.current("a", ROWS))
    assert {item.material for item in found if isinstance(item, DataKey)} == {key.material}
    assert service.unwrapped == 1


def test_cold_readers_by_id_and_of_the_newest_version_share_one_call() -> None:
    service, table = SlowService(), MemoryDataKeyTable()
    key = Keyring(service, table).current("a", ROWS)
    keyring = Keyring(service, table)

    def read(number: int) -> DataKey:
        if number % 2:
            return keyring.current("a", ROWS)
        return keyring.by_id("a", ROWS, key.key_id)

    assert set(in_threads(40, read)) == {key}
    assert service.unwrapped == 1


def test_a_hundred_first_writers_make_one_key() -> None:
    service, table = SlowService(), MemoryDataKeyTable()
    keyring = Keyring(service, table)
    assert len(set(in_threads(100, lambda _: keyring.current("a", ROWS)))) == 1
    assert service.generated == 1


def test_a_key_service_in_trouble_is_asked_once_by_all_who_wait() -> None:
    table = MemoryDataKeyTable()
    Keyring(MemoryKeyService(bytes(32)), table).current("a", ROWS)
    service = DownService()
    keyring = Keyring(service, table)

    def read(_: int) -> type[BaseException]:
        with pytest.raises(KeyServiceError) as caught:
            keyring.current("a", ROWS)
        return caught.type

    assert set(in_threads(50, read)) == {KeyServiceError}
    assert service.asked == 1
    with pytest.raises(KeyServiceError):
        keyring.current("a", ROWS)
    assert service.asked == 2


def test_who_waits_for_another_key_does_not_get_its_error() -> None:
    service, table = SlowService(), MemoryDataKeyTable()
    key = Keyring(service, table).current("a", ROWS)
    keyring = Keyring(service, table)

    def read(number: int) -> object:
        if number % 2:
            return keyring.by_id("a", ROWS, key.key_id)
        try:
            return keyring.by_id("a", ROWS, bytes(16))
        except UnknownDataKeyError:
            return None

    assert set(in_threads(20, read)) == {key, None}


def test_two_keyrings_that_race_for_the_first_key_agree() -> None:
    class LateTable(MemoryDataKeyTable):
        """Shows the winner's key only once it was added."""

        def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
            found = super().versions(owner, key_class)
            time.sleep(0.02)
            return found

    service, table = MemoryKeyService(), LateTable()
    keyrings = [Keyring(service, table) for _ in range(8)]
    found = in_threads(8, lambda number: keyrings[number].current("a", ROWS))
    assert len(set(found)) == 1
    assert service.generated > 1, "nobody raced: the test proves nothing"


def test_a_table_that_contradicts_itself_is_refused() -> None:
    class FullAndEmpty(MemoryDataKeyTable):
        def add(self, key: WrappedDataKey) -> bool:
            return False

    with pytest.raises(KeysError, match="shows nobody in it"):
        Keyring(MemoryKeyService(), FullAndEmpty()).current("a", ROWS)


def test_a_service_that_gives_a_short_key_is_refused() -> None:
    class ShortService(MemoryKeyService):
        def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
            return bytes(16), bytes(61)

    table = MemoryDataKeyTable()
    with pytest.raises(KeysError, match="32 bytes"):
        Keyring(ShortService(), table).current("a", ROWS)
    assert table.versions("a", ROWS) == []


def swapped(table: MemoryDataKeyTable, **changes: object) -> MemoryDataKeyTable:
    """The same table with its one key altered."""
    (row,) = table.versions("a", ROWS)
    other = MemoryDataKeyTable()
    other.add(replace(row, **changes))
    return other


def test_a_key_that_its_id_does_not_commit_to_is_refused() -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    Keyring(service, table).current("a", ROWS)
    altered = swapped(table, key_id=bytes(16))
    with pytest.raises(KeyCommitmentError, match="commits to"):
        Keyring(service, altered).current("a", ROWS)
    with pytest.raises(KeyCommitmentError, match="commits to"):
        Keyring(service, altered).by_id("a", ROWS, bytes(16))


@pytest.mark.parametrize(
    "changes",
    [{"owner": "b"}, {"key_class": INDEXES}, {"version": 2}],
    ids=["owner", "class", "version"],
)
def test_a_key_that_was_moved_does_not_open(changes: dict[str, object]) -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    Keyring(service, table).current("a", ROWS)
    keyring = Keyring(service, swapped(table, **changes))
    owner = "b" if "owner" in changes else "a"
    with pytest.raises(UnwrapError):
        keyring.current(owner, INDEXES if "key_class" in changes else ROWS)


def test_another_kek_is_named() -> None:
    table = MemoryDataKeyTable()
    Keyring(MemoryKeyService(name="one"), table).current("a", ROWS)
    with pytest.raises(
        UnwrapError, match="by memory:two, found one that was wrapped by memory:one"
    ):
        Keyring(MemoryKeyService(name="two"), table).current("a", ROWS)


def test_a_failed_load_leaves_nothing_behind() -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    keyring = Keyring(service, table)
    with pytest.raises(UnknownDataKeyError):
        keyring.by_id("a", ROWS, bytes(16))
    assert keyring._flights.under_way == {}
    assert keyring.current("a", ROWS).version == 1


def test_material_is_not_shown_and_does_not_leave_the_process() -> None:
    key = Keyring(MemoryKeyService(), MemoryDataKeyTable()).current("a", ROWS)
    shown = repr(key)
    assert "material" not in shown
    assert repr(key.material) not in shown
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="stay in this process"):
            leave(key)


def test_events_never_name_the_owner() -> None:
    events = RecordedEvents()
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    Keyring(service, table, events=events).current("ada@example.com", ROWS)
    Keyring(service, table, events=events).current("ada@example.com", ROWS)
    assert [event.kind for event in events.events] == ["data-key.created", "data-key.unwrapped"]
    assert "ada@" not in repr(events.events)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_the_keys_and_fresh_locks() -> None:
    service = MemoryKeyService()
    keyring = Keyring(service, MemoryDataKeyTable())
    key = keyring.current("a", ROWS)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with keyring._lock:
            inside.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        # The lock that another thread of the parent holds would never be released here.
        same = keyring.current("a", ROWS) is key and service.unwrapped == 0
        made = keyring.current("b", ROWS).version == 1
        os._exit(0 if same and made else 1)
    deadline = time.monotonic() + 20
    status = None
    while status is None and time.monotonic() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        time.sleep(0.01)
    leave.set()
    holder.join()
    if status is None:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert status == 0


def test_a_rotated_row_key_is_written_under_at_once_and_the_older_still_opens() -> None:
    service, table, events = MemoryKeyService(), MemoryDataKeyTable(), RecordedEvents()
    keyring = Keyring(service, table, clock=SteppedClock(MOMENT), events=events)
    first = keyring.current("a", ROWS)
    second = keyring.rotate("a", ROWS)
    assert (second.version, second.owner, second.key_class) == (2, "a", ROWS)
    assert second.material != first.material
    assert keyring.current("a", ROWS) is second
    assert keyring.existing("a", ROWS) is second
    assert keyring.by_id("a", ROWS, first.key_id) is first
    assert keyring.settles_at("a", ROWS) is None
    assert Keyring(service, table).current("a", ROWS).version == 2
    assert [event.details["version"] for event in events.events] == ["1", "2"]
    assert [row.version for row in table.versions("a", ROWS)] == [1, 2]


def test_a_rotated_index_key_is_read_before_it_is_written_under() -> None:
    service, table, clock, seconds = (
        MemoryKeyService(),
        MemoryDataKeyTable(),
        SteppedClock(MOMENT),
        Seconds(),
    )
    keyring = Keyring(service, table, clock=clock, cache_ttl_seconds=300, monotonic=seconds)
    first = keyring.current("a", INDEXES)
    assert keyring.settles_at("a", INDEXES) is None
    second = keyring.rotate("a", INDEXES)
    assert [key.version for key in keyring.versions("a", INDEXES)] == [1, 2]
    assert keyring.current("a", INDEXES) is first
    assert keyring.settles_at("a", INDEXES) == MOMENT + timedelta(seconds=600)
    # Read by id, it must not slip into the place of the key in use.
    other = Keyring(service, table, clock=clock, monotonic=Seconds())
    assert other.by_id("a", INDEXES, second.key_id).version == 2
    assert other.current("a", INDEXES).version == 1
    seconds.now = 599
    clock.set(MOMENT + timedelta(seconds=599))
    assert keyring.current("a", INDEXES).version == 1
    seconds.now = 900
    clock.set(MOMENT + timedelta(seconds=600))
    assert keyring.current("a", INDEXES).version == 2
    assert keyring.settles_at("a", INDEXES) is None
    assert [key.version for key in keyring.versions("a", INDEXES)] == [1, 2]


def test_no_process_searches_without_a_version_that_another_writes_under() -> None:
    service, table, clock, seconds = (
        MemoryKeyService(),
        MemoryDataKeyTable(),
        SteppedClock(MOMENT),
        Seconds(),
    )
    writer = Keyring(service, table, clock=clock, cache_ttl_seconds=300, monotonic=seconds)
    reader = Keyring(service, table, clock=clock, cache_ttl_seconds=300, monotonic=seconds)
    writer.current("a", INDEXES)
    reader.versions("a", INDEXES)
    writer.rotate("a", INDEXES)
    for second in range(0, 1500, 50):
        seconds.now = second
        clock.set(MOMENT + timedelta(seconds=second))
        cold = Keyring(service, table, clock=clock, cache_ttl_seconds=300, monotonic=seconds)
        written = cold.current("a", INDEXES).version
        searched = {key.version for key in reader.versions("a", INDEXES)}
        assert written in searched, f"after {second} seconds"
    assert written == 2


def test_all_versions_are_unwrapped_once_and_an_owner_without_one_is_asked_for_again() -> None:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    keyring = Keyring(service, table)
    assert keyring.versions("a", ROWS) == ()
    other = Keyring(service, table)
    other.current("a", ROWS)
    other.rotate("a", ROWS)
    assert [key.version for key in keyring.versions("a", ROWS)] == [1, 2]
    assert service.unwrapped == 2
    assert keyring.versions("a", ROWS) is keyring.versions("a", ROWS)
    assert service.unwrapped == 2
    other.rotate("a", ROWS)
    assert [key.version for key in keyring.versions("a", ROWS)] == [1, 2], "kept for a while"
    keyring.rotate("a", ROWS)
    assert [key.version for key in keyring.versions("a", ROWS)] == [1, 2, 3, 4]


def test_an_owner_without_a_key_has_none_to_rotate() -> None:
    table = MemoryDataKeyTable()
    keyring = Keyring(MemoryKeyService(), table)
    with pytest.raises(UnknownDataKeyError, match="to rotate, found none"):
        keyring.rotate("a", ROWS)
    with pytest.raises(UnknownDataKeyError, match="class indexes, found none"):
        keyring.settles_at("a", INDEXES)
    assert table.versions("a", ROWS) == []


def test_who_rotates_at_the_same_moment_as_another_gets_the_others_version() -> None:
    service = MemoryKeyService()

    class Raced(MemoryDataKeyTable):
        """Another process adds the same version first."""

        def add(self, key: WrappedDataKey) -> bool:
            if key.version == 2 and not super().versions(key.owner, key.key_class)[1:]:
                context = {"owner": "a", "class": "rows", "version": "2"}
                material, wrapped = service.generate_data_key(context)
                row = replace(key, key_id=data_key_id(material), wrapped=wrapped)
                super().add(row)
            return super().add(key)

    table = Raced()
    keyring = Keyring(service, table)
    keyring.current("a", ROWS)
    key = keyring.rotate("a", ROWS)
    assert key.version == 2
    assert table.versions("a", ROWS)[1].key_id == key.key_id
    assert keyring.current("a", ROWS) is key
