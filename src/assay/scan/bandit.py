"""bandit, run so that it cannot fail open: https://bandit.readthedocs.io/

An exit code of bandit is no evidence: it is 0 for a file that does not parse and for a path that
does not exist. What is evidence: its version, its rules, and for each file whether it was parsed;
and a canary, a file full of known weaknesses that is scanned in the same run and must be found.

Example:
    >>> seen = scan_repository(Path("."), {}, bandit_tool(tools_home()))      # doctest: +SKIP
    >>> seen.canary_missed                                                     # doctest: +SKIP
    ()
"""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from assay.core import PinnedTool, Progress, SilentProgress
from assay.scan.errors import ScannerOutputError
from assay.scan.python_files import list_python_files

VERSION = "1.9.4"
RULES = 75
"""How many rules this version loads."""

_BATCH_FILES = 400
_CANARY_NAME = "assay_canary.py"
_CANARY = {
    "B102": "exec(given)",
    "B301": "import pickle; pickle.loads(given)",
    "B324": "import hashlib; hashlib.md5(given)",
    "B501": "import requests; requests.get(given, verify=False, timeout=1)",
    "B506": "import yaml; yaml.load(given)",
    "B602": "import subprocess; subprocess.Popen(given, shell=True)",
    "B608": "query = 'SELECT * FROM people WHERE name = %s' % given",
    "B701": "import jinja2; jinja2.Environment(autoescape=False)",
}
"""A weakness for a rule of each family."""


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding, without the source code that it is about.

    Attributes:
        rule: bandit's id of the rule ("B608").
        severity: "low", "medium", "high" or "undefined".
        confidence: the same words.
        path: the file, below the repository.
        line: its line, counted from 1.
        message: bandit's words.
    """

    rule: str
    severity: str
    confidence: str
    path: str
    line: int
    message: str


class BanditObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What bandit did and saw.

    Attributes:
        version: of bandit, in its own words.
        expected_version: the one that is pinned.
        interpreter: the Python that parsed the files.
        rules: how many rules it loaded.
        expected_rules: how many the pinned version has.
        files: how many Python files the repository has, without the excluded ones.
        parsed: how many of them bandit parsed.
        unparsed: for each other file why.
        excluded: files that were declared as excluded, with the declared reason.
        lines: lines of code that were analysed.
        suppressed: what ``# nosec`` comments take out, as bandit counts it.
        canary_missed: rules that did not find their known weakness in the same run.
        findings: every finding.
    """

    version: str
    expected_version: str
    interpreter: str
    rules: int
    expected_rules: int
    files: int
    parsed: int
    unparsed: dict[str, str]
    excluded: dict[str, str]
    lines: int
    suppressed: int
    canary_missed: tuple[str, ...]
    findings: tuple[Finding, ...]


def bandit_tool(home: Path) -> PinnedTool:
    """bandit in its own environment below ``home``."""
    return PinnedTool("bandit", VERSION, Path(__file__).with_name("bandit.txt"), home)


def scan_repository(
    repository: Path,
    exclude: Mapping[str, str],
    tool: PinnedTool,
    *,
    progress: Progress | None = None,
    timeout_seconds: float = 900,
) -> BanditObservation:
    """Analyse every Python file of a repository.

    Args:
        repository: its folder.
        exclude: folders or files that are left out, each with the reason.
        tool: see `bandit_tool`.
        progress: told of files.
        timeout_seconds: for each batch of files.

    Raises:
        ToolError: bandit is missing, does not start or takes too long.
        RepositoryError: there is no such folder.
        ScannerOutputError: what bandit printed is not its report.
    """
    shown = progress or SilentProgress()
    population = list_python_files(repository, exclude)
    version, interpreter = _version(tool, repository)
    reports: list[_Report] = []
    for start in range(0, max(len(population.files), 1), _BATCH_FILES):
        shown.advance(start, len(population.files), f"file {start} of {len(population.files)}")
        batch = population.files[start : start + _BATCH_FILES]
        reports.append(_scan(tool, repository, batch, timeout_seconds))
    unparsed = {name: why for report in reports for name, why in report.unparsed.items()}
    return BanditObservation(
        version=version,
        expected_version=VERSION,
        interpreter=interpreter,
        rules=_count_rules(tool, repository),
        expected_rules=RULES,
        files=len(population.files),
        parsed=len(population.files) - len(unparsed),
        unparsed=unparsed,
        excluded=population.excluded,
        lines=sum(report.lines for report in reports),
        suppressed=sum(report.suppressed for report in reports),
        canary_missed=tuple(sorted({rule for r in reports for rule in r.canary_missed})),
        findings=tuple(finding for report in reports for finding in report.findings),
    )


