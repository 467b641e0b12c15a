"""``assay verify``: verify a bundle offline and say what it proves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.matrix import matrix_to_json, print_matrix
from assay.cli.run import AsJson
from assay.cli.screen import KEPT, out, print_json, report_refusal, shown_progress
from assay.core import result_to_json
from assay.evidence import ResultRecorded, VerifiedClaim

Bundle = Annotated[
    Path, typer.Argument(help="The bundle, or a .tlog-proof file.", metavar="BUNDLE")
]
LogKey = Annotated[
    str,
    typer.Option("--key", help="The log's verifier key, or a file that holds it.", metavar="KEY"),
]


def verify(bundle: Bundle, key: LogKey, as_json: AsJson = False) -> int:
    """Verify a bundle, or one claim, without network, keys or trust in who made it.

    Digests, signatures and inclusion are computed again, and every judgement is made again from
    its recorded observation. Exit code: 0 it verifies (the promises may still be broken: read
    them); 1 it is refused; 2 the key or file name is wrong; 3 it verifies and proves nothing.
    """
    from assay import assemble
    from assay.evidence import EvidenceError
    from assay.ledger import LedgerError

    try:
        if bundle.name.endswith(assemble.CLAIM_SUFFIX):
            return _show_claim(assemble.verify_claim_files(bundle, key), as_json=as_json)
        with shown_progress("Verifying", as_json=as_json) as progress:
            found = assemble.verify(bundle, key, progress=progress)
    except (EvidenceError, LedgerError) as exc:
        return report_refusal(exc, as_json=as_json)
    view = found.bundle
    if as_json:
        document = {
            "verified": True,
            "origin": view.origin,
            "first": view.first,
            "size": view.size,
            "run": found.run.id,
            "unfinished_runs": list(view.unfinished_runs),
            "unfinished_destructions": list(view.unfinished_destructions),
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
    for destruction in view.unfinished_destructions:
        out.print(
            f"destruction {destruction} was ordered and not completed: whether its data can still "
            "be read is not known",
            soft_wrap=True,
        )
    return KEPT


def _show_claim(claim: VerifiedClaim, *, as_json: bool) -> int:
    recorded = claim.predicate
    if not isinstance(recorded, ResultRecorded):
        raise TypeError("a verified claim is about a result")
    if as_json:
        document = {
            "verified": True,
            "origin": claim.checkpoint.origin,
            "statement": claim.index,
            "check": recorded.check,
            "asset": recorded.asset,
            "at": recorded.at,
            "result": result_to_json(recorded.result.to_result()),
        }
        print_json({**document, "exit_code": KEPT})
        return KEPT
    result = recorded.result
    out.print(
        f"verified: statement {claim.index} of {claim.checkpoint.origin}, recorded {recorded.at}",
        soft_wrap=True,
    )
    out.print(
        f"{recorded.check} on {recorded.asset}: {result.status} ({result.fidelity}), "
        f"{result.population.evaluated} of {result.population.in_scope} "
        f"{result.population.unit}: {result.reason}",
        soft_wrap=True,
        markup=False,
    )
    return KEPT
