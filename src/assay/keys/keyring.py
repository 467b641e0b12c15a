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


class Keyring:
    """Skeleton."""

    def __init__(
        self,
        service: KeyService,
        table: DataKeyTable,
        *,
        clock: Clock | None = None,
        events: EventSink | None = None,
        cache_ttl_seconds: float = 300,
        cache_entries: int = 10_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None: ...

    def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
        """The newest version of an owner's key; the first one is made when there is none."""
        raise NotImplementedError

    def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
        """The key that an envelope names."""
        raise NotImplementedError

    def existing(self, owner: str, key_class: DataKeyClass) -> DataKey | None:
        """The newest version of an owner's key, or None; never makes one."""
        raise NotImplementedError

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        raise NotImplementedError
