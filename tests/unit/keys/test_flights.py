from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from assay.keys.flights import Flights


def test_what_is_there_is_not_loaded() -> None:
    flights: Flights[str, int, str] = Flights()

    def load() -> str:
        raise AssertionError("expected no load")

    assert flights.find("a", 1, look=lambda: "there", load=load) == "there"


def test_who_fails_leaves_the_place_free() -> None:
    flights: Flights[str, int, str] = Flights()

    def load() -> str:
        raise ValueError("expected")

    with pytest.raises(ValueError, match="expected"):
        flights.find("a", 1, look=lambda: None, load=load)
    assert flights.under_way == {}
    assert flights.find("a", 1, look=lambda: None, load=lambda: "loaded") == "loaded"


def test_other_places_do_not_wait() -> None:
    flights: Flights[str, int, str] = Flights()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go_on.wait()
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(flights.find, "a", 1, look=lambda: None, load=slow)
        begun.wait()
        assert flights.find("b", 1, look=lambda: None, load=lambda: "other") == "other"
        assert list(flights.under_way) == ["a"]
        go_on.set()
        assert waiting.result() == "slow"
