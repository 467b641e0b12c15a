"""``assay trust``: the page that customers read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.run import AsJson
from assay.cli.screen import KEPT, out, print_json, report_refusal, shown_progress
from assay.cli.verify import LogKey

app = typer.Typer(help="The page that customers read.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The folder for the page.", metavar="DIR")]
Bundle = Annotated[Path, typer.Option("--bundle", "-b", help="The bundle.", metavar="FILE")]


@app.callback()
def trust() -> None:
    """The page that customers read."""


@app.command("build")
def build(
    folder: Folder, key: LogKey, bundle: Bundle = Path("assay.bundle"), as_json: AsJson = False
) -> int:
    """Build the static trust page from a bundle; a bundle that does not verify is refused.

    Exit code: 0 built; 1 the bundle is refused; 2 the key or file name is wrong; 3 the bundle
    proves nothing, or the page could not be written.
    """
    from assay import assemble
    from assay.evidence import EvidenceError
    from assay.ledger import LedgerError
    from assay.web import build_trust_page, trust_page_of

    try:
        with shown_progress("Verifying", as_json=as_json) as progress:
            found = assemble.verify(bundle, key, progress=progress)
    except (EvidenceError, LedgerError) as exc:
        return report_refusal(exc, as_json=as_json)
    written = build_trust_page(trust_page_of(found), folder)
    if as_json:
        print_json({"files": [str(path) for path in written], "exit_code": KEPT})
    else:
        out.print(f"{folder / 'index.html'}: {len(written)} files", soft_wrap=True)
    return KEPT
