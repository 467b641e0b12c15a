"""``assay bundle``: write what an auditor needs into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.run import AsJson, Programme
from assay.cli.screen import KEPT, out, print_json

Target = Annotated[Path, typer.Option("--output", "-o", help="The file.", metavar="FILE")]
First = Annotated[
    int, typer.Option("--first", help="The first statement wanted.", min=0, metavar="NUMBER")
]


def bundle(
    programme: Programme = Path("assay.yaml"),
    output: Target = Path("assay.bundle"),
    first: First = 0,
    as_json: AsJson = False,
) -> int:
    """Write statements, observations, proofs and the checkpoint into one file.

    Verify it with `assay verify FILE --key KEY`, where KEY is the file log.vkey in the log's
    folder; give the key to the auditor by another way than the bundle.
    """
    from assay import assemble

    with assemble.open_platform(programme) as platform:
        count = assemble.bundle(platform, output, first=first)
        key = platform.store / assemble.VERIFIER_KEY_NAME
    if as_json:
        document = {"bundle": str(output), "statements": count, "key": str(key)}
        print_json({**document, "exit_code": KEPT})
    else:
        out.print(f"{output}: {count} statements, to be verified with {key}", soft_wrap=True)
    return KEPT
