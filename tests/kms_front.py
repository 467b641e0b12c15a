"""A server in front of moto's KMS: adds what moto does not know, and fails as a test wants it to.

moto encrypts and checks the encryption context for real, but it ignores policies and key states,
does not know ``ECC_NIST_EDWARDS25519`` and ``GetParametersForImport``, and is never in trouble. The
front answers these itself and hands everything else on:

- Ed25519 keys, by `cryptography`;
- the state of keys (DisabledException, KMSInvalidStateException), as DescribeKey tells it;
- `refuse`: a caller who is not allowed an action;
- `faults`: what becomes of the next calls, one after the other.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Fault = Callable[["Handler"], bool]
"""Does something to a call; True when the call is over, False when it is to be answered."""

_USES_KEY = {"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "Sign", "GetPublicKey"}


def refused(code: str, status: int = 400, message: str = "no") -> Fault:
    """Answer with an error of AWS's form."""

    def answer(handler: Handler) -> bool:
        handler.refuse(code, status, message)
        return True

    return answer


def slow(seconds: float) -> Fault:
    """Wait, and then answer."""

    def wait(handler: Handler) -> bool:
        handler.front.stopped.wait(seconds)
        return False

    return wait


def broken(handler: Handler) -> bool:
    """Do it, and close the connection without an answer."""
    handler.done()
    handler.close_connection = True
    return True


def answered(status: int, body: bytes) -> Fault:
    """Answer with any bytes."""

    def answer(handler: Handler) -> bool:
        handler.send(status, body)
        return True

    return answer


