"""``assay run``: check every promise on every asset, and record it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.matrix import matrix_to_json, print_matrix
from assay.cli.screen import print_json, shown_progress

Programme = Annotated[
    Path, typer.Option("--config", "-c", help="The programme file.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the same for machines.")]


def run(programme: Programme = Path("assay.yaml"), as_json: AsJson = False) -> int:
    """Check every promise on every asset, record the results, print one line per promise.

    Exit code: 0 all kept; 1 something broken; 2 the programme file is wrong; 3 nothing broken,
    but an error or an unproven promise.
    """
    from assay import assemble
    from assay.controls import exit_code

    with (
        shown_progress("Checking", as_json=as_json) as progress,
        assemble.open_platform(programme, progress=progress) as platform,
    ):
        report = assemble.run(platform)
    code = exit_code(report.states)
    if as_json:
        print_json({"run": report.run, **matrix_to_json(report.states), "exit_code": code})
    else:
        print_matrix(report.scope.organisation, report.states)
    return code
