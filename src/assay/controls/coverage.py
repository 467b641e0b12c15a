"""From results to promises: pure, and the same for a run, an auditor and the trust page.

A promise is kept when every control that keeps it passed on every asset it applies to, with
enough fidelity and freshly. One failure breaks it; one "could not tell", or one expected result
that is missing, makes it an error; a control without a check, or nothing to apply it to, leaves
it unproven. Nothing is ever kept by default.

Specification: ``spec/coverage.md``.

Example:
    >>> states = assess(scope, outcomes, load_catalogue(), now=clock.now())    # doctest: +SKIP
    >>> exit_code(states)                                         # doctest: +SKIP
    3
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from assay.controls.catalogue import Catalogue, Control, Promise
from assay.controls.scope import Scope, ScopedAsset
from assay.core import Fidelity, Result, Status, to_rfc3339


class State(StrEnum):
    """What can be said of a promise or a control."""

    KEPT = "kept"
    BROKEN = "broken"
    ERROR = "error"
    UNPROVEN = "unproven"
    NOT_APPLICABLE = "not_applicable"


_SAYS_IT_ALL = {Status.FAIL: State.BROKEN, Status.ERROR: State.ERROR}
"""However old and however real."""

CLOCKS_APART = timedelta(minutes=5)
"""How far the clock that recorded a result may be ahead of the one that reads it."""

_WORST_FIRST = (State.BROKEN, State.ERROR, State.UNPROVEN, State.KEPT)


@dataclass(frozen=True)
class Outcome:
    """The newest result of a check on an asset.

    Attributes:
        result: what was judged.
        at: when it was recorded.
        index: where its statement stands in the log.
        observation: the SHA-256 of the observation.
    """

    result: Result
    at: datetime
    index: int
    observation: str


Outcomes = Mapping[tuple[str, str], Outcome]
"""The newest outcome by (check id, asset id)."""


@dataclass(frozen=True)
class CoverageLine:
    """One control on one asset.

    Attributes:
        control: the control.
        asset: the asset, or None when there is none that it applies to.
        check: the id of the check, or None when there is none yet.
        outcome: the newest outcome, or None.
        state: what follows for the control on this asset.
        why: one sentence when the state is not kept, else empty.
    """

    control: Control
    asset: ScopedAsset | None
    check: str | None
    outcome: Outcome | None
    state: State
    why: str


@dataclass(frozen=True)
class PromiseState:
    """What can be said of a promise, and on what grounds.

    Attributes:
        promise: the promise.
        state: kept, broken, error or unproven.
        lines: every control on every asset.
        departure: how the promise differs from the catalogue's, else empty.
    """

    promise: Promise
    state: State
    lines: tuple[CoverageLine, ...]
    departure: str = ""

    @property
    def in_scope(self) -> int:
        """How many pairs of control and asset had to be evaluated."""
        return sum(line.state is not State.NOT_APPLICABLE for line in self.lines)

    @property
    def evaluated(self) -> int:
        """How many of them were: they passed or failed, with enough fidelity and freshly."""
        return sum(line.state in {State.KEPT, State.BROKEN} for line in self.lines)

    @property
    def fidelity(self) -> Fidelity | None:
        """The weakest fidelity among the results that count; None when there is none."""
        found = [line.outcome.result.fidelity for line in self.lines if line.outcome]
        return Fidelity.weakest(*found) if found else None

    @property
    def proven_at(self) -> datetime | None:
        """The time of the oldest result that the state rests on; None when there is none."""
        return min((line.outcome.at for line in self.lines if line.outcome), default=None)

    @property
    def why(self) -> tuple[str, ...]:
        """Why it is not kept, the worst first; empty when it is."""
        if self.state is State.KEPT:
            return ()
        worst = sorted(
            (line for line in self.lines if line.why and line.state in _WORST_FIRST),
            key=lambda line: _WORST_FIRST.index(line.state),
        )
        notes = [line for line in self.lines if line.why and line.state is State.NOT_APPLICABLE]
        departure = [self.departure] if self.departure else []
        return tuple(dict.fromkeys([*departure, *(line.why for line in (*worst, *notes))]))


def planned_checks(scope: Scope) -> tuple[tuple[str, str], ...]:
    """The (check id, asset id) pairs that a run must evaluate, each once, in catalogue order."""
    pairs: dict[tuple[str, str], None] = {}
    for control in scope.controls:
        for asset in scope.covered_by(control):
            check = control.applies_to[asset.kind]
            if check is not None:
                pairs[check, asset.id] = None
    return tuple(pairs)


def assess(
    scope: Scope, outcomes: Outcomes, catalogue: Catalogue, *, now: datetime
) -> tuple[PromiseState, ...]:
    """What can be said of every promise.

    Args:
        scope: the promises, controls and assets, as they were recorded.
        outcomes: the newest outcome of each check on each asset.
        catalogue: what the promises and controls must say, whoever recorded them: evidence that
            brings a weaker control of its own proves nothing.
        now: the moment for which it is said; older proofs than the scope allows do not count, and
            neither do those of a time that is still to come.
    """
    horizon = now - timedelta(hours=scope.fresh_for_hours)
    states = []
    for promise in scope.promises:
        lines = tuple(
            line
            for control_id in promise.controls
            for line in _control_lines(scope, scope.control(control_id), outcomes, (horizon, now))
        )
        departure = _departure(scope, promise, catalogue)
        states.append(PromiseState(promise, _state_of(lines, departure), lines, departure))
    return tuple(states)


def exit_code(states: Iterable[PromiseState]) -> int:
    """0 all kept; 1 something broken; 3 nothing broken, but an error or an unproven promise.

    No promise at all is 3: nothing was proven.
    """
    found = {state.state for state in states}
    if State.BROKEN in found:
        return 1
    return 0 if found == {State.KEPT} else 3


def _departure(scope: Scope, promise: Promise, catalogue: Catalogue) -> str:
    """How a recorded promise differs from the catalogue's; empty when it does not."""
    shipped = {known.id: known for known in catalogue.promises}
    if shipped.get(promise.id, promise) != promise:
        return (
            f"could not tell: recorded with another sentence or other controls "
            f"({', '.join(promise.controls)}) than the catalogue of this version of Assay has"
        )
    controls = {known.id: known for known in catalogue.controls}
    for name in promise.controls:
        if controls.get(name) != scope.control(name):
            return (
                f"could not tell: recorded with a control {name} that the catalogue of this "
                f"version of Assay {'has otherwise' if name in controls else 'does not have'}"
            )
    return ""


