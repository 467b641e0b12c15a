"""Every data key of a table is wrapped anew under one KEK; what is sealed under it stays as it is.

A key is replaced only by a form that was opened and found to be the same key, and only where its
row still is as it was read. So there is no moment at which a key opens under no KEK, two who do it
at once do not undo each other, and whoever is killed begins again where it was.

Specification: ``spec/data-keys.md``, "Rewrapping".

Example:
    >>> rewrap_keys(table, new_kek).done                             # doctest: +SKIP
    412
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from assay.core import DataKeyTable, Progress, SilentProgress, WrappedDataKey
from assay.keys.data_key import data_key_id
from assay.keys.errors import (
    KeyAccessError,
    KeyDisabledError,
    KeyNotFoundError,
    UnwrapError,
)
from assay.keys.service import KeyService
from assay.keys.succession import successor_of
from assay.keys.versions import wrapped_by_older_version
from assay.keys.walking import present_keys

_AT_A_TIME = 10_000
"""So many are read before any is written: on SQLite a reader may hold up the writer."""

_MOST_SHORT_SWEEPS = 3


@dataclass(frozen=True, slots=True)
class RewrapReport:
    """What became of the keys of a table; no owner is named.

    Attributes:
        done: wrapped anew, and opened in that form, by this call.
        already: under the KEK before this call came to them.
        lost: replaced or destroyed by another writer in the moment they were to be replaced; they
            were looked at again.
        refused: for each reason how many could not be wrapped anew; they are as they were.
        left: under another KEK at the end, and not refused: writers make keys under it.
    """

    done: int = 0
    already: int = 0
    lost: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    left: int = 0


class _Rewrapping:
    """One call's work: the KEK, and what became of the keys so far."""

    def __init__(self, table: DataKeyTable, service: KeyService, *, every: bool) -> None:
        self._table = table
        self._service = service
        self._every = every
        self.done: set[bytes] = set()
        self.refused: dict[bytes, str] = {}
        self.lost = 0

    def waits(self, key: WrappedDataKey) -> bool:
        """Whether it is still to be wrapped anew."""
        return not self.knows(key) and (self._every or is_outdated(key, self._service))

    def knows(self, key: WrappedDataKey) -> bool:
        """Whether it was wrapped anew, or refused."""
        return key.key_id in self.done or key.key_id in self.refused

    def rewrap(self, key: WrappedDataKey) -> None:
        """Wrap it anew, open that, and put it into its row."""
        try:
            wrapped = self._service.rewrap(key.wrapped, key.context)
            found = successor_of(self._service).unwrap(wrapped, key.context)
        except UnwrapError:
            self.refused[key.key_id] = f"does not open, or not under {key.kek}"
            return
        except (KeyAccessError, KeyDisabledError, KeyNotFoundError) as exc:
            self.refused[key.key_id] = str(exc)
            return
        if not hmac.compare_digest(data_key_id(found), key.key_id):
            self.refused[key.key_id] = "opens, and is another key than its id commits to"
        elif self._table.replace(key, replace(key, kek=self._service.uri, wrapped=wrapped)):
            self.done.add(key.key_id)
        else:
            self.lost += 1


def is_outdated(key: WrappedDataKey, service: KeyService) -> bool:
    """Whether a key is wrapped by another KEK than the service's, or an older version of it.

    Whether it is an older version only some services can tell (`assay.keys.VersionedKek`).
    """
    return key.kek != service.uri or wrapped_by_older_version(service, key.wrapped)


def rewrap_keys(
    table: DataKeyTable,
    service: KeyService,
    *,
    every: bool = False,
    progress: Progress | None = None,
) -> RewrapReport:
    """Wrap every data key of a table anew under a KEK, and leave those that are.

    Args:
        table: keeps the keys.
        service: holds the KEK, and opens what others wrapped (`SuccessorKeyService`).
        every: also those that are under it: it has a new version that only it can tell.
        progress: told of keys.

    Raises:
        KeyServiceError: the service failed; what is done stays done, and the next call goes on.
        DatabaseError: the table cannot be used; as above.
    """
    shown = progress or SilentProgress()
    total = sum(1 for _ in table.each())
    work = _Rewrapping(table, service, every=every)
    short_sweeps = 0
    while short_sweeps < _MOST_SHORT_SWEEPS:
        waiting = list(islice(filter(work.waits, present_keys(table)), _AT_A_TIME))
        if not waiting:
            break
        short_sweeps += len(waiting) < _AT_A_TIME
        for key in waiting:
            work.rewrap(key)
            looked_at = len(work.done) + len(work.refused)
            shown.advance(min(looked_at, total), total, f"{looked_at} data keys")
    others = [is_outdated(key, service) for key in present_keys(table) if not work.knows(key)]
    refused = dict(sorted(Counter(work.refused.values()).items()))
    left = sum(others)
    return RewrapReport(len(work.done), len(others) - left, work.lost, refused, left)
