"""A Vault that tests start, stop and administer, and a mount of the transit engine in it."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from assay.keys.vault_service import VaultKeyService, VaultProvider, VaultSigner

_START_SECONDS = 60.0


@dataclass
class VaultServer:
    """A Vault that is there.

    Attributes:
        address: where it answers.
        ca: the certificate of its authority.
        root: a token that may do everything.
        program: what to start, when it is ours.
        folder: its files, when they are ours.
    """

    address: str
    ca: Path
    root: str = ""
    program: Path | None = None
    folder: Path | None = None
    unseal_key: str = ""
    process: subprocess.Popen[bytes] | None = None

    def api(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """What an administrator would do; the answer's JSON, or {}."""
        response = requests.request(
            method, f"{self.address}/v1/{path}", json=body, timeout=30, verify=str(self.ca),
            headers={"X-Vault-Token": self.root if token is None else token},
        )  # fmt: skip
        if not response.ok:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else {}

    def start(self) -> None:
        assert self.folder is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self.program), self.address.removeprefix("https://"),
                    str(self.folder / "data"), str(self.folder / "chain.pem"),
                    str(self.folder / "key.pem"),
                ],
                stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.api("GET", "sys/seal-status")
            except requests.ConnectionError:
                time.sleep(0.02)
            else:
                return
        pytest.fail(f"Vault did not start: {self.log()[-2000:]}", pytrace=False)

    def initialise(self) -> None:
        made = self.api("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.root, self.unseal_key = made["root_token"], made["keys_base64"][0]
        self.unseal()
        self.api("POST", "sys/auth/approle", {"type": "approle"})

    def unseal(self) -> None:
        assert self.api("PUT", "sys/unseal", {"key": self.unseal_key})["sealed"] is False

    def stop(self) -> None:
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()  # it ends with its input
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def log(self) -> str:
        assert self.folder is not None
        return (self.folder / "log").read_text(errors="replace")


def own_server(program: Path) -> Iterator[VaultServer]:
    """Start a server with files of its own; stop it and remove them at the end."""
    folder = Path(tempfile.mkdtemp(prefix="assay-vault-"))
    try:
        ca = trustme.CA()
        certificate = ca.issue_cert("127.0.0.1")
        ca.cert_pem.write_to_path(folder / "ca.pem")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
        (folder / "chain.pem").write_bytes(chain)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        server = VaultServer(address, folder / "ca.pem", program=program, folder=folder)
        try:
            server.start()
            server.initialise()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Transit:
    """A mount of the transit engine, and who asks it.

    Attributes:
        server: where it is.
        mount: its path.
        folder: where URIs are written.
        environment: has the root token.
    """

    server: VaultServer
    mount: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def uri(self, name: str = "kek", **options: str) -> str:
        given = {
            "address": self.server.address, "ca": str(self.server.ca), "deadline": "30", **options,
        }  # fmt: skip
        query = "&".join(f"{option.replace('_', '-')}={value}" for option, value in given.items())
        return f"vault:{self.mount}/keys/{name}?{query}"

    def create(self, name: str = "kek") -> None:
        VaultProvider().create_key(self.uri(name), self.folder, self.environment)

    def service(
        self, name: str = "kek", token: str | None = None, **options: str
    ) -> VaultKeyService:
        environment = self.environment if token is None else {"VAULT_TOKEN": token}
        return VaultProvider().open_key_service(self.uri(name, **options), self.folder, environment)

    def signer(self, name: str = "log", token: str | None = None) -> VaultSigner:
        environment = self.environment if token is None else {"VAULT_TOKEN": token}
        return VaultProvider().open_signer(self.uri(name), self.folder, environment)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Below the mount."""
        return self.server.api(method, f"{self.mount}/{path}", body)

    def token(self, policy: str, **options: Any) -> str:
        """A token that may do what a policy says."""
        name = f"policy-{secrets.token_hex(6)}"
        self.server.api("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        asked = {"policies": [name], "no_default_policy": True, "ttl": "1h", **options}
        made = self.server.api("POST", "auth/token/create", asked)
        return str(made["auth"]["client_token"])

    def approle(self, policy: str, **options: Any) -> tuple[str, str]:
        """Role id and secret id of an AppRole that may do what a policy says."""
        name = f"role-{secrets.token_hex(6)}"
        self.server.api("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        self.server.api("POST", f"auth/approle/role/{name}", {"token_policies": [name], **options})
        role = self.server.api("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        made = self.server.api("POST", f"auth/approle/role/{name}/secret-id", {})
        return role, made["data"]["secret_id"]


def mounted(server: VaultServer, folder: Path) -> Transit:
    """A new mount."""
    mount = f"transit-{secrets.token_hex(4)}"
    server.api("POST", f"sys/mounts/{mount}", {"type": "transit"})
    return Transit(server, mount, folder, {"VAULT_TOKEN": server.root})
