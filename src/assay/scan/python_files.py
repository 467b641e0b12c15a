"""Which Python files a repository has: the population of a scan.

In a git checkout these are the files that git tracks and those that it does not ignore; elsewhere
every file below the folder. A file is Python by its suffix, or by its first line when it has none.

Example:
    >>> list_python_files(Path("."), {}).files[:1]           # doctest: +SKIP
    ('bench/sealing.py',)
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from assay.scan.errors import RepositoryError

_INSTALLED = {".git", ".venv", "__pycache__", "node_modules"}


@dataclass(frozen=True)
class PythonFiles:
    """What is to be scanned, and what is left out.

    Attributes:
        files: paths below the folder, sorted.
        excluded: paths that were declared as excluded, each with the declared reason.
    """

    files: tuple[str, ...]
    excluded: dict[str, str]


def list_python_files(repository: Path, exclude: Mapping[str, str]) -> PythonFiles:
    """The Python files of a repository.

    Args:
        repository: its folder.
        exclude: folders or files below it that are left out, each with the reason.

    Raises:
        RepositoryError: there is no such folder, or git could not list it.
    """
    if not repository.is_dir():
        raise RepositoryError(f"expected a folder to scan at {repository}, found none")
    files: list[str] = []
    excluded: dict[str, str] = {}
    for name in _names(repository):
        if not _is_python(repository / name):
            continue
        reason = _why_excluded(name, exclude)
        if reason is None:
            files.append(name)
        else:
            excluded[name] = reason
    return PythonFiles(tuple(sorted(files)), excluded)


def _names(repository: Path) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - git is found on the PATH
        cwd=repository,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = listed.stdout.decode("utf-8", "surrogateescape").split("\0")
        return sorted({name for name in names if name and (repository / name).exists()})
    if (repository / ".git").exists():
        raise RepositoryError(f"expected git to list the files of {repository}, it failed")
    found = []
    for folder, folders, names in os.walk(repository):
        folders[:] = sorted(set(folders) - _INSTALLED)
        relative = Path(folder).relative_to(repository)
        found += [(relative / name).as_posix() for name in names]
    return found


def _is_python(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if path.suffix in {".py", ".pyi", ".pyw"}:
        return path.suffix != ".pyi"
    if path.suffix:
        return False
    try:
        with path.open("rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    return first.startswith(b"#!") and b"python" in first


def _why_excluded(name: str, exclude: Mapping[str, str]) -> str | None:
    path = PurePosixPath(name)
    for prefix, reason in exclude.items():
        declared = PurePosixPath(prefix)
        if path == declared or declared in path.parents:
            return reason
    return None
