"""``assay drill``: show that every check fails on its violations."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from assay.cli.run import AsJson
from assay.cli.screen import COULD_NOT_TELL, KEPT, out, print_json, shown_progress

Only = Annotated[
    list[str] | None,
    typer.Option("--check", help="Only this check; may be repeated.", metavar="CHECK"),
]

Into = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Record the drills in its log.", metavar="FILE"),
]


def drill(check: Only = None, programme: Into = None, as_json: AsJson = False) -> int:
    """Inject each violation into a disposable twin; the check must fail on it, and only on it.

    With --config, what the drills showed is also recorded in that programme's log.

    Exit code: 0 every violation was caught; 2 no such check, or the
    programme file is wrong; 3 a check did not fail, so its results mean nothing.
    """
    from assay import assemble

    with ExitStack() as stack:
        # Before the drills, which take a while: a wrong file is said at once.
        platform = None
        if programme is not None:
            platform = stack.enter_context(assemble.open_platform(programme))
        with shown_progress("Drilling", as_json=as_json) as progress:
            outcomes = list(assemble.drill(progress, only=check))
        if platform is not None:
            assemble.record_drills(platform, outcomes)
    caught = all(outcome.caught for outcome in outcomes) and bool(outcomes)
    code = KEPT if caught else COULD_NOT_TELL
    if as_json:
        drills = [
            {
                "check": outcome.check,
                "violation": outcome.violation.id,
                "description": outcome.violation.description,
                "caught": outcome.caught,
                "intact": outcome.intact and outcome.intact.status.value,
                "injected": outcome.injected and outcome.injected.status.value,
                "said": outcome.injected and outcome.injected.reason,
                "why_not": outcome.reason,
            }
            for outcome in outcomes
        ]
        print_json({"drills": drills, "exit_code": code})
        return code
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("check", "violation", "caught", "what the check said"):
        table.add_column(name, overflow="fold", no_wrap=name in {"check", "caught"})
    for outcome in outcomes:
        said = outcome.injected.reason if outcome.caught and outcome.injected else outcome.reason
        table.add_row(
            outcome.check,
            Text(outcome.violation.description),
            Text("yes", "green") if outcome.caught else Text("NO", "bold red"),
            Text(said),
        )
    out.print(table)
    missed = sum(not outcome.caught for outcome in outcomes)
    out.print(f"{len(outcomes)} violations injected: {len(outcomes) - missed} caught, {missed} not")
    return code
