"""Static analysis by bandit, with proof that every file was analysed.

bandit answers "nothing found" for files that it could not parse and for folders that do not exist.
So a pass needs more than no finding: the pinned version, all of its rules, every file parsed, and
a canary of known weaknesses that was found in the same run.

What fails: a finding of medium or high severity with medium or high confidence. The others are
counted in the reason.

Example:
    >>> SastBandit().judge(facts).reason            # doctest: +SKIP
    'no weakness in 25 files (2210 lines) by 75 rules of bandit 1.9.4'
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from assay.controls.asset import Asset, Repository
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result, Status
from assay.scan import BanditObservation, Finding, bandit_tool, scan_repository

_SERIOUS = {"medium", "high"}
_SHOWN = 20


class SastBandit:
    """No weakness in any file, and no file that was not analysed."""

    id = "sast-bandit"
    version = 1
    asset_kind = "repository"
    title = "analysing every Python file"
    facts = BanditObservation

    def collect(self, asset: Asset, context: Context) -> BanditObservation:
        """Run bandit over the repository, together with the canary."""
        if not isinstance(asset, Repository):
            raise CollectError(f"expected a repository, found {asset.id}")
        return scan_repository(
            context.path(asset.path),
            asset.exclude,
            bandit_tool(context.tools),
            progress=context.progress,
        )

    def judge(self, facts: BanditObservation) -> Result:
        """Fail on a serious finding; error without proof that everything was analysed."""
        serious = [finding for finding in facts.findings if _is_serious(finding)]
        minor = len(facts.findings) - len(serious)
        findings = tuple(f"{f.path}:{f.line}: {f.rule} {f.message}" for f in serious[:_SHOWN])
        counts = Population(
            in_scope=facts.files,
            evaluated=facts.parsed,
            failed=min(len({finding.path for finding in serious}), facts.parsed),
            unit="files",
        )
        if serious:
            reason = f"weaknesses: {len(serious)}, first {findings[0]}"
            return Result(Status.FAIL, reason, counts, Fidelity.LIVE, findings)
        doubts = _doubts(facts)
        if doubts:
            return Result.error(
                f"could not tell: {doubts[0]}",
                Fidelity.LIVE,
                in_scope=facts.files,
                unit="files",
                findings=tuple(doubts[:_SHOWN]),
            )
        notes = [
            f"{count} {what}"
            for count, what in (
                (minor, "minor findings"),
                (facts.suppressed, "checks suppressed by nosec comments"),
                (len(facts.excluded), "files excluded by the programme"),
                (len(facts.installed), "folders of installed packages left out"),
                (sum(facts.others.values()), "files with Python that bandit does not read"),
            )
            if count
        ]
        note = f"; {', '.join(notes)}" if notes else ""
        reason = (
            f"no weakness in {facts.files} files ({facts.lines} lines) by {facts.rules} rules of "
            f"bandit {facts.version}{note}"
        )
        return Result.of(counts, Fidelity.LIVE, reason)

    def violations(self) -> Sequence[Violation]:
        """A weakness in one file among others."""
        return (
            Violation("injection", "a command is built from a request and run by a shell", _weak),
            Violation("deserialisation", "a file deserialises what it is given", _unsafe),
        )


def _is_serious(finding: Finding) -> bool:
    return finding.severity in _SERIOUS and finding.confidence in _SERIOUS


def _doubts(facts: BanditObservation) -> list[str]:
    """What is missing from the proof that everything was analysed."""
    doubts = [f"{name} was not analysed ({why})" for name, why in sorted(facts.unparsed.items())]
    if facts.version != facts.expected_version:
        doubts.append(f"expected bandit {facts.expected_version}, found {facts.version}")
    if facts.rules != facts.expected_rules:
        doubts.append(f"expected {facts.expected_rules} rules, found {facts.rules}")
    if facts.canary_missed:
        doubts.append(f"the canary was not found by {', '.join(facts.canary_missed)}")
    if not facts.files:
        doubts.append("the repository has no Python file")
    return doubts


@contextmanager
def _repository(folder: Path, weakness: str) -> Iterator[Twin]:
    from assay.controls.twins.programme import twin_programme

    (folder / "code").mkdir()
    (folder / "code" / "fine.py").write_text("def add(a, b):\n    return a + b\n")
    (folder / "code" / "route.py").write_text(weakness)
    asset = Repository(id="code", path="code")
    with Context(folder, twin_programme(asset), environment={}) as context:
        yield Twin(asset, context)


@contextmanager
def _weak(folder: Path, inject: bool) -> Iterator[Twin]:
    shell = "True" if inject else "False"
    code = f"import subprocess\n\n\ndef ping(host):\n    subprocess.call('ping ' + host, shell={shell})\n"  # noqa: E501 - a line of the twin's code
    with _repository(folder, code) as twin:
        yield twin


@contextmanager
def _unsafe(folder: Path, inject: bool) -> Iterator[Twin]:
    module = "pickle" if inject else "json"
    code = f"import {module}\n\n\ndef load(body):\n    return {module}.loads(body)\n"
    with _repository(folder, code) as twin:
        yield twin
