"""The matrix: one line per promise, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from assay.cli.screen import STYLES, out
from assay.controls import CoverageLine, PromiseState, State
from assay.core import result_to_json, to_rfc3339


def print_matrix(title: str, states: Sequence[PromiseState]) -> None:
    """Print one line per promise, all reasons of what is broken or unknown, and the counts."""
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for name in ("promise", "state", "evaluated", "fidelity"):
        table.add_column(name, no_wrap=True)
    table.add_column("why not", no_wrap=True, overflow="ellipsis")
    for state in states:
        table.add_row(
            Text(state.promise.id),
            Text(state.state.value, style=STYLES[state.state.value]),
            f"{state.evaluated} of {state.in_scope}",
            Text(state.fidelity.value if state.fidelity else "-"),
            Text(_short(state.why)),
        )
    out.print(table)
    for state in states:
        if state.state in {State.BROKEN, State.ERROR}:
            out.print()
            out.print(Text(f"{state.promise.id} ({state.state.value})", STYLES[state.state.value]))
            for reason in state.why:
                out.print(Text(f"  {reason}"), soft_wrap=True)
    out.print()
    out.print(Text(summary(states)))


def _short(why: Sequence[str]) -> str:
    more = f" (and {len(why) - 1} more)" if len(why) > 1 else ""
    return f"{why[0]}{more}" if why else ""


def summary(states: Sequence[PromiseState]) -> str:
    """How many promises are in which state, in words."""
    counts = [(kind, sum(s.state is kind for s in states)) for kind in State]
    named = [f"{count} {kind.value}" for kind, count in counts if count]
    return f"{len(states)} promises: {', '.join(named)}"


def matrix_to_json(states: Sequence[PromiseState]) -> dict[str, object]:
    """Everything that the matrix is made from."""
    return {"promises": [_promise_to_json(state) for state in states]}


def _promise_to_json(state: PromiseState) -> dict[str, object]:
    return {
        "id": state.promise.id,
        "sentence": state.promise.sentence,
        "state": state.state.value,
        "evaluated": state.evaluated,
        "in_scope": state.in_scope,
        "fidelity": state.fidelity and state.fidelity.value,
        "proven_at": state.proven_at and to_rfc3339(state.proven_at),
        "why": list(state.why),
        "lines": [_line_to_json(line) for line in state.lines],
    }


def _line_to_json(line: CoverageLine) -> dict[str, object]:
    outcome = line.outcome
    return {
        "control": line.control.id,
        "asset": line.asset and line.asset.id,
        "check": line.check,
        "state": line.state.value,
        "why": line.why,
        "result": outcome and result_to_json(outcome.result),
        "statement": outcome and outcome.index,
        "observation": outcome and outcome.observation,
    }
