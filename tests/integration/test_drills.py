"""Every check passes on an intact twin and fails on each of its violations."""

import pytest

from assay.controls import CHECKS, drill, drill_all, load_catalogue, refuse_unknown_checks
from assay.core import Fidelity, Population, Result, Status

TOOLS = {"tls-floor": "sslyze", "sast-bandit": "bandit"}
PAIRS = [
    pytest.param(check, violation, id=f"{check.id}-{violation.id}")
    for check in CHECKS.values()
    for violation in check.violations()
]


class Gutted:
    """A check whose judgement was removed: it answers the same to everything."""

    def __init__(self, check, status):
        self._check = check
        self._status = status

    def __getattr__(self, name):
        return getattr(self._check, name)

    def judge(self, facts):
        counts = Population(1, 1, int(self._status is Status.FAIL))
        return Result(self._status, "judged nothing", counts, Fidelity.LIVE)


@pytest.mark.parametrize(("check", "violation"), PAIRS)
def test_each_violation_is_caught(check, violation, needs):
    if check.id in TOOLS:
        needs(TOOLS[check.id])
    outcome = drill(check, violation)
    assert outcome.caught, outcome.reason
    assert outcome.injected.status is Status.FAIL
    assert outcome.intact.status is Status.PASS


@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL])
def test_a_check_that_always_says_the_same_is_not_taken_for_one_that_works(status):
    check = CHECKS["uniform-coverage"]
    outcome = drill(Gutted(check, status), check.violations()[0])
    assert not outcome.caught
    assert "expected a" in outcome.reason


def test_a_twin_that_cannot_be_built_is_not_a_drill():
    check = CHECKS["uniform-coverage"]
    violation = check.violations()[0]

    def broken(folder, inject):
        raise RuntimeError("no room")

    outcome = drill(check, type(violation)(violation.id, violation.description, broken))
    assert not outcome.caught
    assert "could not be built" in outcome.reason


def test_a_check_without_a_violation_is_not_passed_over():
    check = Gutted(CHECKS["uniform-coverage"], Status.PASS)
    check.violations = tuple
    (outcome,) = drill_all({"uniform-coverage": check})
    assert not outcome.caught
    assert "expected a check to have a violation" in outcome.reason


def test_every_check_has_a_violation_and_a_control():
    assert all(check.violations() for check in CHECKS.values())
    refuse_unknown_checks(load_catalogue(), {c.id: c.asset_kind for c in CHECKS.values()})
    named = {check for c in load_catalogue().controls for check in c.applies_to.values() if check}
    assert named == set(CHECKS)
