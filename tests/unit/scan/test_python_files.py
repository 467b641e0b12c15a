from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from assay.scan import RepositoryError, list_python_files


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    git = shutil.which("git") or "git"
    subprocess.run([git, *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    for name in ("a.py", "sub/b.PYW", "sub/c.pyi", "vendor/d.py", "node_modules/e.py", "f.txt",
                 "note.ipynb", "venv/lib/g.py", "venv/pyvenv.cfg", ".hg/h.py"):  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    for name, line in {
        "script": "#!/usr/bin/env python3",
        "tool.sh": "#!/usr/bin/env -S uv run --script",
        "old.cgi": "#! /usr/bin/python2.7 -u",
        "shell": "#!/bin/sh",
        "prose": "python is a language",
        "pythonic": "#!/opt/pythonic/run",
    }.items():
        (root / name).write_text(line + "\n")
    (root / "link.py").symlink_to("a.py")
    (root / "dangling.py").symlink_to("nowhere")
    (root / "-rf.py").write_text("x = 1\n")
    return root


EVERYWHERE = ["-rf.py", "a.py", "old.cgi", "script", "sub/b.PYW", "tool.sh"]


def test_a_plain_folder(folder: Path) -> None:
    found = list_python_files(folder, {"vendor": "not ours"})
    assert found.listing == "walk"
    assert found.files == EVERYWHERE
    assert found.excluded == {"vendor/d.py": "not ours"}
    assert found.installed == {
        "node_modules": "packages installed by npm",
        "venv": "a virtual environment",
    }
    assert found.others == {".pyi": 1, ".ipynb": 1}
    assert found.unreadable == {}


def test_a_checkout_has_what_git_has_and_does_not_ignore(folder: Path) -> None:
    _git(folder, "init", "-q")
    (folder / ".gitignore").write_text("vendor/\nvenv/\n.hg/\n")
    (folder / "gone.py").write_text("x = 1\n")
    _git(folder, "add", "a.py", "gone.py")
    (folder / "gone.py").unlink()
    found = list_python_files(folder, {})
    assert found.listing == "git"
    assert found.files == sorted([*EVERYWHERE, "node_modules/e.py"])


def test_a_folder_in_a_checkout_is_listed_alone(folder: Path) -> None:
    _git(folder, "init", "-q")
    assert list_python_files(folder / "sub", {}).files == ["b.PYW"]


def test_a_folder_that_a_checkout_around_it_ignores_is_walked(folder: Path) -> None:
    _git(folder, "init", "-q")
    (folder / ".gitignore").write_text("*\n")
    found = list_python_files(folder / "vendor", {})
    assert (found.listing, found.files) == ("walk", ["d.py"])


def test_a_repository_within_the_repository_is_not_forgotten(folder: Path) -> None:
    _git(folder, "init", "-q")
    inner = folder / "inner"
    inner.mkdir()
    _git(inner, "init", "-q")
    (inner / "i.py").write_text("x = 1\n")
    (inner / "ignored.py").write_text("x = 1\n")
    (inner / ".gitignore").write_text("ignored.py\n")
    _git(inner, "add", ".")
    _git(inner, "commit", "-q", "-m", "x")
    assert "inner/i.py" in list_python_files(folder, {}).files
    _git(folder, "add", "inner")  # git now tracks it like a submodule, by its commit alone
    found = list_python_files(folder, {})
    assert "inner/i.py" in found.files
    assert "inner/ignored.py" not in found.files


def test_variables_of_a_hook_do_not_lead_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    _git(folder, "init", "-q")
    _git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    found = list_python_files(folder, {})
    assert found.listing == "git"
    assert "a.py" in found.files


def test_a_link_out_of_the_repository_is_code_of_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("x = 1\n")
    (folder / "linked.py").symlink_to(tmp_path / "outside.py")
    assert "linked.py" in list_python_files(folder, {}).files


def test_names_that_are_not_utf8_are_listed(folder: Path) -> None:
    name = os.fsdecode(b"\xff.py")
    try:
        (folder / name).write_text("x = 1\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert name in list_python_files(folder, {}).files
    _git(folder, "init", "-q")
    assert name in list_python_files(folder, {}).files


def test_an_exclusion_means_the_folder_and_not_its_namesakes(folder: Path) -> None:
    (folder / "vendored.py").write_text("x = 1\n")
    (folder / "sub" / "vendor").mkdir()
    (folder / "sub" / "vendor" / "x.py").write_text("x = 1\n")
    found = list_python_files(folder, {"vendor/": "not ours", "a.py": "generated"})
    assert {"vendored.py", "sub/vendor/x.py"} <= set(found.files)
    assert found.excluded == {"a.py": "generated", "vendor/d.py": "not ours"}


@pytest.mark.parametrize("path", ["/etc", "../other", "a/../..", "", "."])
def test_an_exclusion_outside_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(RepositoryError, match="exclusion"):
        list_python_files(folder, {path: "why"})


def test_a_file_that_cannot_be_opened_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(self: Path, *arguments: str) -> object:
        if self.name == "script":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    found = list_python_files(folder, {})
    assert found.unreadable == {"script": "it could not be opened: Permission denied"}
    assert list_python_files(folder, {"script": "ours not"}).unreadable == {}


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="found none"):
        list_python_files(tmp_path / "missing", {})
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="found none"):
        list_python_files(tmp_path / "file", {})


def test_a_checkout_that_git_cannot_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    with pytest.raises(RepositoryError, match="it failed"):
        list_python_files(tmp_path, {})


def test_without_git_a_plain_folder_is_walked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert list_python_files(folder, {}).listing == "walk"
