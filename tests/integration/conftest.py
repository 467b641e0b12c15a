"""Real servers for tests: each has its own files and port, and leaves nothing behind.

- `softhsm_token`: a fresh SoftHSM2 token for one test, its PIN and its environment.
- `postgresql_url`: a PostgreSQL cluster of this test process (each worker of pytest-xdist has its
  own), started when the first test asks for it.
- `fresh_postgresql_url`: an empty database in that cluster, for one test.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_START_SECONDS = 60.0


@dataclass(frozen=True)
class SoftHsmToken:
    """A token that was made for one test.

    Attributes:
        label: its name.
        pin: its user PIN.
        so_pin: its security officer's PIN.
        module: the PKCS#11 library.
        directory: where SoftHSM keeps its files.
        environment: what a process needs to find and open it (``SOFTHSM2_CONF``, ``ASSAY_PIN``,
            ``ASSAY_PKCS11_MODULE``); ``SOFTHSM2_CONF`` is set in this process as well.
    """

    label: str
    pin: str
    so_pin: str
    module: Path
    directory: Path
    environment: dict[str, str]

    def uri(self, name: str) -> str:
        """The URI of a key on the token."""
        return f"pkcs11:token={self.label};object={name}"


@pytest.fixture(scope="session")
def softhsm_directory(needs: Callable[[str], None]) -> Iterator[Path]:
    """Where SoftHSM keeps the tokens of this test process.

    SoftHSM reads ``SOFTHSM2_CONF`` when it is initialised, once for a process, so the directory
    belongs to the session, and each test gets a token of its own in it.
    """
    needs("softhsm2")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder, "tokens")
        tokens.mkdir(mode=0o700)
        configuration = Path(folder, "softhsm2.conf")
        configuration.write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        patch.setenv("SOFTHSM2_CONF", str(configuration))
        yield tokens


@pytest.fixture
def softhsm_token(softhsm_directory: Path) -> SoftHsmToken:
    """A fresh token."""
    from assay.keys import initialise_token
    from assay.keys.pkcs11_uri import Pkcs11Uri, find_module

    module = find_module(Pkcs11Uri(), Path(), {})
    label = f"assay-{secrets.token_hex(4)}"
    pin, so_pin = secrets.token_hex(6), secrets.token_hex(6)
    initialise_token(module, label=label, so_pin=so_pin, user_pin=pin)
    environment = {
        "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"],
        "ASSAY_PIN": pin,
        "ASSAY_PKCS11_MODULE": str(module),
    }
    return SoftHsmToken(label, pin, so_pin, module, softhsm_directory, environment)


@pytest.fixture(scope="session")
def postgresql_url(needs: Callable[[str], None]) -> Iterator[str]:
    """The URL of a cluster's database ``postgres``, as its superuser."""
    needs("postgresql")
    server_user = _server_user()
    # Not under pytest's own folder: PostgreSQL's user could not reach it when root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="assay-postgresql-"))
    try:
        if server_user:
            shutil.chown(folder, server_user)
        password = secrets.token_hex(16)
        _initialise(folder, password, server_user)
        port = _free_port()
        with (folder / "log").open("wb") as log:
            command = [
                str(_binary("postgres")), "-D", str(folder / "data"), "-p", str(port),
                "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                "-c", "fsync=off",
            ]  # fmt: skip
            server = subprocess.Popen(
                command, stdout=log, stderr=log, user=server_user, cwd=folder, env=_PLAIN
            )
        try:
            url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
            _await(server, url, folder / "log")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)  # lets clients end first
            except subprocess.TimeoutExpired:
                server.send_signal(2)  # "fast" shutdown: clients are thrown out
                server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh_postgresql_url(postgresql_url: str) -> Iterator[str]:
    """The URL of an empty database, which goes away after the test."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield f"{postgresql_url.rpartition('/')[0]}/{name}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


_PLAIN = {"LC_ALL": "C", "PATH": os.environ.get("PATH", "")}


def _binary(name: str) -> Path:
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"),
        key=lambda path: int(path.parts[-3].partition(".")[0]),
    )
    return found[-1]


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root; then it runs as the user of its package."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.fail("expected a user postgres or nobody to run PostgreSQL as, found neither")


def _initialise(folder: Path, password: str, server_user: str | None) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if server_user:
        shutil.chown(secret, server_user)
    done = subprocess.run(
        [
            str(_binary("initdb")), "-D", str(folder / "data"), "-U", "postgres", "-E", "UTF8",
            "--locale=C", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync",
        ],
        capture_output=True, user=server_user, cwd=folder, env=_PLAIN, check=False,
    )  # fmt: skip
    secret.unlink()
    if done.returncode:
        pytest.fail(f"initdb failed: {done.stderr.decode(errors='replace')}", pytrace=False)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    tail = log.read_text(errors="replace")[-2000:]
    print(tail, file=sys.stderr)
    pytest.fail("PostgreSQL did not start", pytrace=False)
