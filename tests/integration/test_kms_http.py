"""The service's HTTP over real TLS: real AWS clients, refused handshakes, bounds, a clean end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import trustme
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, SSLError
from tests.integration.kms_stub import ACCESS_KEY, REGION, SECRET

STUB = Path(__file__).with_name("kms_stub.py")
CANARY = b"quartzite-7f3a91c2"
TARGET = {"X-Amz-Target": "TrentService.ListKeys", "Content-Type": "application/x-amz-json-1.1"}


@dataclass
class Server:
    """A running stub.

    Attributes:
        process: it.
        port: on every address of localhost.
        ca: the certificate of its authority.
        log: what it wrote to standard error.
    """

    process: subprocess.Popen[str]
    port: int
    ca: Path
    log: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def said(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return (context or self.context()).wrap_socket(plain, server_hostname="localhost")

    def kms(self, **options: Any) -> Any:
        given = {
            "endpoint_url": self.url,
            "region_name": REGION,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET,
            "verify": str(self.ca),
            "config": Config(
                retries={"total_max_attempts": 1}, max_pool_connections=16, proxies={}
            ),
        }
        return boto3.client("kms", **{**given, **options})

    def signed(self, action: str, body: bytes = b"{}", **headers: str) -> bytes:
        """The bytes of a request."""
        request = AWSRequest("POST", f"{self.url}/", data=body, headers={**TARGET, **headers})
        request.headers.replace_header("X-Amz-Target", f"TrentService.{action}")
        SigV4Auth(Credentials(ACCESS_KEY, SECRET), "kms", REGION).add_auth(request)
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        lines += [f"Host: localhost:{self.port}", f"Content-Length: {len(body)}"]
        return "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode() + body


Start = Callable[..., Any]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a stub with limits of its own, and ends it."""
    folder = tmp_path_factory.mktemp("kms")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1", "::1")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "chain.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))

    @contextmanager
    def run(**limits: int) -> Iterator[Server]:
        log = folder / f"log-{time.monotonic_ns()}"
        arguments = [f"{name}={value}" for name, value in limits.items()]
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(STUB), "chain.pem", "key.pem", *arguments],
                cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""},
            )  # fmt: skip
        with process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line, log.read_text()
                yield Server(process, json.loads(line)["port"], folder / "ca.pem", log)
            finally:
                process.kill()

    return run


@pytest.fixture(scope="module")
def server(start: Start) -> Iterator[Server]:
    """A stub with the usual limits; at the end its log must hold nothing of any request."""
    with start() as running:
        yield running
        log = running.log.read_text()
        for secret in (SECRET, ACCESS_KEY, CANARY.decode(), "TrentService", "Signature", "KeyId"):
            assert secret not in log


@pytest.fixture(scope="module")
def impatient(start: Start) -> Iterator[Server]:
    """A stub that waits for two seconds and not longer."""
    with start(HANDSHAKE_SECONDS=2, REQUEST_SECONDS=2, IDLE_SECONDS=2) as running:
        yield running


