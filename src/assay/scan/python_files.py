"""Which files of a repository are Python code, and which are left out, with the reason.

In a git checkout these are the files that git tracks, and those that it does not know yet and does
not ignore; elsewhere all files below the folder. What is Python is told by the name or by the
first line.

Example:
    >>> list_python_files(Path("."), {"vendored": "not ours"})       # doctest: +SKIP
    PythonFiles(listing='git', files=['app/main.py'], excluded={'vendored/x.py': 'not ours'}, ...)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from assay.scan.errors import RepositoryError

_SUFFIXES = {".py", ".pyw"}
_OTHER_SUFFIXES = {".ipynb", ".pyi", ".pyx"}
_SHEBANG = re.compile(rb"#![^\n]*\b(?:python[0-9.]*|pypy[0-9.]*|uv run)\b")
_VERSION_CONTROL = {".git", ".hg", ".svn"}
# Set by hooks, they would make git list another repository than the one of the folder.
_GIT_VARIABLES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"}


@dataclass
class PythonFiles:
    """The files of a repository. Names are relative, with slashes.

    Attributes:
        listing: ``git`` or ``walk``: who listed them.
        files: names of the Python files in scope, sorted.
        excluded: left out by the programme, each with its reason.
        installed: folders that hold installed packages (only where git does not tell), each with
            its reason.
        unreadable: files of which it cannot be told whether they are Python, each with its reason.
        others: files in scope that hold Python in another form, counted by suffix.
    """

    listing: str
    files: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    installed: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def list_python_files(repository: Path, exclude: Mapping[str, str]) -> PythonFiles:
    """List the Python files of a repository.

    Args:
        repository: the folder.
        exclude: relative files or folders that are left out, each with its reason.

    Raises:
        RepositoryError: the folder is missing or cannot be listed, also by git when it is a
            checkout; or an exclusion does not lie in it.
    """
    if not repository.is_dir():
        raise RepositoryError(f"expected a folder of source code at {repository}, found none")
    reasons = {_inside(path): reason for path, reason in exclude.items()}
    found = PythonFiles("git")
    names = set(_git_names(repository, ""))
    if not names:
        # Not a checkout, or a folder that a checkout around it ignores.
        found.listing = "walk"
        names = set(_walk(repository, "", found))
    for name in sorted(names):
        _sort(repository, name, reasons, found)
    return found


def _inside(path: str) -> PurePosixPath:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise RepositoryError(
            f"expected an exclusion relative to the repository, found {path!r}; name a file or "
            "folder in it"
        )
    return pure


def _sort(root: Path, name: str, reasons: Mapping[PurePosixPath, str], found: PythonFiles) -> None:
    path = root / name
    suffix = path.suffix.lower()
    try:
        if not path.is_file() or _leads_back(root, path):
            return  # deleted but still in git's index, a dangling link, a socket
        is_python = suffix in _SUFFIXES or (suffix not in _OTHER_SUFFIXES and _says_python(path))
    except OSError as exc:
        if (reason := _excluded(name, reasons)) is not None:
            found.excluded[name] = reason
        else:
            found.unreadable[name] = f"it could not be opened: {exc.strerror}"
        return
    if not is_python and suffix not in _OTHER_SUFFIXES:
        return
    if (reason := _excluded(name, reasons)) is not None:
        found.excluded[name] = reason
    elif is_python:
        found.files.append(name)
    else:
        found.others[suffix] += 1


def _excluded(name: str, reasons: Mapping[PurePosixPath, str]) -> str | None:
    path = PurePosixPath(name)
    for candidate in (path, *path.parents):
        if candidate in reasons:
            return reasons[candidate]
    return None


def _leads_back(root: Path, path: Path) -> bool:
    """Whether it is a link to a file of the repository, which is listed under its own name."""
    return path.is_symlink() and path.resolve().is_relative_to(root.resolve())


def _says_python(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(_SHEBANG.match(file.read(256)))


def _git_names(root: Path, prefix: str) -> list[str]:
    """Names that git lists below a folder; none where there is no checkout."""
    environment = {k: v for k, v in os.environ.items() if k not in _GIT_VARIABLES}
    command = [shutil.which("git") or "git", "-c", "core.fsmonitor=false", "ls-files", "-z"]
    try:
        done = subprocess.run(
            [*command, "--cached", "--others", "--exclude-standard"],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        failure = done.stderr.decode("utf-8", "replace").strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as exc:
        failure = str(exc) or type(exc).__name__
    if failure:
        if (root / ".git").exists():
            raise RepositoryError(
                f"expected git to list the files of {root}, it failed: {failure[-300:]}"
            )
        return []
    names: list[str] = []
    for entry in filter(None, done.stdout.split(b"\0")):
        name = os.fsdecode(entry).rstrip("/")
        if (root / name).is_dir() and not (root / name).is_symlink():
            # A submodule or a repository within the repository: git names only its folder.
            names += _nested(root / name, f"{prefix}{name}/")
        else:
            names.append(f"{prefix}{name}")
    return names


def _nested(folder: Path, prefix: str) -> Iterable[str]:
    inner = _git_names(folder, prefix) if (folder / ".git").exists() else []
    return inner or _walk(folder, prefix, None)


def _walk(root: Path, prefix: str, found: PythonFiles | None) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise RepositoryError(
            f"expected to list {error.filename}: {error.strerror}; a folder that cannot be "
            "listed cannot be scanned"
        ) from error

    for folder, folders, files in os.walk(root, onerror=fail):
        here = Path(folder)
        shown = prefix + ("" if here == root else f"{here.relative_to(root).as_posix()}/")
        kept = []
        for name in folders:
            reason = _foreign(here / name)
            if reason and found is not None:
                found.installed[f"{shown}{name}"] = reason
            if not reason and name not in _VERSION_CONTROL:
                kept.append(name)
        folders[:] = kept
        yield from (f"{shown}{name}" for name in files)


def _foreign(folder: Path) -> str:
    if (folder / "pyvenv.cfg").is_file():
        return "a virtual environment"
    return "packages installed by npm" if folder.name == "node_modules" else ""
