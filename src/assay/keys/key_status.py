"""What a table of data keys looks like: how many, how old, how much used, and what is due.

Judged by `RotationPolicy` and told in sums, so that ten thousand owners are as short as one. Owners
may be people: they are told only to whoever asks for them.

Example:
    >>> status = key_table_status(table, RotationPolicy(), service, now)     # doctest: +SKIP
    >>> status.classes[DataKeyClass.ROWS].due                               # doctest: +SKIP
    {'365 days old or more': 3}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from assay.core import DataKeyClass, DataKeyTable, Fidelity, KeyUses, WrappedDataKey
from assay.keys.rewrapping import is_outdated
from assay.keys.rotation import MOST_AGE, MOST_MESSAGES, MOST_NONCE_PREFIXES, RotationPolicy
from assay.keys.service import KeyService
from assay.keys.versions import KekVersion
from assay.keys.walking import versions_by_owner

_RECENT = timedelta(days=7)
"""Longer than any index key settles."""


@dataclass(frozen=True, slots=True)
class OwnerKeyStatus:
    """The key of one owner and class that is written under.

    Attributes:
        owner: whose it is.
        key_class: what it is used for.
        version: which version is the newest.
        made_at: when that was made.
        uses: how often that was used.
        share: how much that is of what SP 800-38D allows, 0 to 1 and more.
        due: why it is due for a new version; None when it is not.
    """

    owner: str
    key_class: DataKeyClass
    version: int
    made_at: datetime
    uses: KeyUses
    share: float
    due: str | None


@dataclass(frozen=True, slots=True)
class ClassStatus:
    """All keys of one class.

    Attributes:
        owners: how many owners have one.
        keys: how many there are, in all versions.
        most_versions: the highest number of versions that an owner has.
        oldest: when the oldest that is written under was made.
        newest: when the newest was made.
        most: the most messages and the most nonce prefixes of any that is written under.
        share: the highest share of what SP 800-38D allows.
        due: for each reason how many owners' keys are due for a new version.
    """

    owners: int
    keys: int
    most_versions: int
    oldest: datetime
    newest: datetime
    most: KeyUses
    share: float
    due: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class KeyTableStatus:
    """A table of data keys.

    Attributes:
        classes: those of which there is a key.
        wrapped_by: for each KEK how many keys it wraps.
        outdated: how many keys are wrapped by another KEK than the service's, or by an older
            version of it.
        destroyed: how many keys were destroyed.
        returned: how many of these are back in the table, from a backup.
        recent_indexes: owners with a new version of an index key that may be settling.
    """

    classes: Mapping[DataKeyClass, ClassStatus]
    wrapped_by: Mapping[str, int]
    outdated: int
    destroyed: int
    returned: int
    recent_indexes: Sequence[str]

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return sum(self.wrapped_by.values())

    @property
    def due(self) -> int:
        """How many owners' keys are due for a new version."""
        return sum(sum(each.due.values()) for each in self.classes.values())


def used_share(key_class: DataKeyClass, uses: KeyUses) -> float:
    """How much of what SP 800-38D allows was used; keys of indexes draw no nonces."""
    if key_class is DataKeyClass.INDEXES:
        return 0.0
    return max(uses.nonce_prefixes / MOST_NONCE_PREFIXES, uses.messages / MOST_MESSAGES)


def owner_key_status(
    key: WrappedDataKey, uses: KeyUses, policy: RotationPolicy, now: datetime
) -> OwnerKeyStatus:
    """Judge the key that an owner's data of a class is written under.

    Args:
        key: the newest version.
        uses: how often it was used.
        policy: when it is due.
        now: the moment for which it is asked.
    """
    return OwnerKeyStatus(
        key.owner,
        key.key_class,
        key.version,
        key.created_at,
        uses,
        used_share(key.key_class, uses),
        policy.due(key, uses, now),
    )


