"""Destroying what was approved, step by step; each may be done again after a kill.

The numbered steps are those of ``spec/destruction.md``, section Execution. What the log and the key
tables say decides where it goes on.

Example:
    >>> shred(platform, folder).completed.at                          # doctest: +SKIP
    '2026-01-02T03:04:05.000006Z'
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from assay.assemble.datastores import search_storage_for_bytes
from assay.assemble.destruction import (
    KeyTablePlace,
    declaration_of,
    key_tables,
    require_approved,
)
from assay.assemble.destruction_folders import (
    CERTIFICATE,
    OWNER,
    REQUEST,
    TRACES,
    DestructionFolder,
    DestructionRefusedError,
    ledger_of,
)
from assay.assemble.destruction_report import certificate_text
from assay.assemble.owners_data import refused_readings
from assay.assemble.platform import Platform, recording
from assay.core import (
    AssayError,
    DataKeyClass,
    DestroyedKey,
    exclusive_lock,
    from_rfc3339,
    owner_digest,
    to_canonical_json,
    to_rfc3339,
    write_atomically,
)
from assay.evidence import (
    Certificate,
    DestroyedKeys,
    DestructionCompleted,
    DestructionOrdered,
    LoggedDestruction,
    ProvenStatement,
    Storage,
    certificate_bytes,
    verify_certificate,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

TRACE_BYTES = 16
_STEPS = 9
_CERTIFICATE_TEXT = "certificate.md"


class CopiesRemainError(AssayError):
    """Wrapped keys still stand in raw files that could be searched."""


@dataclass(frozen=True)
class Traces:
    """What is looked for in the raw files of one key table's database.

    Attributes:
        values: the ends of the wrapped keys.
        unsearched: why they could not be looked for; else empty.
    """

    values: tuple[bytes, ...]
    unsearched: str


def shred(
    platform: Platform,
    folder: DestructionFolder,
    *,
    binary_logs: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Certificate:
    """Do what was approved, or go on where it was stopped.

    Args:
        platform: the programme.
        folder: the destruction.
        binary_logs: whether MariaDB's older binary logs are deleted, of the whole server.
        sleep: waits so many seconds.

    Raises:
        DestructionRefusedError: it was not approved, or expired; nothing was changed.
        CopiesRemainError, StillReadableError: it is not complete.
        AssayError: it could not go on; start it again.
    """
    with exclusive_lock(folder.path / "lock", f"destruction {folder.id}"):
        return _Destroying(platform, folder, binary_logs, sleep).run()


@dataclass
class _Destroying:
    """One destruction at work."""

    platform: Platform
    folder: DestructionFolder
    binary_logs: bool
    sleep: Callable[[float], None]

    def run(self) -> Certificate:
        logged = self._logged()
        if logged is None:
            self._say(1, "looking at consents and keys")
            require_approved(self.platform, self.folder)  # step 1
            self._say(2, "writing the order into the log")
            self._order()  # step 2
            logged = self._known()
        if logged.completed is None:
            self._complete(logged.ordered)
            logged = self._known()
        remember(logged, owner_digest(self.folder.request.owner), key_tables(self.platform))
        self._say(9, "writing the certificate")
        return self._certify(logged)  # step 9

    def _complete(self, ordered: DestructionOrdered) -> None:
        tables = key_tables(self.platform)
        self._say(3, "looking for the wrapped keys in raw files")
        traces = self._keep_traces(tables, ordered)  # step 3
        self._say(4, "destroying the keys")
        also, destroyed_at = self._destroy(tables, ordered)  # step 4
        self._say(5, "waiting until every process has noticed")
        seconds = declaration_of(self.platform).watch_seconds
        self._wait(seconds)  # step 5
        storage = []
        for place in tables:  # step 6
            self._say(6, f"{place.id}: rewriting, then searching raw files")
            storage.append(self._clean(place, traces[place.id]))
        self._say(7, "trying to read")
        keys = [*ordered.keys, *also]
        gone = [
            (DataKeyClass(each.key_class), bytes.fromhex(key_id))
            for each in keys
            for key_id in each.ids
        ]
        readings = refused_readings(self.platform.context, self.folder.request.owner, gone)  # 7
        self._say(8, "writing the completion into the log")
        with recording(self.platform) as recorder:  # step 8
            now = recorder.now()
            recorder.record(
                DestructionCompleted(
                    destruction=self.folder.id,
                    at=now,
                    also=also,
                    destroyed_at=destroyed_at,
                    watch_seconds=seconds,
                    readings=readings,
                    storage=storage,
                    backups_until=self._backups_until(now),
                )
            )

    def _order(self) -> None:
        request = self.folder.request
        digest = owner_digest(request.owner)
        # Kept beside the log for ever: it tells a replay which owner a commitment is of.
        kept = {"owner_digest": digest.hex(), "salt": request.salt}
        write_atomically(self.folder.path / OWNER, to_canonical_json(kept), mode=0o600)
        with recording(self.platform) as recorder:
            recorder.record(
                DestructionOrdered(
                    destruction=request.destruction,
                    at=recorder.now(),
                    log=request.log,
                    kind=request.kind,
                    owner=request.commitment,
                    reason=request.reason,
                    request=request.digest,
                    consents=self.folder.consents,
                    keys=request.key_ids,
                )
            )

    def _keep_traces(
        self, tables: tuple[KeyTablePlace, ...], ordered: DestructionOrdered
    ) -> dict[str, Traces]:
        path = self.folder.path / TRACES
        if path.is_file():
            kept = json.loads(path.read_bytes())
            return {
                name: Traces(tuple(map(bytes.fromhex, each["values"])), each["unsearched"])
                for name, each in kept.items()
            }
        wanted = {key_id for each in ordered.keys for key_id in each.ids}
        found = {place.id: self._find_traces(place, wanted) for place in tables}
        kept = {
            name: {"values": [value.hex() for value in each.values], "unsearched": each.unsearched}
            for name, each in found.items()
        }
        write_atomically(path, to_canonical_json(kept), mode=0o600)
        return found

    def _find_traces(self, place: KeyTablePlace, wanted: set[str]) -> Traces:
        """What a search finds now, so that not finding it later means something."""
        owner = self.folder.request.owner
        values = tuple(
            key.wrapped[-TRACE_BYTES:]
            for key_class in DataKeyClass
            for key in place.table.versions(owner, key_class)
            if key.key_id.hex() in wanted
        )
        if not values:
            return Traces((), "no key of this owner stood in this table")
        found, unsearched = self._search(place, values)
        if not found and not unsearched:
            unsearched = (
                "the wrapped keys were not found in these files before the destruction either, so "
                "not finding them says nothing"
            )
        return Traces(tuple(values[at] for at in sorted(found)), unsearched)

    def _search(
        self, place: KeyTablePlace, values: tuple[bytes, ...]
    ) -> tuple[frozenset[int], str]:
        from assay.database import StorageUnreachableError

        engine = self._engine(place)
        try:
            searched = search_storage_for_bytes(engine, values)
        except StorageUnreachableError as exc:
            return frozenset(), str(exc)
        return searched.found, ""

    def _destroy(
        self, tables: tuple[KeyTablePlace, ...], ordered: DestructionOrdered
    ) -> tuple[list[DestroyedKeys], str]:
        """Every key in every table, and what was made since the order; when the last one went."""
        owner, now = self.folder.request.owner, self.platform.context.clock.now()
        digest = owner_digest(owner)
        for place in tables:
            place.table.destroy_again(destroyed_of(ordered.keys, digest, now))
            place.table.destroy(owner, now)
        others = {
            key_id for one in ledger_of(self.platform).destructions.values() for k in one.keys
            for key_id in k.ids
        }  # fmt: skip
        remembered = {
            place.id: [key for key in place.table.destroyed() if key.owner_digest == digest]
            for place in tables
        }
        since = {
            name: [key for key in keys if key.key_id.hex() not in others]
            for name, keys in remembered.items()
        }
        last = max(key.destroyed_at for keys in remembered.values() for key in keys)
        return _listed(since), to_rfc3339(last)

    def _wait(self, seconds: int) -> None:
        for second in range(seconds):
            self.platform.context.progress.advance(
                5, _STEPS, f"waiting until every process has noticed: {seconds - second} s"
            )
            self.sleep(1)

    def _clean(self, place: KeyTablePlace, traces: Traces) -> Storage:
        from assay.database import KEY_TABLE_NAME
        from assay.encryption.adoption import Rewritten, purge_table

        where = Rewritten(
            "", KEY_TABLE_NAME, "the wrapped keys", "The keys are destroyed", self.binary_logs
        )
        purged = purge_table(where, self._engine(place))
        files = bytes_read = 0
        unsearched = traces.unsearched
        if traces.values:
            searched = search_storage_for_bytes(self._engine(place), traces.values)
            if searched.found:
                raise CopiesRemainError(_copies(place, searched.places, purged.remains))
            files, bytes_read = searched.files, searched.bytes_read
            unsearched = "; ".join([*filter(None, [unsearched]), *searched.gaps])
        return Storage(
            table=place.id,
            traced=len(traces.values),
            files=files,
            bytes_read=bytes_read,
            cleaned=tuple(purged.cleaned),
            remains=tuple(purged.remains),
            unsearched=unsearched,
        )

    def _certify(self, logged: LoggedDestruction) -> Certificate:
        log = self.platform.context.log()
        proven = []
        for index in (logged.ordered_index, logged.completed_index):
            if index is None:
                raise DestructionRefusedError("expected a completed destruction, found an open one")
            entry, proof = log.entry(index).decode(), log.prove(index).text
            proven.append(ProvenStatement(entry=entry, proof=proof))
        path = self.folder.path
        if not (path / CERTIFICATE).is_file():
            data = certificate_bytes(self.folder.request, *proven)
            verify_certificate(data, log.verifier_key)
            write_atomically(path / CERTIFICATE, data, mode=0o600)
        found = verify_certificate((path / CERTIFICATE).read_bytes(), log.verifier_key)
        text = certificate_text(found, self.platform.context.programme.organisation)
        write_atomically(path / _CERTIFICATE_TEXT, text.encode(), mode=0o600)
        for name in (TRACES, REQUEST):
            (path / name).unlink(missing_ok=True)
        return found

    def _logged(self) -> LoggedDestruction | None:
        return ledger_of(self.platform).destructions.get(self.folder.id)

    def _known(self) -> LoggedDestruction:
        logged = self._logged()
        if logged is None:
            raise AssayError(
                f"expected destruction {self.folder.id} in the log, found nothing about it: was "
                "the log replaced?"
            )
        return logged

    def _engine(self, place: KeyTablePlace) -> Engine:
        return self.platform.context.engine(place.datastore.key_table or place.datastore.url)

    def _backups_until(self, now: str) -> str:
        days = declaration_of(self.platform).backups_kept_days
        return "" if days is None else to_rfc3339(from_rfc3339(now) + timedelta(days=days))

    def _say(self, step: int, what: str) -> None:
        self.platform.context.progress.advance(step - 1, _STEPS, what)


def destroyed_of(
    keys: Sequence[DestroyedKeys], digest: bytes, destroyed_at: datetime
) -> list[DestroyedKey]:
    """Keys as a statement names them, as a key table remembers them."""
    return [
        DestroyedKey(
            bytes.fromhex(key_id), digest, DataKeyClass(each.key_class), int(number), destroyed_at
        )
        for each in keys
        for number, key_id in each.versions.items()
    ]


def remember(logged: LoggedDestruction, digest: bytes, tables: Iterable[KeyTablePlace]) -> int:
    """Have every key table remember every key of a destruction; how many stood there again."""
    keys = destroyed_of(logged.keys, digest, from_rfc3339(logged.destroyed_at))
    return sum(place.table.destroy_again(keys) for place in tables)


def _listed(found: Mapping[str, Sequence[DestroyedKey]]) -> list[DestroyedKeys]:
    """Keys by table and class."""
    listed = []
    for name, keys in sorted(found.items()):
        for key_class in DataKeyClass:
            versions = {
                str(key.version): key.key_id.hex() for key in keys if key.key_class is key_class
            }
            if versions:
                one = DestroyedKeys(table=name, key_class=key_class.value, versions=versions)
                listed.append(one)
    return listed


def _copies(place: KeyTablePlace, files: tuple[str, ...], remains: list[str]) -> str:
    known = f" What could not be rewritten: {'; '.join(remains)}." if remains else ""
    return (
        f"expected no wrapped key in the raw files of {place.id}, found some in "
        f"{', '.join(files)}. Nothing opens any more, but the destruction is not complete: end "
        f"what holds these files, and start it again (on MariaDB with --purge-binary-logs).{known}"
    )


def certificate_path(folder: Path) -> tuple[Path, Path]:
    """Where the certificate of a destruction is, for machines and for people."""
    return folder / CERTIFICATE, folder / _CERTIFICATE_TEXT
