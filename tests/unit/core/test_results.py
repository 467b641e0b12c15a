import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import Fidelity, Population, Result, Status


def test_pass_needs_a_whole_population():
    assert Result.of(Population(3, 3), Fidelity.LIVE, "ok").status is Status.PASS


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_status_follows_from_counts(in_scope, evaluated, failed):
    if not failed <= evaluated <= in_scope:
        with pytest.raises(ValueError, match="expected 0 <= failed"):
            Population(in_scope, evaluated, failed)
        return
    result = Result.of(Population(in_scope, evaluated, failed), Fidelity.LIVE, "reason")
    if failed:
        assert result.status is Status.FAIL
    elif evaluated == 0 or evaluated < in_scope:
        assert result.status is Status.ERROR
        assert result.reason.startswith("could not tell")
    else:
        assert result.status is Status.PASS


@pytest.mark.parametrize("counts", [Population(0, 0), Population(3, 2), Population(3, 3, 1)])
def test_vacuous_pass_cannot_be_built(counts):
    with pytest.raises(ValueError, match="whole, non-empty"):
        Result(Status.PASS, "looks fine", counts, Fidelity.LIVE)


def test_fidelity_is_as_weak_as_the_weakest():
    assert Fidelity.weakest(Fidelity.LIVE, Fidelity.EMULATED) is Fidelity.EMULATED
    assert Fidelity.weakest(Fidelity.FIXTURE, Fidelity.LIVE) is Fidelity.FIXTURE
    with pytest.raises(ValueError):  # noqa: PT011 - max()'s own message
        Fidelity.weakest()
    result = Result.of(Population(1, 1), Fidelity.EMULATED, "ok")
    assert result.at_most(Fidelity.LIVE).fidelity is Fidelity.EMULATED
    assert result.at_most(Fidelity.FIXTURE).fidelity is Fidelity.FIXTURE
