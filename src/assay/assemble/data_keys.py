"""The data keys of a programme: in which tables they are, what is due, and doing it.

Example:
    >>> data_key_status(Path("assay.yaml")).due                      # doctest: +SKIP
    ('app-db: 3 rows keys are 365 days old or more; run `assay keys rotate --due`',)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from assay.controls import Context, Datastore, load_programme
from assay.core import AssayError, Clock, DataKeyClass, Progress, WrongInputError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from assay.core import KeyUses, WrappedDataKey
    from assay.keys import (
        KekStatus,
        KeyService,
        KeyTableStatus,
        OwnerKeyStatus,
        RewrapReport,
        RotationReport,
    )


@dataclass(frozen=True)
class KeyTable:
    """A table of data keys.

    Attributes:
        name: where it is, as the programme file says it; never a resolved reference.
        datastores: the datastores whose keys it keeps.
    """

    name: str
    datastores: tuple[Datastore, ...]

    @property
    def users(self) -> str:
        """The ids of these datastores."""
        return ", ".join(each.id for each in self.datastores)


@dataclass(frozen=True)
class FoundKeyTable:
    """What was read of a table of data keys.

    Attributes:
        place: which table.
        status: what is in it.
        settle_at: from when on every new index key is written under; None when all are.
        owners: each owner's keys, of the owners that were asked for.
    """

    place: KeyTable
    status: KeyTableStatus
    settle_at: datetime | None
    owners: tuple[OwnerKeyStatus, ...]


@dataclass(frozen=True)
class DataKeyStatus:
    """All data keys of a programme.

    Attributes:
        at: the moment for which it is judged.
        kek: the KEK that should wrap them.
        tables: what was read.
        due: what is to be done, in sentences.
        unknown: what could not be told, in sentences.
    """

    at: datetime
    kek: KekStatus
    tables: tuple[FoundKeyTable, ...]
    due: tuple[str, ...]
    unknown: tuple[str, ...]


def data_key_status(
    path: Path,
    *,
    owners: Collection[str] = (),
    all_owners: bool = False,
    clock: Clock | None = None,
) -> DataKeyStatus:
    """Read every table of data keys that a programme names, and judge what is due.

    Args:
        path: the programme file.
        owners: whose keys are told one by one.
        all_owners: tell everybody's.
        clock: where the time comes from.

    Raises:
        ProgrammeError: the file is wrong.
        WrongInputError: an owner that is asked for has no data key.
    """
    from assay.keys import due_of_table

    found: list[FoundKeyTable] = []
    unknown: list[str] = []
    with _opened(path, clock) as context:
        now = context.clock.now()
        service, why = _service_or_reason(context)
        for place in key_tables(context):
            try:
                found.append(_read(context, place, service, owners, all_owners=all_owners))
            except AssayError as exc:
                unknown.append(f"{place.users}: {exc}")
        kek = _kek_status(context, service, why, found)
    _refuse_unknown_owners(owners, found, unknown)
    due = [*kek.due(now)] + [
        sentence for each in found for sentence in due_of_table(each.place.users, each.status)
    ]
    unknown += [kek.unknown] if kek.unknown is not None else []
    if not unknown and not any(each.status.keys for each in found):
        unknown.append("expected data keys, found none: nothing was sealed yet, or it is elsewhere")
    return DataKeyStatus(now, kek, tuple(found), tuple(due), tuple(unknown))


def rewrap_data_keys(
    path: Path,
    *,
    to: str | None = None,
    formers: Sequence[str] = (),
    every: bool = False,
    progress: Progress | None = None,
) -> tuple[str, tuple[tuple[KeyTable, RewrapReport], ...]]:
    """Wrap every data key of a programme anew: under its KEK, or under another one.

    Args:
        path: the programme file.
        to: the URI of another KEK, or a reference to it.
        formers: the same of KEKs that may have wrapped keys, beside those that the file names.
        every: also what is under that KEK already.
        progress: told of keys.

    Returns:
        the URI of the KEK, and for each table what became of its keys.

    Raises:
        ProgrammeError: the file is wrong.
        KeysError, DatabaseError: it could not go on; what is done stays done.
    """
    from assay.database import SqlDataKeyTable
    from assay.keys import SuccessorKeyService, rewrap_keys

    with _opened(path) as context:
        programme = context.programme
        known = [programme.keys, *programme.former_keys, *formers]
        target = context.opened_service(to or programme.keys)
        others = [context.opened_service(uri) for uri in known]
        service = SuccessorKeyService(target, [each for each in others if each is not target])
        reports = [
            (
                place,
                rewrap_keys(
                    SqlDataKeyTable(_engine(context, place)),
                    service,
                    every=every,
                    progress=progress,
                ),
            )
            for place in key_tables(context)
        ]
        return service.uri, tuple(reports)


@dataclass(frozen=True)
class Choice:
    """Which data keys get a new version.

    Attributes:
        classes: those of these; of all when there is none.
        owners: those of these; of all when there is none.
        only_due: those that are due by the programme's ``key_rotation``.
        made_before: those whose newest version was made before this; before now when None.
    """

    classes: frozenset[DataKeyClass] = frozenset()
    owners: frozenset[str] = frozenset()
    only_due: bool = False
    made_before: datetime | None = None

    def has(self, key: WrappedDataKey, due: str | None, now: datetime) -> bool:
        """Whether it gets one.

        Args:
            key: an owner's newest version.
            due: why it is due; None when it is not.
            now: when this began: what is made later is new.
        """
        return (
            (not self.classes or key.key_class in self.classes)
            and (not self.owners or key.owner in self.owners)
            and (not self.only_due or due is not None)
            and key.created_at < (self.made_before or now)
        )


def rotate_data_keys(
    path: Path,
    choice: Choice,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[KeyTable, RotationReport], ...]:
    """Make new versions of a programme's data keys.

    Args:
        path: the programme file.
        choice: of which.
        clock: where the time comes from.
        progress: told of keys.

    Returns:
        for each table what became of its keys.

    Raises:
        ProgrammeError: the file is wrong.
        WrongInputError: an owner that is named has no data key.
        KeysError, DatabaseError: it could not go on; what is made stays.
    """
    from assay.database import SqlDataKeyTable
    from assay.keys import rotate_keys

    reports = []
    with _opened(path, clock) as context:
        now, policy = context.clock.now(), context.programme.key_rotation.policy()
        unseen = set(choice.owners)

        def chosen(key: WrappedDataKey, uses: KeyUses) -> bool:
            unseen.discard(key.owner)
            return choice.has(key, policy.due(key, uses, now), now)

        for place in key_tables(context):
            table = SqlDataKeyTable(_engine(context, place))
            keyring = context.keyring(place.datastores[0])
            try:
                reports.append((place, rotate_keys(table, keyring, chosen, progress)))
            finally:
                keyring.close()
    if unseen:
        raise _without_keys(len(unseen))
    return tuple(reports)


def key_tables(context: Context) -> tuple[KeyTable, ...]:
    """Each database with a table of data keys that a programme names, once.

    Raises:
        CollectError, DatabaseError: a database cannot be opened.
    """
    found: dict[int, KeyTable] = {}
    for asset in context.programme.assets:
        if isinstance(asset, Datastore):
            name = asset.key_table or asset.url
            place = id(context.engine(name))
            before = found[place].datastores if place in found else ()
            found[place] = KeyTable(name, (*before, asset))
    return tuple(found.values())


@contextmanager
def _opened(path: Path, clock: Clock | None = None) -> Iterator[Context]:
    programme = load_programme(path)
    directory = path.absolute().parent
    with Context(directory, programme, environment=os.environ, clock=clock) as context:
        yield context


def _engine(context: Context, place: KeyTable) -> Engine:
    return context.engine(place.name)


def _service_or_reason(context: Context) -> tuple[KeyService | None, str | None]:
    try:
        return context.key_service(), None
    except AssayError as exc:
        return None, f"the KEK could not be opened: {exc}"


def _kek_status(
    context: Context, service: KeyService | None, why: str | None, found: Sequence[FoundKeyTable]
) -> KekStatus:
    from assay.keys import KekStatus, KekVersion, kek_version

    if service is None:
        return KekStatus(context.programme.keys, None, KekVersion(), 0, why)
    destroyed = sum(each.status.destroyed for each in found)
    wraps = destroyed + sum(each.status.wrapped_by.get(service.uri, 0) for each in found)
    try:
        version = kek_version(service)
    except AssayError as exc:
        why = f"the KEK's version could not be read: {exc}"
        return KekStatus(service.uri, service.fidelity, KekVersion(), wraps, why)
    return KekStatus(service.uri, service.fidelity, version, wraps)


def _read(
    context: Context,
    place: KeyTable,
    service: KeyService | None,
    owners: Collection[str],
    *,
    all_owners: bool,
) -> FoundKeyTable:
    from assay.database import SqlDataKeyTable
    from assay.keys import Keyring, MemoryKeyService, key_table_status

    told: list[OwnerKeyStatus] = []

    def tell(status: OwnerKeyStatus) -> None:
        if all_owners or status.owner in owners:
            told.append(status)

    table = SqlDataKeyTable(_engine(context, place))
    policy = context.programme.key_rotation.policy()
    status = key_table_status(table, policy, service, context.clock.now(), tell)
    # When index keys settle stands in the table, so any key service will do.
    keyring = Keyring(service or MemoryKeyService(), table, clock=context.clock)
    moments = [keyring.settles_at(owner, DataKeyClass.INDEXES) for owner in status.recent_indexes]
    settle_at = max((moment for moment in moments if moment is not None), default=None)
    return FoundKeyTable(place, status, settle_at, tuple(told))


def _refuse_unknown_owners(
    owners: Collection[str], found: Sequence[FoundKeyTable], unknown: Sequence[str]
) -> None:
    missing = set(owners) - {status.owner for each in found for status in each.owners}
    if missing and not unknown:
        raise _without_keys(len(missing))


def _without_keys(count: int) -> WrongInputError:
    return WrongInputError(
        f"expected owners that have data keys, found {count} of those named without one"
    )
