"""One thread per process that tends to every keyring: drops keys, stores uses, sees destruction.

It runs while a keyring keeps keys, and ends when none does. After a fork the child has none until
it uses a key.

Example:
    >>> attend(keyring)             # doctest: +SKIP
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet


class Tended(Protocol):
    """What needs upkeep."""

    @property
    def watch_seconds(self) -> float:
        """How long it may wait for it."""
        ...

    def tend(self) -> bool:
        """Do what is due; must not raise. Whether there will be more to do."""
        ...

    def finish(self) -> None:
        """The process ends; must not raise."""
        ...

    def begin_afresh(self) -> None:
        """This process was forked off another one, whose threads it does not have."""
        ...


_TENDED: WeakSet[Tended] = WeakSet()


class _Thread:
    """The process's thread of upkeep."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._running = False
        self._idle = False

    def wake(self) -> None:
        """End its pause, for somebody may want a shorter one."""
        self._woken.set()

    def ensure(self) -> None:
        """Start it, unless it runs."""
        if self._running and not self._idle:  # without the lock: each use of a new key comes here
            return
        with self._lock:
            self._idle = False
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="assay-key-upkeep", daemon=True).start()

    def _run(self) -> None:
        due: WeakKeyDictionary[Tended, float] = WeakKeyDictionary()
        while True:
            self._woken.wait(max(0.0, min(due.values(), default=0.0) - time.monotonic()))
            self._woken.clear()
            with self._lock:
                self._idle = True
            # Whoever keeps a key from here on says so, and is seen below or starts a new thread.
            more = [self._tend(one, due) for one in list(_TENDED)]
            with self._lock:
                if not any(more) and self._idle:
                    self._running = False
                    return

    def _tend(self, one: Tended, due: WeakKeyDictionary[Tended, float]) -> bool:
        now = time.monotonic()
        if due.setdefault(one, now + one.watch_seconds) > now:
            return True
        due[one] = now + one.watch_seconds
        return one.tend()


_thread = _Thread()


def attend(one: Tended) -> None:
    """Tend to it from now on, as long as it lives and has something to do."""
    if one not in _TENDED:
        _TENDED.add(one)
        _thread.wake()
    _thread.ensure()


def _after_fork() -> None:
    global _thread  # noqa: PLW0603 - the parent's thread and its lock are a fact about the process
    _thread = _Thread()
    for one in list(_TENDED):
        one.begin_afresh()


def _at_exit() -> None:
    for one in list(_TENDED):
        one.finish()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
