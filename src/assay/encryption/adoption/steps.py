"""The steps as verbs: each goes through the parts of the tables that were asked for.

Example:
    >>> run_backfill(adoption, crew, tables=())                     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from assay.core import Clock, DataKeyClass, exclusive_lock
from assay.database.failures import named_errors
from assay.encryption.adoption.alembic import (
    Migration,
    apply_migration,
    find_migration,
    write_migration,
)
from assay.encryption.adoption.backfill import BackfillReport, backfill
from assay.encryption.adoption.contract import (
    ContractReport,
    Search,
    clear_columns_there,
    contraction,
    sample,
)
from assay.encryption.adoption.expand import expansion, slug
from assay.encryption.adoption.names import file_word
from assay.encryption.adoption.obstacles import refuse_dependents, refuse_hidden_rows
from assay.encryption.adoption.parts import Part, all_parts, parts_in_transition, retired_parts
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.plan import Plan, plan
from assay.encryption.adoption.purge import purge
from assay.encryption.adoption.ranges import Checkpoint, kept_in
from assay.encryption.adoption.rekey import RekeyReport, rekey, rotate_keys
from assay.encryption.adoption.store import Store
from assay.encryption.adoption.sweep import Crew
from assay.encryption.adoption.verify import (
    VerifyReport,
    record_verified,
    refuse_unopened,
    require_verified,
    verify,
)


@dataclass(frozen=True)
class Adoption:
    """A datastore whose tables are on their way, and where their state is kept.

    Attributes:
        store: the database, opened here.
        name: of the datastore.
        state: the folder of checkpoints and of what was verified.
        clock: where the time comes from.
    """

    store: Store
    name: str
    state: Path
    clock: Clock

    def file(self, part: Part, kind: str) -> Path:
        """Where something about a part is kept."""
        return self.state / f"{self.name}.{file_word(part.name)}.{kind}"

    @contextmanager
    def alone(self, part: Part) -> Iterator[None]:
        """Nobody else on this machine works on the part while the block runs.

        Raises:
            LockHeldError: somebody does.
            CheckpointError: the folder of the state cannot be written.
        """
        path = self.file(part, "lock")
        with ExitStack() as stack:
            with kept_in(path):
                self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(exclusive_lock(path, f"{part.name} of {self.name}"))
            yield

    def checkpoint(self, part: Part, step: str) -> Checkpoint:
        """How far a step is with a part of this database.

        Raises:
            DatabaseError: the database does not tell which it is.
        """
        place = place_of(part, self.store.engine)
        return Checkpoint(self.file(part, f"{step}.json"), part, place)


@dataclass(frozen=True)
class Versions:
    """Where migrations go.

    Attributes:
        folder: of the application's own migrations, or one for these alone.
        apply: whether they are applied here, too.
        table: the table that says which migrations the database has.
    """

    folder: Path
    apply: bool
    table: str


@dataclass(frozen=True)
class Terms:
    """On which terms plaintext is removed.

    Attributes:
        freshness: how old the verification may be.
        search: searches the raw files; None when that was waived.
        binary_logs: whether MariaDB's older binary logs are deleted, of the whole server.
    """

    freshness: timedelta
    search: Search | None
    binary_logs: bool = False


def run_plan(adoption: Adoption, tables: Sequence[str]) -> list[Plan]:
    """Look at each part that is on its way; nothing is changed, and no key is asked for.

    Raises:
        NothingToAdoptError: no field names a column in the clear.
        AdoptionBlockedError: there is no such table.
    """
    parts = [p for p in all_parts(adoption.store.base, tables) if p.clear_columns]
    if not parts:
        parts = parts_in_transition(adoption.store.base, tables)  # says that there is none
    return [plan(part, adoption.store.engine) for part in parts]


def run_expand(adoption: Adoption, versions: Versions, tables: Sequence[str]) -> list[Migration]:
    """Write the migration of each part, and apply it when that was asked for.

    Raises:
        NothingToAdoptError, AdoptionBlockedError, MigrationError: see there.
    """
    engine, migrations = adoption.store.engine, []
    for part in parts_in_transition(adoption.store.base, tables):
        migration = find_migration(versions.folder, slug(part, "assay_expand"))
        if migration is None:
            with named_errors("look at the table"), engine.connect() as connection:
                steps = expansion(part, connection)
            migration = write_migration(versions.folder, steps)
        if versions.apply:
            apply_migration(engine, migration, versions.table)
        migrations.append(migration)
    return migrations


def run_backfill(adoption: Adoption, crew: Crew, tables: Sequence[str]) -> list[BackfillReport]:
    """Seal the rows of each part that have no envelope.

    Raises:
        NothingToAdoptError, NotExpandedError, LockHeldError: see there.
        DatabaseError, assay.keys.KeysError: no database, or no keys; what is done stays done.
    """
    reports = []
    for part in parts_in_transition(adoption.store.base, tables):
        with adoption.alone(part):
            checkpoint = adoption.checkpoint(part, "backfill")
            reports.append(backfill(adoption.store, part, crew, checkpoint))
    return reports


def run_verify(adoption: Adoption, crew: Crew, tables: Sequence[str]) -> list[VerifyReport]:
    """Open and compare every row of each part, and keep that it passed.

    Raises:
        NothingToAdoptError: there is no part in transition.
        AdoptionBlockedError: row-level security hides rows from this role.
        DatabaseError, assay.keys.KeysError: no database, or no keys: nothing can be told.
    """
    reports = []
    for part in parts_in_transition(adoption.store.base, tables):
        refuse_hidden_rows(adoption.store.engine, part)
        record = adoption.file(part, "verified.json")
        with kept_in(record):
            record.unlink(missing_ok=True)
        place = place_of(part, adoption.store.engine)
        now = adoption.clock.now()
        report = verify(adoption.store, part, crew)
        if report.passed:
            record_verified(record, part, place, report, now)
        reports.append(report)
    return reports


def run_rekey(
    adoption: Adoption, crew: Crew, tables: Sequence[str], rotate: Sequence[DataKeyClass]
) -> list[RekeyReport]:
    """Rotate keys when asked, and move the rows of each part to the keys in use.

    Args:
        adoption: the datastore.
        crew: who works, and how; its processes start after the rotation, or hold keys for their
            time-to-live.
        tables: names of tables; all sealed ones when empty.
        rotate: the classes of which every owner gets a new key first.

    Raises:
        NothingToAdoptError, LockHeldError: see there.
        AdoptionBlockedError: row-level security hides rows from this role; no key was rotated.
        DatabaseError, assay.keys.KeysError: no database, or no keys; what is done stays done.
    """
    parts = all_parts(adoption.store.base, tables)
    for part in parts:
        refuse_hidden_rows(adoption.store.engine, part)
    for key_class in rotate:
        rotate_keys(adoption.store.keyring, key_class, ())
    reports = []
    for part in parts:
        with adoption.alone(part):
            checkpoint = adoption.checkpoint(part, "rekey")
            reports.append(rekey(adoption.store, part, crew, checkpoint))
    return reports


def run_contract(
    adoption: Adoption, crew: Crew, versions: Versions, tables: Sequence[str], terms: Terms
) -> list[ContractReport]:
    """Write the migration that drops the columns in the clear; apply it and clean up when asked.

    Raises:
        NothingToAdoptError: the models do not say that the columns are retired.
        NotVerifiedError: the rows were not compared with their plaintext lately, or a row does
            not open.
        AdoptionBlockedError: something depends on the columns, or goes with them, or row-level
            security hides rows; nothing was done.
        MigrationError, PurgeError: the database refuses; see there what to do.
        StorageUnreachableError: the raw files cannot be searched from here; nothing was done.
    """
    reports = []
    for part in retired_parts(adoption.store.base, tables):
        with adoption.alone(part):
            reports.append(_contract(adoption, crew, versions, part, terms))
    return reports


def _contract(
    adoption: Adoption, crew: Crew, versions: Versions, part: Part, terms: Terms
) -> ContractReport:
    engine = adoption.store.engine
    refuse_hidden_rows(engine, part)
    with named_errors("look at the table"), engine.connect() as connection:
        there = clear_columns_there(part, connection)
        if there:
            refuse_dependents(connection, part)
        steps = contraction(part, connection)
    if there:
        record = adoption.file(part, "verified.json")
        place = place_of(part, engine)
        require_verified(record, part, place, adoption.clock.now(), terms.freshness)
        refuse_unopened(verify(adoption.store, part, crew))
    migration = write_migration(versions.folder, steps)
    if not versions.apply:
        return ContractReport(part.name, str(migration.path), applied=False)
    values = sample(part, engine) if there else []
    before = terms.search(engine, values) if values and terms.search is not None else None
    apply_migration(engine, migration, versions.table)
    purged = purge(part, engine, binary_logs=terms.binary_logs)
    after = None
    if before is not None and before.found and terms.search is not None:
        after = terms.search(engine, [values[at] for at in sorted(before.found)])
    return ContractReport(
        part.name,
        str(migration.path),
        applied=True,
        cleaned=tuple(purged.cleaned),
        remains=tuple(purged.remains),
        sampled=len(values),
        before=before,
        after=after,
    )
