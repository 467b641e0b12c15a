"""``assay init``: look at a repository and propose a programme file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.run import AsJson
from assay.cli.screen import KEPT, WRONG_INPUT, err, out, print_json

Repository = Annotated[Path, typer.Argument(help="The repository.", metavar="FOLDER")]
Target = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The file; FOLDER/assay.yaml if not given.", metavar="FILE"
    ),
]


def init(repository: Repository = Path(), output: Target = None, as_json: AsJson = False) -> int:
    """Look at a repository and propose a programme file; never replaces one.

    Exit code: 0 proposed; 2 there is a file already, or no such folder.
    """
    from assay.controls import propose
    from assay.core import write_atomically

    target = output or repository / "assay.yaml"
    if not repository.is_dir() or target.exists():
        found = f"{target}, which is there already" if target.exists() else "no such folder"
        message = f"expected a folder without a programme file, found {found}"
        if as_json:
            print_json({"error": {"message": message}, "exit_code": WRONG_INPUT})
        else:
            err.print(f"error: {message}", markup=False)
        return WRONG_INPUT
    proposal = propose(repository)
    write_atomically(target, proposal.text.encode())
    if as_json:
        document = {"file": str(target), "seen": proposal.seen, "missing": proposal.missing}
        print_json({**document, "exit_code": KEPT})
        return KEPT
    out.print(f"Wrote {target}", soft_wrap=True)
    for sentence in proposal.seen:
        out.print(f"  seen: {sentence}", markup=False, soft_wrap=True)
    for sentence in proposal.missing:
        out.print(f"  to fill in: {sentence}", markup=False, soft_wrap=True)
    out.print("Next: set ASSAY_PASSPHRASE, then `assay keys create` and `assay run`")
    return KEPT
