"""External tools in environments of their own: pinned, checked, run without a shell.

In one environment security tools silently downgrade each other, so each has its own, created by
uv from a hash-locked list, and its version is asserted each time before it is trusted. An exit
code alone is never evidence that a tool did its work: what calls `PinnedTool.run` must find the
proof in the tool's own output.

Example:
    >>> tool = PinnedTool("bandit", "1.9.4", Path("bandit.txt"), Path(".tools"))
    >>> tool.executable("bandit")                                    # doctest: +SKIP
    PosixPath('.tools/bandit-1.9.4/bin/bandit')
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import ToolError


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool said.

    Attributes:
        exit_code: as the tool gave it; not evidence of anything.
        stdout: its standard output.
        stderr: its standard error.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class PinnedTool:
    """One tool in one environment.

    Attributes:
        name: the distribution's name.
        version: the only version that is trusted.
        requirements: a hash-locked requirements file that installs exactly that version.
        home: the folder in which environments are kept.
    """

    name: str
    version: str
    requirements: Path
    home: Path

    @property
    def environment(self) -> Path:
        """The folder of this tool's own environment."""
        return self.home / f"{self.name}-{self.version}"

    def is_complete(self) -> bool:
        """Whether the environment was built to its end."""
        return (self.environment / "complete").is_file()

    def executable(self, command: str) -> Path:
        """The path of one of the tool's commands.

        Raises:
            ToolError: the environment is not there; the message names the command that makes it.
        """
        path = self.environment / "bin" / command
        if not self.is_complete() or not path.is_file():
            raise ToolError(
                f"expected {self.name} {self.version} in {self.environment}, found no complete "
                "environment there; run `assay scan setup`"
            )
        return path

    def create(self, python: str) -> None:
        """Make the environment, or leave it alone when it is there.

        A marker file is written last, so an interrupted build never looks finished.

        Args:
            python: the interpreter for it, as a path or a version that uv understands.

        Raises:
            ToolError: uv is missing, or could not install the locked files.
        """
        if self.is_complete():
            return
        uv = _find_uv()
        shutil.rmtree(self.environment, ignore_errors=True)
        self.environment.parent.mkdir(parents=True, exist_ok=True)
        self._uv(uv, ["venv", "--quiet", "--python", python, str(self.environment)])
        self._uv(
            uv,
            [
                *("pip", "install", "--quiet", "--require-hashes", "--no-deps"),
                *("--python", str(self.environment), "-r", str(self.requirements)),
            ],
        )
        (self.environment / "complete").write_text(f"{self.name} {self.version}\n")

    def run(
        self,
        command: str,
        arguments: Sequence[str],
        *,
        directory: Path,
        timeout_seconds: float,
    ) -> ToolOutput:
        """Run one of the tool's commands, without a shell and without input.

        Args:
            command: the name of the command in the environment.
            arguments: its arguments.
            directory: where it runs.
            timeout_seconds: after this time it is killed.

        Raises:
            ToolError: it is missing, could not be started, or took too long.
        """
        return _run([str(self.executable(command)), *arguments], directory, timeout_seconds)

    def _uv(self, uv: str, arguments: Sequence[str]) -> None:
        output = _run([uv, *arguments], self.home, 600)
        if output.exit_code:
            shutil.rmtree(self.environment, ignore_errors=True)
            raise ToolError(
                f"expected uv to install {self.name} {self.version}, it failed: "
                f"{output.stderr.decode('utf-8', 'replace').strip()[-600:]}"
            )


def _find_uv() -> str:
    """Where uv is: ``UV`` says so, or it came with ``assay[scan]``, or it is on the ``PATH``."""
    beside = str(Path(sys.executable).parent)
    uv = os.environ.get("UV") or shutil.which("uv", path=beside) or shutil.which("uv")
    if uv is None:
        raise ToolError(
            f"expected uv beside {sys.executable} or on the PATH to set up tools, found none; "
            "install assay[scan]"
        )
    return uv


def _run(command: Sequence[str], directory: Path, timeout_seconds: float) -> ToolOutput:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ToolError(
            f"expected {command[0]} to end within {timeout_seconds:g} s, it did not"
        ) from exc
    except OSError as exc:
        raise ToolError(f"expected to start {command[0]}: {exc.strerror}") from exc
    return ToolOutput(done.returncode, done.stdout, done.stderr)


def tools_home() -> Path:
    """The folder in which tool environments are kept.

    ``ASSAY_TOOLS`` when it is set; else ``assay/tools`` in the user's cache folder
    (``XDG_CACHE_HOME`` or ``~/.cache``).
    """
    chosen = os.environ.get("ASSAY_TOOLS")
    if chosen:
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "assay" / "tools"
