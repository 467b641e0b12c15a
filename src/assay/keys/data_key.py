"""An unwrapped data key, its id, and how often it was used.

Specification: ``spec/data-keys.md``.

Example:
    >>> material = bytes(32)
    >>> key = DataKey("tenant-1", DataKeyClass.ROWS, 1, data_key_id(material), material)
    >>> key.uses.count(messages=1)
    >>> key.uses.take()
    KeyUses(messages=1, nonce_prefixes=1)
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import length_hint
from typing import NoReturn

from assay.core import DataKeyClass, KeyUses

KEY_ID_BYTES = 16


def data_key_id(material: bytes) -> bytes:
    """The 16 bytes that name a data key and commit to it.

    The first 16 bytes of ``SHA-256("assay data key id v1" || material)``. AES-GCM does not commit
    to its key: one ciphertext may open under two. This id does, so it is checked at each unwrap.
    """
    return hashlib.sha256(b"assay data key id v1" + material).digest()[:KEY_ID_BYTES]


class UseMeter:
    """Counts the uses of one data key in this process. It knows no secret.

    Whoever seals counts without a lock; one thread at a time takes what was counted.
    """

    __slots__ = ("_counted", "_runs")

    def __init__(self) -> None:
        self._counted: deque[KeyUses] = deque()
        self._runs: deque[tuple[Iterator[int], int]] = deque()

    def count(self, messages: int = 1, nonce_prefixes: int = 1) -> None:
        """Count what was sealed.

        Args:
            messages: envelopes, objects or file keys.
            nonce_prefixes: random prefixes that were drawn for their nonces.
        """
        self._counted.append(KeyUses(messages, nonce_prefixes))

    def begin_run(self, numbers: Iterator[int]) -> None:
        """Count a run of nonces that have one prefix, each by the number that it takes.

        So counting costs a writer nothing: how many were taken is what the iterator has not left.

        Args:
            numbers: iterates over a range, and is held by whoever seals as long as it is used.
        """
        self._counted.append(KeyUses(0, 1))
        self._runs.append((numbers, length_hint(numbers)))

    def take(self) -> KeyUses:
        """What was counted since this was called last."""
        total = KeyUses()
        for _ in range(len(self._counted)):
            total += self._counted.popleft()
        for _ in range(len(self._runs)):
            numbers, left_before = self._runs.popleft()
            left = length_hint(numbers)
            total += KeyUses(left_before - left)
            if left:
                self._runs.append((numbers, left))
        return total

    def end_runs(self) -> None:
        """Forget the runs whose writers are gone; call `take` before."""
        self._runs.clear()


@dataclass(frozen=True, slots=True)
class DataKey:
    """An unwrapped data key. Its material is in no ``repr``, and it cannot be pickled.

    Attributes:
        owner: whose data it seals.
        key_class: what it is used for.
        version: 1 for an owner's first key of a class, then counting up.
        key_id: 16 bytes, see `data_key_id`.
        material: 32 bytes, secret.
        uses: counts what is sealed under it.
    """

    owner: str
    key_class: DataKeyClass
    version: int
    key_id: bytes
    material: bytes = field(repr=False, compare=False)
    uses: UseMeter = field(default_factory=UseMeter, repr=False, compare=False)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to leave the process."""
        raise TypeError("expected a data key to stay in this process; send its owner and key id")
