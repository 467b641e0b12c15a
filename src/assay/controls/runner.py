"""Running the checks: each planned check on each asset, each result recorded as it is known.

A run first records what it plans, then one statement per result, then its end. Whatever stops it
in between, what was recorded stays, and what is missing is visible as missing.

Example:
    >>> report = run_checks(scope, CHECKS, context, recorder)        # doctest: +SKIP
    >>> exit_code(report.states)                                     # doctest: +SKIP
    3
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import msgspec

from assay.controls.asset import Asset
from assay.controls.catalogue import load_catalogue
from assay.controls.check import AnyCheck
from assay.controls.context import Context
from assay.controls.coverage import Outcome, PromiseState, assess, planned_checks
from assay.controls.observation import ObservationRecord, facts_of, judge_record
from assay.controls.scope import Scope
from assay.core import (
    AssayError,
    Clock,
    Result,
    from_rfc3339,
    result_to_json,
    sha256_hex,
    to_rfc3339,
)
from assay.evidence import (
    PlannedCheck,
    RecordedResult,
    Recorder,
    ResultRecorded,
    RunFinished,
    RunStarted,
)


@dataclass(frozen=True)
class RunReport:
    """What a run found.

    Attributes:
        run: the run's id.
        scope: what it was about.
        outcomes: one per planned check and asset.
        states: what follows for every promise.
    """

    run: str
    scope: Scope
    outcomes: Mapping[tuple[str, str], Outcome]
    states: tuple[PromiseState, ...]


def observe(check: AnyCheck, asset: Asset, context: Context) -> bytes:
    """Collect, and record what was collected or why it could not be.

    Whatever goes wrong while collecting becomes a failure in the record: it is never lost and
    never a pass. So do facts that could not be read again from the record: nobody could judge
    them later. An unexpected exception is recorded by its type only, since its text might hold
    what evidence must not.
    """
    record = ObservationRecord(
        check=check.id,
        check_version=check.version,
        asset=asset.id,
        collected_at="",
        fidelity=asset.fidelity,
    )
    try:
        collected = check.collect(asset, context)
        facts = msgspec.to_builtins(collected, str_keys=True)
        at = to_rfc3339(context.clock.now())
        observed = msgspec.structs.replace(record, collected_at=at, facts=facts).to_bytes()
        facts_of(check, ObservationRecord.from_bytes(observed))
    except AssayError as exc:
        failure = f"could not observe {asset.id}: {exc}"
    except Exception as exc:  # noqa: BLE001 - could not tell is a result, not a crash
        failure = f"could not observe {asset.id}: unexpected {type(exc).__name__}"
    else:
        return observed
    # A name that is no text in UTF-8 may stand in the reason; the record takes text only.
    said = failure.encode("utf-8", "replace").decode("utf-8")
    at = to_rfc3339(context.clock.now())
    return msgspec.structs.replace(record, collected_at=at, failure=said).to_bytes()


def new_run_id(clock: Clock) -> str:
    """An id for a run or a round of drills: its time and 32 random bits."""
    return f"{to_rfc3339(clock.now())[:19]}Z-{secrets.token_hex(4)}"


def run_checks(
    scope: Scope, checks: Mapping[str, AnyCheck], context: Context, recorder: Recorder
) -> RunReport:
    """Run every planned check and record every result.

    Args:
        scope: what to check.
        checks: the table of checks.
        context: the surroundings; told of progress.
        recorder: takes each statement and its artefacts; what it took is durable.

    Raises:
        EvidenceError, LedgerError: a result could not be recorded; the run ends there.
    """
    run = new_run_id(context.clock)
    plan = planned_checks(scope)
    assets = {asset.id: asset for asset in context.programme.in_scope("")}
    _record_start(run, scope, plan, checks, recorder)
    outcomes: dict[tuple[str, str], Outcome] = {}
    for number, (check_id, asset_id) in enumerate(plan):
        check, asset = checks[check_id], assets[asset_id]
        context.progress.advance(number, len(plan), f"{asset_id}: {check.title}")
        observation = observe(check, asset, context)
        evidence = observation, judge_record(checks, observation)
        outcomes[check_id, asset_id] = _record_result(run, check, asset_id, evidence, recorder)
    context.progress.advance(len(plan), len(plan), "signing")
    recorder.record(RunFinished(run=run, at=recorder.now(), recorded=len(outcomes)))
    states = assess(scope, outcomes, load_catalogue(), now=context.clock.now())
    return RunReport(run, scope, outcomes, states)


def _record_start(
    run: str,
    scope: Scope,
    plan: tuple[tuple[str, str], ...],
    checks: Mapping[str, AnyCheck],
    recorder: Recorder,
) -> None:
    planned = [
        PlannedCheck(check=check_id, check_version=checks[check_id].version, asset=asset_id)
        for check_id, asset_id in plan
    ]
    started = RunStarted(
        run=run,
        at=recorder.now(),
        assay=version("assay"),
        scope=scope.digest,
        planned=planned,
    )
    recorder.record(started, [scope.to_bytes()])


def _record_result(
    run: str, check: AnyCheck, asset_id: str, evidence: tuple[bytes, Result], recorder: Recorder
) -> Outcome:
    observation, result = evidence
    at = recorder.now()
    digest = sha256_hex(observation)
    statement = ResultRecorded(
        run=run,
        at=at,
        check=check.id,
        check_version=check.version,
        asset=asset_id,
        asset_kind=check.asset_kind,
        observation=digest,
        result=msgspec.convert(result_to_json(result), RecordedResult),
    )
    index = recorder.record(statement, [observation])
    return Outcome(result, from_rfc3339(at), index, digest)
