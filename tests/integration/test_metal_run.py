"""All steps in order, with Assay's verbs replaced: exit codes, and a server that never stays."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

# Its company is set up once, in one worker.
pytestmark = pytest.mark.xdist_group("metal-run")

METAL = Path(__file__).parents[2] / "examples" / "metal"
DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One company for all tests here: its second run is fast."""
    return tmp_path_factory.mktemp("metal-run")


@pytest.fixture
def steps(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module ``run.py``, for the company of these tests."""
    monkeypatch.syspath_prepend(METAL)
    for name, value in variables(home).items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("metal_run", METAL / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    assert not (home / "data" / "server.json").exists(), "the server was left running"


def variables(home: Path) -> dict[str, str]:
    return {
        "METAL_HOME": str(home),
        "METAL_KEY_STORE": "embedded",
        "METAL_HTTPS_PORT": "0",
        "METAL_HTTP_PORT": "0",
    }


class Verbs:
    """Stands for Assay's verbs: exit codes by verb, and what was called."""

    def __init__(self, codes: dict[str, int], run: str) -> None:
        self.codes = codes
        self.run = run
        self.called: list[tuple[str, ...]] = []

    async def assay(self, environment: dict[str, str], *arguments: object) -> int:
        assert environment["METAL_URL"].startswith("https://localhost:")
        assert environment["METAL_HTTP_URL"].startswith("http://localhost:")
        assert environment["METAL_KEYS"].startswith("embedded:")
        self.called.append(tuple(map(str, arguments)))
        return self.codes.get(str(arguments[0]), 0)

    async def for_output(self, run_for_output: Any, arguments: Any, environment: Any) -> Any:
        if "assay" not in arguments:
            return await run_for_output(arguments, environment)
        self.called.append(tuple(arguments[2:]))
        states = ["kept", "unproven", *["error"] * self.codes.get("errors", 0)]
        found = {
            "run": self.run, "first": 0, "size": 9, "origin": "metal.example/assay",
            "promises": [{"state": state} for state in states],
        }  # fmt: skip
        return self.codes.get("verify", 0), json.dumps(found).encode()


def without_company(steps: Any, data: Path) -> None:
    """Let set-up, server and traffic be no more than names: what follows them is looked at."""
    data.mkdir(parents=True, exist_ok=True)

    async def set_up(environment: dict[str, str]) -> dict[str, str]:
        return {**environment, "METAL_KEYS": "embedded:none"}

    @asynccontextmanager
    async def serving(*_: object) -> AsyncIterator[dict[str, str]]:
        yield {"METAL_URL": "https://localhost:1", "METAL_HTTP_URL": "http://localhost:2"}

    async def must_run(*_: object) -> None:
        await asyncio.sleep(0)

    steps.set_up, steps.serving, steps.must_run = set_up, serving, must_run


def replace_verbs(steps: Any, codes: dict[str, int], run: str | None = None) -> Verbs:
    verbs = Verbs(codes, run or secrets.token_hex(4))
    steps.assay = verbs.assay
    steps.run_for_output = functools.partial(verbs.for_output, steps.run_for_output)
    return verbs


@pytest.mark.parametrize(
    ("codes", "expected", "last"),
    [
        ({}, 0, "trust"),
        ({"run": 3}, 0, "trust"),
        ({"run": 3, "errors": 2}, 3, "trust"),
        ({"run": 1}, 1, "trust"),
        ({"run": 2}, 2, "run"),
        ({"run": 3, "bundle": 3}, 3, "bundle"),
        ({"verify": 1}, 1, "verify"),
        ({"verify": 3}, 3, "verify"),
        ({"trust": 3}, 3, "trust"),
    ],
)
def test_exit_codes(
    steps: Any, capsys: pytest.CaptureFixture[str], codes: dict[str, int], expected: int, last: str
) -> None:
    without_company(steps, Path(os.environ["METAL_HOME"]) / "data")
    verbs = replace_verbs(steps, codes)

    assert steps.main() == expected

    order = ["run", "bundle", "verify", "trust"]
    assert [arguments[0] for arguments in verbs.called] == order[: order.index(last) + 1]
    said = capsys.readouterr().out
    assert ("could not be proven" in said) == (codes == {"run": 3})
    assert ("2 promises are in error" in said) == ("errors" in codes)
    assert ("Something is broken" in said) == (codes == {"run": 1})


def test_all_steps_run_and_the_verbs_are_called_as_they_are_spelt(
    steps: Any, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    verbs = replace_verbs(steps, {})

    assert steps.main() == 0

    said = capfd.readouterr().out
    assert "not an HSM" in said
    assert "documents created" in said
    assert "The server has stopped." in said

    data = home / "data"
    key, bundle = str(data / "assay" / "log.vkey"), str(data / "metal.bundle")
    assert verbs.called == [
        ("run", "-c", str(METAL / "assay.yaml")),
        ("bundle", "-c", str(METAL / "assay.yaml"), "-o", bundle),
        ("verify", bundle, "--key", key, "--json"),
        ("trust", "build", str(data / "trust"), "--bundle", bundle, "--key", key),
    ]


def test_an_older_run_is_not_taken_for_this_one(
    steps: Any, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_company(steps, home / "data")
    replace_verbs(steps, {"run": 3}, "the same run")
    assert steps.main() == 0

    replace_verbs(steps, {"run": 3}, "the same run")
    assert steps.main() == 3

    assert "began no new run" in capsys.readouterr().err


def test_a_step_that_fails_stops_the_server(
    steps: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "must_run", steps_that_fail(steps))

    assert steps.main() == 7

    assert "the traffic ended with exit code 7" in capsys.readouterr().err


def steps_that_fail(steps: Any) -> Callable[..., Any]:
    async def must_run(*_: object) -> None:
        await asyncio.sleep(0)
        raise steps.StepError("the traffic", 7)

    return must_run


def test_a_server_that_does_not_start_is_said(
    steps: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METAL_ADMIN_TOKEN", "file:data/none")

    assert steps.main() == 2

    said = capfd.readouterr().err
    assert "metal: error: expected" in said
    assert "the server ended with exit code 2" in said


def started(home: Path) -> subprocess.Popen[str]:
    """``run.py`` as a process that waits in its fourth step."""
    program = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]); import run\n"
        "async def wait(*_): await asyncio.sleep(600)\n"
        "run.prove = wait\n"
        "sys.exit(run.main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(METAL)],
        env={**os.environ, **variables(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited too long")
        time.sleep(0.05)


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -9),
    ],
)
def test_whatever_ends_it_the_server_ends_too(home: Path, number: int, code: int) -> None:
    address = home / "data" / "server.json"
    process = started(home)
    try:
        wait_until(address.exists)
        server = json.loads(address.read_bytes())["pid"]
        time.sleep(1.0)
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == code, output
        assert "Traceback" not in output
        wait_until(lambda: not is_running(server))
        assert not address.exists()
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)
