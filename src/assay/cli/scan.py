"""``assay scan``: the external tools that checks use."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.run import AsJson
from assay.cli.screen import COULD_NOT_TELL, KEPT, out, print_json, shown_progress

app = typer.Typer(help="The external tools that checks use.", no_args_is_help=True)

CheckOnly = Annotated[
    bool, typer.Option("--check", help="Only say whether they are there; install nothing.")
]


@app.callback()
def scan() -> None:
    """The external tools that checks use."""


@app.command("setup")
def setup(check: CheckOnly = False, as_json: AsJson = False) -> int:
    """Install each tool into a hash-locked environment of its own.

    Exit code: 0 all are there; 3 one is missing.
    """
    from assay import assemble

    tools = assemble.pinned_tools()
    with shown_progress("Installing", as_json=as_json) as progress:
        for number, (tool, python) in enumerate(tools):
            progress.advance(number, len(tools), f"{tool.name} {tool.version}")
            if not check:
                tool.create(python)
    complete = all(tool.is_complete() for tool, _ in tools)
    code = KEPT if complete else COULD_NOT_TELL
    if as_json:
        listed = [
            {"name": tool.name, "version": tool.version, "installed": tool.is_complete()}
            for tool, _ in tools
        ]
        print_json({"tools": listed, "exit_code": code})
        return code
    for tool, _ in tools:
        there = "installed" if tool.is_complete() else "missing; run `assay scan setup`"
        out.print(f"{tool.name} {tool.version}: {there}", soft_wrap=True)
    return code
