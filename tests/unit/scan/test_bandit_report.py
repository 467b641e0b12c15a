from __future__ import annotations

import json
from typing import Any

import pytest

from assay.scan import ScannerOutputError
from assay.scan.bandit_report import read_report

METRICS = {"loc": 12, "nosec": 1, "skipped_tests": 2, "SEVERITY.HIGH": 0}


def _issue(**changes: Any) -> dict[str, Any]:
    return {
        "filename": "././app/main.py",
        "issue_confidence": "HIGH",
        "issue_severity": "MEDIUM",
        "issue_text": "Use of exec detected. ",
        "line_number": 7,
        "test_id": "B102",
        "code": "7 exec(secret)\n",
    } | changes


def _report(**changes: Any) -> bytes:
    return json.dumps(
        {
            "errors": [{"filename": "././bad.py", "reason": "syntax error"}],
            "metrics": {"_totals": METRICS, "././app/main.py": METRICS, "/elsewhere/c.py": METRICS},
            "results": [_issue()],
        }
        | changes
    ).encode()


def test_names_are_in_their_shortest_form() -> None:
    found = read_report(_report(), b"")
    assert found.lines == {"app/main.py": 12, "/elsewhere/c.py": 12}
    assert found.errors == {"bad.py": "syntax error"}
    assert found.suppressed == 6
    (finding,) = found.findings
    assert (finding.path, finding.line, finding.rule) == ("app/main.py", 7, "B102")
    assert (finding.severity, finding.confidence) == ("medium", "high")
    assert finding.message == "Use of exec detected."


@pytest.mark.parametrize("rule", ["B103", "B105", "B106", "B107", "B202"])
def test_what_a_rule_quotes_is_left_out(rule: str) -> None:
    issue = _issue(test_id=rule, issue_text="Possible hardcoded password: 'hunter2'")
    (finding,) = read_report(_report(results=[issue]), b"").findings
    assert "hunter2" not in finding.message
    assert finding.message


def test_a_rule_that_failed_is_seen_in_the_log() -> None:
    log = (
        b"[tester]\tERROR\tBandit internal error running: weak_cryptographic_key on file "
        b"././app/a b.py at line 3: '<' not supportedTraceback (most recent call last):\n"
    )
    assert read_report(_report(), log).crashes == {
        "app/a b.py": "the rule weak_cryptographic_key failed at line 3"
    }


@pytest.mark.parametrize(
    "stdout",
    [
        b"",
        b"{}",
        b"not json",
        b"\xff",
        b"[" * 100_000,
        _report(errors=7),
        _report(metrics={"a.py": {"loc": "many", "nosec": 0, "skipped_tests": 0}}),
        _report(results=[{"filename": "a.py"}]),
    ],
)
def test_what_is_no_report_is_refused(stdout: bytes) -> None:
    with pytest.raises(ScannerOutputError, match="bandit's report"):
        read_report(stdout, b"[main]\tERROR\tlast words\n")
