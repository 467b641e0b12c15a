"""The datastores of a programme: their tables, their keys, their raw files, and who works on them.

Example:
    >>> with open_adoption(Path("assay.yaml")) as adoption:          # doctest: +SKIP
    ...     plans = run_plan(adoption)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from assay.controls import Context, Datastore, Programme, ProgrammeError, load_programme
from assay.core import Clock, Progress, SilentProgress

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from assay.encryption.adoption import Adoption, Crew, Options, Searched, Store
    from assay.leakage import Pattern

_SEARCHES = 3
"""How often raw files are searched while some of them vanish."""


@contextmanager
def open_adoption(
    path: Path, datastore: str | None = None, *, clock: Clock | None = None
) -> Iterator[Adoption]:
    """A datastore of a programme whose tables are on their way from plaintext to envelopes.

    Args:
        path: the programme file.
        datastore: its id; the only datastore when None.
        clock: where the time comes from.

    Raises:
        ProgrammeError: the file is wrong, or does not say which datastore is meant.
        CollectError, DatabaseError, KeysError: it cannot be opened.
    """
    from assay.encryption.adoption import Adoption

    programme = load_programme(path)
    with Context(path.absolute().parent, programme, environment=os.environ, clock=clock) as context:
        asset = datastore_of(path, programme, datastore)
        state = context.path(programme.log.store) / "adoption"
        yield Adoption(store_of(context, asset), asset.id, state, context.clock)


def open_store(path: Path, datastore: str) -> Store:
    """The same in a process that works for another one; open until the process ends.

    Args:
        path: the programme file, where this process finds it.
        datastore: its id.
    """
    programme = load_programme(path)
    context = Context(path.absolute().parent, programme, environment=os.environ)
    return store_of(context, datastore_of(path, programme, datastore))


@contextmanager
def crew(  # noqa: PLR0913 - each option has a name
    adoption: Adoption,
    path: Path,
    options: Options,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Iterator[Crew]:
    """Who works on a datastore's tables: processes of this machine, or a Dask cluster.

    Args:
        adoption: the datastore.
        path: the programme file.
        options: how fast, and how much at once.
        workers: how many processes; as many as there are processors, up to four, when None. SQLite
            has one writer at a time, and gets one.
        scheduler: the address of a Dask scheduler, whose workers do it instead.
        progress: told of rows.

    Raises:
        ClusterError: there is no such cluster.
    """
    from functools import partial

    from assay.encryption.adoption import Crew, Watch, nobody_is_lost, process_pool

    if adoption.store.engine.dialect.name == "sqlite":
        workers = 1
    opener = partial(open_store, path.absolute(), adoption.name)
    watch: Watch = nobody_is_lost
    with ExitStack() as stack:
        if scheduler is None:
            count = workers or min(4, os.cpu_count() or 1)
            executor = stack.enter_context(process_pool(count))
        else:
            from assay.encryption.adoption.distributed import cluster

            executor, count, watch = stack.enter_context(cluster(scheduler))
        at_once = replace(options, in_flight=2 * count)
        yield Crew(opener, executor, at_once, progress or SilentProgress(), watch)


def search_storage(
    engine: Engine, values: Sequence[str], progress: Progress | None = None
) -> Searched:
    """Search every raw file of a database for values, as the leak test does for canaries.

    Args:
        engine: the database.
        values: texts of at least eight characters; they stay in memory.
        progress: told what goes on.

    Raises:
        StorageUnreachableError: the files cannot be read from here.
    """
    from assay.leakage import Canary, CanaryKind, patterns

    canaries = [Canary("sampled", CanaryKind.TEXT, value, (value,)) for value in values]
    return _search(engine, patterns(canaries), progress)


def search_storage_for_bytes(
    engine: Engine, values: Sequence[bytes], progress: Progress | None = None
) -> Searched:
    """The same for byte strings of at least 12 random bytes."""
    from assay.leakage import byte_patterns

    return _search(engine, byte_patterns(values), progress)


def _search(engine: Engine, wanted: Sequence[Pattern], progress: Progress | None) -> Searched:
    from assay.database import storage_files
    from assay.encryption.adoption import Searched
    from assay.leakage import FileState, Medium, load_matcher, search_files

    matcher = load_matcher(wanted)
    for _ in range(_SEARCHES):
        medium = Medium("database files", storage_files(engine).files)
        found = search_files([medium], matcher, progress)
        # A server removes and renames files at any time: what vanished is looked for again.
        if not any(file.state is FileState.MISSING for file in found.files):
            break
    gaps = [file for file in found.files if file.state is not FileState.SEARCHED]
    return Searched(
        found=frozenset(hit.canary for hit in found.hits),
        places=tuple(sorted({hit.path for hit in found.hits})),
        files=sum(file.state is FileState.SEARCHED for file in found.files),
        bytes_read=sum(file.bytes_read for file in found.files),
        gaps=tuple(f"{file.path}: {'; '.join(file.reasons)}" for file in gaps),
    )


def datastore_of(path: Path, programme: Programme, name: str | None) -> Datastore:
    """A datastore that a programme names.

    Args:
        path: the programme file, for messages.
        programme: what it says.
        name: the datastore's id; the only datastore when None.

    Raises:
        ProgrammeError: there is no such datastore, or several and none is named.
    """
    found = {asset.id: asset for asset in programme.assets if isinstance(asset, Datastore)}
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise ProgrammeError(
            path,
            0,
            0,
            f"expected one of the datastores {', '.join(found) or '(there is none)'}, found "
            f"{name or 'none named: say which with --store'}",
        )
    return found[name]


def store_of(context: Context, asset: Datastore) -> Store:
    """The models, keys and engine of a datastore, as long as its context is open.

    Raises:
        CollectError, DatabaseError, KeysError: it cannot be opened.
    """
    from assay.encryption.adoption import Store

    base = context.load(asset.models)
    return Store(context.engine(asset.url), context.keyring(asset), base)
