"""What the kernel really does with a process that forbade core dumps, beside one that did not."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from assay.core import CoreDumpError, core_dumps

NOBODY = 65534

CRASHING = """
import os, resource, sys
from assay.core import forbid_core_dumps
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1] == "forbid":
    forbid_core_dumps()
if sys.argv[2] == "fork" and (child := os.fork()):
    status = os.waitpid(child, 0)[1]
    sys.exit(int(os.WCOREDUMP(status)))
os.abort()
"""

READABLE = """
import ctypes, os, sys
from assay.core import forbid_core_dumps
if os.getuid() == 0:
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # changing the user had made it undumpable
if sys.argv[1] == "forbid":
    forbid_core_dumps()
print("ready", flush=True)
sys.stdin.read()
"""

READER = """
import os, sys
if os.getuid() == 0:
    os.setuid(65534)
open(f"/proc/{sys.argv[1]}/mem", "rb")
"""


def dumped(folder: Path, *words: str) -> bool:
    """Whether the kernel says that it wrote a core dump; the file itself goes to the folder."""
    child = subprocess.Popen(
        [sys.executable, "-c", CRASHING, *words], cwd=folder, stderr=subprocess.DEVNULL
    )
    status = os.waitpid(child.pid, 0)[1]
    child.returncode = status
    return os.WCOREDUMP(status) if os.WIFSIGNALED(status) else bool(os.WEXITSTATUS(status))


@pytest.mark.skipif(sys.platform != "linux", reason="core_pattern and prctl are Linux's")
@pytest.mark.parametrize("how", ["itself", "fork"])
def test_no_core_dump_is_written(tmp_path: Path, how: str) -> None:
    assert not dumped(tmp_path, "forbid", how)
    assert not list(tmp_path.iterdir())
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        # Where the machine allows core dumps, the same process without it leaves one.
        assert dumped(tmp_path, "allow", how)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("how", ["forbid", "allow"])
def test_other_processes_of_the_user_cannot_read_its_memory(how: str) -> None:
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    restricted = scope.exists() and scope.read_text().strip() != "0"
    with subprocess.Popen(
        [sys.executable, "-c", READABLE, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        reader = subprocess.run(
            ["/proc/self/exe", "-c", READER, str(process.pid)],
            executable=sys.executable, capture_output=True, check=False,
        )  # fmt: skip
    if how == "forbid" or restricted:
        assert b"PermissionError" in reader.stderr
    else:
        assert reader.returncode == 0, reader.stderr.decode()


def test_a_kernel_that_does_not_do_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.core.memory_dumps import forbid_core_dumps

    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (0, -1))
    monkeypatch.setattr("assay.core.memory_dumps._prctl", lambda *_: 0)
    with pytest.raises(CoreDumpError, match="found CoreDumps"):
        forbid_core_dumps()
    assert core_dumps().limit_bytes == -1