class KmsFront(ThreadingHTTPServer):
    """The server. Use it as a context manager.

    Attributes:
        faults: for the next calls.
        refuse: actions that the caller is not allowed.
        unknown: actions that nobody here knows.
        calls: how often each action was asked for.
        bodies: what was asked, newest last.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 100

    def __init__(
        self, moto: tuple[str, int], port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.tls = tls
        self.moto = moto
        self.faults: deque[Fault] = deque()
        self.refuse: set[str] = set()
        self.unknown: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.bodies: deque[tuple[str, dict[str, Any]]] = deque(maxlen=100)
        self.signing: dict[str, Ed25519PrivateKey] = {}
        self.aliases: dict[str, str] = {}
        self.changed: dict[str, dict[str, Any]] = {}
        self.stopped = threading.Event()
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> KmsFront:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        self._connections.add(connection)
        return connection, address

    def kill(self) -> None:
        """Stop listening, and break every connection."""
        self.stopped.set()
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, *_: object) -> None:
        """Connections that a test broke are no error of the test."""

    def change(self, arn: str, **facts: Any) -> None:
        """What DescribeKey says of a key from now on."""
        self.changed.setdefault(arn, {}).update(facts)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: KmsFront

    @property
    def front(self) -> KmsFront:
        return self.server

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.action = self.headers["X-Amz-Target"].partition(".")[2]
        self.asked = json.loads(self.body)
        front = self.front
        front.calls[self.action] += 1
        front.bodies.append((self.action, self.asked))
        if front.faults and front.faults.popleft()(self):
            return
        self.send(*self.done())

    def done(self) -> tuple[int, bytes]:
        """What is answered when nothing is wrong."""
        if self.action in self.front.refuse:
            return self.error("AccessDeniedException", "User: arn:aws:iam::1:user/x may not")
        if self.action in self.front.unknown:
            return 500, b"<html>no such action</html>"
        own = getattr(self, f"own_{self.action}", None)
        answer = own() if own else None
        state = self.state()
        if state not in {None, "Enabled"} and self.action in _USES_KEY:
            code = "DisabledException" if state == "Disabled" else "KMSInvalidStateException"
            return self.error(code)
        if answer is not None:
            return answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
        return self.handed_on()

    def handed_on(self) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.front.moto)
        headers = {
            k: v for k, v in self.headers.items() if k.lower() not in {"host", "content-length"}
        }
        connection.request("POST", "/", self.body, {**headers, "Host": "kms.amazonaws.com"})
        response = connection.getresponse()
        status, body = response.status, response.read()
        connection.close()
        if self.action in {"Decrypt", "ReEncrypt"} and b"AccessDeniedException" in body:
            return self.error("IncorrectKeyException")  # what AWS calls a blob of another key
        if self.action == "DescribeKey" and status == 200:
            metadata = json.loads(body)["KeyMetadata"]
            metadata.update(self.front.changed.get(metadata["Arn"], {}))
            body = json.dumps({"KeyMetadata": metadata}).encode()
        return status, body

    def state(self) -> str | None:
        key = self.asked.get("KeyId") or self.asked.get("SourceKeyId")
        return self.front.changed.get(key, {}).get("KeyState")

    def error(self, code: str, message: str = "no", status: int = 400) -> tuple[int, bytes]:
        return status, json.dumps({"__type": code, "message": message}).encode()

    def refuse(self, code: str, status: int, message: str) -> None:
        self.send(*self.error(code, message, status))

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # Ed25519

    def own_CreateKey(self) -> dict[str, Any] | None:
        if self.asked.get("KeySpec") != "ECC_NIST_EDWARDS25519":
            return None
        region = self.headers["Authorization"].split("/")[2]
        arn = f"arn:aws:kms:{region}:123456789012:key/{uuid.uuid4()}"
        self.front.signing[arn] = Ed25519PrivateKey.generate()
        return self.described(arn)

    def own_CreateAlias(self) -> dict[str, Any] | tuple[int, bytes] | None:
        name, arn = self.asked["AliasName"], self.asked["TargetKeyId"]
        if name in self.front.aliases:
            return self.error("AlreadyExistsException")
        if arn not in self.front.signing:
            return None
        self.front.aliases[name] = arn
        return {}

    def own_DescribeKey(self) -> dict[str, Any] | None:
        arn = self.signing_key()
        return self.described(arn) if arn else None

    def own_GetPublicKey(self) -> dict[str, Any] | tuple[int, bytes] | None:
        arn = self.signing_key()
        if arn is None:
            return self.error("UnsupportedOperationException") if self.is_kek() else None
        public = self.front.signing[arn].public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"KeyId": arn, "PublicKey": base64.b64encode(der).decode()}

    def own_Sign(self) -> dict[str, Any] | tuple[int, bytes] | None:
        arn = self.signing_key()
        if arn is None:
            return None
        message = base64.b64decode(self.asked["Message"])
        wanted = ("RAW", "ED25519_SHA_512")
        if (self.asked["MessageType"], self.asked["SigningAlgorithm"]) != wanted:
            return self.error("ValidationException")
        if not 1 <= len(message) <= 4096:
            return self.error("ValidationException")
        signature = base64.b64encode(self.front.signing[arn].sign(message)).decode()
        return {"KeyId": arn, "Signature": signature, "SigningAlgorithm": wanted[1]}

    def own_GetKeyPolicy(self) -> dict[str, Any] | None:
        return {"Policy": "{}", "PolicyName": "default"} if self.signing_key() else None

    def own_ListGrants(self) -> dict[str, Any] | None:
        return {"Grants": [], "Truncated": False} if self.signing_key() else None

    def own_GetKeyRotationStatus(self) -> tuple[int, bytes] | None:
        return self.error("UnsupportedOperationException") if self.signing_key() else None

    def own_GetParametersForImport(self) -> dict[str, Any] | tuple[int, bytes]:
        if self.front.changed.get(self.asked["KeyId"], {}).get("Origin") == "EXTERNAL":
            return {"KeyId": self.asked["KeyId"], "ImportToken": "AAAA", "PublicKey": "AAAA"}
        return self.error("UnsupportedOperationException")

    def is_kek(self) -> bool:
        return "key/" in self.asked["KeyId"]

    def signing_key(self) -> str | None:
        key = self.front.aliases.get(self.asked["KeyId"], self.asked["KeyId"])
        return key if key in self.front.signing else None

    def described(self, arn: str) -> dict[str, Any]:
        metadata = {
            "Arn": arn,
            "KeyId": arn.rpartition("/")[2],
            "CreationDate": time.time(),
            "KeyState": "Enabled",
            "KeyUsage": "SIGN_VERIFY",
            "KeySpec": "ECC_NIST_EDWARDS25519",
            "KeyManager": "CUSTOMER",
            "Origin": "AWS_KMS",
            "MultiRegion": False,
        }
        return {"KeyMetadata": {**metadata, **self.front.changed.get(arn, {})}}