class _Sum:
    """The keys of one class so far."""

    def __init__(self) -> None:
        self.owners = self.keys = self.most_versions = 0
        self.oldest: datetime | None = None
        self.newest: datetime | None = None
        self.most = KeyUses()
        self.share = 0.0
        self.due: Counter[str] = Counter()

    def add(self, versions: int, status: OwnerKeyStatus) -> None:
        made = status.made_at
        self.owners += 1
        self.keys += versions
        self.most_versions = max(self.most_versions, versions)
        self.oldest = min(self.oldest or made, made)
        self.newest = max(self.newest or made, made)
        self.most = KeyUses(
            max(self.most.messages, status.uses.messages),
            max(self.most.nonce_prefixes, status.uses.nonce_prefixes),
        )
        self.share = max(self.share, status.share)
        self.due.update([] if status.due is None else [status.due])

    def whole(self, now: datetime) -> ClassStatus:
        return ClassStatus(
            owners=self.owners,
            keys=self.keys,
            most_versions=self.most_versions,
            oldest=self.oldest or now,
            newest=self.newest or now,
            most=self.most,
            share=self.share,
            due=dict(sorted(self.due.items())),
        )


def key_table_status(
    table: DataKeyTable,
    policy: RotationPolicy,
    service: KeyService | None,
    now: datetime,
    on_owner: Callable[[OwnerKeyStatus], None] | None = None,
) -> KeyTableStatus:
    """Read a whole table of data keys, and judge what is due.

    Args:
        table: keeps the keys.
        policy: when a key is due.
        service: holds the KEK that should wrap them; None when it could not be opened, and then
            nothing is known to be outdated.
        now: the moment for which it is asked.
        on_owner: told of each owner's keys.

    Raises:
        DatabaseError: the table cannot be read.
    """
    uses = table.uses()
    sums: dict[DataKeyClass, _Sum] = {}
    keks: Counter[str] = Counter()
    outdated = 0
    recent: list[str] = []
    for versions in versions_by_owner(table):
        newest = versions[-1]
        status = owner_key_status(newest, uses.get(newest.key_id, KeyUses()), policy, now)
        sums.setdefault(newest.key_class, _Sum()).add(len(versions), status)
        keks.update(key.kek for key in versions)
        outdated += sum(service is not None and is_outdated(key, service) for key in versions)
        if (
            newest.key_class is DataKeyClass.INDEXES
            and len(versions) > 1
            and now - newest.created_at < _RECENT
        ):
            recent.append(newest.owner)
        if on_owner is not None:
            on_owner(status)
    destroyed = sum(1 for _ in table.destroyed())
    return KeyTableStatus(
        classes={kind: sums[kind].whole(now) for kind in DataKeyClass if kind in sums},
        wrapped_by=dict(sorted(keks.items())),
        outdated=outdated,
        destroyed=destroyed,
        returned=sum(1 for _ in table.each()) - sum(keks.values()) if destroyed else 0,
        recent_indexes=tuple(recent),
    )


@dataclass(frozen=True, slots=True)
class KekStatus:
    """The KEK that wraps data keys.

    Attributes:
        uri: which KEK, without secrets.
        fidelity: how real its service is; None when it could not be opened.
        version: the version that wraps, as far as the service tells.
        wraps: how many times it wrapped, at least: the keys that it wraps, and those destroyed.
        unknown: why it could not be opened; None when it could.
    """

    uri: str
    fidelity: Fidelity | None
    version: KekVersion
    wraps: int
    unknown: str | None = None

    def due(self, now: datetime) -> list[str]:
        """What is to be done about it, in sentences."""
        found = []
        if self.wraps >= MOST_NONCE_PREFIXES // 2:
            found.append(f"the KEK wrapped {self.wraps} keys, and may wrap {MOST_NONCE_PREFIXES}")
        if self.version.made_at is not None and now - self.version.made_at >= MOST_AGE:
            found.append(f"the KEK's version is {MOST_AGE.days} days old or more")
        return [f"{sentence}: make a new version of it, or a new KEK" for sentence in found]


def due_of_table(name: str, status: KeyTableStatus) -> list[str]:
    """What is to be done about the keys of a table, in sentences.

    Args:
        name: where it is.
        status: what was read there.
    """
    found = [
        f"{name}: {count} {kind.value} keys are {reason}; run `assay keys rotate --due`"
        for kind, each in status.classes.items()
        for reason, count in each.due.items()
    ]
    if status.outdated:
        found.append(
            f"{name}: {status.outdated} keys are wrapped by another KEK, or by an older version; "
            "run `assay keys rewrap`"
        )
    if status.returned:
        found.append(f"{name}: {status.returned} destroyed keys are back, from a backup")
    return found
