"""The matrix: one line per promise, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from assay.cli.screen import STYLES, out
from assay.controls import CoverageLine, PromiseState, State
from assay.core import result_to_json, to_rfc3339

_COLUMNS = ("promise", "state", "evaluated", "fidelity")


def print_matrix(title: str, states: Sequence[PromiseState]) -> None:
    """Print one line per promise, the counts, and every reason that its line has no room for.

    All reasons of what is broken or unknown are printed in any case.
    """
    rows = [_row(state) for state in states]
    widths = [max([len(n), *(cell_len(row[i]) for row in rows)]) for i, n in enumerate(_COLUMNS)]
    left = out.width - sum(widths) - 2 * (len(widths) + 1)
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for name, width in zip(_COLUMNS, widths, strict=True):
        table.add_column(name, no_wrap=True, width=width)
    table.add_column("why not", no_wrap=True)
    cut: list[PromiseState] = []
    for state, row in zip(states, rows, strict=True):
        why = Text(_short(state.why))
        if why.cell_len > left:
            cut.append(state)
        # Rich would take the width from the other columns.
        why.truncate(max(left, 0), overflow="ellipsis")
        name, word, *rest = row
        table.add_row(name, Text(word, STYLES[word]), *rest, why)
    out.print(table)
    for state in states:
        if state.state in {State.BROKEN, State.ERROR}:
            out.print()
            out.print(Text(f"{state.promise.id} ({state.state.value})", STYLES[state.state.value]))
            for reason in state.why:
                out.print(Text(f"  {reason}"), soft_wrap=True)
    _print_cut([state for state in cut if state.state not in {State.BROKEN, State.ERROR}])
    out.print()
    out.print(Text(summary(states)))


def _print_cut(states: Sequence[PromiseState]) -> None:
    """The reasons for which a narrow terminal had no room in the table."""
    if states:
        out.print()
    for state in states:
        for reason in state.why:
            style = STYLES[state.state.value]
            out.print(Text.assemble((f"{state.promise.id}: ", style), reason), soft_wrap=True)


def _row(state: PromiseState) -> tuple[str, str, str, str]:
    fidelity = state.fidelity.value if state.fidelity else "-"
    evaluated = f"{state.evaluated} of {state.in_scope}"
    return state.promise.id, state.state.value, evaluated, fidelity


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
