"""Metal with a key service of its own, in front of SoftHSM2: set-up, the whole run, its trail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Its company is set up once, in one worker.
pytestmark = pytest.mark.xdist_group("metal-key-service")

METAL = Path(__file__).parents[2] / "examples" / "metal"
KEPT = ("at-rest", "row-encryption", "storage-insufficient", "kms")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the company's folder, with nothing in it yet."""
    found = tmp_path_factory.mktemp("metal-keys") / "metal"
    shutil.copytree(METAL, found, ignore=shutil.ignore_patterns("data", "__pycache__"))
    return found


def variables() -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "ASSAY_TOOLS") if name in os.environ}
    ports = {f"METAL_{name}_PORT": "0" for name in ("HTTPS", "HTTP", "KMS")}
    return {**keep, **ports, "COLUMNS": "130", "PYTHONPATH": str(METAL)}


def python(company: Path, *words: str, **others: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**variables(), "METAL_HOME": str(company), **others},
        cwd=company,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def set_up(company: Path, **others: str) -> dict[str, str]:
    done = python(company, "-m", "metal", "setup", "--json", **others)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)["environment"]
    return found


@pytest.fixture(scope="module")
def ran(company: Path, needs: Callable[[str], None]) -> tuple[str, dict[str, str]]:
    """What the whole run said, and the environment of its company."""
    for program in ("softhsm2", "bandit", "sslyze"):
        needs(program)
    done = python(company, "run.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout, set_up(company)


def test_the_programme_runs_on_a_key_service_and_says_that_its_token_is_none(
    ran: tuple[str, dict[str, str]],
) -> None:
    said, environment = ran
    states = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()}
    assert {promise: states[promise][0] for promise in KEPT} == dict.fromkeys(KEPT, "kept"), said
    assert states["kms"][-1] == "emulated"
    assert states["hsm"][0] == "unproven"
    assert "not an HSM" in said
    assert said.count("has stopped.") == 2
    assert environment["METAL_KEYS"].startswith("aws-kms:arn:aws:kms:")


def test_its_trail_tells_who_opened_which_data_key(
    company: Path, ran: tuple[str, dict[str, str]]
) -> None:
    _, environment = ran
    verified = python(company, "-m", "assay", "kms", "audit", "verify", **environment)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    shown = python(company, "-m", "assay", "kms", "audit", "show", **environment)
    events: list[dict[str, Any]] = [json.loads(line) for line in shown.stdout.splitlines()]
    arn = environment["METAL_KEYS"].removeprefix("aws-kms:").partition("?")[0]
    opened = [event for event in events if "Decrypt" in json.dumps(event)]
    assert opened
    assert all("user/metal" in json.dumps(event) for event in opened)
    assert all(arn in json.dumps(event) for event in opened)
    assert any('"owner"' in json.dumps(event) for event in opened)


def test_nothing_of_it_lies_about(company: Path, ran: tuple[str, dict[str, str]]) -> None:
    folder = company / "data" / "kms"
    assert not (folder / "server.json").exists()
    secret = (folder / "credentials").read_text().rpartition("= ")[2].strip().encode()
    assert len(secret) == 40
    assert (folder / "credentials").stat().st_mode & 0o777 == 0o600
    holding = [
        path.name
        for path in (company / "data").rglob("*")
        if path.is_file() and secret in path.read_bytes()
    ]
    assert holding == ["credentials"]


def test_set_up_changes_nothing_the_second_time(
    company: Path, ran: tuple[str, dict[str, str]]
) -> None:
    _, environment = ran
    before = (company / "data" / "kms" / "credentials").read_bytes()
    assert set_up(company) == environment
    assert (company / "data" / "kms" / "credentials").read_bytes() == before


def test_metal_may_use_its_key_and_nothing_else(
    company: Path, ran: tuple[str, dict[str, str]]
) -> None:
    _, environment = ran
    program = (
        "import asyncio, json, os, sys; sys.path.insert(0, sys.argv[1])\n"
        "import boto3, botocore, run\n"
        "from metal.settings import Settings\n"
        "async def ask():\n"
        "    settings = Settings.from_environment(os.environ)\n"
        "    async with run.serving_keys(dict(os.environ), settings) as address:\n"
        "        kms = boto3.client('kms', endpoint_url=address['AWS_ENDPOINT_URL_KMS'])\n"
        "        arn = os.environ['METAL_KEYS'].removeprefix('aws-kms:').partition('?')[0]\n"
        "        found = {'describe_key': kms.describe_key(KeyId=arn)['KeyMetadata']['KeyState']}\n"
        "        for refused, more in {'create_key': {}, 'disable_key': {'KeyId': arn},\n"
        "                'schedule_key_deletion': {'KeyId': arn}, 'list_keys': {}}.items():\n"
        "            try:\n"
        "                getattr(kms, refused)(**more)\n"
        "                found[refused] = 'done'\n"
        "            except botocore.exceptions.ClientError as exc:\n"
        "                found[refused] = exc.response['Error']['Code']\n"
        "        print('FOUND', json.dumps(found))\n"
        "asyncio.run(ask())\n"
    )
    done = python(company, "-c", program, str(company), **environment)
    line = next((each for each in done.stdout.splitlines() if each.startswith("FOUND")), None)
    assert line is not None, done.stdout + done.stderr
    assert json.loads(line.removeprefix("FOUND ")) == {
        "describe_key": "Enabled",
        "create_key": "AccessDeniedException",
        "disable_key": "AccessDeniedException",
        "schedule_key_deletion": "AccessDeniedException",
        "list_keys": "AccessDeniedException",
    }


@pytest.mark.parametrize("step", ["initialise_key_server", "_make_kek", "write_atomically"])
def test_an_interrupted_set_up_is_finished(
    tmp_path: Path, needs: Callable[[str], None], step: str
) -> None:
    """Whatever was done before it was interrupted is used; the maker's access key is gone."""
    needs("softhsm2")
    program = (
        "import os, sys\n"
        "from metal import __main__, key_service\n"
        f"step, whole = sys.argv[1], key_service.{step}\n"
        "def interrupted(*given, **named):\n"
        "    if step != 'write_atomically' or 'kek' in str(given[0]):\n"
        "        whole(*given, **named) if step != 'write_atomically' else None\n"
        "        os._exit(9)\n"
        "    return whole(*given, **named)\n"
        f"key_service.{step} = interrupted\n"
        "__main__.main(['setup', '--json'])\n"
    )
    done = python(tmp_path, "-c", program, step, METAL_KEY_STORE="kms")
    assert done.returncode == 9, done.stderr

    environment = set_up(tmp_path, METAL_KEY_STORE="kms")

    shown = python(tmp_path, "-m", "assay", "kms", "principal", "list", "--json", **environment)
    keys = {
        each["principal"].rpartition("/")[2]: len(each["access_keys"])
        for each in json.loads(shown.stdout)["principals"]
    }
    assert {name: keys[name] for name in ("metal", "maker")} == {"metal": 1, "maker": 0}


def test_keys_that_were_never_set_up_are_not_served(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "metal", "keys")
    assert done.returncode == 2
    assert "python -m metal setup" in done.stderr
    assert "Traceback" not in done.stderr
