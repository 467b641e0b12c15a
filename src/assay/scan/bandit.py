"""Static analysis of Python by bandit, with the proof that it took place.

bandit exits with 0 for files that it cannot parse and for paths that are not there, leaves out
files whose path holds "CVS" or ".git", and carries on when one of its rules fails. So the files
are listed here, each must be in the report, and a **canary** goes into every run: a file with one
line for each rule, which each rule must find.

bandit runs in a hash-locked environment of its own, isolated from the repository's modules
(``python -I``) and from its configuration (files are named one by one, so no ``.bandit`` is read).

Specification: https://bandit.readthedocs.io/

Example:
    >>> tool = bandit_tool(tools_home())
    >>> facts = scan_repository(Path("."), {"tests/data": "samples"}, tool)  # doctest: +SKIP
    >>> facts.files == facts.parsed, facts.canary_missed                 # doctest: +SKIP
    (True, ())
"""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from assay.core import PinnedTool, Progress, SilentProgress
from assay.scan.bandit_report import BanditReport, read_report
from assay.scan.errors import ScannerOutputError
from assay.scan.observation import BanditObservation, Finding
from assay.scan.python_files import PythonFiles, list_python_files

VERSION = "1.9.4"
"""The only version of bandit that is trusted; `bandit.txt` installs it."""

RULES = (
    "B101", "B102", "B103", "B104", "B105", "B106", "B107", "B108", "B110", "B112", "B113",
    "B201", "B202", "B301", "B302", "B303", "B304", "B305", "B306", "B307", "B308", "B310",
    "B311", "B312", "B313", "B314", "B315", "B316", "B317", "B318", "B319", "B321", "B323",
    "B324", "B401", "B402", "B403", "B404", "B405", "B406", "B407", "B408", "B409", "B411",
    "B412", "B413", "B415", "B501", "B502", "B503", "B504", "B505", "B506", "B507", "B508",
    "B509", "B601", "B602", "B603", "B604", "B605", "B606", "B607", "B608", "B609", "B610",
    "B611", "B612", "B613", "B614", "B615", "B701", "B702", "B703", "B704",
)  # fmt: skip
"""The rules of that version; the canary has a line for each."""

_CANARY = Path(__file__).with_name("bandit_canary.txt")
# Written here, so that no file of this repository holds a character that turns text around.
_TURNED_TEXT = "# \N{RIGHT-TO-LEFT OVERRIDE}\n"
_FEWEST_PER_RUN = 50
_MOST_PER_RUN = 400
_LONGEST_COMMAND = 60_000
_QUESTION = """
import importlib.metadata, json, platform
from bandit.core.extension_loader import MANAGER
rules = set(MANAGER.plugins_by_id) | set(MANAGER.blacklist_by_id)
print(json.dumps({
    "version": importlib.metadata.version("bandit"),
    "python": platform.python_version(),
    "rules": sorted(rules),
}))
"""


def bandit_tool(home: Path) -> PinnedTool:
    """The pinned bandit. Make its environment with `newest_python`.

    Args:
        home: the folder in which tool environments are kept.
    """
    return PinnedTool("bandit", VERSION, Path(__file__).with_name("bandit.txt"), home)


def canary_code() -> str:
    """Python code with one known-bad line for each rule."""
    return _CANARY.read_text(encoding="utf-8") + _TURNED_TEXT


def scan_repository(
    repository: Path,
    exclude: Mapping[str, str],
    tool: PinnedTool,
    *,
    progress: Progress | None = None,
    timeout_seconds: float = 900.0,
) -> BanditObservation:
    """Scan every Python file of a repository.

    Args:
        repository: the folder.
        exclude: relative files or folders that are not the company's code, with the reason.
        tool: the pinned bandit.
        progress: is told files done and files in all.
        timeout_seconds: after which a run of at most 400 files is stopped.

    Raises:
        RepositoryError: the folder is missing or cannot be listed.
        ScannerOutputError: bandit wrote something else than its report.
        ToolError: bandit is not installed, or did not end in time.
    """
    tool.executable("python")
    sources = list_python_files(repository, exclude)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        bait = Path(folder).resolve() / "canary.py"
        bait.write_text(canary_code(), encoding="utf-8")
        asked = pool.submit(_ask, tool, Path(folder))

        def scan(names: Sequence[str]) -> BanditReport:
            # 1. The canary goes first into each run, beside the files.
            arguments = ["-I", "-m", "bandit", "--quiet", "--format=json", "--exclude="]
            arguments += [str(bait), *(f"./{name}" for name in names)]
            output = tool.run(
                "python", arguments, directory=repository, timeout_seconds=timeout_seconds
            )
            return read_report(output.stdout, output.stderr)

        runs: list[tuple[Sequence[str], BanditReport]] = []
        batches = list(_batches(sources.files))
        done = 0
        for names, report in zip(batches, pool.map(scan, batches), strict=True):
            runs.append((names, report))
            done += len(names)
            (progress or SilentProgress()).advance(done, len(sources.files), "bandit")
        return _observation(sources, runs, str(bait), asked.result(), tool.version)


