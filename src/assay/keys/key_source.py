"""Where a keyring's keys come from: the table of wrapped ones, and the service that opens them.

Nothing is kept here but the generation of the table and the meters of the keys that were given out.

Specification: ``spec/data-keys.md``, "Keyring".
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from assay.core import (
    Clock,
    DataKeyClass,
    DataKeyTable,
    Event,
    EventSink,
    KeyUses,
    OwnerDestroyedError,
    WrappedDataKey,
)
from assay.keys.data_key import DataKey, UseMeter, data_key_id
from assay.keys.errors import (
    DestroyedDataKeyError,
    DestroyedOwnerError,
    KeyCommitmentError,
    KeysError,
    KeyServiceError,
    UnwrapError,
)
from assay.keys.rotation import RotationPolicy
from assay.keys.service import KeyService
from assay.keys.wrapping import DATA_KEY_BYTES

if TYPE_CHECKING:
    from assay.keys.opentelemetry import KeyMetrics


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key, and whether it is the one to write under."""

    key: DataKey
    in_use: bool


class KeySource:
    """Reads, makes and opens data keys.

    Args:
        service: holds the KEK.
        table: keeps the wrapped data keys.
        clock: for the moment at which a key was made.
        events: told of ``data-key.created``, ``data-key.unwrapped`` and ``data-key.not-rotated``.
        metrics: told how long the service takes.
        settling: how long a rotated index key is only read.
        rotation: when a key that is about to be written under gets a new version; never when None.
    """

    def __init__(  # noqa: PLR0913 - two parts, and what surrounds them, each by its name
        self,
        service: KeyService,
        table: DataKeyTable,
        *,
        clock: Clock,
        events: EventSink,
        metrics: KeyMetrics,
        settling: timedelta,
        rotation: RotationPolicy | None,
    ) -> None:
        self._service = service
        self._table = table
        self._clock = clock
        self._events = events
        self._metrics = metrics
        self._settling = settling
        self._rotation = rotation
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._meters: dict[bytes, UseMeter] = {}
        # What is written under: for the limits of use, which are looked at when uses are stored.
        self._written_under: dict[bytes, WrappedDataKey] = {}
        self._generation: int | None = None

    def rows(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        """An owner's wrapped keys of a class, oldest first."""
        return sorted(self._table.versions(owner, key_class), key=lambda row: row.version)

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        return self._table.owners(key_class)

    def load(
        self, owner: str, key_class: DataKeyClass, key_id: bytes | None, *, create: bool
    ) -> FoundKey | None:
        """The key with an id, or the one to write under.

        Args:
            owner: whose data it seals.
            key_class: what it is used for.
            key_id: which one; the one to write under when None.
            create: it is about to be written under: make the first one when there is none, and a
                new version when it is due.

        Raises:
            DestroyedDataKeyError: there was such a key, which was destroyed.
            DestroyedOwnerError, KeyCommitmentError, UnwrapError, KeyServiceError: as `Keyring`.
        """
        if self._generation is None:  # before anything is read: what is destroyed later is seen
            self._generation = self._table.generation()
        rows = self.rows(owner, key_class)
        in_use = self.in_use(rows) if rows else None
        if key_id is not None:
            row = next((row for row in rows if row.key_id == key_id), None)
            if row is None and self._table.destroyed_among([key_id]):
                raise DestroyedDataKeyError(
                    f"expected the data key {key_id.hex()} of class {key_class.value}, found that "
                    "it was destroyed: what was sealed under it cannot be opened by anybody"
                )
            return None if row is None else FoundKey(self._unwrap(row), row is in_use)
        if in_use is None:
            return self.make(owner, key_class, 1) if create else None
        rotated = self._rotated(rows) if create else None
        if rotated is not None:
            return rotated
        self._written_under[in_use.key_id] = in_use
        return FoundKey(self._unwrap(in_use), in_use=True)

    def make(self, owner: str, key_class: DataKeyClass, version: int) -> FoundKey:
        """Make a version of an owner's key; when another writer was first, the newest there is.

        Raises:
            DestroyedOwnerError, KeysError, KeyServiceError: as `Keyring`.
        """
        context = _context(owner, key_class, version)
        with self._metrics.call("generate", self._service.uri):
            material, wrapped = self._service.generate_data_key(context)
        if len(material) != DATA_KEY_BYTES:
            raise KeysError(
                f"expected a data key of {DATA_KEY_BYTES} bytes from {self._service.uri}, found "
                f"{len(material)}"
            )
        key_id = data_key_id(material)
        key = DataKey(owner, key_class, version, key_id, material, self._meter(key_id))
        row = WrappedDataKey(
            owner, key_class, version, key_id, self._service.uri, wrapped, self._clock.now()
        )
        try:
            added = self._table.add(row)
        except OwnerDestroyedError as exc:
            raise DestroyedOwnerError(str(exc)) from exc
        if added:
            self._written_under[key_id] = row
            self._events.emit(event_of("data-key.created", key))
            return FoundKey(key, version == 1 or key_class is not DataKeyClass.INDEXES)
        # Another writer was first: its key is the owner's, ours was never used.
        rows = self.rows(owner, key_class)
        if not rows:
            raise KeysError(
                "expected the data key of the writer who was first, found none: the key table "
                "says that the place is taken and shows nobody in it"
            )
        return FoundKey(self._unwrap(rows[-1]), rows[-1] is self.in_use(rows))

    def in_use(self, rows: Sequence[WrappedDataKey]) -> WrappedDataKey:
        """Which of an owner's versions is written under: the newest that has settled.

        Args:
            rows: all of them, at least one, oldest first.
        """
        now = self._clock.now()
        settled = [
            row
            for row in rows
            if row.key_class is not DataKeyClass.INDEXES
            or row is rows[0]
            or row.created_at + self._settling <= now
        ]
        return settled[-1]

    def settles_at(self, rows: Sequence[WrappedDataKey]) -> datetime | None:
        """From when on the newest of the rows is written under; None when it is already."""
        return None if self.in_use(rows) is rows[-1] else rows[-1].created_at + self._settling

    @property
    def counts(self) -> bool:
        """Whether uses of any key are counted."""
        return bool(self._meters)

    def is_at_rest(self) -> bool:
        """Whether the table is to be left alone until somebody needs a key."""
        return self._table.is_at_rest()

    def generation_changed(self) -> bool:
        """Whether keys were destroyed since this, or anything, was asked last."""
        if self._generation is None:
            return False
        before, self._generation = self._generation, self._table.generation()
        return before != self._generation

    def destroyed_among(self, key_ids: Collection[bytes]) -> frozenset[bytes]:
        """Which of these keys were destroyed."""
        return self._table.destroyed_among(key_ids)

    def store_uses(self, kept: Collection[bytes]) -> tuple[bool, frozenset[bytes]]:
        """Store what was counted since the last time.

        Args:
            kept: ids of keys that will go on counting.

        Returns:
            Whether any key will, and which keys are due for a new version by what was counted.

        Raises:
            DatabaseError: it could not be stored, and will be the next time.
        """
        with self._storing:  # a meter is read by one thread at a time
            return self._store_uses(kept)

    def _store_uses(self, kept: Collection[bytes]) -> tuple[bool, frozenset[bytes]]:
        with self._lock:
            meters = dict(self._meters)
        taken = {key_id: meter.take() for key_id, meter in meters.items()}
        uses = {key_id: each for key_id, each in taken.items() if each != KeyUses()}
        try:
            if uses:
                self._table.add_uses(uses)
        except Exception:
            for key_id, each in uses.items():
                meters[key_id].count(each.messages, each.nonce_prefixes)
            raise
        due = self._due(list(uses))
        with self._lock:
            for key_id in taken.keys() - uses.keys() - set(kept):
                del self._meters[key_id]
                self._written_under.pop(key_id, None)
            return bool(self._meters), due

    def _due(self, key_ids: Collection[bytes]) -> frozenset[bytes]:
        rows = {each: self._written_under.get(each) for each in key_ids}
        if self._rotation is None or not any(rows.values()):
            return frozenset()
        uses, now = self._table.uses(key_ids), self._clock.now()
        return frozenset(
            each
            for each, row in rows.items()
            if row is not None and self._rotation.due(row, uses.get(each, KeyUses()), now)
        )

    def begin_afresh(self) -> None:
        """After a fork: nobody holds the lock, and what was counted is the parent's to store."""
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        for meter in self._meters.values():
            meter.take()
            meter.end_runs()

    def _rotated(self, rows: Sequence[WrappedDataKey]) -> FoundKey | None:
        """The new version of a key that is due and may be written under; None when there is none.

        A key service that makes no key is no reason to stop writing under the one that is there.
        """
        newest = rows[-1]
        if self._rotation is None:
            return None
        uses = self._table.uses([newest.key_id]).get(newest.key_id, KeyUses())
        reason = self._rotation.due(newest, uses, self._clock.now())
        if reason is None:
            return None
        try:
            made = self.make(newest.owner, newest.key_class, newest.version + 1)
        except KeyServiceError as exc:
            details = {"class": newest.key_class.value, "due": reason, "error": type(exc).__name__}
            self._events.emit(Event("data-key.not-rotated", details))
            return None
        return made if made.in_use else None

    def _meter(self, key_id: bytes) -> UseMeter:
        with self._lock:
            return self._meters.setdefault(key_id, UseMeter())

    def _unwrap(self, row: WrappedDataKey) -> DataKey:
        context = _context(row.owner, row.key_class, row.version)
        try:
            with self._metrics.call("unwrap", self._service.uri):
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
        meter = self._meter(row.key_id)
        key = DataKey(row.owner, row.key_class, row.version, row.key_id, material, meter)
        self._events.emit(event_of("data-key.unwrapped", key))
        return key


def event_of(kind: str, key: DataKey) -> Event:
    """An event about a key; it never names the owner, who may be a person."""
    details = {"class": key.key_class.value, "version": str(key.version)}
    return Event(kind, {**details, "key_id": key.key_id.hex()})


def _context(owner: str, key_class: DataKeyClass, version: int) -> dict[str, str]:
    return {"owner": owner, "class": key_class.value, "version": str(version)}
