"""Data keys by owner, class and key id: made once, unwrapped once, kept for a while.

A keyring stands between the code that seals rows and the key service that holds the KEK. It asks
the service once per data key and time-to-live, however many rows and threads there are.

What memory protection there is. CPython cannot promise that a secret is wiped: ``bytes`` are
immutable, are copied by the interpreter and by OpenSSL, may be swapped out, and stand in a core
dump. While a data key is in the cache, whoever can read this process's memory can read it. What
the keyring does do: it shows material in no ``repr``, refuses to pickle it, drops it after the
time-to-live, and never holds the KEK. Turn off core dumps and swap on machines that hold keys.

Specification: ``spec/data-keys.md``.

Example:
    >>> keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())  # doctest: +SKIP
    >>> keyring.current("tenant-1", DataKeyClass.ROWS).version       # doctest: +SKIP
    1
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

from assay.core import (
    Clock,
    DataKeyClass,
    DataKeyTable,
    Event,
    EventSink,
    IgnoredEvents,
    SystemClock,
    WrappedDataKey,
)
from assay.keys.cache import ExpiringCache
from assay.keys.errors import KeyCommitmentError, KeysError, UnknownDataKeyError, UnwrapError
from assay.keys.service import KeyService
from assay.keys.wrapping import DATA_KEY_BYTES

KEY_ID_BYTES = 16


def data_key_id(material: bytes) -> bytes:
    """The 16 bytes that name a data key and commit to it.

    The first 16 bytes of ``SHA-256("assay data key id v1" || material)``. AES-GCM does not commit
    to its key: one ciphertext may open under two. This id does, so it is checked at each unwrap.
    """
    return hashlib.sha256(b"assay data key id v1" + material).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class DataKey:
    """An unwrapped data key. Its material is in no ``repr``, and it cannot be pickled.

    Attributes:
        owner: whose data it seals.
        key_class: what it is used for.
        version: 1 for an owner's first key of a class, then counting up.
        key_id: 16 bytes, see `data_key_id`.
        material: 32 bytes, secret.
    """

    owner: str
    key_class: DataKeyClass
    version: int
    key_id: bytes
    material: bytes = field(repr=False, compare=False)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to leave the process."""
        raise TypeError("expected a data key to stay in this process; send its owner and key id")


class _Flight:
    """One load under way for an owner and class; others wait for it instead of loading too."""

    __slots__ = ("done", "error", "key", "target")

    def __init__(self, target: bytes | None) -> None:
        self.target = target
        self.done = threading.Event()
        self.key: DataKey | None = None
        self.error: Exception | None = None


