"""What a trust page is made of, and the refusal of what does not fit together.

A `TrustPage` is made from a bundle that was verified, by the code that verified it. This room
cannot verify it again, but it can refuse what contradicts itself: `refuse_contradictions` judges
the states once more from the results, and asks for the proof of every result that is shown.

Example:
    >>> refuse_contradictions(page)                              # doctest: +SKIP
    >>> page.expires_at                                          # doctest: +SKIP
    datetime.datetime(2026, 1, 3, 3, 4, 5, tzinfo=datetime.timezone.utc)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from assay.controls.catalogue import load_catalogue
from assay.controls.coverage import CoverageLine, Outcome, PromiseState, State, assess
from assay.controls.scope import Scope
from assay.core import sha256_hex
from assay.web.errors import TrustPageError


@dataclass(frozen=True)
class StatementProof:
    """One statement of the log, with all that shows that it stands there.

    Attributes:
        index: where it stands in the log, counted from 0.
        entry: the DSSE envelope, byte for byte as it was logged.
        tlog_proof: its inclusion proof with the checkpoint, as a C2SP ``tlog-proof`` file.
        observation: what the check observed, byte for byte as it was judged.
    """

    index: int
    entry: bytes
    tlog_proof: str
    observation: bytes


@dataclass(frozen=True)
class TrustPage:
    """Everything that a trust page shows. Make it from a verified bundle only.

    Attributes:
        scope: the promises, controls and assets.
        states: what can be said of every promise at ``built_at``, in the order of the scope.
        origin: the log's name (the first line of its checkpoints).
        size: how many statements the log holds at the checkpoint.
        verifier_key: the log's key as text (C2SP ``signed-note`` vkey).
        checkpoint: the signed checkpoint as text.
        built_at: the moment for which the states were judged.
        valid_until: from this moment on nothing on the page counts as kept.
        run: the id of the run that the page is about.
        unfinished_runs: ids of runs that were started and never finished.
        proofs: by log index, the proof of every statement that a card rests on.
        unfinished_destructions: ids of destructions that were ordered and never completed.
    """

    scope: Scope
    states: tuple[PromiseState, ...]
    origin: str
    size: int
    verifier_key: str
    checkpoint: str
    built_at: datetime
    valid_until: datetime
    run: str
    unfinished_runs: tuple[str, ...]
    proofs: Mapping[int, StatementProof]
    unfinished_destructions: tuple[str, ...] = ()

    @property
    def proven_at(self) -> datetime | None:
        """The time of the oldest result that a kept promise rests on; None when none is kept."""
        times = (state.proven_at for state in self.states if state.state is State.KEPT)
        return min((time for time in times if time is not None), default=None)

    @property
    def expires_at(self) -> datetime:
        """When nothing on the page counts as kept any more.

        Never later than ``valid_until``, and never later than the oldest proof that counts stays
        fresh; a result that claims to be younger than the page itself gains nothing by it.
        """
        oldest = min(self.proven_at or self.built_at, self.built_at)
        return min(self.valid_until, oldest + timedelta(hours=self.scope.fresh_for_hours))

    @property
    def is_stale(self) -> bool:
        """Whether it has expired already when it is built."""
        return self.built_at >= self.expires_at


def refuse_contradictions(page: TrustPage) -> None:
    """Refuse a page whose sentences would not carry their own proof.

    1. The states are those that follow from the results at ``built_at``.
    2. Every result has its proof, filed under its own index, and the log reaches that far.
    3. Every observation is the one that its result was judged on.

    Raises:
        TrustPageError: at the first contradiction.
    """
    _refuse_naive_times(page)
    outcomes = {
        (line.check, line.asset.id): line.outcome
        for line in _lines(page)
        if line.check and line.asset and line.outcome
    }
    if assess(page.scope, outcomes, load_catalogue(), now=page.built_at) != page.states:
        raise TrustPageError(
            "expected the states that follow from the results at the time of the page, found "
            "others; assess the verified bundle again for the time at which the page is built"
        )
    for index, proof in page.proofs.items():
        _refuse_misfiled(page, index, proof)
    for outcome in outcomes.values():
        _refuse_without_proof(page, outcome)


def _lines(page: TrustPage) -> Iterator[CoverageLine]:
    return (line for state in page.states for line in state.lines)


def _refuse_naive_times(page: TrustPage) -> None:
    for name, moment in (("built_at", page.built_at), ("valid_until", page.valid_until)):
        if moment.tzinfo is None:
            raise TrustPageError(f"expected {name} with a time zone, found none")


def _refuse_misfiled(page: TrustPage, index: int, proof: StatementProof) -> None:
    if proof.index != index:
        raise TrustPageError(f"expected the proof of statement {index}, found {proof.index}'s")
    if not 0 <= index < page.size:
        raise TrustPageError(
            f"expected statements of a log of size {page.size}, found number {index}"
        )


def _refuse_without_proof(page: TrustPage, outcome: Outcome) -> None:
    proof = page.proofs.get(outcome.index)
    if proof is None:
        raise TrustPageError(
            f"expected the proof of statement {outcome.index}, found none; "
            "build the page from a verified bundle"
        )
    if sha256_hex(proof.observation) != outcome.observation:
        raise TrustPageError(
            f"expected the observation that statement {outcome.index} was judged on, found "
            "another one; build the page from a verified bundle"
        )
