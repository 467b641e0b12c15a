from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.controls import (
    Catalogue,
    Control,
    Frameworks,
    Outcome,
    Promise,
    Scope,
    ScopedAsset,
    State,
    assess,
    exit_code,
    planned_checks,
)
from assay.core import Fidelity, Population, Result, Status

NOW = datetime(2026, 1, 10, tzinfo=UTC)
NO_FRAMEWORKS = Frameworks(soc2={}, iso27001=(), nist=(), gdpr=())


def control(name, applies_to, **more):
    return Control(id=name, title=f"title of {name}", applies_to=applies_to, frameworks=NO_FRAMEWORKS, **more)  # fmt: skip


def asset(name, kind="datastore", fidelity=Fidelity.LIVE, **facets):
    return ScopedAsset(id=name, kind=kind, location="x", facets=facets, fidelity=fidelity)


def scope(controls, assets):
    promise = Promise(id="p", sentence="We promise.", controls=tuple(c.id for c in controls))
    return Scope("Metal", 24, (promise,), tuple(controls), tuple(assets))


def outcome(status=Status.PASS, fidelity=Fidelity.LIVE, at=NOW):
    counts = {
        Status.PASS: Population(2, 2), Status.FAIL: Population(2, 2, 1),
        Status.ERROR: Population(2, 0), Status.NOT_APPLICABLE: Population(0, 0),
    }[status]  # fmt: skip
    return Outcome(Result(status, f"because of {status}", counts, fidelity), at, 7, "0" * 64)


ROWS = control("rows", {"datastore": "sealed-rows"})
OBJECTS = control("objects", {"bucket": "sealed-objects"})
UNCHECKED = control("unchecked", {"datastore": None})


def state_of(controls, assets, outcomes, now=NOW):
    made = scope(controls, assets)
    (state,) = assess(made, outcomes, Catalogue(made.promises, made.controls), now=now)
    return state


def test_kept_when_every_control_passed_on_every_asset():
    state = state_of(
        [ROWS, OBJECTS], [asset("a"), asset("b"), asset("u", "bucket")],
        {("sealed-rows", "a"): outcome(), ("sealed-rows", "b"): outcome(fidelity=Fidelity.EMULATED),
         ("sealed-objects", "u"): outcome()},
    )  # fmt: skip
    assert (state.state, state.evaluated, state.in_scope, state.why) == (State.KEPT, 3, 3, ())
    assert state.fidelity is Fidelity.EMULATED
    assert state.proven_at == NOW
    assert exit_code([state]) == 0


@pytest.mark.parametrize(
    ("outcomes", "expected", "why"),
    [
        ({("sealed-rows", "a"): outcome(Status.FAIL)}, State.BROKEN, "a: because of fail"),
        ({("sealed-rows", "a"): outcome(Status.ERROR)}, State.ERROR, "a: because of error"),
        ({}, State.ERROR, "a: no result of sealed-rows on record"),
        ({("sealed-rows", "b"): outcome()}, State.ERROR, "a: no result of sealed-rows on record"),
        ({("sealed-rows", "a"): outcome(Status.NOT_APPLICABLE)}, State.UNPROVEN, "because of not_applicable"),
        ({("sealed-rows", "a"): outcome(at=NOW - timedelta(hours=25))}, State.UNPROVEN, "too old"),
        ({("sealed-rows", "a"): outcome(at=NOW + timedelta(minutes=6))}, State.ERROR, "still to come"),
    ],
)  # fmt: skip
def test_nothing_is_kept_by_default(outcomes, expected, why):
    state = state_of([ROWS], [asset("a")], outcomes)
    assert state.state is expected
    assert why in " ".join(state.why)
    assert exit_code([state]) == (1 if expected is State.BROKEN else 3)


def test_clocks_may_be_a_little_apart():
    soon = outcome(at=NOW + timedelta(minutes=4))
    assert state_of([ROWS], [asset("a")], {("sealed-rows", "a"): soon}).state is State.KEPT
    just = outcome(at=NOW - timedelta(hours=24))
    assert state_of([ROWS], [asset("a")], {("sealed-rows", "a"): just}).state is State.KEPT


def test_an_old_failure_stays_broken():
    old = outcome(Status.FAIL, at=NOW - timedelta(days=400))
    assert state_of([ROWS], [asset("a")], {("sealed-rows", "a"): old}).state is State.BROKEN


def test_a_control_without_a_check_leaves_the_promise_unproven():
    state = state_of([ROWS, UNCHECKED], [asset("a")], {("sealed-rows", "a"): outcome()})
    assert state.state is State.UNPROVEN
    assert (state.evaluated, state.in_scope) == (1, 2)
    assert state.why == ("a: no check yet (title of unchecked)",)


def test_no_asset_to_look_at_proves_nothing():
    state = state_of([OBJECTS], [asset("a")], {})
    assert state.state is State.UNPROVEN
    assert "no asset of the kind bucket" in state.why[0]


