"""Which Python a scanner runs on: the newest one that is there.

Scanners that parse with their own interpreter silently drop files which use newer syntax, so the
interpreter is part of the evidence.

Example:
    >>> newest_python()                  # doctest: +SKIP
    PosixPath('/usr/bin/python3.13')
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_NEWEST_MINOR = 14
_OLDEST_MINOR = 11


def newest_python() -> Path:
    """The newest released CPython from 3.11 to 3.14 on the PATH or under pyenv.

    The running interpreter when no newer one answers.
    """
    for minor in range(_NEWEST_MINOR, max(_OLDEST_MINOR, sys.version_info.minor), -1):
        for candidate in _candidates(minor):
            if candidate.is_file() and _answers(candidate, minor):
                return candidate
    return Path(sys.executable)


def _candidates(minor: int) -> list[Path]:
    name = f"python3.{minor}"
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(versions.glob(f"3.{minor}.*/bin/{name}"), reverse=True)
    return [*installed, *(folder / name for folder in folders)]


def _answers(python: Path, minor: int) -> bool:
    """Whether it runs, is the version that its name says, and is no pre-release."""
    code = "import sys; print(sys.version_info[1], sys.version_info[3], sys.implementation.name)"
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", code], capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.decode().split() == [str(minor), "final", "cpython"]