class _Report(msgspec.Struct, frozen=True):
    """One batch."""

    unparsed: dict[str, str]
    lines: int
    suppressed: int
    canary_missed: tuple[str, ...]
    findings: tuple[Finding, ...]


def _scan(
    tool: PinnedTool, repository: Path, names: Sequence[str], timeout_seconds: float
) -> _Report:
    with tempfile.TemporaryDirectory(prefix="assay-canary-") as folder:
        canary = Path(folder) / _CANARY_NAME
        canary.write_text("\n".join(_CANARY.values()) + "\n", encoding="utf-8")
        # The prefix keeps a file whose name begins with a hyphen from being taken for an option.
        targets = [f"./{name}" for name in names]
        output = tool.run(
            "bandit",
            ["--quiet", "--format", "json", "--exclude", "", str(canary), *targets],
            directory=repository,
            timeout_seconds=timeout_seconds,
        )
        try:
            document = msgspec.json.decode(output.stdout)
            return _read(document, str(canary), names)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as exc:
            raise ScannerOutputError(
                f"expected the JSON report of bandit {VERSION}, found something else "
                f"(exit code {output.exit_code}, {type(exc).__name__})"
            ) from exc


def _read(document: Mapping[str, Any], canary: str, names: Sequence[str]) -> _Report:
    metrics: Mapping[str, Mapping[str, int]] = document["metrics"]
    errors = {_shown(entry["filename"]): str(entry["reason"]) for entry in document["errors"]}
    analysed = {_shown(name) for name in metrics if name not in {"_totals", canary}}
    wanted = set(names)
    unparsed = {name: errors[name] for name in sorted(wanted & set(errors))}
    for name in sorted(wanted - analysed - set(unparsed)):
        unparsed[name] = "bandit does not mention it"
    own = [entry for entry in document["results"] if entry["filename"] != canary]
    found = {str(e["test_id"]) for e in document["results"] if e["filename"] == canary}
    files = [metrics[name] for name in metrics if _shown(name) in wanted]
    return _Report(
        unparsed=unparsed,
        lines=sum(int(file["loc"]) for file in files),
        suppressed=sum(int(file["nosec"]) + int(file["skipped_tests"]) for file in files),
        canary_missed=tuple(sorted(set(_CANARY) - found)),
        findings=tuple(_findings(own)),
    )


def _findings(entries: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    for entry in entries:
        yield Finding(
            rule=str(entry["test_id"]),
            severity=str(entry["issue_severity"]).lower(),
            confidence=str(entry["issue_confidence"]).lower(),
            path=_shown(entry["filename"]),
            line=int(entry["line_number"]),
            message=str(entry["issue_text"]),
        )


def _shown(name: str) -> str:
    return posixpath.normpath(name)


def _version(tool: PinnedTool, directory: Path) -> tuple[str, str]:
    """The versions of bandit and of its Python, in bandit's own words."""
    output = tool.run("bandit", ["--version"], directory=directory, timeout_seconds=60)
    text = output.stdout.decode("utf-8", "replace")
    found = re.search(r"^bandit (\S+)\s+python version = (\S+)", text, re.MULTILINE)
    if not found:
        raise ScannerOutputError(f"expected bandit to print its version, found {text[:100]!r}")
    return found[1], found[2]


def _count_rules(tool: PinnedTool, directory: Path) -> int:
    """How many rules bandit says that it discovered and loaded."""
    output = tool.run("bandit", ["--help"], directory=directory, timeout_seconds=60)
    return len(set(re.findall(rb"^\s+(B\d{3})\s", output.stdout, re.MULTILINE)))
