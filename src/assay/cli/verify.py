"""``assay verify``: verify a bundle offline and say what it proves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.matrix import matrix_to_json, print_matrix
from assay.cli.run import AsJson
from assay.cli.screen import BROKEN, KEPT, err, out, print_json, shown_progress

Bundle = Annotated[Path, typer.Argument(help="The bundle.", metavar="BUNDLE")]
LogKey = Annotated[
    str, typer.Option("--key", help="The log's verifier key, or a file that holds it.")
]


def verify(bundle: Bundle, key: LogKey, as_json: AsJson = False) -> int:
    """Verify a bundle without network, keys or trust in who made it.

    Digests, signatures and inclusion are computed again, and every judgement is made again from
    its recorded observation. Exit code: 0 it verifies (the promises may still be broken: read
    them); 1 it is refused; 2 the key or file name is wrong; 3 it verifies and proves nothing.
    """
    from assay import assemble
    from assay.evidence import EvidenceError
    from assay.ledger import LedgerError

    try:
        with shown_progress("Verifying", as_json=as_json) as progress:
            found = assemble.verify(bundle, key, progress=progress)
    except (EvidenceError, LedgerError) as exc:
        if as_json:
            error = {"message": str(exc), "type": type(exc).__name__}
            print_json({"verified": False, "error": error, "exit_code": BROKEN})
        else:
            err.print(f"REFUSED: {exc}", markup=False)
            err.print("Nothing in this bundle counts.")
        return BROKEN
    view = found.bundle
    if as_json:
        document = {
            "verified": True,
            "origin": view.origin,
            "first": view.first,
            "size": view.size,
            "run": found.run.id,
            "unfinished_runs": list(view.unfinished_runs),
            **matrix_to_json(found.states),
        }
        print_json({**document, "exit_code": KEPT})
        return KEPT
    print_matrix(found.scope.organisation, found.states)
    out.print(
        f"verified: statements {view.first} to {view.size - 1} of {view.origin}; "
        f"every judgement was made again",
        soft_wrap=True,
    )
    for unfinished in view.unfinished_runs:
        out.print(f"run {unfinished} was interrupted: what it had not checked is not known")
    return KEPT
