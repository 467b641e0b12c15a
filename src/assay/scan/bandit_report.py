"""Reads what the pinned bandit writes, and believes nothing that is not in it.

Example:
    >>> read_report(stdout, stderr)                                      # doctest: +SKIP
    BanditReport(lines={'app/main.py': 120}, errors={}, ...)
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass

import msgspec

from assay.scan.errors import ScannerOutputError
from assay.scan.observation import Finding

_CRASH = re.compile(r"Bandit internal error running: (\S+) on file (.+) at line (\d+): ")
_QUOTING_RULES = {
    # These rules quote the code: a file name, a password, the members of an archive.
    "B103": "chmod sets a permissive mask on a file",
    "B105": "possible hardcoded password",
    "B106": "possible hardcoded password as an argument",
    "B107": "possible hardcoded password as a default",
    "B202": "members of an archive are extracted without validation",
}


@dataclass(frozen=True, slots=True)
class BanditReport:
    """One run. Names are as they were given to bandit, in their shortest form.

    Attributes:
        lines: lines of code of each file that bandit opened.
        errors: files that it could not parse, each with its reason.
        crashes: files on which a rule failed, each with the rule's name and the line.
        suppressed: findings that comments took out.
        findings: the others.
    """

    lines: dict[str, int]
    errors: dict[str, str]
    crashes: dict[str, str]
    suppressed: int
    findings: tuple[Finding, ...]


class _Metrics(msgspec.Struct):
    loc: int
    nosec: int
    skipped_tests: int


class _Error(msgspec.Struct):
    filename: str
    reason: str


class _Issue(msgspec.Struct):
    filename: str
    issue_confidence: str
    issue_severity: str
    issue_text: str
    line_number: int
    test_id: str


class _Report(msgspec.Struct):
    errors: list[_Error]
    metrics: dict[str, _Metrics]
    results: list[_Issue]


def read_report(stdout: bytes, stderr: bytes) -> BanditReport:
    """Read a report and the log beside it.

    Args:
        stdout: bandit's JSON.
        stderr: bandit's log, the only place where the failure of a rule shows.

    Raises:
        ScannerOutputError: it is no such report.
    """
    try:
        # The standard library's reader: names that are not UTF-8 are in it as lone surrogates.
        parsed = msgspec.convert(json.loads(stdout), _Report)
    except (ValueError, RecursionError) as exc:
        reason = exc if isinstance(exc, msgspec.ValidationError) else "it is no JSON"
        log = stderr.decode("utf-8", "replace").strip().splitlines()
        raise ScannerOutputError(
            f"expected bandit's report in JSON, found something else ({reason}); "
            f"its last words: {log[-1][-200:] if log else 'none'}"
        ) from exc
    metrics = {_name(n): counts for n, counts in parsed.metrics.items() if n != "_totals"}
    return BanditReport(
        lines={name: counts.loc for name, counts in metrics.items()},
        errors={_name(item.filename): item.reason for item in parsed.errors},
        crashes=_crashes(stderr.decode("utf-8", "replace")),
        suppressed=sum(counts.nosec + counts.skipped_tests for counts in metrics.values()),
        findings=tuple(_finding(issue) for issue in parsed.results),
    )


def _finding(issue: _Issue) -> Finding:
    return Finding(
        rule=issue.test_id,
        severity=issue.issue_severity.lower(),
        confidence=issue.issue_confidence.lower(),
        path=_name(issue.filename),
        line=issue.line_number,
        message=_QUOTING_RULES.get(issue.test_id, issue.issue_text.strip()),
    )


def _crashes(log: str) -> dict[str, str]:
    return {
        _name(match[2]): f"the rule {match[1]} failed at line {match[3]}"
        for match in _CRASH.finditer(log)
    }


def _name(name: str) -> str:
    return posixpath.normpath(name)
