"""What evidence proves, without any network, key or database.

Example:
    >>> verify(Path("assay.bundle"), "log.vkey").states              # doctest: +SKIP
    (PromiseState(...), ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from assay.controls import (
    CHECKS,
    Outcome,
    PromiseState,
    Scope,
    assess,
    judge_record,
    load_catalogue,
)
from assay.core import (
    AssayError,
    Clock,
    Progress,
    Result,
    SilentProgress,
    Status,
    SystemClock,
    from_rfc3339,
)
from assay.evidence import (
    BundleReadError,
    Certificate,
    Place,
    ResultView,
    RunView,
    VerifiedBundle,
    VerifiedClaim,
    verify_bundle,
    verify_certificate,
    verify_result_claim,
)
from assay.ledger import load_verifier_key

CLAIM_SUFFIX = ".tlog-proof"
"""How the name of a claim's inclusion proof ends (C2SP ``tlog-proof``)."""


@dataclass(frozen=True)
class Verification:
    """What a verified bundle says.

    Attributes:
        bundle: the bundle.
        scope: what its newest finished run was about.
        run: that run.
        results: what the promises rest on: the results of that run, and whatever a later run that
            was interrupted had found to be other than a pass.
        judged_at: the moment for which the promises were judged.
        states: what follows for every promise at that moment.
    """

    bundle: VerifiedBundle
    scope: Scope
    run: RunView
    results: Mapping[Place, ResultView]
    judged_at: datetime
    states: tuple[PromiseState, ...]


def verify(
    path: Path,
    key: str,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Verify a bundle without any network, key or database, and say what it proves.

    Args:
        path: the bundle.
        key: the log's verifier key, as text or as the path of a file that holds it.
        clock: the moment for which promises are judged.
        progress: told what goes on.

    Raises:
        EvidenceError, LedgerError: the bundle is not what its key says; nothing in it counts.
        AssayError: the key is malformed, or no run in the bundle was finished.
    """
    bundle_ = verify_bundle(
        path, load_verifier_key(key), _judge, progress=progress or SilentProgress()
    )
    run_view = newest_finished_run(bundle_)
    scope = Scope.from_bytes(run_view.scope_bytes())
    now = (clock or SystemClock()).now()
    results = standing_results(bundle_, run_view)
    states = assess(scope, _outcomes(results), load_catalogue(), now=now)
    return Verification(bundle_, scope, run_view, results, now, states)


def verify_claim_files(path: Path, key: str) -> VerifiedClaim:
    """Verify one claim of a trust page: three files beside each other, offline.

    Args:
        path: the ``.tlog-proof`` file; ``.dsse.json`` and ``.observation.json`` of the same name
            lie beside it.
        key: the log's verifier key, as text or as the path of a file that holds it.

    Raises:
        EvidenceError, LedgerError: the claim is not in the log, or does not follow from its facts.
        BundleReadError: a file is missing or cannot be read.
        VerifierKeyError: the key is malformed.
    """
    stem = path.name.removesuffix(CLAIM_SUFFIX)
    proof, entry, observation = (
        _claim_file(path.with_name(stem + suffix))
        for suffix in (CLAIM_SUFFIX, ".dsse.json", ".observation.json")
    )
    text = proof.decode("utf-8", "replace")
    return verify_result_claim(text, entry, observation, load_verifier_key(key), _judge)


def verify_destruction(path: Path, key: str, bundle: Path | None = None) -> Certificate:
    """Verify a certificate of a destruction, offline.

    Args:
        path: the certificate.
        key: the log's verifier key, as text or as the path of a file that holds it.
        bundle: a bundle of the log, which must hold both statements.

    Raises:
        EvidenceError, LedgerError: it says what the log does not.
        BundleReadError: a file cannot be read.
        VerifierKeyError: the key is malformed.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise BundleReadError(f"expected the certificate {path}: {exc.strerror}") from exc
    verifier_key = load_verifier_key(key)
    whole = None if bundle is None else verify_bundle(bundle, verifier_key, _judge)
    return verify_certificate(data, verifier_key, whole)


def _claim_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BundleReadError(
            f"expected the claim's file {path}: {exc.strerror}; a claim is three files beside "
            f"each other, which end in {CLAIM_SUFFIX}, .dsse.json and .observation.json"
        ) from exc


def newest_finished_run(bundle_: VerifiedBundle) -> RunView:
    """The run that a bundle's promises rest on.

    Raises:
        AssayError: no run in the bundle came to its end.
    """
    finished = [view for view in bundle_.runs if view.finished is not None]
    if not finished:
        raise AssayError(
            "expected a finished run in the bundle, found none: it proves no promise; "
            "run `assay run` and write the bundle again"
        )
    return finished[-1]


def standing_results(bundle_: VerifiedBundle, finished: RunView) -> Mapping[Place, ResultView]:
    """What stands of each check on each asset after a finished run.

    An interrupted run proves nothing, but what it found wrong before it was stopped stays found:
    otherwise stopping a run would hide a failure that is in the log.

    Args:
        bundle_: the bundle.
        finished: its newest finished run.
    """
    standing = dict(finished.results)
    for view in bundle_.runs:
        if view.finished_index is None and view.started_index > finished.started_index:
            standing |= {
                place: found
                for place, found in view.results.items()
                if found.result.status is not Status.PASS
            }
    return standing


def _judge(check: str, check_version: int, observation: bytes, asset_kind: str) -> Result:
    """What `assay.evidence` calls to judge an observation again."""
    del check, check_version, asset_kind  # the record names its check, and is compared with these
    return judge_record(CHECKS, observation)


def _outcomes(results: Mapping[Place, ResultView]) -> dict[Place, Outcome]:
    """Verified results as coverage wants them."""
    return {
        place: Outcome(
            found.result,
            from_rfc3339(found.statement.at),
            found.index,
            found.statement.observation,
        )
        for place, found in results.items()
    }
