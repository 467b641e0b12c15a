import msgspec
import pytest

from assay.controls.checks.sast_bandit import SastBandit
from assay.core import Status
from assay.scan import BanditObservation, Finding

FACTS = BanditObservation(
    version="1.9.4", expected_version="1.9.4", interpreter="3.13.0", rules=75, expected_rules=75,
    files=3, parsed=3, unparsed={}, excluded={}, lines=90, suppressed=0, canary_missed=(),
    findings=(),
)  # fmt: skip
FINDING = Finding("B602", "high", "high", "app.py", 7, "shell=True")


def judged(**changes):
    return SastBandit().judge(msgspec.structs.replace(FACTS, **changes))


def test_a_whole_and_clean_scan_passes():
    result = judged(
        suppressed=2, excluded={"vendor/x.py": "not ours"}, installed={"env": "a virtual environment"},
        others={".ipynb": 3},
    )  # fmt: skip
    assert result.status is Status.PASS
    assert "2 checks suppressed" in result.reason
    assert "minor" not in result.reason
    assert "1 files excluded" in result.reason
    assert "1 folders of installed packages" in result.reason
    assert "3 files with Python that bandit does not read" in result.reason


def test_what_did_not_occur_is_not_told():
    assert judged().reason == "no weakness in 3 files (90 lines) by 75 rules of bandit 1.9.4"


@pytest.mark.parametrize("severity", ["medium", "high"])
@pytest.mark.parametrize("confidence", ["medium", "high"])
def test_a_serious_finding_fails(severity, confidence):
    finding = msgspec.structs.replace(FINDING, severity=severity, confidence=confidence)
    result = judged(findings=(finding,))
    assert result.status is Status.FAIL
    assert result.findings == ("app.py:7: B602 shell=True",)


@pytest.mark.parametrize(("severity", "confidence"), [("low", "high"), ("high", "low")])
def test_a_minor_finding_is_counted(severity, confidence):
    finding = msgspec.structs.replace(FINDING, severity=severity, confidence=confidence)
    result = judged(findings=(finding,))
    assert result.status is Status.PASS
    assert "1 minor findings" in result.reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"unparsed": {"app.py": "syntax error"}}, "app.py was not analysed (syntax error)"),
        ({"parsed": 2}, "2 of 3 files were evaluated"),
        ({"version": "1.8.0"}, "expected bandit 1.9.4, found 1.8.0"),
        ({"rules": 74}, "expected 75 rules, found 74"),
        ({"canary_missed": ("B301",)}, "the canary was not found by B301"),
        ({"files": 0, "parsed": 0}, "the repository has no Python file"),
    ],
)
def test_without_proof_of_a_scan_nothing_can_be_told(changes, why):
    result = judged(**changes)
    assert result.status is Status.ERROR
    assert why in result.reason


def test_a_finding_counts_even_when_the_proof_is_incomplete():
    assert judged(findings=(FINDING,), rules=1).status is Status.FAIL
