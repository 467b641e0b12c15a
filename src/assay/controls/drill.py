"""Drills: every check must pass on an intact twin and fail on the same twin with a violation.

A check that does not fail on its violation is itself an error: its green has no meaning. The
intact twin is there so that a check which fails on everything does not look good either.

Example:
    >>> outcome = drill(check, violation, Path("/tmp/twin"))      # doctest: +SKIP
    >>> outcome.caught                                             # doctest: +SKIP
    True
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from assay.controls.check import AnyCheck, Twin, Violation
from assay.controls.errors import TwinError
from assay.controls.observation import judge_record
from assay.controls.runner import observe
from assay.core import AssayError, Progress, Result, SilentProgress, Status
from assay.evidence import DrillRecorded, Recorder


@dataclass(frozen=True)
class DrillOutcome:
    """What a check said of a twin without and with a violation.

    Attributes:
        check: the check's id.
        check_version: the check's version.
        violation: the violation.
        intact: the result on the twin as it should be; None when it could not be built.
        injected: the result with the violation; None when it could not be built.
        reason: why the drill does not count; empty when the violation was caught.
    """

    check: str
    check_version: int
    violation: Violation
    intact: Result | None
    injected: Result | None
    reason: str

    @property
    def caught(self) -> bool:
        """Whether the check passed on the intact twin and failed on the violated one."""
        return not self.reason


def _no_twin(folder: Path, inject: bool) -> AbstractContextManager[Twin]:
    del folder, inject
    raise TwinError("expected a check to have a violation, found none")


_NO_VIOLATION = Violation("none", "no violation is known", _no_twin)
"""Stands for the violations of a check that has none: it is never caught."""


def drill_all(
    checks: Mapping[str, AnyCheck], progress: Progress | None = None
) -> Iterator[DrillOutcome]:
    """Drill every check with every one of its violations; one without any is not caught.

    Args:
        checks: the table of checks.
        progress: told of each drill.
    """
    shown = progress or SilentProgress()
    pairs = [
        (check, violation)
        for check in checks.values()
        for violation in check.violations() or (_NO_VIOLATION,)
    ]
    for number, (check, violation) in enumerate(pairs):
        shown.advance(number, len(pairs), f"{check.id}: {violation.id}")
        yield drill(check, violation)
    shown.advance(len(pairs), len(pairs), "done")


def drill(check: AnyCheck, violation: Violation) -> DrillOutcome:
    """Drill one check with one violation, in a temporary folder that is removed afterwards."""
    intact, trouble = _result_on_twin(check, violation, inject=False)
    injected, more_trouble = _result_on_twin(check, violation, inject=True)
    reason = trouble or more_trouble or _why_not_caught(intact, injected)
    return DrillOutcome(check.id, check.version, violation, intact, injected, reason)


def record_drill(run: str, outcome: DrillOutcome, recorder: Recorder) -> int:
    """Record what a drill showed; returns the index of its statement.

    Args:
        run: the id of the round of drills.
        outcome: what the drill showed.
        recorder: takes the statement.

    Raises:
        EvidenceError, LedgerError: it could not be recorded.
    """
    intact, injected = outcome.intact, outcome.injected
    return recorder.record(
        DrillRecorded(
            run=run,
            at=recorder.now(),
            check=outcome.check,
            check_version=outcome.check_version,
            violation=outcome.violation.id,
            caught=outcome.caught,
            intact_status=intact.status if intact else Status.ERROR,
            injected_status=injected.status if injected else Status.ERROR,
            reason=outcome.reason,
        )
    )


def _result_on_twin(
    check: AnyCheck, violation: Violation, *, inject: bool
) -> tuple[Result | None, str]:
    state = "violated" if inject else "intact"
    with tempfile.TemporaryDirectory(prefix="assay-drill-") as folder:
        try:
            with violation.twin(Path(folder), inject) as twin:
                observation = observe(check, twin.asset, twin.context)
        except AssayError as exc:
            return None, f"the {state} twin could not be built: {exc}"
        except Exception as exc:  # noqa: BLE001 - a drill that crashes is not a drill
            return None, f"the {state} twin could not be built: {type(exc).__name__}: {exc}"
    return judge_record({check.id: check}, observation), ""


def _why_not_caught(intact: Result | None, injected: Result | None) -> str:
    if intact is None or intact.status is not Status.PASS:
        said = f"{intact.status}: {intact.reason}" if intact else "nothing"
        return f"expected a pass on the intact twin, found {said}"
    if injected is None or injected.status is not Status.FAIL:
        said = f"{injected.status}: {injected.reason}" if injected else "nothing"
        return f"expected a failure on the violated twin, found {said}"
    return ""