def answer_of(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return received, b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < size:
        body += connection.recv(65536)
    return head, body


def ended(connection: socket.socket) -> bool:
    """Whether the server closes the connection, within the time-out of the socket."""
    try:
        while connection.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        return True
    return True


def answers(server: Server) -> bool:
    """Whether a new connection is answered."""
    try:
        with server.connect() as connection:
            connection.sendall(server.signed("ListKeys"))
            return answer_of(connection)[0].startswith(b"HTTP/1.1 200")
    except (ConnectionError, ssl.SSLError):
        return False


# AWS's clients


def test_boto3_in_the_header(server: Server) -> None:
    kms = server.kms()
    assert kms.list_keys()["Keys"] == [{"KeyId": "header", "KeyArn": ACCESS_KEY}]
    sealed = kms.encrypt(KeyId="alias/ü", Plaintext=CANARY, EncryptionContext={"a": "ß / +=&"})
    assert sealed["CiphertextBlob"] == sha256(CANARY).digest()


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        ({"aws_secret_access_key": "another"}, "InvalidSignatureException", 403),
        ({"aws_access_key_id": "AKIDANOTHER"}, "UnrecognizedClientException", 403),
        ({"region_name": "eu-west-1"}, "InvalidSignatureException", 403),
        ({"aws_session_token": "a"}, "UnrecognizedClientException", 403),
    ],
)
def test_boto3_is_refused(server: Server, options: dict[str, str], code: str, status: int) -> None:
    with pytest.raises(ClientError) as refused:
        server.kms(**options).list_keys()
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_boto3_reads_errors(server: Server) -> None:
    kms = server.kms()
    with pytest.raises(kms.exceptions.DisabledException, match="found a-key disabled") as refused:
        kms.describe_key(KeyId="a-key")
    assert len(refused.value.response["ResponseMetadata"]["RequestId"]) == 36
    with pytest.raises(ClientError, match="UnknownOperationException"):
        kms.list_grants(KeyId="a-key")
    with pytest.raises(kms.exceptions.KMSInternalException) as failed:
        kms.get_public_key(KeyId=CANARY.decode())
    assert CANARY.decode() not in str(failed.value)


def test_boto3_in_the_query(server: Server) -> None:
    url = server.kms().generate_presigned_url("list_keys", ExpiresIn=60)
    with httpx.Client(verify=server.context(), trust_env=False) as client:
        told = client.post(url, headers=TARGET)
        assert told.json()["Keys"][0] == {"KeyId": "presigned", "KeyArn": ACCESS_KEY}
        for other, headers in (
            (url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), TARGET),
            (url, {**TARGET, "X-Amz-Target": "TrentService.Decrypt"}),
        ):
            refused = client.post(other, headers=headers)
            assert (refused.status_code, refused.json()["__type"]) == (
                403,
                "InvalidSignatureException",
            )
        refused = client.post(url, headers=TARGET, content=b"{}")
        assert refused.json()["__type"] == "InvalidSignatureException", "the body is signed"
        limited = server.kms().generate_presigned_url("list_keys", Params={"Limit": 5})
        assert client.post(limited, headers=TARGET).json()["__type"] == "ValidationException"
    request = urllib.request.Request(url, method="POST", headers=TARGET)  # noqa: S310 - of https
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=server.context())
    )
    with opener.open(request, timeout=20) as reply:
        assert json.load(reply)["Keys"][0]["KeyId"] == "presigned"


class _WithBody(SigV4QueryAuth):
    """Signs the body as well, as other clients than botocore do."""

    body = b'{"KeyId":"k","Plaintext":"cXVhcnR6aXRl"}'

    def payload(self, request: Any) -> str:
        return sha256(self.body).hexdigest()


def test_a_presigned_body(server: Server) -> None:
    headers = {**TARGET, "X-Amz-Target": "TrentService.Encrypt"}
    request = AWSRequest("POST", f"{server.url}/", headers=headers)
    _WithBody(Credentials(ACCESS_KEY, SECRET), "kms", REGION, expires=60).add_auth(request)
    with httpx.Client(verify=server.context(), trust_env=False) as client:
        told = client.post(request.url, headers=headers, content=_WithBody.body)
        assert told.json()["KeyId"] == "k"
        told = client.post(request.url, headers=headers, content=_WithBody.body + b" ")
        assert told.json()["__type"] == "InvalidSignatureException"


def test_sixteen_connections_are_kept(server: Server) -> None:
    def talk(_: int) -> int:
        connection = http.client.HTTPSConnection(
            "localhost", server.port, timeout=20, context=server.context()
        )
        connection.connect()
        opened, done = connection.sock, 0
        for _ in range(20):
            body = b"{}"
            request = AWSRequest("POST", f"{server.url}/", data=body, headers=TARGET)
            SigV4Auth(Credentials(ACCESS_KEY, SECRET), "kms", REGION).add_auth(request)
            connection.request("POST", "/", body, dict(request.headers.items()))
            reply = connection.getresponse()
            assert json.load(reply)["Keys"]
            done += reply.status == 200 and connection.sock is opened
        connection.close()
        return done

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(talk, range(16))) == [20] * 16


