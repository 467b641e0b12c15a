"""The only wiring: from a programme file to a running platform, its evidence and its trust page.

Each public function is one verb of the command line. Nothing here decides anything: checks,
coverage and verification do.

Example:
    >>> with open_platform(Path("assay.yaml")) as platform:          # doctest: +SKIP
    ...     report = run(platform)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from assay.controls import (
    CHECKS,
    Context,
    Datastore,
    DrillOutcome,
    Outcome,
    Programme,
    ProgrammeError,
    PromiseState,
    RunReport,
    Scope,
    assess,
    drill_all,
    judge_record,
    load_catalogue,
    load_programme,
    new_run_id,
    record_drill,
    refuse_unknown_checks,
    run_checks,
    scope_of,
)
from assay.core import (
    AssayError,
    Clock,
    PinnedTool,
    Progress,
    Result,
    SilentProgress,
    Status,
    SystemClock,
    WrongInputError,
    exclusive_lock,
    from_rfc3339,
    tools_home,
    write_atomically,
)
from assay.evidence import (
    ArtefactStore,
    BundleReadError,
    Place,
    Recorder,
    ResultView,
    RunView,
    VerifiedBundle,
    VerifiedClaim,
    verify_bundle,
    verify_result_claim,
    write_bundle,
)
from assay.ledger import FileLog, VerifierKey, load_verifier_key

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from assay.encryption.adoption import Adoption, Crew, Options, Searched, Store

VERIFIER_KEY_NAME = "log.vkey"
"""The public half of the log's key, as a file beside the log."""

CLAIM_SUFFIX = ".tlog-proof"
"""How the name of a claim's inclusion proof ends (C2SP ``tlog-proof``)."""

_SEARCHES = 3
"""How often raw files are searched while some of them vanish."""


@dataclass(frozen=True)
class Platform:
    """A programme with its surroundings, open.

    Attributes:
        path: the programme file.
        context: the programme and what checks may use.
        scope: what it is about.
        store: the folder of log and artefacts.
    """

    path: Path
    context: Context
    scope: Scope
    store: Path


@dataclass(frozen=True)
class Verification:
    """What a verified bundle says.

    Attributes:
        bundle: the bundle.
        scope: what its newest finished run was about.
        run: that run.
        results: what the promises rest on: the results of that run, and whatever a later run that
            was interrupted had found to be other than a pass.
        judged_at: the moment for which the promises were judged.
        states: what follows for every promise at that moment.
    """

    bundle: VerifiedBundle
    scope: Scope
    run: RunView
    results: Mapping[Place, ResultView]
    judged_at: datetime
    states: tuple[PromiseState, ...]


