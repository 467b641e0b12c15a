"""Servers for tests that are Go modules, built once into the tools of the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from assay.core import tools_home

_BUILD_SECONDS = 1500


def built(name: str, source: Path, config: pytest.Config, *, takes: str) -> Path:
    """The program, built when its sources have changed.

    Args:
        name: of the program and of its folder.
        source: the folder with ``main.go``, ``go.mod`` and ``go.sum``.
        config: pytest's, to say that it builds.
        takes: how long that takes, in words.
    """
    sources = b"".join((source / each).read_bytes() for each in ("main.go", "go.mod", "go.sum"))
    folder = tools_home() / f"{name}-{hashlib.sha256(sources).hexdigest()[:12]}"
    program = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist build it once
        if not program.exists():
            capture = config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled():
                print(f"\nBuilding {name} from source, once: {takes}", file=sys.stderr)
            _build(program, source)
    return program


def _build(program: Path, source: Path) -> None:
    unfinished = program.with_suffix(".new")
    done = subprocess.run(
        ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), "."],  # noqa: S607 - go of the PATH
        cwd=source, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(
            f"expected `go build` to make {program.name} (it needs the Go module proxy the first "
            f"time), found:\n{done.stderr[-2000:]}",
            pytrace=False,
        )
    unfinished.rename(program)
