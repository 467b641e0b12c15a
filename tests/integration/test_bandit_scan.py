"""bandit itself, on small repositories."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from assay.core import PinnedTool, ToolError, tools_home
from assay.scan import (
    RULES,
    BanditObservation,
    RepositoryError,
    ScannerOutputError,
    bandit,
    bandit_tool,
    canary_code,
    scan_repository,
)


@pytest.fixture
def tool(needs: Callable[[str], None]) -> PinnedTool:
    needs("bandit")
    return bandit_tool(tools_home())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "fine.py").write_text("def add(a, b):\n    return a + b\n")
    return folder


def test_a_clean_repository(repository: Path, tool: PinnedTool) -> None:
    seen = scan_repository(repository, {}, tool)
    assert (seen.files, seen.parsed, seen.lines) == (1, 1, 2)
    assert (seen.findings, seen.unparsed, seen.excluded, seen.suppressed) == ((), {}, {}, 0)
    assert seen.version == seen.expected_version == bandit.VERSION
    assert seen.rules == seen.expected_rules == len(RULES)
    assert seen.canary_missed == ()
    assert seen.canary_found
    assert seen.interpreter.startswith("3.")
    recorded = msgspec.json.encode(seen)
    assert msgspec.json.decode(recorded, type=BanditObservation) == seen


def test_findings_without_the_code_and_without_the_passwords(
    repository: Path, tool: PinnedTool
) -> None:
    (repository / "-x.py").write_text("import pickle\npickle.loads(b'')\n")
    (repository / "sub").mkdir()
    (repository / "sub" / "p.py").write_text("password = 'hunter2-hunter2'\n")
    seen = scan_repository(repository, {}, tool)
    assert [(f.path, f.rule, f.line) for f in seen.findings] == [
        ("-x.py", "B403", 1),
        ("-x.py", "B301", 2),
        ("sub/p.py", "B105", 1),
    ]
    assert {f.severity for f in seen.findings} == {"low", "medium"}
    recorded = msgspec.json.encode(seen)
    assert b"hunter2" not in recorded
    assert b"pickle.loads" not in recorded


def test_what_does_not_parse_is_said(repository: Path, tool: PinnedTool) -> None:
    (repository / "broken.py").write_text("def (\n")
    (repository / "nul.py").write_bytes(b"x = '\0'\n")
    (repository / "deep.py").write_text("x = " + "-" * 5000 + "1\n")
    (repository / "coding.py").write_bytes(b"# coding: latin-1\nx = '\xe9'\n")
    (repository / "empty.py").write_text("")
    seen = scan_repository(repository, {}, tool)
    assert seen.files == 6
    assert seen.parsed == seen.files - len(seen.unparsed)
    assert set(seen.unparsed) == {"broken.py", "nul.py", "deep.py"}
    assert seen.unparsed["broken.py"] == "syntax error while parsing AST from file"


def test_a_rule_that_fails_on_a_file_leaves_it_unanalysed(
    repository: Path, tool: PinnedTool
) -> None:
    (repository / "crash.py").write_text(
        "from cryptography.hazmat.primitives.asymmetric import rsa\n"
        "rsa.generate_private_key(65537, [1])\n"
    )
    seen = scan_repository(repository, {}, tool)
    assert seen.parsed == 1
    assert seen.unparsed == {"crash.py": "the rule weak_cryptographic_key failed at line 2"}


def test_suppressions_are_counted(repository: Path, tool: PinnedTool) -> None:
    (repository / "quiet.py").write_text("eval('1')  # nosec\nexec('1')  # nosec B102\n")
    seen = scan_repository(repository, {}, tool)
    assert (seen.findings, seen.suppressed) == ((), 2)


@pytest.mark.parametrize(
    "name", ["CVSS_score.py", "x.git/y.py", ".tox/z.py", "a b,c;d'.py", "script"]
)
def test_names_that_bandit_would_leave_out_are_scanned(
    repository: Path, tool: PinnedTool, name: str
) -> None:
    path = repository / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/usr/bin/env python\neval('1')\n")
    seen = scan_repository(repository, {}, tool)
    assert (seen.files, seen.parsed) == (2, 2)
    assert [(f.path, f.rule) for f in seen.findings] == [(name, "B307")]


def test_a_name_that_is_not_utf8(repository: Path, tool: PinnedTool) -> None:
    try:
        (repository / os.fsdecode(b"caf\xe9.py")).write_text("eval('1')\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    seen = scan_repository(repository, {}, tool)
    assert seen.parsed == 2
    assert [f.path for f in seen.findings] == [r"caf\xe9.py"]
    msgspec.json.encode(seen)


def test_the_repository_cannot_configure_the_scan(repository: Path, tool: PinnedTool) -> None:
    (repository / "weak.py").write_text("eval('1')\n")
    (repository / ".bandit").write_text("[bandit]\nskips: B307\nexclude: /weak.py\n")
    (repository / "pyproject.toml").write_text("[tool.bandit]\nskips = ['B307']\n")
    for name in ("bandit", "json", "ast", "sitecustomize"):
        (repository / f"{name}.py").write_text("raise SystemExit(0)\n")
    seen = scan_repository(repository, {}, tool)
    assert [(f.path, f.rule) for f in seen.findings] == [("weak.py", "B307")]
    assert (seen.parsed, seen.canary_missed) == (6, ())


def test_an_excluded_file_is_not_scanned_and_said(repository: Path, tool: PinnedTool) -> None:
    (repository / "vendor").mkdir()
    (repository / "vendor" / "weak.py").write_text("eval('1')\n")
    seen = scan_repository(repository, {"vendor": "not ours"}, tool)
    assert (seen.files, seen.findings) == (1, ())
    assert seen.excluded == {"vendor/weak.py": "not ours"}


def test_several_runs_are_one_scan(
    repository: Path, tool: PinnedTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        (repository / f"weak{n}.py").write_text("eval('1')\n")
    whole = scan_repository(repository, {}, tool)
    monkeypatch.setattr(bandit, "_MOST_PER_RUN", 2)
    steps: list[tuple[int, int]] = []
    progress = SimpleNamespace(advance=lambda done, total, _what: steps.append((done, total)))
    assert scan_repository(repository, {}, tool, progress=progress) == whole
    assert steps == [(2, 6), (4, 6), (6, 6)]


def test_a_canary_that_is_gone_is_missed_by_every_rule(
    repository: Path, tool: PinnedTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandit, "canary_code", lambda: "harmless = 1\n")
    seen = scan_repository(repository, {}, tool)
    assert seen.canary_missed == RULES
    assert not seen.canary_found


def test_one_sleeping_rule_is_named(
    repository: Path, tool: PinnedTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = canary_code().replace("    eval(untrusted)\n", "")
    monkeypatch.setattr(bandit, "canary_code", lambda: code)
    assert scan_repository(repository, {}, tool).canary_missed == ("B307",)


def test_a_repository_without_python_is_scanned_and_empty(tmp_path: Path, tool: PinnedTool) -> None:
    seen = scan_repository(tmp_path, {}, tool)
    assert (seen.files, seen.parsed, seen.canary_missed) == (0, 0, ())


def _pretend(home: Path, answer: str, output: str) -> PinnedTool:
    tool = bandit_tool(home)
    script = tool.environment / "bin" / "python"
    script.parent.mkdir(parents=True)
    (tool.environment / "complete").touch()
    script.write_text(f"#!/bin/sh\ncase $2 in -c) echo '{answer}';; *) echo '{output}';; esac\n")
    script.chmod(0o755)
    return tool


GOOD_ANSWER = '{"version": "1.9.4", "python": "3.13.0", "rules": []}'
EMPTY_REPORT = '{"metrics": {}, "errors": [], "results": []}'


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (GOOD_ANSWER, ""),
        (GOOD_ANSWER, "{}"),
        (GOOD_ANSWER, '{"metrics": {}, "errors": 7, "results": []}'),
        ("", EMPTY_REPORT),
        ('{"version": "1.9.3", "python": "3.13.0", "rules": []}', EMPTY_REPORT),
    ],
)
def test_output_that_proves_nothing_is_refused(
    repository: Path, tmp_path: Path, answer: str, output: str
) -> None:
    with pytest.raises(ScannerOutputError):
        scan_repository(repository, {}, _pretend(tmp_path / "tools", answer, output))


def test_a_report_that_mentions_no_file_is_no_scan(repository: Path, tmp_path: Path) -> None:
    tool = _pretend(tmp_path / "tools", GOOD_ANSWER, EMPTY_REPORT)
    seen = scan_repository(repository, {}, tool)
    assert (seen.files, seen.parsed, seen.rules) == (1, 0, 0)
    assert seen.unparsed == {"fine.py": "bandit does not mention it"}
    assert seen.canary_missed == RULES


def test_a_missing_tool_or_folder_is_an_error(
    repository: Path, tool: PinnedTool, tmp_path: Path
) -> None:
    with pytest.raises(ToolError, match="assay scan setup"):
        scan_repository(repository, {}, bandit_tool(tmp_path / "nowhere"))
    with pytest.raises(RepositoryError):
        scan_repository(tmp_path / "missing", {}, tool)
