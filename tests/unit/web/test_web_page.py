from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import ModuleType

import pytest

from assay.controls.coverage import State
from assay.web import TrustPageError
from assay.web.page import refuse_contradictions


def test_a_page_that_fits_together_is_accepted(sample: ModuleType) -> None:
    for page in (sample.sample_page(), sample.kept_page(), sample.hostile_page()):
        refuse_contradictions(page)


def test_a_state_that_does_not_follow_from_the_results_is_refused(sample: ModuleType) -> None:
    page = sample.sample_page()
    broken = next(n for n, state in enumerate(page.states) if state.state is State.BROKEN)
    states = list(page.states)
    states[broken] = replace(states[broken], state=State.KEPT)
    with pytest.raises(TrustPageError, match="states that follow"):
        refuse_contradictions(replace(page, states=tuple(states)))


def test_a_promise_that_is_left_out_is_refused(sample: ModuleType) -> None:
    page = sample.sample_page()
    with pytest.raises(TrustPageError, match="states that follow"):
        refuse_contradictions(replace(page, states=page.states[1:]))


def test_states_judged_for_another_time_are_refused(sample: ModuleType) -> None:
    page = sample.sample_page()
    later = page.built_at + timedelta(days=9)
    with pytest.raises(TrustPageError, match="states that follow"):
        refuse_contradictions(replace(page, built_at=later))


def test_a_result_without_its_proof_is_refused(sample: ModuleType) -> None:
    page = sample.sample_page()
    proofs = {index: proof for index, proof in page.proofs.items() if index != 17}
    with pytest.raises(TrustPageError, match="proof of statement 17, found none"):
        refuse_contradictions(replace(page, proofs=proofs))


def test_a_proof_under_another_index_is_refused(sample: ModuleType) -> None:
    page = sample.sample_page()
    with pytest.raises(TrustPageError, match="statement 17, found 18's"):
        refuse_contradictions(replace(page, proofs={**page.proofs, 17: page.proofs[18]}))


def test_a_statement_beyond_the_log_is_refused(sample: ModuleType) -> None:
    with pytest.raises(TrustPageError, match="log of size 18, found number 18"):
        refuse_contradictions(replace(sample.sample_page(), size=18))


def test_another_observation_is_refused(sample: ModuleType) -> None:
    page = sample.sample_page()
    other = replace(page.proofs[17], observation=page.proofs[17].observation + b" ")
    with pytest.raises(TrustPageError, match="observation that statement 17"):
        refuse_contradictions(replace(page, proofs={**page.proofs, 17: other}))


def test_times_without_a_zone_are_refused(sample: ModuleType) -> None:
    page = sample.sample_page()
    for name in ("built_at", "valid_until"):
        naive = getattr(page, name).replace(tzinfo=None)
        with pytest.raises(TrustPageError, match=f"{name} with a time zone"):
            refuse_contradictions(replace(page, **{name: naive}))


def test_the_page_expires_with_its_oldest_kept_proof(sample: ModuleType) -> None:
    page = sample.sample_page()
    later = replace(page, valid_until=page.valid_until + timedelta(days=400))
    assert page.proven_at
    assert later.expires_at == page.proven_at + timedelta(hours=page.scope.fresh_for_hours)
    sooner = replace(page, valid_until=page.built_at + timedelta(minutes=1))
    assert sooner.expires_at == sooner.valid_until
    assert not sooner.is_stale


def test_a_result_from_the_future_gains_no_time(sample: ModuleType) -> None:
    future = sample.BUILT_AT + timedelta(days=300)
    page = sample.sample_page(proven_at=future)
    assert page.expires_at == page.built_at + timedelta(hours=page.scope.fresh_for_hours)


def test_a_page_without_a_kept_promise_expires_when_it_is_told(sample: ModuleType) -> None:
    page = sample.page_of(sample.sample_scope(), {})
    assert page.proven_at is None
    assert page.expires_at == page.valid_until


def test_what_is_not_kept_was_not_proven(sample: ModuleType) -> None:
    scope = sample.sample_scope()
    broken = tuple(promise for promise in scope.promises if promise.id == "in-transit")
    page = sample.page_of(sample.replace_scope(scope, promises=broken), sample.sample_results())
    assert page.proofs
    assert page.proven_at is None


def test_a_page_is_stale_from_the_moment_of_expiry_on(sample: ModuleType) -> None:
    page = sample.sample_page()
    assert replace(page, valid_until=page.built_at).is_stale
    assert not replace(page, valid_until=page.built_at + timedelta(seconds=1)).is_stale
