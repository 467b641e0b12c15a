from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.controls import (
    CollectError,
    ObservationError,
    ObservationRecord,
    Repository,
    Violation,
    judge_record,
    observe,
)
from assay.core import Fidelity, Population, Result, Status, SystemClock, to_canonical_json


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    doors: int
    open_doors: int


class Doors:
    id = "doors"
    version = 3
    asset_kind = "repository"
    title = "counting doors"
    facts = Facts

    def __init__(self, found=None):
        self._found = found

    def collect(self, asset, context) -> Facts:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

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


class Surroundings:
    clock = SystemClock()


def observed(found):
    data = observe(Doors(found), Repository(id="house", path="."), Surroundings())
    return judge_record(CHECKS, data)


def test_what_was_collected_is_judged():
    assert observed(Facts(2, 0)).status is Status.PASS


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (CollectError("nobody is at home"), "nobody is at home"),
        (CollectError("no \udcff here"), "no ? here"),
        (ZeroDivisionError("a secret"), "unexpected ZeroDivisionError"),
        (Facts("\udcff", 0), "could not observe house"),
        (Facts("two", 0), "expected facts of check doors"),
        (Facts(2.5, 0), "could not observe house"),
        (None, "could not observe house"),
        (0, "could not observe house"),
    ],
    ids=repr,
)
def test_whatever_goes_wrong_while_observing_is_an_error_of_this_check_alone(found, why):
    result = observed(found)
    assert result.status is Status.ERROR
    assert why in result.reason
    assert "secret" not in result.reason


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
