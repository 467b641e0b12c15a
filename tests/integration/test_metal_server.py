"""The real server: a process of its own, HTTPS on loopback, real keys, real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

# Its company is set up once, in one worker.
pytestmark = pytest.mark.xdist_group("metal-server")

METAL = Path(__file__).parents[2] / "examples" / "metal"
HSTS = "max-age=63072000; includeSubDomains; preload"
DEADLINE_SECONDS = 60.0
CANARY = "quartzite-7f3a91c2"


def variables(home: Path, **others: str) -> dict[str, str]:
    """The environment of Metal's processes; of the surroundings only what Python needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(METAL),
        "METAL_HOME": str(home),
        "METAL_HTTPS_PORT": "0",
        "METAL_HTTP_PORT": "0",
        **others,
    }


def metal(
    *arguments: str, environment: Mapping[str, str], timeout: float = DEADLINE_SECONDS
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metal", *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def set_up(home: Path, **others: str) -> dict[str, str]:
    environment = variables(home, **others)
    done = metal("setup", "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    prepared = json.loads(done.stdout)
    environment |= prepared["environment"]
    environment["NOTES"] = "\n".join(prepared["notes"])
    # The addresses of set-up are those of the usual ports; these servers take free ones.
    del environment["METAL_URL"], environment["METAL_HTTP_URL"]
    return environment


@dataclass
class Server:
    """A running server.

    Attributes:
        process: its process.
        environment: what it and its clients run in.
        data: its folder.
        https: its address.
        http: the address that redirects.
        client: an HTTPS client that trusts its authority only.
    """

    process: subprocess.Popen[str]
    environment: dict[str, str]
    data: Path
    https: str
    http: str
    client: httpx.Client

    @property
    def port(self) -> int:
        return int(self.https.rsplit(":", 1)[1])

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, output + errors

    def raw_bytes(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.data)): path.read_bytes()
            for path in sorted(self.data.rglob("*"))
            if path.is_file()
        }


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[Server]:
    data = Path(environment["METAL_DATA"])
    process = subprocess.Popen(
        [sys.executable, "-m", "metal", "serve", *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = ready(process, data)
        context = ssl.create_default_context(cafile=str(data / "ca.pem"))
        with httpx.Client(base_url=address["https"], verify=context, trust_env=False) as client:
            yield Server(process, environment, data, address["https"], address["http"], client)
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)


def ready(process: subprocess.Popen[str], data: Path) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server did not start: {process.communicate()}")
        try:
            address: dict[str, Any] = json.loads((data / "server.json").read_bytes())
        except FileNotFoundError:
            address = {}
        if address.get("pid") == process.pid:
            return address
        time.sleep(0.05)
    pytest.fail("the server was not ready in time")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Metal that is set up with an embedded key store; its server is not running."""
    return set_up(tmp_path_factory.mktemp("metal-embedded"), METAL_KEY_STORE="embedded")


@pytest.fixture(scope="module")
def server(embedded: dict[str, str]) -> Iterator[Server]:
    """A running Metal with an embedded key store."""
    with running(embedded) as started:
        yield started


def handshake(port: int, ca: Path, version: ssl.TLSVersion) -> str | None:
    context = ssl.create_default_context(cafile=str(ca))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old protocols, on purpose
        context.minimum_version = context.maximum_version = version
    # OpenSSL refuses to offer the old protocols at its usual security level.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("localhost", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        return wrapped.version()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(server: Server, version: ssl.TLSVersion) -> None:
    spoken = handshake(server.port, server.data / "ca.pem", version)

    assert spoken == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_protocols_are_refused(server: Server, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol|version"):
        handshake(server.port, server.data / "ca.pem", version)


def test_a_client_that_does_not_know_the_authority_refuses(server: Server) -> None:
    with httpx.Client(trust_env=False) as stranger, pytest.raises(httpx.ConnectError):
        stranger.get(f"{server.https}/health")


def test_every_answer_sends_hsts_even_to_what_is_not_http(server: Server) -> None:
    for path in ("/health", "/nowhere", "/v1/collections"):
        assert server.client.get(path).headers.get_list("strict-transport-security") == [HSTS]
    context = ssl.create_default_context(cafile=str(server.data / "ca.pem"))
    with (
        socket.create_connection(("localhost", server.port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(b"this is not HTTP\r\n\r\n")
        answer = wrapped.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert f"Strict-Transport-Security: {HSTS}" in answer


def test_plain_http_redirects_and_serves_nothing(server: Server) -> None:
    with httpx.Client(trust_env=False) as plain:
        for method, path in (("GET", "/v1/audit?limit=5"), ("POST", "/v1/tenants")):
            answer = plain.request(method, f"{server.http}{path}")
            assert answer.status_code == 308
            assert answer.headers["location"] == f"{server.https}{path}"
            assert "strict-transport-security" not in answer.headers
            assert answer.content == b""
        assert plain.get(server.http, headers={"Host": "evil.example"}).status_code == 421


def test_traffic_runs_through_and_leaves_no_plaintext(server: Server) -> None:
    done = metal("traffic", "--seed", "7", environment=server.environment)

    assert done.returncode == 0, done.stderr
    assert "documents created" in done.stdout
    for name, data in server.raw_bytes().items():
        for word in (b"auditors will ask", b"Okafor", b"@example.com", b"Gehaltsliste"):
            assert word not in data, name


def plant(environment: Mapping[str, str]) -> list[str]:
    """Call the planting function as a check does: in a process that has the programme's folder."""
    values = {
        "text": f"{CANARY} text",
        "email": f"{CANARY}@example.org",
        "name": f"{CANARY} Wren",
        "file": f"{CANARY}.pdf",
        "metadata": f"{CANARY} note",
    }
    program = (
        "import json, os; from metal.canaries import plant;"
        f"print(json.dumps(list(plant({values!r}, os.environ))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    paths: list[str] = json.loads(done.stdout)
    return paths


def test_canaries_are_planted_and_found_nowhere(server: Server) -> None:
    assert len(plant(server.environment)) > 12

    files = server.raw_bytes()
    assert len(files) > 5
    assert not [name for name, data in files.items() if CANARY.encode() in data]


def test_the_admin_token_and_the_pin_are_readable_by_their_owner_only(server: Server) -> None:
    for name in ("admin-token", "pin", "keys.json", "server.pem", "logs/metal.jsonl"):
        assert (server.data / name).stat().st_mode & 0o077 == 0, name
    secrets = [(server.data / name).read_bytes().strip() for name in ("admin-token", "pin")]
    for name, data in server.raw_bytes().items():
        if name not in {"admin-token", "pin"}:
            assert not [secret for secret in secrets if secret in data], name


def test_a_second_server_in_the_same_folder_is_refused(server: Server) -> None:
    done = metal("serve", environment=server.environment)

    assert done.returncode == 2
    assert "expected to be the only one" in done.stderr
    assert "Traceback" not in done.stderr
    assert server.client.get("/health").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_it_starts_again(
    embedded: dict[str, str], tmp_path: Path, number: int
) -> None:
    environment = {**embedded, "METAL_DATA": str(tmp_path / "data")}
    with running(environment) as first:
        assert first.client.get("/health").status_code == 200
        code, said = first.stop(number)
        assert code == 0
        assert "metal: stopped" in said
        assert "Traceback" not in said
        assert not (first.data / "server.json").exists()
        events = [
            json.loads(line)["event"]
            for line in (first.data / "logs" / "metal.jsonl").read_text().splitlines()
        ]
        assert events[0] == "server.starting"
        assert events[-1] == "server.stopped"
    with running(environment) as second:
        assert second.client.get("/health").status_code == 200


def test_it_does_not_outlive_the_program_that_started_it(
    embedded: dict[str, str], tmp_path: Path
) -> None:
    environment = {**embedded, "METAL_DATA": str(tmp_path / "data")}
    with running(environment, "--stop-at-end-of-input") as started:
        assert started.process.stdin is not None
        started.process.stdin.close()
        assert started.process.wait(DEADLINE_SECONDS) == 0
        started.process.stdin = None


def test_rows_survive_a_kill(embedded: dict[str, str], tmp_path: Path) -> None:
    environment = {**embedded, "METAL_DATA": str(tmp_path / "data")}
    with running(environment) as first:
        token = (Path(embedded["METAL_DATA"]) / "admin-token").read_text().strip()
        made = first.client.post(
            "/v1/tenants", json={"name": "Noether"}, headers={"Authorization": f"Bearer {token}"}
        )
        headers = {"Authorization": f"Bearer {made.json()['api_key']}"}
        first.client.post("/v1/collections", json={"name": "papers"}, headers=headers)
        first.process.kill()
        first.process.wait(DEADLINE_SECONDS)
    with running(environment) as second:
        (kept,) = second.client.get("/v1/collections", headers=headers).json()
        assert kept["name"] == "papers"


def test_a_port_that_is_taken_is_named(embedded: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        environment = {
            **embedded,
            "METAL_DATA": str(tmp_path / "data"),
            "METAL_HTTPS_PORT": port,
        }
        done = metal("serve", environment=environment)

    assert done.returncode == 2
    assert f"port {port} of loopback: found it taken" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"METAL_KEYS": ""}, "METAL_KEYS"),
        ({"METAL_KEYS": "embedded:data/none.json?passphrase-source=file:data/pin"}, "none.json"),
        ({"METAL_KEYS": "embedded:data/keys.json?passphrase-source=env:WRONG"}, "passphrase"),
        ({"METAL_KEYS": "embedded:data/keys.json?passphrase-source=env:NONE"}, "NONE"),
        ({"METAL_ADMIN_TOKEN": "file:data/none"}, "data/none"),
        ({"DATABASE_URL": "postgresql+psycopg://nobody@localhost:1/none"}, "expected"),
        ({"METAL_HTTPS_PORT": "many"}, "METAL_HTTPS_PORT"),
    ],
)
def test_it_does_not_start_on_what_is_missing_or_wrong(
    embedded: dict[str, str], tmp_path: Path, change: dict[str, str], expected: str
) -> None:
    environment = {
        **embedded,
        "METAL_DATA": str(tmp_path / "data"),
        "WRONG": "another passphrase",
        **change,
    }

    done = metal("serve", environment=environment)

    assert done.returncode == 2
    assert done.stderr.startswith("metal: error: expected")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "another passphrase" not in done.stderr
    assert not (tmp_path / "data" / "server.json").exists()


