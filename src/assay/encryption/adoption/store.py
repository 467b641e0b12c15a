"""What the work on a table needs: its database, its keys, its models. Opened once per process.

A task that runs elsewhere cannot take an open database along. It takes an opener, which is a
function that can be pickled, and each process opens its own.

Example:
    >>> store = Store(engine, keyring, Base)                       # doctest: +SKIP
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.keys import Keyring


@dataclass(frozen=True)
class Store:
    """A database with sealed tables.

    Attributes:
        engine: the database.
        keyring: has the owners' data keys.
        base: the declarative base of the models.
        keys: what is derived from the keys.
    """

    engine: Engine
    keyring: Keyring
    base: Any
    keys: SessionKeys = field(init=False)

    def __post_init__(self) -> None:
        """Derived keys are kept for as long as the store is."""
        object.__setattr__(self, "keys", SessionKeys(self.keyring))


Opener = Callable[[], Store]
"""Opens the store in the process that calls it. It can be pickled when work runs elsewhere."""

_OPEN: dict[bytes, tuple[str, Store]] = {}
"""What a worker process has opened, and for which run."""

_LOCK = threading.Lock()


def opened(opener: Opener, run: str) -> Store:
    """The store of an opener, opened once in this process for each run.

    Args:
        opener: opens it.
        run: names the run. A worker outlives many, and what it keeps (keys that were rotated
            since) must not come from one into the next.
    """
    key = pickle.dumps(opener)
    with _LOCK:
        known, store = _OPEN.get(key, ("", None))
        if store is None or known != run:
            if store is not None:
                store.engine.dispose()
            store = opener()
            _OPEN[key] = run, store
        return store
