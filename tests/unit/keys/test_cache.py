from __future__ import annotations

import pytest

from assay.keys.cache import ExpiringCache


def test_an_entry_lives_until_its_moment() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(4)
    cache.put("a", 1, fresh_until=10.0, kept_until=10.0)
    assert cache.get("a", now=9.999) == 1
    assert cache.get("a", now=10.0) is None
    assert cache.get("b", now=0.0) is None


def test_it_never_holds_more_than_its_limit() -> None:
    cache: ExpiringCache[int, int] = ExpiringCache(3)
    for number in range(100):
        cache.put(number, number, fresh_until=10.0, kept_until=10.0)
        assert len(cache.entries) <= 3
    assert set(cache.entries) == {97, 98, 99}


def test_what_was_read_outlives_what_was_not() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(3)
    for name in "abc":
        cache.put(name, ord(name), fresh_until=10.0, kept_until=10.0)
    assert cache.get("a", now=0.0) == ord("a")
    cache.put("d", 1, fresh_until=10.0, kept_until=10.0)
    assert "a" in cache.entries
    assert "b" not in cache.entries


def test_room_is_made_when_everything_was_read() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(2)
    for name in "ab":
        cache.put(name, 1, fresh_until=10.0, kept_until=10.0)
        cache.get(name, now=0.0)
    cache.put("c", 1, fresh_until=10.0, kept_until=10.0)
    assert set(cache.entries) == {"b", "c"}


def test_a_new_value_replaces_the_old_one() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(1)
    cache.put("a", 1, fresh_until=10.0, kept_until=10.0)
    cache.put("a", 2, fresh_until=20.0, kept_until=20.0)
    assert cache.get("a", now=15.0) == 2


def test_no_room_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ExpiringCache(0)