def test_setting_up_again_changes_nothing(embedded: dict[str, str]) -> None:
    data = Path(embedded["METAL_DATA"])
    names = ("pin", "admin-token", "keys.json", "setup.json")
    before = [(data / name).read_bytes() for name in names]

    again = set_up(Path(embedded["METAL_HOME"]))

    assert [(data / name).read_bytes() for name in names] == before
    assert again["METAL_KEYS"] == embedded["METAL_KEYS"]
    assert "not an HSM" in again["NOTES"]


def test_set_up_prints_lines_for_a_shell(embedded: dict[str, str]) -> None:
    done = metal("setup", environment=variables(Path(embedded["METAL_HOME"])))

    assert done.returncode == 0
    assert "not an HSM" in done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("export ") for line in lines)
    assert any(line.startswith("export METAL_KEYS=") for line in lines)
    pin = (Path(embedded["METAL_DATA"]) / "pin").read_text().strip()
    assert pin not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["", "{}", '{"keys": "paper"}', "["])
def test_a_damaged_record_of_the_set_up_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "setup.json").write_text(text)

    done = metal("setup", environment=variables(tmp_path))

    assert done.returncode == 2
    assert "setup.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_on_a_software_token(tmp_path: Path, needs: Callable[[str], None]) -> None:
    needs("softhsm2")
    environment = set_up(tmp_path, METAL_KEY_STORE="softhsm2")
    assert environment["METAL_KEYS"].startswith("pkcs11:token=metal;object=kek")
    assert "a software token, not an HSM" in environment["NOTES"]
    again = set_up(tmp_path)
    assert again["METAL_KEYS"] == environment["METAL_KEYS"]

    with running(environment) as started:
        done = metal("traffic", environment=environment)
        assert done.returncode == 0, done.stderr
        assert len(plant(environment)) > 12
        code, said = started.stop()
        assert (code, "Traceback" in said) == (0, False)
    files = started.raw_bytes()
    assert any(name.startswith("softhsm/tokens/") for name in files)
    assert not [name for name, data in files.items() if CANARY.encode() in data]

    (tmp_path / "data" / "pin").write_text("000000\n")
    done = metal("serve", environment=environment)
    assert done.returncode == 2
    assert "PIN" in done.stderr
    assert "000000" not in done.stderr


