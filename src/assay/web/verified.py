"""From a verified bundle to the trust page: nothing else can make one.

Example:
    >>> page = trust_page_of(verification)          # doctest: +SKIP
    >>> build_trust_page(page, Path("trust"))                    # doctest: +SKIP
"""

from __future__ import annotations

from datetime import timedelta

from assay.assemble import Verification
from assay.web.page import StatementProof, TrustPage


def trust_page_of(verification: Verification) -> TrustPage:
    """The page of a verified bundle, for the moment for which its promises were judged.

    Args:
        verification: what `assay.assemble.verify` returned.
    """
    bundle, built_at = verification.bundle, verification.judged_at
    results = verification.results
    proofs = {
        found.index: StatementProof(
            index=found.index,
            entry=bundle.entry(found.index),
            tlog_proof=bundle.proof(found.index),
            observation=bundle.artefact(found.statement.observation),
        )
        for found in results.values()
    }
    return TrustPage(
        scope=verification.scope,
        states=verification.states,
        origin=bundle.origin,
        size=bundle.size,
        verifier_key=str(bundle.verifier_key),
        checkpoint=bundle.signed_checkpoint.decode("utf-8"),
        built_at=built_at,
        valid_until=built_at + timedelta(hours=verification.scope.fresh_for_hours),
        run=verification.run.id,
        unfinished_runs=bundle.unfinished_runs,
        proofs=proofs,
        unfinished_destructions=bundle.unfinished_destructions,
    )
