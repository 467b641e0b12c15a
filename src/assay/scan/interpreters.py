"""Which Python a scanner runs on.

bandit parses with the interpreter that runs it: on an old one it drops every file that uses newer
syntax. So its environment is made with the newest one that is there.

Example:
    >>> newest_python()                                                  # doctest: +SKIP
    PosixPath('/usr/bin/python3.13')
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from assay.scan.errors import InterpreterError

OLDEST = (3, 11)
"""The oldest Python that the pinned tools run on."""

NEWEST = (3, 14)
"""The newest Python for which the hash-locked tools have wheels."""

_QUESTION = (
    "import sys; v = sys.version_info; "
    "print(sys.implementation.name, v.releaselevel, v.major, v.minor, v.micro)"
)


def newest_python() -> Path:
    """The newest released CPython from `OLDEST` to `NEWEST` on this machine.

    Looks at the ``PATH``, at pyenv's versions and at the running interpreter, and asks each
    candidate itself: a name alone proves nothing.

    Raises:
        InterpreterError: there is none.
    """
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = {
            version: path
            for path in dict.fromkeys(_candidates(minor))
            if (version := _version(path)) and version[:2] == (3, minor)
        }
        if found:
            return found[max(found)]
    wanted = " to ".join(".".join(map(str, version)) for version in (OLDEST, NEWEST))
    raise InterpreterError(f"expected CPython {wanted} on the PATH, found none; install one")


def _candidates(minor: int) -> Iterator[Path]:
    command = shutil.which(f"python3.{minor}")
    if command:
        yield Path(command)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from (root / "versions").glob(f"3.{minor}.*/bin/python")
    if sys.version_info[1] == minor:
        # The interpreter itself, not the virtual environment that this code may run in.
        yield Path(getattr(sys, "_base_executable", None) or sys.executable)


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        done = subprocess.run(
            [str(path), "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.decode("ascii", "replace").split()
    if done.returncode or words[:2] != ["cpython", "final"]:
        return None
    major, minor, micro = (int(word) for word in words[2:5])
    return major, minor, micro
