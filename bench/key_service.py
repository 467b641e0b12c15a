"""What `assay kms serve` does in a second, beside the moto server, as ratios.

    python bench/key_service.py                               # two minutes
    python bench/key_service.py --quick                       # seconds; proves that it works

Both make data keys (GenerateDataKey, AES_256, a context of three pairs) over TLS, for one
lean client that signs beforehand and keeps connections open, which moto's server ends after each
answer. boto3 itself takes longer for a request than the service. The servers take turns in one run,
and the table shows medians.

They do not do the same for it. The service verifies the signature, evaluates the policies, encrypts
in a PKCS#11 token (SoftHSM2) and has the audit event on the disk before it answers; moto does none
of these: it encrypts in memory, whoever asks. What is compared is what a test suite gets.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from assay.keys import initialise_token
from assay.keys.pkcs11_uri import Pkcs11Uri, find_module
from times import table

REGION, LABEL = "eu-central-1", "assay-kms"
CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Contender:
    """A server that runs.

    Attributes:
        name: in the table.
        port: on 127.0.0.1.
        access_key_id: to sign with.
        secret: to sign with.
        key_id: of the key that encrypts.
    """

    name: str
    port: int
    access_key_id: str
    secret: str
    key_id: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds; proves that it works")
    options = parser.parse_args(arguments)
    seconds, rounds = (0.5, 1) if options.quick else (4.0, 3)
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        certificates(Path(folder))
        contenders = [stack.enter_context(start(Path(folder))) for start in (assay, moto)]
        for _ in range(rounds):
            for connections in (1, 16):
                for each in contenders:
                    found = rate(each, Path(folder), connections, seconds)
                    rates.setdefault((each.name, connections), []).append(found)
                    sys.stderr.write(f"{each.name}, {connections} connections: {found:.0f}/s\n")
    print_table(rates)
    return 0


def print_table(rates: Mapping[tuple[str, int], Sequence[float]]) -> None:
    """One line for each number of connections."""
    lines = []
    for connections in (1, 16):
        ours, theirs = (
            statistics.median(rates[name, connections]) for name in ("assay kms serve", "moto")
        )
        lines.append([str(connections), f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.1f}"])
    head = ["connections", "assay kms serve, data keys/s", "moto, data keys/s", "ratio"]
    sys.stdout.write("\n".join(table(head, lines)) + "\n")


def certificates(folder: Path) -> None:
    """A certificate for this machine, and the authority that signed it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    for number, each in enumerate(issued.cert_chain_pems):
        each.write_to_path(str(folder / "cert.pem"), append=number > 0)


@contextmanager
def assay(folder: Path) -> Iterator[Contender]:
    """The service, on a token of SoftHSM2 and an SQLite file."""
    tokens = folder / "tokens"
    tokens.mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    os.environ["ASSAY_PIN"] = "a pin for this run"
    module = find_module(Pkcs11Uri(), folder, os.environ)
    initialise_token(module, label=LABEL, so_pin="an so pin", user_pin=os.environ["ASSAY_PIN"])
    run(folder, "init", "--account", "111122223333", "--region", REGION)
    run(folder, "principal", "add", "bench", "--full-access")
    access = json.loads(run(folder, "access-key", "create", "bench"))
    words = [
        *command("serve"), "--certificate", "cert.pem", "--private-key", "key.pem", "--port", "0",
    ]  # fmt: skip
    with running(words, folder) as server:
        told = ""
        for line in server.stdout or ():
            told += line
            if line.rstrip() == "}":
                break
        port = int(json.loads(told)["url"].rpartition(":")[2])
        made = access["access_key_id"], access["secret_access_key"]
        yield Contender("assay kms serve", port, *made, create_key(folder, port, *made))


@contextmanager
def moto(folder: Path) -> Iterator[Contender]:
    """moto's server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    words = [
        sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port),
        "-c", "cert.pem", "-k", "key.pem",
    ]  # fmt: skip
    with running(words, folder):
        until(lambda: socket.create_connection(("127.0.0.1", port), 1).close())
        yield Contender("moto", port, "AKIA", "secret", create_key(folder, port, "AKIA", "secret"))


def command(*words: str) -> list[str]:
    """`assay kms …`."""
    return [sys.executable, "-m", "assay", "kms", *words, "--json"]


def run(folder: Path, *words: str) -> str:
    """Run a command of the service to its end; what it wrote."""
    return subprocess.run(
        command(*words), cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@contextmanager
def running(words: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A server while the block lasts."""
    with subprocess.Popen(
        words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield server
        finally:
            server.terminate()


def until(attempt: Callable[[], Any]) -> None:
    """Try until it works."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            attempt()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def create_key(folder: Path, port: int, access_key_id: str, secret: str) -> str:
    """A key that encrypts."""
    client = boto3.client(
        "kms",
        region_name=REGION,
        endpoint_url=f"https://localhost:{port}",
        verify=str(folder / "ca.pem"),
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
    )
    return str(client.create_key()["KeyMetadata"]["KeyId"])


def signed_bytes(contender: Contender) -> bytes:
    """One request, signed, as it goes over the wire."""
    body = json.dumps(
        {"KeyId": contender.key_id, "KeySpec": "AES_256", "EncryptionContext": CONTEXT}
    ).encode()
    url = f"https://localhost:{contender.port}/"
    headers = {
        "X-Amz-Target": "TrentService.GenerateDataKey",
        "Content-Type": "application/x-amz-json-1.1",
    }
    request = AWSRequest("POST", url, data=body, headers=headers)
    credentials = Credentials(contender.access_key_id, contender.secret)
    SigV4Auth(credentials, "kms", REGION).add_auth(request)
    request.headers["Host"] = f"localhost:{contender.port}"
    request.headers["Content-Length"] = str(len(body))
    lines = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
    return b"POST / HTTP/1.1\r\n" + "".join(lines).encode() + b"\r\n" + body


def rate(contender: Contender, folder: Path, connections: int, seconds: float) -> float:
    """Answers in a second, on so many connections, each with one request at a time."""
    request = signed_bytes(contender)
    tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with ExitStack() as stack, selectors.DefaultSelector() as selector:

        def ask() -> None:
            plain = socket.create_connection(("127.0.0.1", contender.port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = stack.enter_context(tls.wrap_socket(plain, server_hostname="localhost"))
            selector.register(link, selectors.EVENT_READ, (link, bytearray()))
            link.sendall(request)

        for _ in range(connections):
            ask()
        answered, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            for key, _ in selector.select(1):
                link, held = key.data
                if not read(link, held):  # moto ends the connection after each answer
                    answered += is_whole(held)
                    selector.unregister(link)
                    link.close()
                    ask()
                elif is_whole(held) and b"connection: close" not in held.lower():
                    answered += 1
                    held.clear()
                    link.sendall(request)
        return answered / (time.perf_counter() - begun)


def read(link: ssl.SSLSocket, held: bytearray) -> bool:
    """Take what has come; False when the server ended the connection."""
    while True:
        try:
            more = link.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            more = b""
        held += more
        if not more or not link.pending():
            return bool(more)


def is_whole(held: bytearray) -> bool:
    """Whether an answer is here to its end; one that is no data key ends the run."""
    head, found, body = held.partition(b"\r\n\r\n")
    if not found:
        return False
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    if len(body) < length:
        return False
    if not head.startswith(b"HTTP/1.1 200") or b'"Plaintext"' not in body:
        raise SystemExit(f"expected a data key, found {bytes(head[:40])!r}")
    return True


if __name__ == "__main__":
    raise SystemExit(main())
