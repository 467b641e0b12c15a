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
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay.core import DataKeyClass, Fidelity, WrappedDataKey
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
        self._lock = threading.Lock()

    def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        """All versions of an owner's key of a class, oldest first; empty when there is none."""
        with self._lock:
            rows = [
                row
                for row in self._rows.values()
                if row.owner == owner and row.key_class == key_class
            ]
        return sorted(rows, key=lambda row: row.version)

    def add(self, key: WrappedDataKey) -> bool:
        """Store a key unless (owner, class, version) is taken; True when it was stored."""
        with self._lock:
            place = (key.owner, key.key_class, key.version)
            if place in self._rows:
                return False
            self._rows[place] = key
            return True

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        with self._lock:
            return sorted({row.owner for row in self._rows.values() if row.key_class == key_class})