class _Self(msgspec.Struct):
    """What bandit's environment says about itself."""

    version: str
    python: str
    rules: list[str]


def _ask(tool: PinnedTool, directory: Path) -> _Self:
    arguments = ["-I", "-c", _QUESTION]
    output = tool.run("python", arguments, directory=directory, timeout_seconds=60)
    try:
        answer = msgspec.convert(json.loads(output.stdout), _Self)
    except (ValueError, msgspec.ValidationError) as exc:
        raise ScannerOutputError(
            f"expected bandit {tool.version} to name its version and rules, it did not; "
            "remove its environment and run `assay scan setup`"
        ) from exc
    if answer.version != tool.version:
        raise ScannerOutputError(
            f"expected bandit {tool.version}, found {answer.version}; remove its environment and "
            "run `assay scan setup`"
        )
    return answer


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of a size that uses all processors and fits on a command line; at least one."""
    share = -(-len(names) // (os.cpu_count() or 1))
    size = min(max(share, _FEWEST_PER_RUN), _MOST_PER_RUN)
    batch: list[str] = []
    length = 0
    for name in names:
        if batch and (len(batch) >= size or length + len(name) > _LONGEST_COMMAND):
            yield batch
            batch, length = [], 0
        batch.append(name)
        length += len(os.fsencode(name)) + 3
    if batch or not names:
        yield batch


def _observation(
    sources: PythonFiles,
    runs: Sequence[tuple[Sequence[str], BanditReport]],
    bait: str,
    bandit: _Self,
    expected_version: str,
) -> BanditObservation:
    unparsed = dict(sources.unreadable)
    missed: set[str] = set()
    findings: list[Finding] = []
    suppressed = lines = 0
    for names, report in runs:
        # 2. Every file is in the report: parsed, or with a reason.
        for name in names:
            reason = _gap(report, name)
            if reason:
                unparsed[name] = reason
            lines += report.lines.get(posixpath.normpath(name), 0)
        # 3. Every rule found its line of the canary in this very run.
        awake = {finding.rule for finding in report.findings if finding.path == bait}
        missed |= set(RULES) - awake
        findings += [finding for finding in report.findings if finding.path != bait]
        suppressed += report.suppressed
    return BanditObservation(
        version=bandit.version,
        expected_version=expected_version,
        interpreter=bandit.python,
        rules=len(set(bandit.rules) & set(RULES)),
        expected_rules=len(RULES),
        files=len(sources.files) + len(sources.unreadable),
        parsed=len(sources.files) + len(sources.unreadable) - len(unparsed),
        unparsed={_shown(name): reason for name, reason in sorted(unparsed.items())},
        excluded={_shown(name): reason for name, reason in sorted(sources.excluded.items())},
        lines=lines,
        suppressed=suppressed,
        findings=tuple(
            msgspec.structs.replace(finding, path=_shown(finding.path))
            for finding in sorted(findings, key=lambda found: (found.path, found.line, found.rule))
        ),
        canary_missed=tuple(sorted(missed)),
        listing=sources.listing,
        installed={_shown(name): reason for name, reason in sorted(sources.installed.items())},
        others=dict(sorted(sources.others.items())),
    )


def _gap(report: BanditReport, name: str) -> str:
    """Why a file was not wholly analysed; empty when it was."""
    path = posixpath.normpath(name)
    if path in report.errors:
        return report.errors[path]
    if path not in report.lines:
        return "bandit does not mention it"
    return report.crashes.get(path, "")


def _shown(name: str) -> str:
    """A name as text: bytes that are not UTF-8 are shown as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