def test_an_interrupted_set_up_is_finished(tmp_path: Path, needs: Callable[[str], None]) -> None:
    needs("softhsm2")
    unfinished = tmp_path / "data" / "softhsm.unfinished" / "tokens"
    unfinished.mkdir(parents=True)
    (tmp_path / "data" / "pin").write_text("kept-pin\n")

    environment = set_up(tmp_path, METAL_KEY_STORE="softhsm2")

    assert not unfinished.exists()
    assert (tmp_path / "data" / "pin").read_text() == "kept-pin\n"
    with running(environment) as started:
        assert started.client.get("/health").status_code == 200


def test_it_runs_on_postgresql(tmp_path: Path, fresh_postgresql_url: str) -> None:
    url = fresh_postgresql_url
    environment = set_up(tmp_path, METAL_KEY_STORE="embedded", DATABASE_URL=url)
    assert environment["KEY_DATABASE_URL"] == environment["DATABASE_URL"] == url

    with running(environment) as started:
        done = metal("traffic", environment=environment)
        assert done.returncode == 0, done.stderr
        assert len(plant(environment)) > 12
        assert list((started.data).glob("uploads-*/*/*"))
        changes_at_once_are_all_kept(started)
        code, _ = started.stop()
        assert code == 0
    with running(environment) as again:
        assert again.client.get("/health").status_code == 200
    assert not list((tmp_path / "data").glob("*.db"))
    audit_entries_stay_as_they_are(url)


