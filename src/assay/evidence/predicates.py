"""What statements say: one struct per predicate type (``spec/evidence.md``, Predicates).

Structs hold; `assay.evidence.statement` reads and writes them, and refuses what contradicts
itself.

Example:
    >>> RunFinished(run="2026-01-02T03:04:05Z-0badcafe", at="...", recorded=8).recorded
    8
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from msgspec import Struct

from assay.core import Fidelity, Population, Result, Status, from_rfc3339, sha256_hex
from assay.evidence.destructions import (
    DestructionCompleted,
    DestructionOrdered,
    completion_problem,
    repeated_keys,
)
from assay.evidence.fields import Count, Digest, Name, Version


class PlannedCheck(Struct, frozen=True, forbid_unknown_fields=True):
    """One check that a run means to do on one asset.

    Attributes:
        check: the check's id.
        check_version: its version.
        asset: the asset's id.
    """

    check: Name
    check_version: Version
    asset: Name


class RunStarted(Struct, frozen=True, forbid_unknown_fields=True):
    """A run begins.

    Attributes:
        run: its id, unique in the log.
        at: when, as `assay.core.to_rfc3339` writes it.
        assay: version of Assay.
        scope: digest of the scope artefact.
        planned: everything that it means to do; no pair of check and asset twice.
    """

    run: Name
    at: str
    assay: Name
    scope: Digest
    planned: Sequence[PlannedCheck]


class RecordedPopulation(Struct, frozen=True, forbid_unknown_fields=True):
    """The counts of a result; see `assay.core.Population`."""

    in_scope: Count
    evaluated: Count
    failed: Count
    unit: str


class RecordedResult(Struct, frozen=True, forbid_unknown_fields=True):
    """A result, in the shape that `assay.core.result_to_json` gives it."""

    status: Status
    reason: str
    population: RecordedPopulation
    fidelity: Fidelity
    findings: Sequence[str]

    def to_result(self) -> Result:
        """The result itself.

        Raises:
            ValueError: there is no such result: its counts contradict it or each other.
        """
        counts = self.population
        population = Population(counts.in_scope, counts.evaluated, counts.failed, counts.unit)
        return Result(self.status, self.reason, population, self.fidelity, tuple(self.findings))


class ResultRecorded(Struct, frozen=True, forbid_unknown_fields=True):
    """A check was done on an asset.

    Attributes:
        run: id of the run.
        at: when.
        check: the check's id.
        check_version: its version.
        asset: the asset's id.
        asset_kind: the kind of asset.
        observation: digest of the observation artefact.
        result: what follows from the observation.
    """

    run: Name
    at: str
    check: Name
    check_version: Version
    asset: Name
    asset_kind: Name
    observation: Digest
    result: RecordedResult


class RunFinished(Struct, frozen=True, forbid_unknown_fields=True):
    """A run came to its end.

    Attributes:
        run: its id.
        at: when.
        recorded: how many results it recorded.
    """

    run: Name
    at: str
    recorded: Count


class DrillRecorded(Struct, frozen=True, forbid_unknown_fields=True):
    """A check was tried on a twin, without and with a violation.

    Attributes:
        run: id of the drill's run.
        at: when.
        check: the check's id.
        check_version: its version.
        violation: the violation's id.
        caught: whether it passed on the intact twin and failed on the violated one.
        intact_status: what it said of the intact twin; ``error`` when there was none.
        injected_status: what it said of the violated twin; ``error`` when there was none.
        reason: why it was not caught; empty when it was.
    """

    run: Name
    at: str
    check: Name
    check_version: Version
    violation: Name
    caught: bool
    intact_status: Status
    injected_status: Status
    reason: str


Predicate = (
    RunStarted
    | ResultRecorded
    | RunFinished
    | DrillRecorded
    | DestructionOrdered
    | DestructionCompleted
)
"""What a statement can say."""

PREDICATE_TYPES: dict[str, type[Predicate]] = {
    "urn:assay:run-started:v1": RunStarted,
    "urn:assay:result:v1": ResultRecorded,
    "urn:assay:run-finished:v1": RunFinished,
    "urn:assay:drill:v1": DrillRecorded,
    "urn:assay:destruction-ordered:v1": DestructionOrdered,
    "urn:assay:destruction:v1": DestructionCompleted,
}


@lru_cache(maxsize=256)
def moment(text: str) -> datetime:
    """`assay.core.from_rfc3339`; neighbouring statements name the same times again and again.

    Raises:
        AssayError: the text has another form.
    """
    return from_rfc3339(text)


def predicate_type(predicate: Predicate) -> str:
    """The URN under which a predicate is recorded."""
    return next(urn for urn, kind in PREDICATE_TYPES.items() if isinstance(predicate, kind))


def subject_of(predicate: Predicate) -> tuple[str, str]:
    """Name and digest of what a predicate is about."""
    match predicate:
        case RunStarted():
            return "scope", predicate.scope
        case ResultRecorded():
            return predicate.asset, predicate.observation
        case RunFinished():
            return "run", sha256_hex(predicate.run.encode())
        case DrillRecorded():
            return predicate.check, sha256_hex(predicate.run.encode())
        case DestructionOrdered() | DestructionCompleted():
            return "destruction", sha256_hex(predicate.destruction.encode())


def named_artefacts(predicate: Predicate) -> tuple[str, ...]:
    """Digests of the artefacts that a predicate rests on."""
    match predicate:
        case RunStarted():
            return (predicate.scope,)
        case ResultRecorded():
            return (predicate.observation,)
        case _:
            return ()


def contradiction(predicate: Predicate) -> str | None:
    """How a predicate of the right shape contradicts itself; None when it does not."""
    match predicate:
        case RunStarted():
            places = [(one.check, one.asset) for one in predicate.planned]
            if len(set(places)) != len(places):
                return "a plan names no check twice on one asset"
        case ResultRecorded():
            try:
                predicate.result.to_result()
            except ValueError as exc:
                return str(exc)
        case DrillRecorded():
            answers = (predicate.intact_status, predicate.injected_status)
            if predicate.caught != (answers == (Status.PASS, Status.FAIL)):
                return (
                    "a violation is caught when the check passes on the intact twin and fails on "
                    "the other, and only then"
                )
        case DestructionOrdered():
            return repeated_keys(predicate.keys)
        case DestructionCompleted():
            moment(predicate.destroyed_at)
            if predicate.backups_until:
                moment(predicate.backups_until)
            return completion_problem(predicate)
        case RunFinished():
            pass
    return None
