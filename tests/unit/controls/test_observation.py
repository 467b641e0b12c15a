from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.controls import ObservationError, ObservationRecord, Violation, judge_record
from assay.core import Fidelity, Population, Result, Status, to_canonical_json


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    doors: int
    open_doors: int


class Doors:
    id = "doors"
    version = 3
    asset_kind = "repository"
    title = "counting doors"
    facts = Facts

    def collect(self, asset, context) -> Facts:
        raise NotImplementedError

    def judge(self, facts: Facts) -> Result:
        if facts.doors == 13:
            raise ZeroDivisionError("a defect")
        counts = Population(facts.doors, facts.doors, facts.open_doors, "doors")
        return Result.of(counts, Fidelity.LIVE, "counted")

    def violations(self) -> Sequence[Violation]:
        return ()


CHECKS = {"doors": Doors()}


def record(**changes):
    values = {
        "check": "doors", "check_version": 3, "asset": "house", "fidelity": Fidelity.LIVE,
        "collected_at": "2026-01-02T03:04:05.000006Z", "facts": {"doors": 2, "open_doors": 0},
    }  # fmt: skip
    return ObservationRecord(**{**values, **changes})


def test_the_same_bytes_give_the_same_result():
    assert judge_record(CHECKS, record().to_bytes()).status is Status.PASS
    bad = record(facts={"doors": 2, "open_doors": 1})
    assert judge_record(CHECKS, bad.to_bytes()).status is Status.FAIL


def test_a_failure_to_collect_is_an_error_never_a_pass():
    result = judge_record(CHECKS, record(facts=None, failure="the house is not there").to_bytes())
    assert (result.status, result.reason) == (Status.ERROR, "the house is not there")


def test_a_declared_stand_in_cannot_become_live():
    result = judge_record(CHECKS, record(fidelity=Fidelity.FIXTURE).to_bytes())
    assert result.fidelity is Fidelity.FIXTURE


def test_a_judgement_that_crashes_could_not_tell():
    result = judge_record(CHECKS, record(facts={"doors": 13, "open_doors": 0}).to_bytes())
    assert result.status is Status.ERROR
    assert "ZeroDivisionError" in result.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"check": "windows"},
        {"check_version": 2},
        {"facts": {"doors": 2}},
        {"facts": {"doors": 2, "open_doors": 0, "more": 1}},
        {"facts": {"doors": "2", "open_doors": 0}},
        {"facts": None},
        {"failure": "both"},
    ],
)
def test_what_cannot_be_judged_again_is_refused(changes):
    with pytest.raises(ObservationError):
        judge_record(CHECKS, record(**changes).to_bytes())


@given(
    st.binary(max_size=100)
    | st.dictionaries(st.text("abc"), st.integers(-9, 9)).map(to_canonical_json)
)
def test_other_bytes_are_refused(data):
    with pytest.raises(ObservationError):
        judge_record(CHECKS, data)