def test_assets_that_facets_leave_out_are_named_and_do_not_count():
    narrowed = control("narrowed", {"datastore": None}, where={"reached-by": "network"})
    state = state_of(
        [ROWS, narrowed], [asset("a", **{"reached-by": "file"})], {("sealed-rows", "a"): outcome()}
    )
    assert (state.state, state.evaluated, state.in_scope) == (State.KEPT, 1, 1)
    only_narrowed = state_of([narrowed], [asset("a", **{"reached-by": "file"})], {})
    assert only_narrowed.state is State.UNPROVEN
    assert "a: not concerned" in only_narrowed.why[0]


@pytest.mark.parametrize("fidelity", [Fidelity.EMULATED, Fidelity.FIXTURE])
def test_a_stand_in_does_not_prove_what_needs_the_real_thing(fidelity):
    hardware = control("hardware", {"key": "key-custody"}, fidelity=Fidelity.LIVE)
    outcomes = {("key-custody", "kek"): outcome(fidelity=fidelity)}
    state = state_of([hardware], [asset("kek", "key")], outcomes)
    assert state.state is State.UNPROVEN
    assert "only on a stand-in" in state.why[0]
    assert state.evaluated == 0
    live = {("key-custody", "kek"): outcome()}
    assert state_of([hardware], [asset("kek", "key")], live).state is State.KEPT


def test_exit_codes():
    def with_state(status):
        return state_of([ROWS], [asset("a")], {("sealed-rows", "a"): outcome(status)})

    kept, broken, error = map(with_state, (Status.PASS, Status.FAIL, Status.ERROR))
    assert exit_code([kept, kept]) == 0
    assert exit_code([kept, broken, error]) == 1
    assert exit_code([kept, error]) == 3
    assert exit_code([]) == 3


def test_each_check_is_planned_once_per_asset():
    also = control("also", {"datastore": "sealed-rows"})
    planned = planned_checks(scope([ROWS, also, UNCHECKED], [asset("a"), asset("b")]))
    assert planned == (("sealed-rows", "a"), ("sealed-rows", "b"))


@given(st.lists(st.sampled_from(list(Status)) | st.none(), min_size=1, max_size=5))
def test_kept_means_that_all_that_applies_passed(statuses):
    assets = [asset(f"a{n}") for n in range(len(statuses))]
    outcomes = {
        ("sealed-rows", f"a{n}"): outcome(status) for n, status in enumerate(statuses) if status
    }
    state = state_of([ROWS], assets, outcomes).state
    passed = statuses.count(Status.PASS)
    not_applicable = statuses.count(Status.NOT_APPLICABLE)
    assert (state is State.KEPT) == (passed > 0 and passed + not_applicable == len(statuses))


def test_a_scope_survives_as_bytes():
    made = scope([ROWS, UNCHECKED], [asset("a", holds="customer-data")])
    assert Scope.from_bytes(made.to_bytes()) == made


def departed(recorded, shipped_promises, shipped_controls):
    catalogue = Catalogue(tuple(shipped_promises), tuple(shipped_controls))
    (state,) = assess(recorded, {("sealed-rows", "a"): outcome()}, catalogue, now=NOW)
    return state


def test_a_promise_recorded_with_fewer_controls_than_the_catalogue_has_is_an_error():
    recorded = scope([ROWS], [asset("a")])
    (promise,) = recorded.promises
    assert departed(recorded, [promise], [ROWS]).state is State.KEPT
    shipped = Promise(id="p", sentence=promise.sentence, controls=("rows", "objects"))
    state = departed(recorded, [shipped], [ROWS, OBJECTS])
    assert (state.state, exit_code([state])) == (State.ERROR, 3)
    assert "other controls (rows)" in state.why[0]
    shipped = Promise(id="p", sentence="We promise more.", controls=("rows",))
    assert departed(recorded, [shipped], [ROWS]).state is State.ERROR


@pytest.mark.parametrize(
    "shipped",
    [
        control("rows", {"datastore": "another-check"}),
        control("rows", {"datastore": "sealed-rows", "bucket": None}),
        control("rows", {"datastore": "sealed-rows"}, where={"holds": "customer-data"}),
        control("rows", {"datastore": "sealed-rows"}, fidelity=Fidelity.LIVE),
    ],
)
def test_a_control_recorded_otherwise_than_the_catalogue_has_it_is_an_error(shipped):
    recorded = scope([ROWS], [asset("a")])
    state = departed(recorded, recorded.promises, [shipped])
    assert state.state is State.ERROR
    assert "control rows that the catalogue" in state.why[0]


def test_a_promise_of_ones_own_is_kept_by_controls_of_the_catalogue_alone():
    recorded = scope([ROWS], [asset("a")])
    assert departed(recorded, [], [ROWS]).state is State.KEPT
    state = departed(recorded, [], [])
    assert state.state is State.ERROR
    assert "does not have" in state.why[0]


def test_a_departure_does_not_hide_a_failure():
    recorded = scope([ROWS], [asset("a")])
    failed = {("sealed-rows", "a"): outcome(Status.FAIL)}
    (state,) = assess(recorded, failed, Catalogue((), ()), now=NOW)
    assert state.state is State.BROKEN
    assert "a: because of fail" in state.why
