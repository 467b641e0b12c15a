"""A key service and a table of data keys in memory, for tests and examples.

The cryptography is real (AES-256-GCM, ``spec/data-keys.md``), the custody is not: the KEK lives
and dies with the object. Fidelity is ``fixture``.

Example:
    >>> service = MemoryKeyService()
    >>> data_key, wrapped = service.generate_data_key({"owner": "tenant-1"})
    >>> service.unwrap(wrapped, {"owner": "tenant-1"}) == data_key
    True
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay.core import (
    DataKeyClass,
    DestroyedKey,
    Fidelity,
    KeyUses,
    OwnerDestroyedError,
    WrappedDataKey,
    owner_digest,
)
from assay.keys.service import Custody, KeyOrigin, KeyService
from assay.keys.wrapping import (
    DATA_KEY_BYTES,
    NONCE_BYTES,
    require_data_key,
    unwrap_with,
    wrap_with,
)


class MemoryKeyService:
    """A KEK in memory, for tests and examples.

    Attributes:
        generated: how often `generate_data_key` was called.
        unwrapped: how often `unwrap` was called.
    """

    def __init__(self, kek: bytes | None = None, name: str = "kek") -> None:
        self._cipher = AESGCM(os.urandom(32) if kek is None else kek)
        self._uri = f"memory:{name}"
        self._lock = threading.Lock()
        self.generated = 0
        self.unwrapped = 0

    @property
    def uri(self) -> str:
        """``memory:`` and the name."""
        return self._uri

    @property
    def fidelity(self) -> Fidelity:
        """Always ``fixture``."""
        return Fidelity.FIXTURE

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Make a data key: 32 bytes, and the same wrapped in 61 bytes."""
        with self._lock:
            self.generated += 1
        data_key = os.urandom(DATA_KEY_BYTES)
        return data_key, wrap_with(self._cipher, os.urandom(NONCE_BYTES), data_key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
        """
        with self._lock:
            self.unwrapped += 1
        return unwrap_with(self._cipher, wrapped, context)

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        """Wrap the same data key anew, with another nonce.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: the other service failed.
        """
        data_key = require_data_key((wrapped_by or self).unwrap(wrapped, context))
        return wrap_with(self._cipher, os.urandom(NONCE_BYTES), data_key, context)

    def custody(self) -> Custody:
        """The facts: a key in the memory of a process, which any code in it can read."""
        return Custody(
            provider="memory",
            fidelity=self.fidelity,
            uri=self.uri,
            algorithm="AES-256-GCM",
            origin=KeyOrigin(generated_inside=None, mechanism=None),
            attributes={"extractable": True, "sensitive": False, "token": False},
            export_attempts=(),
            residual_risk="Every line of code in the process can read the key.",
        )

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryDataKeyTable:
    """A table of wrapped data keys in memory, for tests and examples."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, DataKeyClass, int], WrappedDataKey] = {}
        self._destroyed: dict[bytes, DestroyedKey] = {}
        self._uses: dict[bytes, KeyUses] = {}
        self._lock = threading.Lock()

    def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        """All versions of an owner's key of a class, oldest first; empty when there is none."""
        return [row for row in self._there() if row.owner == owner and row.key_class == key_class]

    def add(self, key: WrappedDataKey) -> bool:
        """Store a key unless (owner, class, version) is taken; True when it was stored.

        Raises:
            OwnerDestroyedError: the owner's keys were destroyed; nothing was stored.
        """
        digest = owner_digest(key.owner)
        with self._lock:
            if any(gone.owner_digest == digest for gone in self._destroyed.values()):
                raise OwnerDestroyedError(
                    "expected an owner whose data keys were not destroyed, found one whose were"
                )
            return self._rows.setdefault(_place(key), key) is key

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        return sorted({row.owner for row in self._there() if row.key_class == key_class})

    def each(self) -> Iterator[WrappedDataKey]:
        """Every key, ordered by owner, class and version."""
        yield from self._there()

    def replace(self, old: WrappedDataKey, new: WrappedDataKey) -> bool:
        """Store a key in another wrapped form, unless it is not as ``old`` says any more.

        Raises:
            ValueError: the new one is another key.
        """
        if (_place(old), old.key_id) != (_place(new), new.key_id):
            raise ValueError("expected the same key wrapped otherwise, found another key")
        with self._lock:
            if self._rows.get(_place(old)) != old:
                return False
            self._rows[_place(old)] = new
            return True

    def destroy(self, owner: str, destroyed_at: datetime) -> Sequence[DestroyedKey]:
        """Destroy every key of an owner, remember their ids, and admit no new one."""
        gone = [
            DestroyedKey(row.key_id, owner_digest(owner), row.key_class, row.version, destroyed_at)
            for row in self._there()
            if row.owner == owner
        ]
        self.destroy_again(gone)
        return gone

    def destroy_again(self, keys: Collection[DestroyedKey]) -> int:
        """Destroy keys that came back, and remember all of them; how many were there."""
        with self._lock:
            for key in keys:
                self._destroyed.setdefault(key.key_id, key)
            back = [at for at, row in self._rows.items() if row.key_id in self._destroyed]
            for at in back:
                del self._rows[at]
        return len(back)

    def destroyed(self) -> Iterator[DestroyedKey]:
        """All that is remembered of destroyed keys, in the order of destruction."""
        yield from list(self._destroyed.values())

    def destroyed_among(self, key_ids: Collection[bytes]) -> frozenset[bytes]:
        """Which of these keys were destroyed."""
        return frozenset(key_id for key_id in key_ids if key_id in self._destroyed)

    def generation(self) -> int:
        """How many keys were destroyed."""
        return len(self._destroyed)

    def add_uses(self, uses: Mapping[bytes, KeyUses]) -> None:
        """Add to the count of uses of keys."""
        with self._lock:
            for key_id, more in uses.items():
                self._uses[key_id] = self._uses.get(key_id, KeyUses()) + more

    def uses(self, key_ids: Collection[bytes] | None = None) -> Mapping[bytes, KeyUses]:
        """How often these keys, or all, were used; a key that was never counted is missing."""
        return {
            key_id: uses
            for key_id, uses in self._uses.items()
            if key_ids is None or key_id in key_ids
        }

    def is_at_rest(self) -> bool:
        """Never."""
        return False

    def _there(self) -> list[WrappedDataKey]:
        with self._lock:
            rows = list(self._rows.values())
        return sorted(rows, key=_place)


def _place(key: WrappedDataKey) -> tuple[str, DataKeyClass, int]:
    return key.owner, key.key_class, key.version
