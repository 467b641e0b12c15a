"""From states to cards: what the template shows, decided before it is shown.

Example:
    >>> [card.word for card in cards_of(page)][:3]               # doctest: +SKIP
    ['Kept', 'Broken', 'Unproven']
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from assay.controls.catalogue import Control, Frameworks
from assay.controls.coverage import CoverageLine, PromiseState, State
from assay.core import Fidelity, Result
from assay.web.page import TrustPage
from assay.web.wording import (
    FIDELITIES,
    MEANINGS,
    WHY_NOT,
    WORDS,
    Moment,
    counted,
    headline,
    moment,
    remainder,
    shortened,
)

_MOST_REASONS = 5
_MOST_FINDINGS = 20
_MOST_POPULATIONS = 4
_TEXT_LIMIT = 1_000


@dataclass(frozen=True)
class LineView:
    """One control on one asset.

    Attributes:
        state: of the control on this asset.
        word: the state in words.
        asset: the asset's id; None when there is none.
        kind: the asset's kind.
        check: the check's id; None when there is none yet.
        status: the result's own status; None without a result.
        reason: why the state is what it is, or the result's reason.
        result_reason: the result's reason where ``reason`` says something else.
        findings: what is wrong, one sentence each.
        more_findings: how many more stand in the statement.
        population: the counts in words.
        fidelity: how real the checked thing was; None without a result.
        at: when the result was recorded; None without one.
        index: the statement's number in the log; None without one.
    """

    state: State
    word: str
    asset: str | None
    kind: str
    check: str | None
    status: str | None
    reason: str
    result_reason: str
    findings: tuple[str, ...]
    more_findings: int
    population: str
    fidelity: Fidelity | None
    at: Moment | None
    index: int | None


@dataclass(frozen=True)
class ControlView:
    """One control with all its lines.

    Attributes:
        id: the control's id.
        title: what holds when it works.
        fidelity: the weakest fidelity that proves it; None when each is shown for what it is.
        frameworks: (framework, ((id, short name), …)).
        lines: one per asset.
    """

    id: str
    title: str
    fidelity: Fidelity | None
    frameworks: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    lines: tuple[LineView, ...]


@dataclass(frozen=True)
class CardView:
    """One promise.

    Attributes:
        number: its place on the page, counted from 1.
        anchor: the id of its element.
        sentence: what customers read.
        state: see `State`.
        word: the state in words.
        fidelity: the weakest among its results; None without one.
        fidelity_meaning: the same in plain language.
        at: when its oldest result was recorded; None without one.
        evaluated: pairs of control and asset that were evaluated.
        in_scope: pairs that had to be.
        left_out: pairs that are not applicable.
        populations: (asset, counts in words), the first few.
        more_populations: how many more there are.
        why_title: the heading over ``why``.
        why: reasons, the worst first.
        more_reasons: how many more there are.
        controls: the evidence.
    """

    number: int
    anchor: str
    sentence: str
    state: State
    word: str
    fidelity: Fidelity | None
    fidelity_meaning: str
    at: Moment | None
    evaluated: int
    in_scope: int
    left_out: int
    populations: tuple[tuple[str, str], ...]
    more_populations: int
    why_title: str
    why: tuple[str, ...]
    more_reasons: int
    controls: tuple[ControlView, ...]


@dataclass(frozen=True)
class Tally:
    """One state of promises and how often it occurs.

    Attributes:
        state: the state.
        word: in words.
        meaning: in plain language.
        count: how many promises are in it.
    """

    state: State
    word: str
    meaning: str
    count: int


@dataclass(frozen=True)
class Overall:
    """What can be said of all promises together.

    Attributes:
        headline: how many are kept.
        remainder: what became of the others; empty when there are none.
        stand_ins: how many kept ones were seen on something less than the real system.
        tallies: the four states.
    """

    headline: str
    remainder: str
    stand_ins: int
    tallies: tuple[Tally, ...]


def overall_of(page: TrustPage) -> Overall:
    """The overall line and the counts."""
    counts = Counter(state.state for state in page.states)
    stand_ins = sum(
        state.state is State.KEPT and state.fidelity is not Fidelity.LIVE for state in page.states
    )
    return Overall(
        headline=headline(counts),
        remainder=remainder(counts),
        stand_ins=stand_ins,
        tallies=tuple(
            Tally(state, WORDS[state], meaning, counts[state])
            for state, meaning in MEANINGS.items()
        ),
    )


def cards_of(page: TrustPage) -> tuple[CardView, ...]:
    """One card per promise, in the order of the scope."""
    ids = Counter(state.promise.id for state in page.states)
    return tuple(
        _card(number, _anchor(number, state.promise.id, ids), state)
        for number, state in enumerate(page.states, start=1)
    )


def _card(number: int, anchor: str, state: PromiseState) -> CardView:
    results, why = _distinct_results(state), _reasons(state)
    return CardView(
        number=number,
        anchor=anchor,
        sentence=shortened(state.promise.sentence, _TEXT_LIMIT),
        state=state.state,
        word=WORDS[state.state],
        fidelity=state.fidelity,
        fidelity_meaning=FIDELITIES[state.fidelity] if state.fidelity else "",
        at=moment(state.proven_at) if state.proven_at else None,
        evaluated=state.evaluated,
        in_scope=state.in_scope,
        left_out=len(state.lines) - state.in_scope,
        populations=tuple(
            (asset, counted(result.population)) for asset, result in results[:_MOST_POPULATIONS]
        ),
        more_populations=max(0, len(results) - _MOST_POPULATIONS),
        why_title=WHY_NOT.get(state.state, ""),
        why=tuple(shortened(reason, _TEXT_LIMIT) for reason in why[:_MOST_REASONS]),
        more_reasons=max(0, len(why) - _MOST_REASONS),
        controls=tuple(
            _control(lines[0].control, lines)
            for lines in (
                tuple(group) for _, group in groupby(state.lines, key=lambda line: line.control.id)
            )
        ),
    )


def _anchor(number: int, promise_id: str, ids: Mapping[str, int]) -> str:
    """An element id that is safe in a URL; two promises never share one."""
    if re.fullmatch(r"[a-z][a-z0-9-]{0,62}", promise_id) and ids[promise_id] == 1:
        return f"promise-{promise_id}"
    return f"promise.{number}"


def _reasons(state: PromiseState) -> tuple[str, ...]:
    """Why it is not kept; what is merely not applicable is no reason, unless it is all there is."""
    notes = {line.why for line in state.lines if line.state is State.NOT_APPLICABLE}
    return tuple(reason for reason in state.why if reason not in notes) or state.why


def _distinct_results(state: PromiseState) -> tuple[tuple[str, Result], ...]:
    """Each result once, though several controls may rest on it; those about nothing left out."""
    found = {
        line.outcome.index: (line.asset.id, line.outcome.result)
        for line in state.lines
        if line.asset and line.outcome and line.outcome.result.population.in_scope
    }
    return tuple(found.values())


def _control(control: Control, lines: tuple[CoverageLine, ...]) -> ControlView:
    return ControlView(
        id=control.id,
        title=control.title,
        fidelity=control.fidelity,
        frameworks=_frameworks(control.frameworks),
        lines=tuple(_line(line) for line in lines),
    )


def _frameworks(
    frameworks: Frameworks,
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    named = (
        ("SOC 2", tuple(frameworks.soc2.items())),
        ("ISO 27001", tuple((id_, "") for id_ in frameworks.iso27001)),
        ("NIST 800-53", tuple((id_, "") for id_ in frameworks.nist)),
        ("GDPR article", tuple((id_, "") for id_ in frameworks.gdpr)),
    )
    return tuple((name, ids) for name, ids in named if ids)


def _line(line: CoverageLine) -> LineView:
    result = line.outcome.result if line.outcome else None
    # A line's reason begins with the asset, which stands beside it anyway.
    why = line.why.removeprefix(f"{line.asset.id}: ") if line.asset else line.why
    reason = why or (result.reason if result else "")
    findings = result.findings if result else ()
    return LineView(
        state=line.state,
        word=WORDS[line.state],
        asset=line.asset.id if line.asset else None,
        kind=line.asset.kind if line.asset else "",
        check=line.check,
        status=result.status.value.replace("_", " ") if result else None,
        reason=shortened(reason, _TEXT_LIMIT),
        result_reason=(
            shortened(result.reason, _TEXT_LIMIT) if result and result.reason not in reason else ""
        ),
        findings=tuple(shortened(text, _TEXT_LIMIT) for text in findings[:_MOST_FINDINGS]),
        more_findings=max(0, len(findings) - _MOST_FINDINGS),
        population=counted(result.population) if result and result.population.in_scope else "",
        fidelity=result.fidelity if result else None,
        at=moment(line.outcome.at) if line.outcome else None,
        index=line.outcome.index if line.outcome else None,
    )
