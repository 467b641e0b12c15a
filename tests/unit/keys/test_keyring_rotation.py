"""Keys that rotate by themselves when they are written under."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from assay.core import DataKeyClass, KeyUses, RecordedEvents, SteppedClock
from assay.keys import (
    ClassRotation,
    KeyAccessError,
    Keyring,
    KeyServiceError,
    KeyServiceUnavailableError,
    MemoryDataKeyTable,
    MemoryKeyService,
    RotationPolicy,
)

ROWS, INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RotationPolicy(
    rows=ClassRotation(timedelta(days=90), 1000, 50),
    indexes=ClassRotation(timedelta(days=90), None, None),
)


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class MakesNone(MemoryKeyService):
    """Opens keys, and makes none when it is told so."""

    error: KeyServiceError | None = None

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        if self.error is not None:
            raise self.error
        return super().generate_data_key(context)


class Place:
    """A keyring over days."""

    def __init__(self) -> None:
        self.service, self.table = MakesNone(), MemoryDataKeyTable()
        self.clock, self.seconds, self.events = SteppedClock(MOMENT), Seconds(), RecordedEvents()
        self.keyring = self.another()

    def another(self, policy: RotationPolicy | None = POLICY) -> Keyring:
        return Keyring(
            self.service,
            self.table,
            clock=self.clock,
            events=self.events,
            rotation=policy,
            monotonic=self.seconds,
            watch_seconds=3600,
        )

    def pass_(self, days: float) -> None:
        self.clock.set(self.clock.now() + timedelta(days=days))
        self.seconds.now += days * 86400


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_key_that_is_old_enough_gets_a_new_version_when_it_is_written_under(
    place: Place,
) -> None:
    first = place.keyring.current("a", ROWS)
    place.pass_(89)
    assert place.keyring.current("a", ROWS).version == 1
    place.pass_(1)
    second = place.keyring.current("a", ROWS)
    assert second.version == 2
    assert place.keyring.current("a", ROWS) is second
    assert place.keyring.by_id("a", ROWS, first.key_id) == first
    place.pass_(89)
    assert place.keyring.current("a", ROWS).version == 2


def test_what_is_only_read_does_not_rotate(place: Place) -> None:
    first = place.keyring.current("a", ROWS)
    place.pass_(365)
    assert place.keyring.by_id("a", ROWS, first.key_id) == first
    assert place.keyring.existing("a", ROWS) == first
    assert len(place.keyring.versions("a", ROWS)) == 1


def test_a_key_that_was_used_enough_gets_a_new_version(place: Place) -> None:
    key = place.keyring.current("a", ROWS)
    other = place.keyring.current("b", ROWS)
    key.uses.count(messages=999, nonce_prefixes=49)
    place.keyring.tend()
    place.pass_(1)
    assert place.keyring.current("a", ROWS) == key
    place.table.add_uses({key.key_id: KeyUses(0, 1), other.key_id: KeyUses(999, 49)})
    place.pass_(1)
    assert place.keyring.current("a", ROWS).version == 2
    assert place.keyring.current("b", ROWS).version == 1


def test_a_limit_of_use_holds_within_a_time_to_live(place: Place) -> None:
    key = place.keyring.current("a", ROWS)
    other = place.keyring.current("b", ROWS)
    key.uses.count(messages=1000)
    other.uses.count(messages=999)
    assert place.keyring.current("a", ROWS) is key
    place.keyring.tend()
    assert place.keyring.by_id("a", ROWS, key.key_id) is key
    assert place.keyring.current("a", ROWS).version == 2
    assert place.keyring.current("b", ROWS) is other
    place.keyring.tend()
    assert place.keyring.current("a", ROWS).version == 2


def test_a_key_that_is_due_and_cannot_rotate_is_used_on(place: Place) -> None:
    key = place.keyring.current("a", ROWS)
    key.uses.count(messages=1000)
    place.service.error = KeyServiceUnavailableError("expected, found")
    place.keyring.tend()
    assert place.keyring.current("a", ROWS) == key
    place.service.error = None
    key.uses.count()
    place.keyring.tend()
    assert place.keyring.current("a", ROWS).version == 2


def test_nothing_rotates_without_a_policy(place: Place) -> None:
    place.keyring.current("a", ROWS)
    place.pass_(4000)
    assert place.another(None).current("a", ROWS).version == 1


def test_an_index_key_settles_before_it_is_written_under(place: Place) -> None:
    place.keyring.current("a", INDEXES)
    place.pass_(90)
    assert place.keyring.current("a", INDEXES).version == 1
    assert [key.version for key in place.keyring.versions("a", INDEXES)] == [1, 2]
    assert place.keyring.current("a", INDEXES).version == 1
    place.pass_(0.001)
    assert place.another().current("a", INDEXES).version == 1, "not rotated once more meanwhile"
    place.pass_(1)
    assert place.keyring.current("a", INDEXES).version == 2
    assert [key.version for key in place.table.versions("a", INDEXES)] == [1, 2]


def test_two_processes_rotate_to_one_version(place: Place) -> None:
    place.keyring.current("a", ROWS)
    place.pass_(100)
    others = [place.another() for _ in range(5)]
    assert {one.current("a", ROWS).version for one in others} == {2}


@pytest.mark.parametrize(
    "error", [KeyServiceUnavailableError("expected, found"), KeyAccessError("expected, found")]
)
def test_a_service_that_makes_no_key_does_not_stop_writing(
    place: Place, error: KeyServiceError
) -> None:
    first = place.keyring.current("a", ROWS)
    place.pass_(100)
    place.service.error = error
    assert place.keyring.current("a", ROWS) == first
    (event,) = [one for one in place.events.events if one.kind == "data-key.not-rotated"]
    assert event.details == {
        "class": "rows",
        "due": "90 days old or more",
        "error": type(error).__name__,
    }
    place.service.error = None
    place.pass_(1)
    assert place.keyring.current("a", ROWS).version == 2
