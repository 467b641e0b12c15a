"""Every data key of a table moves under one KEK, and opens at every moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay.core import DataKeyClass, DataKeyTable, WrappedDataKey
from assay.database import SqlDataKeyTable, open_engine
from assay.keys import (
    KekVersion,
    KeyDisabledError,
    Keyring,
    KeyService,
    KeyServiceUnavailableError,
    MemoryDataKeyTable,
    MemoryKeyService,
    RewrapReport,
    SuccessorKeyService,
    UnwrapError,
    kek_version,
    rewrap_keys,
)

ROWS, INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES
KEK = bytes(range(32))
CONTEXT = {"owner": "a", "class": "rows", "version": "1"}


@pytest.fixture(params=["memory", "sqlite", "sqlite-delete"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DataKeyTable]:
    if request.param == "memory":
        yield MemoryDataKeyTable()
        return
    engine = open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    if request.param == "sqlite-delete":  # readers hold up the writer
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    yield SqlDataKeyTable(engine)
    engine.dispose()


def fill(table: DataKeyTable, service: KeyService, owners: int = 3) -> dict[bytes, bytes]:
    """Makes keys; returns what each one is."""
    keyring = Keyring(service, table)
    keys = [
        keyring.current(f"person-{number}", kind)
        for number in range(owners)
        for kind in (ROWS, INDEXES)
    ]
    keyring.close()
    return {key.key_id: key.material for key in keys}


def opened(table: DataKeyTable, service: KeyService) -> dict[bytes, bytes]:
    return {row.key_id: service.unwrap(row.wrapped, row.context) for row in table.each()}


def test_every_key_moves_and_stays_what_it_is(table: DataKeyTable) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    made = fill(table, old)
    before = list(table.each())
    assert rewrap_keys(table, SuccessorKeyService(new, [old])) == RewrapReport(done=6)
    assert opened(table, new) == made
    assert {row.kek for row in table.each()} == {"memory:new"}
    unchanged = [replace(row, kek="", wrapped=b"") for row in before]
    assert [replace(row, kek="", wrapped=b"") for row in table.each()] == unchanged
    assert rewrap_keys(table, SuccessorKeyService(new, [old])) == RewrapReport(already=6)


def test_every_takes_those_under_the_kek_as_well(table: DataKeyTable) -> None:
    kek = MemoryKeyService()
    made = fill(table, kek)
    before = {row.wrapped for row in table.each()}
    assert rewrap_keys(table, kek) == RewrapReport(already=6)
    assert {row.wrapped for row in table.each()} == before
    assert rewrap_keys(table, kek, every=True) == RewrapReport(done=6)
    assert not {row.wrapped for row in table.each()} & before
    assert opened(table, kek) == made


def test_a_table_without_keys_has_nothing_to_report(table: DataKeyTable) -> None:
    assert rewrap_keys(table, MemoryKeyService()) == RewrapReport()


def test_what_another_kek_wrapped_is_refused_by_its_name_and_without_its_owner(
    table: DataKeyTable,
) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    made = fill(table, old)
    Keyring(new, table).current("person-9", ROWS)
    report = rewrap_keys(table, new)
    assert (report.done, report.already, report.left) == (0, 1, 0)
    assert report.refused == {"does not open, or not under memory:old": 6}
    assert "person" not in repr(report)
    assert {k: v for k, v in opened(table, SuccessorKeyService(new, [old])).items() if k in made}


class Liar(MemoryKeyService):
    """Wraps another key than it was given."""

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        return self.generate_data_key(context)[1]


class Mangler(MemoryKeyService):
    """Gives back what does not open."""

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        return wrapped if wrapped_by is None else bytes(61)


class Keeper(MemoryKeyService):
    """Leaves it under the KEK that it is under, which only that one opens."""

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        return wrapped


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Liar, "opens, and is another key than its id commits to"),
        (Mangler, "does not open, or not under memory:old"),
        (Keeper, "does not open, or not under memory:old"),
    ],
)
def test_no_key_is_given_up_for_one_that_does_not_open(
    table: DataKeyTable, kind: type[MemoryKeyService], why: str
) -> None:
    old = MemoryKeyService(name="old")
    made = fill(table, old)
    report = rewrap_keys(table, SuccessorKeyService(kind(name="new"), [old]))
    assert report == RewrapReport(refused={why: 6})
    assert opened(table, old) == made


class Failing(MemoryKeyService):
    """Fails at the n-th key."""

    def __init__(self, error: Exception, at: int) -> None:
        super().__init__(KEK, "new")
        self.error, self.at, self.count = error, at, 0

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        self.count += 1
        if self.count == self.at:
            raise self.error
        return super().rewrap(wrapped, context, wrapped_by=wrapped_by)


def test_a_service_that_fails_ends_it_and_the_next_call_goes_on(table: DataKeyTable) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(KEK, "new")
    made = fill(table, old)

    class Moved(SuccessorKeyService):
        def rewrap(
            self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: object = None
        ) -> bytes:
            return self.successor.rewrap(wrapped, context, wrapped_by=self.formers[0])

    failing = Failing(KeyServiceUnavailableError("no answer"), at=4)
    with pytest.raises(KeyServiceUnavailableError):
        rewrap_keys(table, Moved(failing, [old]))
    assert sum(row.kek == "memory:new" for row in table.each()) == 3
    assert opened(table, SuccessorKeyService(new, [old])) == made
    report = rewrap_keys(table, SuccessorKeyService(new, [old]))
    assert report == RewrapReport(done=3, already=3)
    assert opened(table, new) == made


def test_a_kek_that_is_not_used_refuses_one_key_and_the_others_move(table: DataKeyTable) -> None:
    new = MemoryKeyService(KEK, "other")
    fill(table, new)
    report = rewrap_keys(table, Failing(KeyDisabledError("enable it"), at=2))
    assert report == RewrapReport(done=5, refused={"enable it": 1})


class Racing:
    """A table in which another writer is faster, once for each key that is named."""

    def __init__(self, table: DataKeyTable, first: Callable[[WrappedDataKey], None]) -> None:
        self._table, self._first = table, first
        self.raced: set[bytes] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._table, name)

    def replace(self, old: WrappedDataKey, new: WrappedDataKey) -> bool:
        if old.key_id not in self.raced:
            self.raced.add(old.key_id)
            self._first(old)
        return self._table.replace(old, new)


def test_a_key_that_another_writer_moved_is_left_as_he_made_it(table: DataKeyTable) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    made = fill(table, old)

    def move(row: WrappedDataKey) -> None:
        wrapped = new.rewrap(row.wrapped, row.context, wrapped_by=old)
        assert table.replace(row, replace(row, kek=new.uri, wrapped=wrapped))

    report = rewrap_keys(Racing(table, move), SuccessorKeyService(new, [old]))
    assert report == RewrapReport(lost=6, already=6)
    assert opened(table, new) == made


def test_a_key_that_another_writer_wrapped_otherwise_is_moved_after_all(
    table: DataKeyTable,
) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    made = fill(table, old)

    def again(row: WrappedDataKey) -> None:
        wrapped = old.rewrap(row.wrapped, row.context)
        assert table.replace(row, replace(row, wrapped=wrapped))

    report = rewrap_keys(Racing(table, again), SuccessorKeyService(new, [old]))
    assert report == RewrapReport(done=6, lost=6)
    assert opened(table, new) == made


def test_a_key_that_is_destroyed_meanwhile_stays_destroyed(table: DataKeyTable) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    fill(table, old, owners=1)

    def destroy(row: WrappedDataKey) -> None:
        table.destroy(row.owner, datetime(2026, 1, 1, tzinfo=UTC))

    report = rewrap_keys(Racing(table, destroy), SuccessorKeyService(new, [old]))
    assert report == RewrapReport(lost=2)
    assert not list(table.each())


def test_writers_that_go_on_under_the_old_kek_are_told(table: DataKeyTable) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    fill(table, old)
    busy = Keyring(old, table)
    made = iter(range(1000))

    def make(_: WrappedDataKey) -> None:
        busy.current(f"new-{next(made)}", ROWS)

    report = rewrap_keys(Racing(table, make), SuccessorKeyService(new, [old]))
    assert (report.done, report.left, report.refused) == (18, 6, {})
    busy.close()


def test_two_at_the_same_time_lose_nothing(table: DataKeyTable) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    made = fill(table, old, owners=40)
    barrier = threading.Barrier(2)

    def run(_: int) -> RewrapReport:
        barrier.wait()
        return rewrap_keys(table, SuccessorKeyService(new, [old]))

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(run, range(2)))
    assert sum(report.done for report in reports) == 80
    for report in reports:
        assert (report.done + report.already, report.refused, report.left) == (80, {}, 0)
    assert opened(table, new) == made


class Versioned(MemoryKeyService):
    """A KEK with versions: which one wrapped stands behind the wrapped key."""

    version = 1

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        data_key, wrapped = super().generate_data_key(context)
        return data_key, wrapped + bytes([self.version])

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return super().unwrap(wrapped[:-1], context)

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        return super().rewrap(wrapped, context, wrapped_by=wrapped_by) + bytes([self.version])

    def kek_version(self) -> KekVersion:
        return KekVersion(self.version)

    def is_older_version(self, wrapped: bytes) -> bool:
        return wrapped[-1] < self.version


def test_an_older_version_of_the_kek_is_another_one_where_the_service_can_tell(
    table: DataKeyTable,
) -> None:
    kek = Versioned()
    made = fill(table, kek)
    assert rewrap_keys(table, kek) == RewrapReport(already=6)
    kek.version = 2
    assert rewrap_keys(table, SuccessorKeyService(kek, [])) == RewrapReport(done=6)
    assert rewrap_keys(table, kek) == RewrapReport(already=6)
    assert opened(table, kek) == made
    assert kek_version(SuccessorKeyService(kek, [])) == KekVersion(2)
    assert kek_version(MemoryKeyService()) == KekVersion()


def test_a_successor_opens_what_any_former_kek_wrapped_and_wraps_only_itself() -> None:
    keks = [MemoryKeyService(name=name) for name in ("new", "old", "oldest")]
    service = SuccessorKeyService(keks[0], keks[1:])
    for kek in keks:
        data_key, wrapped = kek.generate_data_key(CONTEXT)
        assert service.unwrap(wrapped, CONTEXT) == data_key
        assert keks[0].unwrap(service.rewrap(wrapped, CONTEXT), CONTEXT) == data_key
        with pytest.raises(UnwrapError):
            service.unwrap(wrapped, {**CONTEXT, "owner": "b"})
        with pytest.raises(UnwrapError):
            service.rewrap(wrapped, {**CONTEXT, "owner": "b"})
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert keks[0].unwrap(wrapped, CONTEXT) == data_key
    foreign = MemoryKeyService(name="foreign").generate_data_key(CONTEXT)[1]
    with pytest.raises(UnwrapError):
        service.unwrap(foreign, CONTEXT)
    assert (service.uri, service.custody().uri) == ("memory:new", "memory:new")


def test_an_application_reads_and_writes_while_its_keys_move(table: DataKeyTable) -> None:
    old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    made = fill(table, old)
    service = SuccessorKeyService(new, [old])
    first = next(iter(table.each()))
    moved = replace(first, kek=new.uri, wrapped=service.rewrap(first.wrapped, first.context))
    assert table.replace(first, moved)
    keyring = Keyring(service, table)
    found = {
        key.key_id: key.material
        for number in range(3)
        for kind in (ROWS, INDEXES)
        for key in [keyring.current(f"person-{number}", kind)]
    }
    assert found == made
    keyring.current("person-new", ROWS)
    assert table.versions("person-new", ROWS)[0].kek == "memory:new"
    keyring.close()
