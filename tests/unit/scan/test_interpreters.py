from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assay.scan import InterpreterError, interpreters, newest_python


def _python(path: Path, answer: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it but what a test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(sys, "_base_executable", str(tmp_path / "none"), raising=False)
    return tmp_path


def test_the_newest_released_one_is_taken(machine: Path) -> None:
    _python(machine / "bin" / "python3.12", "echo cpython final 3 12 9")
    newest = _python(machine / "pyenv/versions/3.13.4/bin/python", "echo cpython final 3 13 4")
    _python(machine / "pyenv/versions/3.13.10/bin/python", "exit 1")
    _python(machine / "pyenv/versions/3.14.0/bin/python", "echo cpython beta 3 14 0")
    _python(machine / "pyenv/versions/3.14.1/bin/python", "echo pypy final 3 14 1")
    assert newest_python() == newest


def test_a_name_proves_nothing(machine: Path) -> None:
    _python(machine / "bin" / "python3.14", "echo cpython final 3 9 1")
    _python(machine / "bin" / "python3.13", "echo 'pyenv: command not found'; exit 127")
    found = _python(machine / "bin" / "python3.11", "echo cpython final 3 11 0")
    assert newest_python() == found


def test_what_the_locked_tools_have_no_wheels_for_is_left_out(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _python(machine / "bin" / "python3.14", "echo cpython final 3 15 0")
    found = _python(machine / "bin" / "python3.12", "echo cpython final 3 12 0")
    assert newest_python() == found


def test_none_at_all_is_said(machine: Path) -> None:
    with pytest.raises(InterpreterError, match=r"3\.11 to 3\.14"):
        newest_python()


def test_this_machine_has_one() -> None:
    assert interpreters._version(newest_python()) >= sys.version_info[:3]
