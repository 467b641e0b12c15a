"""A bounded cache: what is used stays, what is not goes, and it never grows beyond its bound."""

from __future__ import annotations

import pytest

from assay.encryption.generations import Generations


def test_it_holds_two_generations_at_most_and_keeps_what_is_used() -> None:
    cache: Generations[int, str] = Generations(10)
    for number in range(1000):
        cache.put(number, str(number))
        assert cache.get(0) == "0"
        held = sum(cache.get(each) is not None for each in range(max(0, number - 5), number + 1))
        assert held == min(number + 1, 6)
    assert len(cache.young) <= 10
    assert sum(each in cache.young or each in cache._old for each in range(1000)) <= 20
    assert cache.get(500) is None
    cache.clear()
    assert cache.get(0) is None


def test_it_has_room_for_something() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Generations(0)