def test_what_an_answer_says_of_the_server(server: Server) -> None:
    with httpx.Client(verify=server.context(), trust_env=False) as client:
        told = client.get(f"{server.url}/healthz")
        assert (told.status_code, told.text) == (200, "ok\n")
        assert set(told.headers) == {"date", "content-type", "content-length", "cache-control"}
        told = client.post(server.url, headers=TARGET)
        assert told.json()["__type"] == "MissingAuthenticationTokenException"
        assert set(told.headers) == {"date", "content-type", "content-length", "x-amzn-requestid"}


# TLS


def test_only_what_tls_allows(server: Server) -> None:
    for version, ciphers, accepted in (
        (ssl.TLSVersion.TLSv1_3, None, "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+CHACHA20", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES+SHA256", None),
        (ssl.TLSVersion.TLSv1_2, "DHE+AESGCM", None),
        (ssl.TLSVersion.TLSv1_2, "RSA+AESGCM", None),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", None),
        (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0", None),
    ):
        context = server.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        if ciphers:
            context.set_ciphers(ciphers)
        with warnings.catch_warnings(action="ignore"):  # it warns of the versions to be refused
            context.minimum_version = context.maximum_version = version
        if accepted:
            with server.connect(context) as connection:
                assert (connection.version(), connection.selected_alpn_protocol()) == (
                    accepted,
                    "http/1.1",
                )
                assert connection.compression() is None
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                server.connect(context)


def test_no_session_is_resumed(server: Server) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = server.context()
        context.maximum_version = version
        with server.connect(context) as connection:
            connection.sendall(server.signed("ListKeys"))
            answer_of(connection)
            assert connection.session is None or not connection.session.has_ticket


def test_plaintext_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(server.signed("ListKeys"))
        received = b""
        try:
            while piece := connection.recv(4096):
                received += piece
        except ConnectionError:
            pass
        assert b"HTTP" not in received


def test_a_client_refuses_another_authority_and_another_name(
    server: Server, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(SSLError):
        server.kms(verify=str(tmp_path / "other.pem")).list_keys()
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        server.context().wrap_socket(plain, server_hostname="kms.example.com")


# Bounds


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 what is this\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"a" * 400_000,
    ],
    ids=["garbage", "name", "smuggling", "target", "headers", "value", "header name"],
)
def test_what_is_not_http_or_too_large_is_refused(server: Server, sent: bytes) -> None:
    with server.connect() as connection:
        try:
            connection.sendall(sent)
            head, body = answer_of(connection)
        except (ConnectionError, ssl.SSLError):
            return  # the answer was overtaken by the end of the connection
        assert head.startswith(b"HTTP/1.1 400")
        # What came in one piece is refused by the application, and what did not before.
        assert json.loads(body)["__type"] in {"SerializationException", "ValidationException"}
        assert ended(connection)


def test_a_body_that_is_too_large_is_refused(server: Server) -> None:
    with server.connect() as connection:
        try:
            connection.sendall(server.signed("ListKeys", b" " * (2**20 + 1)))
        except (ConnectionError, ssl.SSLError):
            return  # it did not even want to read all of it
        head, body = answer_of(connection)
        assert head.startswith(b"HTTP/1.1 400")
        assert json.loads(body)["__type"] == "ValidationException"
        assert ended(connection)
    with server.connect() as connection:
        connection.sendall(server.signed("ListKeys", b"{" + b" " * (2**20 - 2) + b"}"))
        assert answer_of(connection)[0].startswith(b"HTTP/1.1 200")


def test_a_client_may_send_one_request_after_the_other_without_waiting(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(server.signed("ListKeys") * 3)
        connection.sendall(server.signed("ListKeys") + b"\r\n")
        received = b""
        while received.count(b'"KeyArn"') < 4:
            received += connection.recv(65536)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"POST / HT", b"head", b"body", b"next"])
