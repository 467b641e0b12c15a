"""A log with everything that records into it, and bundles made by hand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.core import (
    AssayError,
    Fidelity,
    Population,
    Result,
    Status,
    SteppedClock,
    from_canonical_json,
    result_to_json,
    sha256_hex,
    to_canonical_json,
    to_rfc3339,
)
from assay.evidence import (
    ArtefactStore,
    DrillRecorded,
    PlannedCheck,
    RecordedResult,
    Recorder,
    ResultRecorded,
    RunFinished,
    RunStarted,
    Statement,
    UnknownCheckError,
    VerifiedBundle,
    sign_envelope,
    verify_bundle,
    write_bundle,
)
from assay.evidence.archive import ArchiveWriter
from assay.ledger import FileLog

START = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SCOPE = b'{"organisation":"Metal"}'


class SeedSigner:
    """An Ed25519 key from a seed that can be told to fail."""

    def __init__(self, seed: bytes = bytes(range(32))) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.broken = False

    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        if self.broken:
            raise AssayError("the token is gone")
        return self._key.sign(message)


def rows_judge(check: str, check_version: int, observation: bytes, asset_kind: str) -> Result:
    """The judge of the vectors: the rows that are true are open."""
    if (check, check_version) != ("rows", 1):
        raise UnknownCheckError(f"expected rows version 1, found {check} version {check_version}")
    rows = from_canonical_json(observation)["facts"]["rows"]
    broken = [number for number, row in enumerate(rows) if not row]
    return Result.of(
        Population(len(rows), len(rows), len(broken), "rows"),
        Fidelity.FIXTURE,
        "rows do not open" if broken else "rows open",
        tuple(f"row {number}" for number in broken),
    )


class Workshop:
    """A log, its artefacts, its recorder, and short ways to use them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = SeedSigner()
        self.clock = SteppedClock(START)
        self.log = FileLog.open(folder / "log", "example.com/log", self.signer)
        self.artefacts = ArtefactStore(folder / "artefacts")
        self.recorder = self.new_recorder()

    def new_recorder(self) -> Recorder:
        return Recorder(self.log, self.artefacts, self.signer, self.clock)

    def tick(self, seconds: float = 1) -> None:
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    def start(self, run: str = "run-1", assets: Sequence[str] = ("db",)) -> int:
        planned = [PlannedCheck("rows", 1, asset) for asset in assets]
        started = RunStarted(run, self.recorder.now(), "0.1.0", sha256_hex(SCOPE), planned)
        return self.recorder.record(started, [SCOPE])

    def observation(self, asset: str = "db", rows: Sequence[bool] = (True,), **more: Any) -> bytes:
        members = {
            "check": "rows",
            "check_version": 1,
            "asset": asset,
            "collected_at": to_rfc3339(self.clock.now()),
            "facts": {"rows": list(rows)},
        }
        return to_canonical_json(members | more)

    def result(self, observation: bytes, **more: Any) -> ResultRecorded:
        result = rows_judge("rows", 1, observation, "datastore")
        fields = {
            "run": "run-1",
            "at": self.recorder.now(),
            "check": "rows",
            "check_version": 1,
            "asset": "db",
            "asset_kind": "datastore",
            "observation": sha256_hex(observation),
            "result": msgspec.convert(result_to_json(result), RecordedResult),
        }
        return ResultRecorded(**(fields | more))

    def record(self, asset: str = "db", rows: Sequence[bool] = (True,), **more: Any) -> int:
        observation = self.observation(asset, rows)
        return self.recorder.record(self.result(observation, asset=asset, **more), [observation])

    def finish(self, run: str = "run-1", recorded: int = 1) -> int:
        return self.recorder.record(RunFinished(run, self.recorder.now(), recorded))

    def whole_run(self, run: str = "run-1") -> None:
        self.start(run)
        self.tick()
        self.record(run=run)
        self.tick()
        self.finish(run)

    def fill(self, count: int) -> None:
        """Many statements at once."""
        at = self.recorder.now()
        said = [
            DrillRecorded(f"drill-{number}", at, "rows", 1, "v", True, Status.PASS, Status.FAIL, "")
            for number in range(count)
        ]
        key = self.log.verifier_key
        self.log.append(
            [sign_envelope(Statement.of(one).to_bytes(), key, self.signer) for one in said]
        )

    def bundle(self, first: int | None = None) -> Path:
        path = self.folder / "bundle"
        write_bundle(self.log, self.artefacts, path, first=first)
        return path

    def verify(self, path: Path) -> VerifiedBundle:
        return verify_bundle(path, self.log.verifier_key, rows_judge)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def new_workshop(tmp_path: Path) -> Callable[[str], Workshop]:
    """Makes another workshop with the same key."""
    return lambda name: Workshop(tmp_path / name)


@pytest.fixture
def new_signer() -> type[SeedSigner]:
    return SeedSigner


@pytest.fixture(scope="session")
def judge() -> Callable[[str, int, bytes, str], Result]:
    return rows_judge


@pytest.fixture(scope="session")
def archive_of() -> Callable[[Mapping[str, bytes]], bytes]:
    """A bundle's file from its members."""

    def build(members: Mapping[str, bytes]) -> bytes:
        file = io.BytesIO()
        writer = ArchiveWriter(file)
        for name in sorted(members):
            writer.add(name, members[name])
        writer.finish()
        return file.getvalue()

    return build


@pytest.fixture(scope="session")
def vectors(repository: Path) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        return json.loads((repository / "tests" / "vectors" / name).read_text(encoding="utf-8"))

    return load


@pytest.fixture(scope="session")
def refused() -> Callable[[dict[str, Any], Callable[[], object]], None]:
    """Asserts that the work raises exactly the error that the vector names."""

    def check(case: dict[str, Any], work: Callable[[], object]) -> None:
        found = "accepted"
        try:
            work()
        except AssayError as exc:
            found = type(exc).__name__
        assert found == case["error"], case["name"]

    return check


@pytest.fixture(scope="session")
def unbase64() -> Callable[[str], bytes]:
    return base64.b64decode
