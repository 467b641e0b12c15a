"""A key service whose process is killed in the middle of a load (moto's server stands in for it)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.core import DataKeyClass
from assay.keys import (
    Keyring,
    KeyServiceUnavailableError,
    MemoryDataKeyTable,
    create_key,
    open_key_service,
)

_START_SECONDS = 60.0


def started(port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("ab") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, cwd=log.parent)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return server
    server.kill()
    server.wait()
    pytest.fail(f"moto's server did not start: {log.read_text()[-2000:]}", pytrace=False)


def test_a_service_that_is_killed_loses_no_key_and_hands_out_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    log = tmp_path / "log"
    server = started(port, log)
    try:
        options = {"directory": tmp_path, "environment": os.environ}
        base = f"aws-kms:alias/kek?region=eu-central-1&endpoint=http://127.0.0.1:{port}"
        create_key(base, **options)
        service = open_key_service(f"{base}&deadline=4", **options)
        table = MemoryDataKeyTable()
        keyring = Keyring(service, table)

        def make(thread: int) -> tuple[list[str], list[float]]:
            made, waited = [], []
            for number in range(10_000):
                owner, began = f"{thread}-{number}", time.monotonic()
                try:
                    keyring.current(owner, DataKeyClass.ROWS)
                except KeyServiceUnavailableError:
                    waited.append(time.monotonic() - began)
                    return made, waited
                made.append(owner)
            pytest.fail("the server was not killed")

        with ThreadPoolExecutor(4) as threads:
            running = threads.map(make, range(4))
            time.sleep(1)
            server.kill()
            found = list(running)
        made = sorted(owner for owners, _ in found for owner in owners)
        waited = [seconds for _, all_seconds in found for seconds in all_seconds]
        assert made
        assert len(waited) == 4
        assert max(waited) < 10
        # each key that was given out is in the table, and no other
        assert list(table.owners(DataKeyClass.ROWS)) == made
        # who is warm goes on, who is cold gets an error and no key
        assert len(keyring.current(made[0], DataKeyClass.ROWS).material) == 32
        with pytest.raises(KeyServiceUnavailableError):
            keyring.current("cold", DataKeyClass.ROWS)
        assert not table.versions("cold", DataKeyClass.ROWS)
    finally:
        server.kill()
        server.wait()