def changes_at_once_are_all_kept(server: Server) -> None:
    """All sealed fields of a row are one envelope: without a lock an update would undo another."""
    token = (server.data / "admin-token").read_text().strip()
    made = server.client.post(
        "/v1/tenants", json={"name": "Noether"}, headers={"Authorization": f"Bearer {token}"}
    )
    headers = {"Authorization": f"Bearer {made.json()['api_key']}"}
    changes = {"owner_name": "Grace", "owner_email": "grace@example.com", "text": "two"}
    body = {"owner_name": "Ada", "owner_email": "ada@example.com", "text": "one"}
    for number in range(5):
        posted = server.client.post(
            "/v1/collections", json={"name": f"papers {number}"}, headers=headers
        )
        documents = f"/v1/collections/{posted.json()['id']}/documents"
        one = server.client.post(documents, json=body, headers=headers).json()["id"]

        def change(item: tuple[str, str], path: str = f"{documents}/{one}") -> int:
            return server.client.patch(path, json=dict([item]), headers=headers).status_code

        with ThreadPoolExecutor(3) as threads:
            assert list(threads.map(change, changes.items())) == [200] * 3
        read = server.client.get(f"{documents}/{one}", headers=headers).json()
        assert {name: read[name] for name in changes} == changes


def audit_entries_stay_as_they_are(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            "UPDATE audit_entries SET action = 'nothing'",
            "DELETE FROM audit_entries",
            "TRUNCATE audit_entries",
        ):
            with pytest.raises(psycopg.Error, match="append-only"):
                connection.execute(statement)
        row = connection.execute("SELECT count(*) FROM audit_entries").fetchone()
        assert row is not None
        assert row[0] > 200
