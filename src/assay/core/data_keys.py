"""Wrapped data keys, and the protocol of the table that keeps them.

`keys` makes and unwraps data keys, `database` stores the wrapped ones; neither imports the other,
so what both must know stands here.

Example:
    >>> DataKeyClass.ROWS.value
    'rows'
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from assay.core.errors import AssayError
from assay.core.pae import pae


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

    @property
    def context(self) -> dict[str, str]:
        """What is authenticated with it where it is wrapped (``spec/data-keys.md``)."""
        version = str(self.version)
        return {"owner": self.owner, "class": self.key_class.value, "version": version}


class OwnerDestroyedError(AssayError):
    """The owner's data keys were destroyed; no new one is made."""


@dataclass(frozen=True, slots=True)
class DestroyedKey:
    """What stays of a data key that was destroyed; nothing of it opens anything.

    Attributes:
        key_id: 16 bytes, the commitment to the key that is gone.
        owner_digest: see `owner_digest`.
        key_class: what it was used for.
        version: which of the owner's keys of this class it was.
        destroyed_at: when.
    """

    key_id: bytes
    owner_digest: bytes
    key_class: DataKeyClass
    version: int
    destroyed_at: datetime


@dataclass(frozen=True, slots=True)
class KeyUses:
    """How often a data key was used; what was not counted yet when a process died is missing.

    Attributes:
        messages: envelopes, objects or file keys that were sealed under it.
        nonce_prefixes: random nonce prefixes that were drawn for them: one for each run of
            envelopes of one writer, one for each object or file key.
    """

    messages: int = 0
    nonce_prefixes: int = 0

    def __add__(self, other: KeyUses) -> KeyUses:
        """Both together."""
        return KeyUses(self.messages + other.messages, self.nonce_prefixes + other.nonce_prefixes)


def owner_digest(owner: str) -> bytes:
    """What is remembered of an owner whose keys were destroyed: 32 bytes.

    ``SHA-256(PAE(["assay destroyed owner v1", owner]))`` (``spec/data-keys.md``). Who knows an
    owner's name can tell that the owner was destroyed; the name itself is not kept.
    """
    return hashlib.sha256(pae([b"assay destroyed owner v1", owner.encode()])).digest()


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

    def each(self) -> Iterator[WrappedDataKey]:
        """Every key, ordered by owner, class and version; streamed.

        A key that was destroyed is not among them, unless it came back with a restored backup and
        was not destroyed again.
        """
        ...

    def replace(self, old: WrappedDataKey, new: WrappedDataKey) -> bool:
        """Store a key in another wrapped form, unless it is not as ``old`` says any more.

        Args:
            old: as it was read.
            new: the same key (owner, class, version, key id, time), wrapped otherwise.

        Returns:
            True when it was replaced, False when another writer was first or it was destroyed.
        """
        ...

    def destroy(self, owner: str, destroyed_at: datetime) -> Sequence[DestroyedKey]:
        """Destroy every key of an owner, remember their ids, and admit no new one.

        Returns:
            what was destroyed now; empty when the owner has no key.
        """
        ...

    def destroy_again(self, keys: Collection[DestroyedKey]) -> int:
        """Destroy keys that came back with a restored backup, and remember all of them.

        Args:
            keys: what was destroyed at any time, from a record that was not restored.

        Returns:
            how many wrapped keys were there, and are gone.
        """
        ...

    def destroyed(self) -> Iterator[DestroyedKey]:
        """All that is remembered of destroyed keys, in no particular order; streamed."""
        ...

    def destroyed_among(self, key_ids: Collection[bytes]) -> frozenset[bytes]:
        """Which of these keys were destroyed."""
        ...

    def generation(self) -> int:
        """A number that is another one after keys were destroyed; cheap to ask for."""
        ...

    def add_uses(self, uses: Mapping[bytes, KeyUses]) -> None:
        """Add to the count of uses of keys, which are named by their ids."""
        ...

    def uses(self, key_ids: Collection[bytes] | None = None) -> Mapping[bytes, KeyUses]:
        """How often these keys, or all, were used; a key that was never counted is missing."""
        ...

    def is_at_rest(self) -> bool:
        """Whether it was let go of, so that nothing is to be asked of it in the background."""
        ...
