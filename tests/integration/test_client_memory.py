"""How many copies of a data key a client's memory holds, while its keyring keeps it and afterwards.

The client is a process of its own, with a keyring on `assay kms serve`; this process knows the key
from another call, and searches the client's memory from outside (/proc/PID/mem).

What is found is what CPython, OpenSSL and boto3 leave. The test holds what Assay answers for: no
object keeps the key after its time is over, and freed memory that is used again has no copy of it.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from assay.keys import open_key_service
from assay.keys.data_key import data_key_id

from .conftest import SoftHsmToken
from .kms_server import REGION, KmsServer

CONTEXT = {"owner": "north", "class": "rows", "version": "1"}

CLIENT = """
import gc, json, os, sys
from datetime import UTC, datetime
from pathlib import Path
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from assay.core import DataKeyClass, WrappedDataKey
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, open_key_service

given = json.loads(sys.stdin.readline())
service = open_key_service(given["uri"], directory=Path(), environment=os.environ)
table = MemoryDataKeyTable()
table.add(WrappedDataKey("north", DataKeyClass.ROWS, 1, bytes.fromhex(given["key_id"]),
                         service.uri, bytes.fromhex(given["wrapped"]), datetime.now(UTC)))
now = [0.0]
keyring = Keyring(service, table, cache_ttl_seconds=60, watch_seconds=3600,
                  monotonic=lambda: now[0])


def use():
    key = keyring.current("north", DataKeyClass.ROWS)
    nonce = os.urandom(12)
    for _ in range(100):
        AESGCM(key.material).decrypt(nonce, AESGCM(key.material).encrypt(nonce, b"row", None), None)


def other_work():
    for size in (*range(16, 2048, 16), 4096, 16384, 65536):
        kept = [os.urandom(size) for _ in range(2000 if size < 600 else 50)]
        del kept


def objects():
    return sum(isinstance(each, DataKey) for each in gc.get_objects())


def say(**facts):
    print(json.dumps(facts), flush=True)
    sys.stdin.readline()


say(objects=objects())
use()
say(objects=objects())
now[0] = 61.0
keyring.tend()
gc.collect()
say(objects=objects())
other_work()
service.unwrap(bytes.fromhex(given["other"]), given["context"])  # as the next key would
other_work()
say(objects=objects())
"""


def copies(pid: int, secret: bytes) -> dict[str, int]:
    """How often the bytes stand in the readable memory of a process, by how they are written."""
    forms = {
        "raw": secret,
        "hexadecimal": secret.hex().encode(),
        "base64": base64.b64encode(secret)[:42],
    }
    found = dict.fromkeys(forms, 0)
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match is None:
                continue
            start, end = (int(part, 16) for part in match.groups())
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue  # taken away since, or no memory that can be read
            for name, form in forms.items():
                found[name] += data.count(form)
    return found


@pytest.fixture
def server(softhsm_token: SoftHsmToken, tmp_path: Path) -> Iterator[KmsServer]:
    made = KmsServer(
        tmp_path, softhsm_token.environment, f"pkcs11:token={softhsm_token.label}",
        f"sqlite:///{tmp_path / 'kms.db'}",
    )  # fmt: skip
    made.prepare()
    access = made.user("admin", full_access=True)
    made.start()
    made.client(access).create_alias(
        AliasName="alias/kek",
        TargetKeyId=made.client(access).create_key()["KeyMetadata"]["KeyId"],
    )
    made.environment = {**made.environment, **access}
    yield made
    made.stop()


def measured(server: KmsServer, environment: Mapping[str, str]) -> Iterator[dict[str, int]]:
    uri = f"aws-kms:alias/kek?region={REGION}&endpoint={server.url}&ca={server.folder / 'ca.pem'}"
    service = open_key_service(uri, directory=server.folder, environment=environment)
    secret, wrapped = service.generate_data_key(CONTEXT)
    _, other = service.generate_data_key(CONTEXT)
    given = {
        "uri": uri,
        "key_id": data_key_id(secret).hex(),
        "wrapped": wrapped.hex(),
        "other": other.hex(),
        "context": CONTEXT,
    }
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=dict(environment),
    ) as client:  # fmt: skip
        assert client.stdin is not None
        assert client.stdout is not None
        said = f"{json.dumps(given)}\n"
        for _ in range(4):
            client.stdin.write(said)
            client.stdin.flush()
            told = json.loads(client.stdout.readline())
            yield {**copies(client.pid, secret), **told}
            said = "\n"
        client.stdin.write("\n")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/mem is Linux's")
def test_a_client_forgets_a_data_key(server: KmsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = server.environment_of(
        {name: server.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before, kept, dropped, later = measured(server, environment)
    assert before == {"raw": 0, "hexadecimal": 0, "base64": 0, "objects": 0}
    # While it is kept: one object with the one copy of the bytes. OpenSSL wipes its own.
    assert (kept["objects"], kept["raw"], kept["hexadecimal"]) == (1, 1, 0)
    # Afterwards no object has it. Freed memory may, until it is used again.
    assert (dropped["objects"], later["objects"]) == (0, 0)
    assert dropped["raw"] <= 1
    assert (later["raw"], later["hexadecimal"]) == (0, 0)
    # The service's answer held it in base64, and is left in memory that boto3 and TLS used.
    assert max(each["base64"] for each in (kept, dropped, later)) <= 2
