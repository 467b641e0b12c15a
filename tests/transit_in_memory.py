"""The transit engine in memory, as what carries requests: for tests without a server.

Faults come first: each is called with the request, and either answers it (a response, an error to
raise) or leaves it to the engine (None).
"""

from __future__ import annotations

import base64
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from requests.adapters import BaseAdapter

from assay.keys.vault import Vault
from assay.keys.vault_keys import read_key
from assay.keys.vault_service import VaultKeyService
from assay.keys.vault_uri import parse_vault_uri

ADDRESS = "https://vault.example:8200"
TOKEN = "hvs.hunter2"
Fault = Callable[[requests.PreparedRequest], requests.Response | None]


def response(status: int, body: Any = None, *, text: str | None = None) -> requests.Response:
    """An answer: JSON, or a text."""
    made = requests.Response()
    made.status_code = status
    made._content = (json.dumps(body) if text is None else text).encode()
    return made


def refused(status: int, *errors: str) -> Fault:
    """Answer with an error."""
    return lambda _: response(status, {"errors": list(errors)})


def raising(error: Exception) -> Fault:
    """No answer."""

    def fault(request: requests.PreparedRequest) -> requests.Response | None:
        raise error

    return fault


@dataclass
class TransitInMemory(BaseAdapter):
    """A server with one mount, ``transit``.

    Attributes:
        keys: name -> material.
        tokens: which are valid.
        faults: come before the engine, one a request.
        seen: the requests.
        calls: how often each path was asked.
        changes: what reading a key says otherwise.
        binds: whether it knows associated data.
    """

    keys: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    faults: deque[Fault] = field(default_factory=deque)
    seen: list[requests.PreparedRequest] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    changes: dict[str, Any] = field(default_factory=dict)
    binds: bool = True

    def send(self, request: Any, **_: Any) -> Any:
        self.seen.append(request)
        path = request.url.removeprefix(f"{ADDRESS}/v1/")
        self.calls[path] += 1
        answer = self.faults.popleft()(request) if self.faults else None
        if answer is None:
            answer = self._answer(request.method, path, json.loads(request.body or b"{}"), request)
        answer.request, answer.url = request, request.url
        return answer

    def close(self) -> None:
        pass

    def _answer(self, method: str, path: str, body: Mapping[str, Any], request: Any) -> Any:
        if path == "auth/approle/login":
            token = f"hvs.{len(self.seen)}"
            self.tokens.add(token)
            return response(200, {"auth": {"client_token": token, "lease_duration": 900}})
        if request.headers.get("X-Vault-Token") not in self.tokens:
            return response(403, {"errors": ["permission denied", "invalid token"]})
        operation, _, name = path.removeprefix("transit/").partition("/")
        if name not in self.keys:
            return response(
                404 if operation == "keys" else 400, {"errors": ["encryption key not found"]}
            )
        if operation == "keys":
            return response(200, {"data": {**described(name), **self.changes}})
        return self._transformed(operation, name, body)

    def _transformed(self, operation: str, name: str, body: Mapping[str, Any]) -> Any:
        bound = base64.b64decode(body.get("associated_data", "")) if self.binds else b""
        cipher = AESGCM(self.keys[name])
        if operation == "encrypt":
            nonce = os.urandom(12)
            sealed = nonce + cipher.encrypt(nonce, base64.b64decode(body["plaintext"]), bound)
            return response(
                200, {"data": {"ciphertext": f"vault:v1:{base64.b64encode(sealed).decode()}"}}
            )
        sealed = base64.b64decode(body["ciphertext"].split(":")[2])
        try:
            opened = cipher.decrypt(sealed[:12], sealed[12:], bound)
        except InvalidTag:
            return response(400, {"errors": ["cipher: message authentication failed"]})
        return response(200, {"data": {"plaintext": base64.b64encode(opened).decode()}})

    def vault(self, query: str = "", **options: Any) -> Vault:
        """A connection to it."""
        uri = parse_vault_uri(f"vault:transit/keys/kek?address={ADDRESS}{query}")
        environment = options.pop("environment", {"VAULT_TOKEN": TOKEN})
        return Vault(uri, Path(), environment, transport=self, **options)

    def service(self, query: str = "", **options: Any) -> VaultKeyService:
        """The KEK ``kek`` in it, which is made when it is not there."""
        self.keys.setdefault("kek", os.urandom(32))
        vault = self.vault(query, **options)
        return VaultKeyService(vault, read_key(vault, "transit", "kek"))


def described(name: str) -> dict[str, Any]:
    """What reading a key says."""
    return {
        "name": name, "type": "aes256-gcm96", "derived": False, "exportable": False,
        "allow_plaintext_backup": False, "deletion_allowed": False, "imported_key": False,
        "latest_version": 1, "min_decryption_version": 1, "min_available_version": 0,
        "auto_rotate_period": 0, "keys": {"1": 1700000000},
    }  # fmt: skip
