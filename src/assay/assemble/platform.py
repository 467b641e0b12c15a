"""A programme with its surroundings, open: what its checks may use, its log and its keys.

Example:
    >>> with open_platform(Path("assay.yaml")) as platform:          # doctest: +SKIP
    ...     report = run(platform)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assay.controls import (
    CHECKS,
    Context,
    DrillOutcome,
    RunReport,
    Scope,
    drill_all,
    load_catalogue,
    load_programme,
    new_run_id,
    record_drill,
    refuse_unknown_checks,
    run_checks,
    scope_of,
)
from assay.core import (
    Clock,
    PinnedTool,
    Progress,
    WrongInputError,
    exclusive_lock,
    tools_home,
    write_atomically,
)
from assay.evidence import ArtefactStore, Recorder, write_bundle
from assay.ledger import FileLog, VerifierKey

VERIFIER_KEY_NAME = "log.vkey"
"""The public half of the log's key, as a file beside the log."""


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
    with recording(platform) as recorder:
        return run_checks(platform.scope, CHECKS, platform.context, recorder)


def record_drills(platform: Platform, outcomes: Sequence[DrillOutcome]) -> None:
    """Record what drills showed in the programme's log.

    Raises:
        LockHeldError, ClockWentBackError, AssayError: as `run`.
    """
    with recording(platform) as recorder:
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
    log = open_log(platform)
    return write_bundle(log, ArtefactStore(platform.store / "artefacts"), target, first=first)


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
        wanted = (
            (programme.keys, context.value(programme.keys), create_key),
            (programme.log.signer, context.log_signer(), create_signing_key),
        )
        # An embedded key store usually lies beside the log; nobody else has business there.
        context.path(programme.log.store).mkdir(mode=0o700, parents=True, exist_ok=True)
        for declared, uri, create in wanted:
            try:
                create(uri, directory=directory, environment=os.environ)
                made.append((declared, True))
            except KeyExistsError:
                made.append((declared, False))
    return tuple(made)


def pinned_tools() -> tuple[tuple[PinnedTool, str], ...]:
    """Every external tool that a check needs, and the interpreter its environment is made with."""
    import sys

    from assay.scan import bandit_tool, newest_python
    from assay.transport import sslyze_tool

    home = tools_home()
    return (bandit_tool(home), str(newest_python())), (sslyze_tool(home), sys.executable)


@contextmanager
def recording(platform: Platform) -> Iterator[Recorder]:
    """The only recorder of the programme's log for as long as the block runs.

    Raises:
        LockHeldError: another one is at work.
        AssayError: the log or its key cannot be used.
    """
    platform.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(platform.store / "run.lock", f"the log of {platform.path.name}"):
        log = open_log(platform)
        artefacts = ArtefactStore(platform.store / "artefacts")
        _write_verifier_key(platform, log.verifier_key)
        yield Recorder(log, artefacts, platform.context.signer(), platform.context.clock)


def open_log(platform: Platform) -> FileLog:
    """The programme's log; made when there is none.

    Raises:
        AssayError: the log or its key cannot be used.
    """
    programme = platform.context.programme
    return FileLog.open(platform.store / "log", programme.log.origin, platform.context.signer())


def _write_verifier_key(platform: Platform, key: VerifierKey) -> None:
    target = platform.store / VERIFIER_KEY_NAME
    text = f"{key}\n".encode()
    if not target.is_file() or target.read_bytes() != text:
        write_atomically(target, text)