def _state_of(lines: Sequence[CoverageLine], departure: str) -> State:
    found = {line.state for line in lines} - {State.NOT_APPLICABLE}
    if departure:
        found.add(State.ERROR)
    return next((state for state in _WORST_FIRST if state in found), State.UNPROVEN)


def _control_lines(
    scope: Scope, control: Control, outcomes: Outcomes, period: tuple[datetime, datetime]
) -> Iterable[CoverageLine]:
    assets = scope.covered_by(control)
    if not assets:
        yield _line_without_asset(scope, control)
    for asset in assets:
        check = control.applies_to[asset.kind]
        outcome = outcomes.get((check, asset.id)) if check else None
        state, why = _judge_line(control, asset, check, outcome, period)
        yield CoverageLine(control, asset, check, outcome, state, why)


def _line_without_asset(scope: Scope, control: Control) -> CoverageLine:
    """Nothing to apply a control to: a fact when facets excluded what is there, else a gap."""
    kinds = " or ".join(control.applies_to)
    left_out = [asset.id for asset in scope.assets if asset.kind in control.applies_to]
    if left_out:
        wanted = ", ".join(f"{name}: {value}" for name, value in control.where.items())
        why = f"{', '.join(left_out)}: not concerned, since this is about {wanted}"
        return CoverageLine(control, None, None, None, State.NOT_APPLICABLE, why)
    why = f"no asset of the kind {kinds} in the programme ({control.title})"
    return CoverageLine(control, None, None, None, State.UNPROVEN, why)


def _judge_line(
    control: Control,
    asset: ScopedAsset,
    check: str | None,
    outcome: Outcome | None,
    period: tuple[datetime, datetime],
) -> tuple[State, str]:
    """The state of a control on an asset, and why when it is not kept.

    Args:
        control: the control.
        asset: the asset.
        check: the id of its check.
        outcome: what the check last said.
        period: since when a result is fresh, and now.
    """
    horizon, now = period
    if check is None:
        return State.UNPROVEN, f"{asset.id}: no check yet ({control.title})"
    if outcome is None:
        return State.ERROR, f"{asset.id}: no result of {check} on record"
    result = outcome.result
    why = f"{asset.id}: {result.reason}"
    demanded = control.fidelity or result.fidelity
    if result.status in _SAYS_IT_ALL:
        return _SAYS_IT_ALL[result.status], why
    if outcome.at > now + CLOCKS_APART:  # it would stay fresh for longer than it may
        why = f"{asset.id}: recorded at {to_rfc3339(outcome.at)}, which is still to come"
        return State.ERROR, why
    if outcome.at < horizon:
        state, why = State.UNPROVEN, f"{asset.id}: last proven {to_rfc3339(outcome.at)}, too old"
    elif result.status is Status.NOT_APPLICABLE:
        state = State.NOT_APPLICABLE
    elif Fidelity.weakest(demanded, result.fidelity) != demanded:
        state = State.UNPROVEN
        why = f"{asset.id}: seen only on a stand-in ({result.fidelity}), which does not prove this"
    else:
        state, why = State.KEPT, ""
    return state, why
