"""A recorder that is killed: what was acknowledged is proven, what is missing is visible."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.core import Fidelity, Population, Result, SystemClock
from assay.evidence import ArtefactStore, Recorder, verify_bundle, write_bundle
from assay.ledger import FileLog

KILLS = 12
ORIGIN = "example.com/log"

RUNNER = f"""
import sys
from pathlib import Path
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from assay.core import *
from assay.evidence import *
from assay.ledger import FileLog

class Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    def public_key(self):
        return self.key.public_key().public_bytes_raw()
    def sign(self, message):
        return self.key.sign(message)

folder, name = Path(sys.argv[1]), sys.argv[2]
log = FileLog.open(folder / "log", "{ORIGIN}", Signer())
recorder = Recorder(log, ArtefactStore(folder / "artefacts"), Signer(), SystemClock())
result = result_to_json(Result.of(Population(1, 1, 0, "rows"), Fidelity.FIXTURE, "rows open"))

def acknowledge(run, index):
    sys.stdout.write(f"{{run}} {{index}}\\n")
    sys.stdout.flush()

for number in range(10_000):
    run, scope = f"{{name}}-{{number}}", f"scope of {{name}} {{number}}".encode()
    assets = [f"asset-{{one}}" for one in range(3)]
    planned = [PlannedCheck("rows", 1, asset) for asset in assets]
    started = RunStarted(run, recorder.now(), "0.1.0", sha256_hex(scope), planned)
    acknowledge(run, recorder.record(started, [scope]))
    for asset in assets:
        at = to_rfc3339(SystemClock().now())
        observation = to_canonical_json(
            {{"check": "rows", "check_version": 1, "asset": asset, "collected_at": at, "run": run}}
        )
        recorded = ResultRecorded(
            run, recorder.now(), "rows", 1, asset, "datastore", sha256_hex(observation),
            msgspec.convert(result, RecordedResult),
        )
        acknowledge(run, recorder.record(recorded, [observation]))
    acknowledge(run, recorder.record(RunFinished(run, recorder.now(), len(assets))))
"""


class Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))

    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


def judge(*_: object) -> Result:
    return Result.of(Population(1, 1, 0, "rows"), Fidelity.FIXTURE, "rows open")


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUNNER, str(folder), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def verified(folder: Path):
    log = FileLog.open(folder / "log", ORIGIN, Signer())
    artefacts = ArtefactStore(folder / "artefacts")
    write_bundle(log, artefacts, folder / "bundle")
    recorder = Recorder(log, artefacts, Signer(), SystemClock())
    unfinished = {started.run for started in recorder.unfinished_runs()}
    bundle = verify_bundle(folder / "bundle", log.verifier_key, judge)
    assert set(bundle.unfinished_runs) == unfinished
    assert bundle.gaps == ()
    return bundle


def require(bundle, lines: list[str]) -> None:
    """Every acknowledged statement is there, under its index, and of its run."""
    for line in lines:
        run, index = line.split()
        assert bundle.statement(int(index)).run == run


@pytest.mark.xdist_group("evidence-crash")
def test_kill_9_leaves_a_log_that_verifies_and_runs_that_are_seen_to_be_unfinished(tmp_path):
    chance = random.Random(20260102)  # noqa: S311 - when to kill
    unfinished = 0
    for kill in range(KILLS):
        process = start(tmp_path, f"run-{kill}")
        acknowledged = [process.stdout.readline()]
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        bundle = verified(tmp_path)
        require(bundle, acknowledged + rest.splitlines())
        mine = [run for run in bundle.unfinished_runs if run.startswith(f"run-{kill}-")]
        assert len(mine) <= 1
        unfinished += len(mine)
    assert unfinished, "expected a kill in the middle of a run"
    assert len(bundle.unfinished_runs) == unfinished


@pytest.mark.xdist_group("evidence-crash")
def test_two_runs_at_once_are_both_whole(tmp_path):
    processes = [start(tmp_path, name) for name in ("left", "right")]
    said = [process.stdout.readline() for process in processes]
    for number, process in enumerate(processes):
        # Five more from each, taken in turn, so that they are at work at the same time.
        said[number] += "".join(process.stdout.readline() for _ in range(5))
    for number, process in enumerate(processes):
        process.send_signal(signal.SIGKILL)
        said[number] += process.communicate()[0]
    bundle = verified(tmp_path)
    for name, lines in zip(("left", "right"), said, strict=True):
        require(bundle, lines.splitlines())
        assert any(run.id.startswith(name) for run in bundle.runs)