class Keyring:
    """Finds, makes, unwraps and keeps data keys. Safe to share between threads, and over a fork.

    Args:
        service: holds the KEK.
        table: keeps the wrapped data keys.
        clock: for the moment at which a key was made.
        events: told of ``data-key.created`` and ``data-key.unwrapped``, with class, version and
            key id; never with the owner, who may be a person.
        cache_ttl_seconds: how long an unwrapped key is used before the service is asked again;
            also how long another process's newer version may go unseen.
        cache_entries: how many unwrapped keys are kept at most.
        settling_seconds: how long a rotated index key is only read before it is written under;
            twice the time-to-live when None. Every process that shares the table must have a
            shorter time-to-live than this.
        monotonic: seconds that never go back.
    """

    def __init__(  # noqa: PLR0913 - two parts, and options that all have a name and a default
        self,
        service: KeyService,
        table: DataKeyTable,
        *,
        clock: Clock | None = None,
        events: EventSink | None = None,
        cache_ttl_seconds: float = 300,
        cache_entries: int = 10_000,
        settling_seconds: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._table = table
        self._clock = clock or SystemClock()
        self._events = events or IgnoredEvents()
        self._ttl_seconds = cache_ttl_seconds
        settling = 2 * cache_ttl_seconds if settling_seconds is None else settling_seconds
        self._settling = timedelta(seconds=settling)
        self._monotonic = monotonic
        self._current: ExpiringCache[tuple[str, DataKeyClass], DataKey]
        self._current = ExpiringCache(cache_entries)
        self._by_id: ExpiringCache[tuple[str, DataKeyClass, bytes], DataKey]
        self._by_id = ExpiringCache(cache_entries)
        self._versions: ExpiringCache[tuple[str, DataKeyClass], tuple[DataKey, ...]]
        self._versions = ExpiringCache(cache_entries)
        self._lock = threading.Lock()
        self._flights: dict[tuple[str, DataKeyClass], _Flight] = {}
        _KEYRINGS.add(self)

    def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
        """The key to write under: an owner's newest; the first one is made when there is none.

        A rotated index key is not written under while it settles, see `rotate`.

        Raises:
            KeyCommitmentError: the unwrapped key is not the one that its id commits to.
            UnwrapError: the stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        # The hot path, once per sealed row: one look-up and one comparison.
        entry = self._current.entries.get((owner, key_class))
        if entry is not None and entry.expires > self._monotonic():
            entry.used = True
            return entry.value
        key = self._find(owner, key_class, None, create=True)
        if key is None:
            raise KeysError("expected the data key that was just made, found none in the table")
        return key

    def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
        """The key that an envelope names.

        Args:
            owner: whose data it seals.
            key_class: what it is used for.
            key_id: 16 bytes, as in the envelope.

        Raises:
            UnknownDataKeyError: the owner has no key of this class with this id.
            KeyCommitmentError: the unwrapped key is not the one that its id commits to.
            UnwrapError: the stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        entry = self._by_id.entries.get((owner, key_class, key_id))
        if entry is not None and entry.expires > self._monotonic():
            entry.used = True
            return entry.value
        key = self._find(owner, key_class, key_id, create=False)
        if key is None:
            raise UnknownDataKeyError(
                f"expected a data key of class {key_class.value} with id {key_id.hex()}, found "
                "none for this owner: the row belongs to another owner, its key was destroyed, or "
                "the key table is another one"
            )
        return key

    def existing(self, owner: str, key_class: DataKeyClass) -> DataKey | None:
        """What `current` gives, or None when the owner has no key; never makes one.

        Raises:
            KeyCommitmentError: the unwrapped key is not the one that its id commits to.
            UnwrapError: the stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        entry = self._current.entries.get((owner, key_class))
        if entry is not None and entry.expires > self._monotonic():
            entry.used = True
            return entry.value
        return self._find(owner, key_class, None, create=False)

    def versions(self, owner: str, key_class: DataKeyClass) -> tuple[DataKey, ...]:
        """All versions of an owner's key, oldest first; empty when there is none.

        Kept for the time-to-live: another process's newer version may go unseen as long.

        Raises:
            KeyCommitmentError: an unwrapped key is not the one that its id commits to.
            UnwrapError: a stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        now = self._monotonic()
        kept = self._versions.get((owner, key_class), now)
        if kept is not None:
            return kept
        rows = self._table.versions(owner, key_class)
        rows = sorted(rows, key=lambda row: row.version)
        keys = tuple(self.by_id(owner, key_class, row.key_id) for row in rows)
        if keys:  # that there is none may change at any moment, and must be seen then
            with self._lock:
                self._versions.put((owner, key_class), keys, now + self._ttl_seconds)
        return keys

    def rotate(self, owner: str, key_class: DataKeyClass) -> DataKey:
        """Make a new version of an owner's key; what was sealed under older ones still opens.

        Row and object keys are written under at once. An index key settles first: for
        ``settling_seconds`` it is among the `versions` that searches look for, and `current` still
        gives the older one. So no process writes an index that another one, whose cache is older,
        would not search for. See `settles_at`.

        Returns:
            The new version. When another process rotates at the same moment: its version.

        Raises:
            UnknownDataKeyError: the owner has no key of this class yet, so there is none to rotate.
            KeyServiceError: the key service failed; nothing has changed.
        """
        rows = self._table.versions(owner, key_class)
        if not rows:
            raise UnknownDataKeyError(
                f"expected an owner with a data key of class {key_class.value} to rotate, found "
                "none; the first one is made when something is sealed for the owner"
            )
        key = self._make(owner, key_class, max(row.version for row in rows) + 1)
        with self._lock:
            self._versions.entries.pop((owner, key_class), None)
        return key

    def settles_at(self, owner: str, key_class: DataKeyClass) -> datetime | None:
        """From when on the newest version is written under; None when it is already.

        Raises:
            UnknownDataKeyError: the owner has no key of this class.
        """
        rows = self._table.versions(owner, key_class)
        if not rows:
            raise UnknownDataKeyError(
                f"expected an owner with a data key of class {key_class.value}, found none"
            )
        newest = max(rows, key=lambda row: row.version)
        in_use = self._in_use(rows)
        return None if newest is in_use else newest.created_at + self._settling

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        return self._table.owners(key_class)

    def _find(
        self, owner: str, key_class: DataKeyClass, key_id: bytes | None, *, create: bool
    ) -> DataKey | None:
        """Single flight: the first who misses loads, all others wait and look again."""
        place = (owner, key_class)
        while True:
            with self._lock:
                hit = self._cached(owner, key_class, key_id)
                if hit is not None:
                    return hit
                flight = self._flights.get(place)
                if flight is None:
                    own = self._flights[place] = _Flight(key_id)
                    break
            flight.done.wait()
            # Who waited for the same thing takes the same answer, so that a key service in
            # trouble is asked once and not once per reader. Who wants another key looks again.
            if flight.target == key_id:
                if flight.error is not None:
                    raise flight.error
                if flight.key is not None:
                    return flight.key
        try:
            own.key = self._load(owner, key_class, key_id, create=create)
        except Exception as exc:
            own.error = exc
            raise
        finally:
            with self._lock:
                self._flights.pop(place, None)
            own.done.set()
        return own.key

    def _cached(self, owner: str, key_class: DataKeyClass, key_id: bytes | None) -> DataKey | None:
        now = self._monotonic()
        if key_id is None:
            return self._current.get((owner, key_class), now)
        return self._by_id.get((owner, key_class, key_id), now)

    def _load(
        self, owner: str, key_class: DataKeyClass, key_id: bytes | None, *, create: bool
    ) -> DataKey | None:
        rows = self._table.versions(owner, key_class)
        in_use = self._in_use(rows) if rows else None
        if key_id is not None:
            row = next((row for row in rows if row.key_id == key_id), None)
            return None if row is None else self._unwrap(row, in_use=row is in_use)
        if in_use is not None:
            return self._unwrap(in_use, in_use=True)
        return self._make(owner, key_class, 1) if create else None

    def _in_use(self, rows: Sequence[WrappedDataKey]) -> WrappedDataKey:
        """Which of an owner's versions is written under: the newest that has settled."""
        oldest = min(row.version for row in rows)
        now = self._clock.now()
        settled = [
            row
            for row in rows
            if row.key_class is not DataKeyClass.INDEXES
            or row.version == oldest
            or row.created_at + self._settling <= now
        ]
        return max(settled, key=lambda row: row.version)

    def _make(self, owner: str, key_class: DataKeyClass, version: int) -> DataKey:
        context = _context(owner, key_class, version)
        material, wrapped = self._service.generate_data_key(context)
        if len(material) != DATA_KEY_BYTES:
            raise KeysError(
                f"expected a data key of {DATA_KEY_BYTES} bytes from {self._service.uri}, found "
                f"{len(material)}"
            )
        key = DataKey(owner, key_class, version, data_key_id(material), material)
        row = WrappedDataKey(
            owner, key_class, version, key.key_id, self._service.uri, wrapped, self._clock.now()
        )
        if self._table.add(row):
            self._keep(key, in_use=version == 1 or key_class is not DataKeyClass.INDEXES)
            self._emit("data-key.created", key)
            return key
        # Another writer was first: its key is the owner's, ours was never used.
        rows = self._table.versions(owner, key_class)
        if not rows:
            raise KeysError(
                "expected the data key of the writer who was first, found none: the key table "
                "says that the place is taken and shows nobody in it"
            )
        newest = max(rows, key=lambda row: row.version)
        return self._unwrap(newest, in_use=newest is self._in_use(rows))

    def _unwrap(self, row: WrappedDataKey, *, in_use: bool) -> DataKey:
        context = _context(row.owner, row.key_class, row.version)
        try:
            material = self._service.unwrap(row.wrapped, context)
        except UnwrapError as exc:
            if row.kek == self._service.uri:
                raise
            raise UnwrapError(
                f"expected a data key that was wrapped by {self._service.uri}, found one that was "
                f"wrapped by {row.kek}; open that key service"
            ) from exc
        if len(material) != DATA_KEY_BYTES or not hmac.compare_digest(
            data_key_id(material), row.key_id
        ):
            raise KeyCommitmentError(
                f"expected the data key that the id {row.key_id.hex()} commits to, found another: "
                "the key table was altered"
            )
        key = DataKey(row.owner, row.key_class, row.version, row.key_id, material)
        self._keep(key, in_use=in_use)
        self._emit("data-key.unwrapped", key)
        return key

    def _keep(self, key: DataKey, *, in_use: bool) -> None:
        expires = self._monotonic() + self._ttl_seconds
        with self._lock:
            self._by_id.put((key.owner, key.key_class, key.key_id), key, expires)
            if in_use:
                self._current.put((key.owner, key.key_class), key, expires)

    def _emit(self, kind: str, key: DataKey) -> None:
        details = {"class": key.key_class.value, "version": str(key.version)}
        self._events.emit(Event(kind, {**details, "key_id": key.key_id.hex()}))

    def _start_afresh_after_fork(self) -> None:
        # Threads do not survive a fork: a lock that one of them held would never be released and
        # a flight never land. The cached keys are as good in the child as in the parent.
        self._lock = threading.Lock()
        self._flights = {}


def _context(owner: str, key_class: DataKeyClass, version: int) -> dict[str, str]:
    return {"owner": owner, "class": key_class.value, "version": str(version)}


_KEYRINGS: weakref.WeakSet[Keyring] = weakref.WeakSet()


def _start_keyrings_afresh() -> None:
    for keyring in _KEYRINGS:
        keyring._start_afresh_after_fork()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_start_keyrings_afresh)
