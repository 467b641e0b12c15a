"""Single flight: of all who miss the same thing at the same moment, one loads it.

Example:
    >>> flights: Flights[str, int, bytes] = Flights()
    >>> flights.find("place", 1, look=lambda: None, load=lambda: b"loaded")
    b'loaded'
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)
T = TypeVar("T")
V = TypeVar("V")


class _Flight(Generic[T, V]):
    """One load under way for a place; others wait for it instead of loading too."""

    __slots__ = ("done", "error", "found", "target")

    def __init__(self, target: T) -> None:
        self.target = target
        self.done = threading.Event()
        self.found: V | None = None
        self.error: Exception | None = None


class Flights(Generic[P, T, V]):
    """At most one load at a time for each place. Safe between threads.

    Attributes:
        lock: is held while anything is looked for.
        under_way: the places for which something is loaded now.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.under_way: dict[P, _Flight[T, V]] = {}

    def find(
        self, place: P, target: T, *, look: Callable[[], V | None], load: Callable[[], V | None]
    ) -> V | None:
        """What is there already, what another one loads, or what is loaded now.

        Args:
            place: for which one loads at a time.
            target: what is looked for there.
            look: finds it without waiting; called under the lock.
            load: finds it otherwise, and puts it where ``look`` finds it; called without the lock.

        Raises:
            Exception: what ``load`` raised, here or in the thread that was waited for.
        """
        while True:
            with self.lock:
                found = look()
                if found is not None:
                    return found
                flight = self.under_way.get(place)
                if flight is None:
                    own = self.under_way[place] = _Flight(target)
                    break
            flight.done.wait()
            # Who waited for the same thing takes the same answer, so that a service in trouble
            # is asked once and not once per waiter. Who wants something else looks again.
            if flight.target == target:
                if flight.error is not None:
                    raise flight.error
                if flight.found is not None:
                    return flight.found
        try:
            own.found = load()
        except Exception as exc:
            own.error = exc
            raise
        finally:
            with self.lock:
                self.under_way.pop(place, None)
            own.done.set()
        return own.found
