"""Real servers for tests: each has its own files and port, and leaves nothing behind.

- `softhsm_token`: a fresh SoftHSM2 token for one test, its PIN and its environment.
- `postgresql_url`: a PostgreSQL cluster of this test process (each worker of pytest-xdist has its
  own), started when the first test asks for it.
- `fresh_postgresql_url`: an empty database in that cluster, for one test.
- `mariadb_url`, `fresh_mariadb_url`: the same of a MariaDB server.
- `s3`: an S3 server (``rclone serve s3``) of this test process, with TLS.
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
from typing import Any

import pytest
import trustme

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
    return new_token(softhsm_directory)


def new_token(directory: Path) -> SoftHsmToken:
    """A fresh token among those of this test process."""
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
    return SoftHsmToken(label, pin, so_pin, module, directory, environment)


@pytest.fixture(scope="session")
def postgresql_url(needs: Callable[[str], None]) -> Iterator[str]:
    """The URL of a cluster's database ``postgres``, as its superuser."""
    needs("postgresql")
    server_user = _server_user("postgres")
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
                "-c", "fsync=off", "-c", "max_prepared_transactions=8",
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


@pytest.fixture(scope="session")
def mariadb_url(needs: Callable[[str], None]) -> Iterator[str]:
    """The URL of a MariaDB server's database ``mysql``, as its superuser."""
    needs("mariadb")
    server_user = _server_user("mysql")
    folder = Path(tempfile.mkdtemp(prefix="assay-mariadb-"))
    try:
        if server_user:
            shutil.chown(folder, server_user)
        password = secrets.token_hex(16)
        _initialise_mariadb(folder, password, server_user)
        port = _free_port()
        with (folder / "log").open("wb") as log:
            command = [
                shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults",
                f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}", f"--port={port}", "--skip-networking=0",
                "--bind-address=127.0.0.1", "--skip-name-resolve",
                f"--init-file={folder / 'users'}", "--innodb-flush-log-at-trx-commit=0",
                "--log-bin=changes", "--server-id=1", f"--tmpdir={folder}",
            ]  # fmt: skip
            server = subprocess.Popen(
                command, stdout=log, stderr=log, user=server_user, cwd=folder, env=_PLAIN
            )
        try:
            url = f"mariadb://root:{password}@127.0.0.1:{port}/mysql"
            _await_mariadb(server, port, password, folder / "log")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh_mariadb_url(mariadb_url: str) -> Iterator[str]:
    """The URL of an empty database of that server, which goes away after the test."""
    from sqlalchemy import make_url

    address = make_url(mariadb_url)
    name = f"test_{secrets.token_hex(6)}"
    _tell_mariadb(int(address.port or 0), str(address.password), f"CREATE DATABASE {name}")
    yield f"{mariadb_url.rpartition('/')[0]}/{name}"
    _tell_mariadb(int(address.port or 0), str(address.password), f"DROP DATABASE {name}")


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


@dataclass(frozen=True)
class S3Server:
    """An S3 server whose objects are files.

    Attributes:
        url: where it answers, with TLS.
        ca: the certificate of its authority.
        access_key: whom it lets in.
        secret_key: and how.
        folder: its buckets as folders, its objects as files in them.
    """

    url: str
    ca: Path
    access_key: str
    secret_key: str
    folder: Path

    def client(self, **options: Any) -> Any:
        """A client that trusts the server's certificate and no other."""
        import boto3
        from botocore.config import Config

        settings = Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"max_attempts": 2},
        )
        given = {
            "endpoint_url": self.url,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": "us-east-1",
            "verify": str(self.ca),
            "config": settings,
        }
        return boto3.client("s3", **{**given, **options})

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"bucket-{secrets.token_hex(4)}"
        self.client().create_bucket(Bucket=name)
        return name


@pytest.fixture(scope="session")
def s3(needs: Callable[[str], None]) -> Iterator[S3Server]:
    """An S3 server of this test process."""
    needs("rclone")
    with tempfile.TemporaryDirectory(prefix="assay-s3-") as folder:
        root = Path(folder)
        ca = trustme.CA()
        certificate = ca.issue_cert("127.0.0.1")
        ca.cert_pem.write_to_path(root / "ca.pem")
        certificate.private_key_pem.write_to_path(root / "key.pem")
        chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
        (root / "chain.pem").write_bytes(chain)
        (root / "data").mkdir()
        (root / "rclone.conf").touch()
        port, secret_key = _free_port(), secrets.token_hex(16)
        server = S3Server(
            f"https://127.0.0.1:{port}", root / "ca.pem", "assaytests", secret_key, root / "data"
        )
        command = [
            shutil.which("rclone") or str(Path(sys.executable).with_name("rclone")),
            "serve", "s3", "--config", str(root / "rclone.conf"), "--cache-dir", str(root / "cache"),
            "--addr", f"127.0.0.1:{port}", "--cert", str(root / "chain.pem"),
            "--key", str(root / "key.pem"), "--min-tls-version", "tls1.2",
            "--vfs-cache-mode", "writes", "--vfs-write-back", "0s", str(server.folder),
        ]  # fmt: skip
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log,
                env={**_PLAIN, "RCLONE_AUTH_KEY": f'"{server.access_key},{secret_key}"'},
            )  # fmt: skip
        try:
            _await_port(process, port, root / "log")
            yield server
        finally:
            process.terminate()
            process.wait(30)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
    pytest.fail("the S3 server did not start", pytrace=False)


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


def _server_user(of_the_package: str) -> str | None:
    """Servers refuse to run as root; then they run as the user of their package."""
    if os.geteuid() != 0:
        return None
    for name in (of_the_package, "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.fail(f"expected a user {of_the_package} or nobody to run a server as, found neither")


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


def _initialise_mariadb(folder: Path, password: str, server_user: str | None) -> None:
    users = folder / "users"
    users.touch(mode=0o600)
    users.write_text(
        "DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';\n"  # noqa: S608 - of this test
        "FLUSH PRIVILEGES;\n"
        f"CREATE USER root@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
    )
    if server_user:
        shutil.chown(users, server_user)
    done = subprocess.run(
        [
            str(shutil.which("mariadb-install-db")), "--no-defaults", f"--datadir={folder / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        ],
        capture_output=True, user=server_user, cwd=folder, check=False,
        # A folder for temporary tables of its own: their names hold no more than a process id.
        env={**_PLAIN, "PATH": f"{_PLAIN['PATH']}:/usr/sbin", "TMPDIR": str(folder)},
    )  # fmt: skip
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        pytest.fail(f"mariadb-install-db failed: {said}", pytrace=False)


def _tell_mariadb(port: int, password: str, statement: str) -> None:
    import pymysql

    connection = pymysql.connect(
        host="127.0.0.1", port=port, user="root", password=password, connect_timeout=2
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _await_mariadb(server: subprocess.Popen[bytes], port: int, password: str, log: Path) -> None:
    import pymysql

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            _tell_mariadb(port, password, "SELECT 1")
        except pymysql.err.OperationalError:
            time.sleep(0.05)
        else:
            return
    print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
    pytest.fail("MariaDB did not start", pytrace=False)
