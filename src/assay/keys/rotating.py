"""New versions of the data keys of a table: of all, or of those that are due.

A new version changes nothing that is there: what was sealed under older ones still opens, rows move
when they are written, or by ``assay rekey``.

Example:
    >>> rotate_keys(table, keyring, lambda key, uses: policy.due(key, uses, now))  # doctest: +SKIP
    RotationReport(made={<DataKeyClass.ROWS: 'rows'>: 3}, kept=409, overtaken=0, refused={})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from assay.core import (
    DataKeyClass,
    DataKeyTable,
    KeyUses,
    OwnerDestroyedError,
    Progress,
    SilentProgress,
    WrappedDataKey,
)
from assay.keys.errors import UnknownDataKeyError
from assay.keys.keyring import Keyring
from assay.keys.walking import versions_by_owner

_AT_A_TIME = 10_000
"""So many are read before any is made: on SQLite a reader may hold up the writer."""


@dataclass(frozen=True, slots=True)
class RotationReport:
    """What became of the keys of a table; no owner is named.

    Attributes:
        made: for each class how many owners got a new version.
        kept: how many owners' keys were left as they are.
        overtaken: how many got one from another writer meanwhile.
        destroyed: how many were destroyed meanwhile.
    """

    made: Mapping[DataKeyClass, int] = field(default_factory=dict)
    kept: int = 0
    overtaken: int = 0
    destroyed: int = 0


def rotate_keys(
    table: DataKeyTable,
    keyring: Keyring,
    chosen: Callable[[WrappedDataKey, KeyUses], bool],
    progress: Progress | None = None,
) -> RotationReport:
    """Make a new version of each key that is chosen.

    Args:
        table: keeps the keys.
        keyring: makes them, of the same table.
        chosen: told the newest version of an owner and class, and how often it was used.
        progress: told of owners.

    Raises:
        KeyServiceError: the key service failed; what is made stays, and the next call goes on.
        DatabaseError: the table cannot be used; as above.
    """
    shown = progress or SilentProgress()
    made: Counter[DataKeyClass] = Counter()
    kept = overtaken = destroyed = 0
    seen: set[bytes] = set()
    uses = table.uses()

    def waiting() -> Iterator[WrappedDataKey]:
        nonlocal kept
        kept = 0
        for versions in versions_by_owner(table):
            newest = versions[-1]
            if newest.key_id in seen:
                continue
            if chosen(newest, uses.get(newest.key_id, KeyUses())):
                yield newest
            else:
                kept += 1

    while some := list(islice(waiting(), _AT_A_TIME)):
        for key in some:
            seen.add(key.key_id)
            now = table.versions(key.owner, key.key_class)
            if now and now[-1].key_id != key.key_id:
                overtaken += 1
                continue
            try:
                seen.add(keyring.rotate(key.owner, key.key_class).key_id)
            except (OwnerDestroyedError, UnknownDataKeyError):
                destroyed += 1
                continue
            made[key.key_class] += 1
            shown.advance(sum(made.values()), sum(made.values()), "new versions")
    return RotationReport(dict(sorted(made.items())), kept, overtaken, destroyed)
