"""Wrapped data keys, and the protocol of the table that keeps them.

`keys` makes and unwraps data keys, `database` stores the wrapped ones; neither imports the other,
so what both must know stands here.

Example:
    >>> DataKeyClass.ROWS.value
    'rows'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class DataKeyClass(StrEnum):
    """What a data key is used for. A key of one class is never used for another."""

    ROWS = "rows"
    INDEXES = "indexes"
    OBJECTS = "objects"
    FILES = "files"

    # Equal to its text, so hashed as it; and without a call of Python's for each look into a cache.
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class WrappedDataKey:
    """A data key as it may be stored: encrypted under a KEK, bound to its owner and class.

    Attributes:
        owner: whose data it seals (a tenant or a data subject).
        key_class: what it is used for.
        version: 1 for an owner's first key of a class, then counting up.
        key_id: 16 bytes, a commitment to the key itself (``spec/row-envelope.md``).
        kek: the URI of the key that wraps it, without secrets.
        wrapped: the bytes that only the key service can open.
        created_at: when it was made.
    """

    owner: str
    key_class: DataKeyClass
    version: int
    key_id: bytes
    kek: str
    wrapped: bytes
    created_at: datetime


class DataKeyTable(Protocol):
    """Where wrapped data keys are kept. What it accepted is durable before it returns."""

    def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        """All versions of an owner's key of a class, oldest first; empty when there is none."""
        ...

    def add(self, key: WrappedDataKey) -> bool:
        """Store a key unless (owner, class, version) is taken.

        Returns:
            True when it was stored, False when another writer was first; nothing is replaced.
        """
        ...

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        ...