def test_a_client_that_is_slow_or_stops_is_left(impatient: Server, sent: bytes) -> None:
    whole = impatient.signed("ListKeys")
    sent = {b"head": whole[:-10], b"body": whole[:-1], b"next": whole + whole[:-1]}.get(sent, sent)
    began = time.monotonic()
    with impatient.connect() as connection:
        connection.sendall(sent)
        time.sleep(1)
        if sent == b"\r\n":
            connection.sendall(sent)
        assert ended(connection)
    assert 1.9 < time.monotonic() - began < 20


def test_a_handshake_that_does_not_end_is_left(impatient: Server) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as connection:
        assert ended(connection)


@pytest.mark.parametrize("requests", [1, 4])
def test_a_client_that_does_not_read_is_left(impatient: Server, requests: int) -> None:
    with impatient.connect() as connection:
        connection.sendall(impatient.signed("ListAliases", b'{"Limit": 24}') * requests)
        time.sleep(5)
        received = 0
        try:
            while piece := connection.recv(2**20):
                received += len(piece)
        except (ConnectionError, ssl.SSLError):
            pass
        assert received < requests * 24 * 2**20


def test_a_slow_answer_is_waited_for(impatient: Server) -> None:
    with impatient.connect() as connection:
        connection.sendall(impatient.signed("GenerateRandom", b'{"NumberOfBytes": 4000}'))
        assert answer_of(connection)[0].startswith(b"HTTP/1.1 200")


def test_too_many_connections(start: Start) -> None:
    with start(MAX_CONNECTIONS=2) as server:
        first, second = server.connect(), server.connect()
        for each in (first, second):
            each.sendall(server.signed("ListKeys"))
            assert answer_of(each)[0].startswith(b"HTTP/1.1 200")
        assert not answers(server)
        first.close()
        deadline = time.monotonic() + 20
        while not answers(server):
            assert time.monotonic() < deadline, "the place of one that ended is not given away"
        second.close()


def test_nobody_can_fill_the_log(start: Start) -> None:
    with start() as server:
        before = server.log.read_text()
        upgrade = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        for sent in (
            b"GARBAGE\r\n\r\n",
            upgrade,
            server.signed("ListKeys"),
            server.signed("Others"),
        ):
            with server.connect() as connection:
                connection.sendall(sent)
                assert answer_of(connection)[0].startswith(b"HTTP/1.1")
        assert server.log.read_text() == before


# Its end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_are_answered_before_it_ends(start: Start, number: signal.Signals) -> None:
    with start() as server:
        idle, busy = server.connect(), server.connect()
        idle.sendall(server.signed("ListKeys"))
        answer_of(idle)
        busy.sendall(server.signed("GenerateRandom", b'{"NumberOfBytes": 1500}'))
        assert server.said() == "begun\n"
        server.process.send_signal(number)
        head, body = answer_of(busy)
        assert head.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in head.lower()
        assert json.loads(body)["Plaintext"]
        assert ended(idle)
        with pytest.raises(ConnectionError):
            server.connect()
        assert server.process.wait(20) == 0
        assert server.said() == "ended\n"
        idle.close()
        busy.close()


def test_an_answer_that_never_comes_does_not_keep_it(start: Start) -> None:
    with start(GRACE_SECONDS=1) as server:
        with server.connect() as busy:
            busy.sendall(server.signed("GenerateRandom", b'{"NumberOfBytes": 60000}'))
            assert server.said() == "begun\n"
            began = time.monotonic()
            server.process.terminate()
            assert server.process.wait(20) == 0
            assert time.monotonic() - began > 0.9
