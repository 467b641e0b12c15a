"""Real processes on one log: killed at random moments, and several at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.ledger import FileLog

ORIGIN = "example.com/log"
KILLS = 25

WRITER = f"""
import sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from assay.ledger import FileLog

class Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    def public_key(self):
        return self.key.public_key().public_bytes_raw()
    def sign(self, message):
        return self.key.sign(message)

folder, name, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log = FileLog.open(folder, "{ORIGIN}", Signer())
for number in range(most):
    # Sizes vary, so that the kill finds appends that fill tiles as well.
    added = [f"{{name}} {{number}} {{part}}".encode() for part in range(number * 37 % 90 + 30)]
    places = log.append(added)
    sys.stdout.write(f"{{number}} {{places.start}} {{places.stop}}\\n")
    sys.stdout.flush()
"""


class Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))

    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


def start(folder: Path, name: str, most: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def entries_of(name: str, number: int) -> list[bytes]:
    return [f"{name} {number} {part}".encode() for part in range(number * 37 % 90 + 30)]


def leaves_traces(folder: Path, size: int) -> bool:
    """Whether there are files that a log of this size does not need."""
    last, width = divmod(size, 256)
    bundles = {f"{index:03}" for index in range(last)} | (
        {f"{last:03}.p/{width}"} if width else set()
    )
    row = folder / "tile" / "entries"
    found = {str(path.relative_to(row)) for path in row.rglob("*") if path.is_file()}
    return found != bundles


@pytest.mark.xdist_group("ledger-crash")
def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path):
    folder, chance = tmp_path / "log", random.Random(20260102)  # noqa: S311 - when to kill
    known: list[bytes] = []
    interrupted = 0
    for kill in range(KILLS):
        name = f"writer-{kill}"
        process = start(folder, name, 10_000)
        # The first line shows that it is at work; then it dies within one or a few appends.
        acknowledged = [process.stdout.readline()]
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        acknowledged += rest.splitlines()

        log = FileLog(folder, ORIGIN, Signer())
        interrupted += leaves_traces(folder, log.head().size)
        log = FileLog.open(folder, ORIGIN, Signer())
        assert log.verify_storage() == log.head()
        found = list(log.entries())
        for line in acknowledged:
            number, first, end = map(int, line.split())
            assert found[first:end] == entries_of(name, number)
        # What was there before is unchanged; what is new are whole appends, in order.
        assert found[: len(known)] == known
        whole = len(known)
        for number in range(len(acknowledged) + 1):
            if found[whole:] and number <= len(acknowledged):
                expected = entries_of(name, number)
                assert found[whole : whole + len(expected)] == expected
                whole += len(expected)
        assert whole == len(found)
        known = found
        assert not list(folder.glob(".checkpoint.*.tmp"))
    assert interrupted, "expected a kill in the middle of an append"
    assert len(known) > 256, "expected the kills to reach beyond the first tile"


@pytest.mark.xdist_group("ledger-crash")
def test_processes_at_once_lose_nothing_of_each_other(tmp_path):
    folder, names = tmp_path / "log", ("a", "b", "c")
    processes = {name: start(folder, name, 12) for name in names}
    for name, process in processes.items():
        said, _ = process.communicate(timeout=120)
        assert process.returncode == os.EX_OK
        log = FileLog.open(folder, ORIGIN, Signer())
        found = list(log.entries())
        lines = [tuple(map(int, line.split())) for line in said.splitlines()]
        assert len(lines) == 12
        for number, first, end in lines:
            assert found[first:end] == entries_of(name, number)
    assert log.verify_storage().size == 3 * sum(len(entries_of("a", n)) for n in range(12))
