"""The unplugged verifier: a bundle verifies where there is no network, no database and no key."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest

BLOCKED = (
    "socket",
    "_socket",
    "ssl",
    "sqlite3",
    "sqlalchemy",
    "pkcs11",
    "boto3",
    "requests",
    "httpx",
    "urllib3",
    "yaml",
    "rich",
    "typer",
    "assay.keys",
    "assay.database",
    "assay.encryption",
    "assay.leakage",
    "assay.transport",
    "assay.scan",
    "assay.controls",
    "assay.assemble",
    "assay.web",
    "assay.cli",
)

VERIFIER = """
import sys

blocked, bundle, key = sys.argv[1].split(","), sys.argv[2], sys.argv[3]
for name in blocked:
    sys.modules[name] = None

def refuse(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "sqlite3.")):
        raise RuntimeError(f"a verifier must not: {event}")
    if event == "open" and arguments[1] and set(arguments[1]) & set("wax+"):
        raise RuntimeError(f"a verifier must not write: {arguments[0]}")

sys.dont_write_bytecode = True
sys.addaudithook(refuse)

from pathlib import Path
from assay.core import Fidelity, Population, Result, from_canonical_json
from assay.evidence import verify_bundle, verify_claim
from assay.ledger import load_verifier_key

def judge(check, version, observation, asset_kind):
    rows = from_canonical_json(observation)["facts"]["rows"]
    return Result.of(Population(len(rows), len(rows), 0, "rows"), Fidelity.FIXTURE, "rows open")

verified = verify_bundle(Path(bundle), load_verifier_key(key), judge)
last = verified.size - 1
claim = verify_claim(verified.proof(last), verified.entry(last), verified.verifier_key)
sys.stdout.write(f"{verified.origin} {verified.size} {claim.index}\\n")

ours = {name.split(".")[1] for name in sys.modules if name.startswith("assay.") and sys.modules[name]}
assert ours == {"core", "ledger", "evidence"}, ours
standard = set(sys.stdlib_module_names) | {"__main__", "assay"}
foreign = {name.split(".")[0] for name in sys.modules if sys.modules[name]} - standard
sys.stdout.write(" ".join(sorted(foreign)) + "\\n")
"""


@pytest.fixture
def vector(repository):
    text = (repository / "tests" / "vectors" / "bundle.json").read_text(encoding="utf-8")
    return json.loads(text)


def verify(bundle, key, blocked=BLOCKED):
    command = [sys.executable, "-c", VERIFIER, ",".join(blocked), str(bundle), key]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_bundle_verifies_on_a_bare_machine(vector, tmp_path):
    path, key = tmp_path / "bundle", tmp_path / "log.vkey"
    path.write_bytes(base64.b64decode(vector["file"]))
    key.write_text(vector["key"] + "\n")
    done = verify(path, str(key))
    assert done.returncode == 0, done.stderr
    said, foreign = done.stdout.splitlines()
    assert said == "example.com/log 4 3"
    # An environment may import start-up files of its own; a verifier needs only these.
    needed = {"cryptography", "msgspec", "_cffi_backend", "typing_extensions"}
    assert {
        name for name in foreign.split() if not name.startswith(("_", "sitecustomize"))
    } <= needed


def test_the_block_is_real(vector, tmp_path):
    """The same program fails when a room that it needs is blocked."""
    path = tmp_path / "bundle"
    path.write_bytes(base64.b64decode(vector["file"]))
    done = verify(path, vector["key"], (*BLOCKED, "assay.ledger"))
    assert done.returncode != 0
    assert "ModuleNotFoundError" in done.stderr