@contextmanager
def open_platform(
    path: Path,
    *,
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Iterator[Platform]:
    """Load a programme and open what it needs; the block's end closes it.

    Args:
        path: the programme file.
        environment: variables that references may name; those of the process when None.
        clock: where the time comes from.
        progress: told what goes on.

    Raises:
        ProgrammeError: the file is wrong.
    """
    programme = load_programme(path)
    catalogue = load_catalogue()
    refuse_unknown_checks(catalogue, {check.id: check.asset_kind for check in CHECKS.values()})
    directory = path.absolute().parent
    variables = os.environ if environment is None else environment
    with Context(
        directory, programme, environment=variables, clock=clock, progress=progress
    ) as context:
        scope = scope_of(context, catalogue, path.name)
        yield Platform(path, context, scope, context.path(programme.log.store))


def run(platform: Platform) -> RunReport:
    """Run every check, record every result, sign the log's checkpoint.

    Raises:
        LockHeldError: another run of this programme is under way.
        ClockWentBackError: the clock is behind the log.
        AssayError: the log's key or the log itself cannot be used; nothing is shown as kept.
    """
    with _recorder(platform) as recorder:
        return run_checks(platform.scope, CHECKS, platform.context, recorder)


def record_drills(platform: Platform, outcomes: Sequence[DrillOutcome]) -> None:
    """Record what drills showed in the programme's log.

    Raises:
        LockHeldError, ClockWentBackError, AssayError: as `run`.
    """
    with _recorder(platform) as recorder:
        round_id = new_run_id(platform.context.clock)
        for outcome in outcomes:
            record_drill(round_id, outcome, recorder)


def bundle(platform: Platform, target: Path, *, first: int = 0) -> int:
    """Write everything that an auditor needs into one file.

    Args:
        platform: whose log.
        target: the file; replaced only by a whole new one.
        first: the first statement wanted; 0 for the whole log.

    Returns:
        how many statements the bundle holds.
    """
    log = _open_log(platform)
    return write_bundle(log, ArtefactStore(platform.store / "artefacts"), target, first=first)


def verify(
    path: Path,
    key: str,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Verify a bundle without any network, key or database, and say what it proves.

    Args:
        path: the bundle.
        key: the log's verifier key, as text or as the path of a file that holds it.
        clock: the moment for which promises are judged.
        progress: told what goes on.

    Raises:
        EvidenceError, LedgerError: the bundle is not what its key says; nothing in it counts.
        AssayError: the key is malformed, or no run in the bundle was finished.
    """
    bundle_ = verify_bundle(
        path, load_verifier_key(key), _judge, progress=progress or SilentProgress()
    )
    run_view = newest_finished_run(bundle_)
    scope = Scope.from_bytes(run_view.scope_bytes())
    now = (clock or SystemClock()).now()
    results = standing_results(bundle_, run_view)
    states = assess(scope, _outcomes(results), load_catalogue(), now=now)
    return Verification(bundle_, scope, run_view, results, now, states)


def drill(
    progress: Progress | None = None, *, only: Sequence[str] | None = None
) -> Iterator[DrillOutcome]:
    """Drill every check, or only some, with every violation.

    Raises:
        WrongInputError: there is no check of a name that was asked for.
    """
    for name in only or ():
        if name not in CHECKS:
            raise WrongInputError(f"expected a check ({', '.join(CHECKS)}), found {name}")
    chosen = {name: check for name, check in CHECKS.items() if not only or name in only}
    yield from drill_all(chosen, progress)


def create_keys(path: Path) -> tuple[tuple[str, bool], ...]:
    """Make the key-encryption key and the log's signing key that a programme names.

    Returns:
        for each key how the programme names it, and whether it was made now.

    Raises:
        KeysError: a key could not be made.
    """
    from assay.keys import KeyExistsError, create_key, create_signing_key

    programme = load_programme(path)
    directory = path.absolute().parent
    made = []
    with Context(directory, programme, environment=os.environ) as context:
        # An embedded key store usually lies beside the log; nobody else has business there.
        context.path(programme.log.store).mkdir(mode=0o700, parents=True, exist_ok=True)
        for declared, create in (
            (programme.keys, create_key),
            (programme.log.signer, create_signing_key),
        ):
            try:
                create(context.value(declared), directory=directory, environment=os.environ)
                made.append((declared, True))
            except KeyExistsError:
                made.append((declared, False))
    return tuple(made)


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
        asset = _datastore(path, programme, datastore)
        state = context.path(programme.log.store) / "adoption"
        yield Adoption(_store(context, asset), asset.id, state, context.clock)


def open_store(path: Path, datastore: str) -> Store:
    """The same in a process that works for another one; open until the process ends.

    Args:
        path: the programme file, where this process finds it.
        datastore: its id.
    """
    programme = load_programme(path)
    context = Context(path.absolute().parent, programme, environment=os.environ)
    return _store(context, _datastore(path, programme, datastore))


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

    from assay.encryption.adoption import Crew, process_pool

    if adoption.store.engine.dialect.name == "sqlite":
        workers = 1
    opener = partial(open_store, path.absolute(), adoption.name)
    with ExitStack() as stack:
        if scheduler is None:
            count = workers or min(4, os.cpu_count() or 1)
            executor = stack.enter_context(process_pool(count))
        else:
            from assay.encryption.adoption.distributed import cluster

            executor, count = stack.enter_context(cluster(scheduler))
        at_once = replace(options, in_flight=2 * count)
        yield Crew(opener, executor, at_once, progress or SilentProgress())


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
    from assay.database import storage_files
    from assay.encryption.adoption import Searched
    from assay.leakage import (
        Canary,
        CanaryKind,
        FileState,
        Medium,
        load_matcher,
        patterns,
        search_files,
    )

    canaries = [Canary("sampled", CanaryKind.TEXT, value, (value,)) for value in values]
    matcher = load_matcher(patterns(canaries))
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


def _datastore(path: Path, programme: Programme, name: str | None) -> Datastore:
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


def _store(context: Context, asset: Datastore) -> Store:
    from assay.encryption.adoption import Store

    base = context.load(asset.models)
    return Store(context.engine(asset.url), context.keyring(asset), base)


def pinned_tools() -> tuple[tuple[PinnedTool, str], ...]:
    """Every external tool that a check needs, and the interpreter its environment is made with."""
    import sys

    from assay.scan import bandit_tool, newest_python
    from assay.transport import sslyze_tool

    home = tools_home()
    return (bandit_tool(home), str(newest_python())), (sslyze_tool(home), sys.executable)


def verify_claim_files(path: Path, key: str) -> VerifiedClaim:
    """Verify one claim of a trust page: three files beside each other, offline.

    Args:
        path: the ``.tlog-proof`` file; ``.dsse.json`` and ``.observation.json`` of the same name
            lie beside it.
        key: the log's verifier key, as text or as the path of a file that holds it.

    Raises:
        EvidenceError, LedgerError: the claim is not in the log, or does not follow from its facts.
        BundleReadError: a file is missing or cannot be read.
        VerifierKeyError: the key is malformed.
    """
    stem = path.name.removesuffix(CLAIM_SUFFIX)
    proof, entry, observation = (
        _claim_file(path.with_name(stem + suffix))
        for suffix in (CLAIM_SUFFIX, ".dsse.json", ".observation.json")
    )
    text = proof.decode("utf-8", "replace")
    return verify_result_claim(text, entry, observation, load_verifier_key(key), _judge)


def _claim_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BundleReadError(
            f"expected the claim's file {path}: {exc.strerror}; a claim is three files beside "
            f"each other, which end in {CLAIM_SUFFIX}, .dsse.json and .observation.json"
        ) from exc


def newest_finished_run(bundle_: VerifiedBundle) -> RunView:
    """The run that a bundle's promises rest on.

    Raises:
        AssayError: no run in the bundle came to its end.
    """
    finished = [view for view in bundle_.runs if view.finished is not None]
    if not finished:
        raise AssayError(
            "expected a finished run in the bundle, found none: it proves no promise; "
            "run `assay run` and write the bundle again"
        )
    return finished[-1]


def standing_results(bundle_: VerifiedBundle, finished: RunView) -> Mapping[Place, ResultView]:
    """What stands of each check on each asset after a finished run.

    An interrupted run proves nothing, but what it found wrong before it was stopped stays found:
    otherwise stopping a run would hide a failure that is in the log.

    Args:
        bundle_: the bundle.
        finished: its newest finished run.
    """
    standing = dict(finished.results)
    for view in bundle_.runs:
        if view.finished_index is None and view.started_index > finished.started_index:
            standing |= {
                place: found
                for place, found in view.results.items()
                if found.result.status is not Status.PASS
            }
    return standing


@contextmanager
def _recorder(platform: Platform) -> Iterator[Recorder]:
    """The only recorder of the programme's log for as long as the block runs."""
    platform.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(platform.store / "run.lock", f"the log of {platform.path.name}"):
        log = _open_log(platform)
        artefacts = ArtefactStore(platform.store / "artefacts")
        _write_verifier_key(platform, log.verifier_key)
        yield Recorder(log, artefacts, platform.context.signer(), platform.context.clock)


def _open_log(platform: Platform) -> FileLog:
    programme = platform.context.programme
    return FileLog.open(platform.store / "log", programme.log.origin, platform.context.signer())


def _write_verifier_key(platform: Platform, key: VerifierKey) -> None:
    target = platform.store / VERIFIER_KEY_NAME
    text = f"{key}\n".encode()
    if not target.is_file() or target.read_bytes() != text:
        write_atomically(target, text)


def _judge(check: str, check_version: int, observation: bytes, asset_kind: str) -> Result:
    """What `assay.evidence` calls to judge an observation again."""
    del check, check_version, asset_kind  # the record names its check, and is compared with these
    return judge_record(CHECKS, observation)


def _outcomes(results: Mapping[Place, ResultView]) -> dict[Place, Outcome]:
    """Verified results as coverage wants them."""
    return {
        place: Outcome(
            found.result,
            from_rfc3339(found.statement.at),
            found.index,
            found.statement.observation,
        )
        for place, found in results.items()
    }
