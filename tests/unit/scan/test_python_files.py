import subprocess

import pytest

from assay.scan import RepositoryError, list_python_files


@pytest.fixture
def folder(tmp_path):
    for name in ("a.py", "sub/b.pyw", "sub/c.pyi", "vendor/d.py", "node_modules/e.py", "f.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1\n")
    (tmp_path / "script").write_text("#!/usr/bin/env python3\n")
    (tmp_path / "shell").write_text("#!/bin/sh\n")
    (tmp_path / "link.py").symlink_to("a.py")
    (tmp_path / "-rf.py").write_text("x = 1\n")
    return tmp_path


def test_a_plain_folder(folder):
    found = list_python_files(folder, {"vendor": "not ours"})
    assert found.files == ("-rf.py", "a.py", "script", "sub/b.pyw")
    assert found.excluded == {"vendor/d.py": "not ours"}


def test_a_checkout_has_what_git_has_and_does_not_ignore(folder):
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / ".gitignore").write_text("vendor/\n")
    subprocess.run(["git", "add", "a.py"], cwd=folder, check=True)
    assert list_python_files(folder, {}).files == (
        "-rf.py", "a.py", "node_modules/e.py", "script", "sub/b.pyw",
    )  # fmt: skip


def test_an_exclusion_means_the_folder_and_not_its_namesakes(folder):
    (folder / "vendored.py").write_text("x = 1\n")
    assert "vendored.py" in list_python_files(folder, {"vendor": "not ours"}).files


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(RepositoryError, match="found none"):
        list_python_files(tmp_path / "missing", {})
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    with pytest.raises(RepositoryError, match="it failed"):
        list_python_files(tmp_path, {})
