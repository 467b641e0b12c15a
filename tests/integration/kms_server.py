"""`assay kms serve` as a process of its own, on a fresh token, over TLS; for tests.

Made and administered through the command line, as an operator does it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import trustme

ACCOUNT, REGION = "111122223333", "eu-central-1"
_START_SECONDS = 120


@dataclass
class KmsServer:
    """A service, running or not.

    Attributes:
        folder: certificates, and the state when it is SQLite.
        environment: of its process: what it needs to find and open the token.
        token: its URI.
        state: database URL.
        url: where it listens.
        process: the running one.
    """

    folder: Path
    environment: Mapping[str, str]
    token: str
    state: str
    url: str = ""
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def prepare(self) -> None:
        """Make certificates and state."""
        self.certificates()
        self.run("init", "--account", ACCOUNT, "--region", REGION)

    def certificates(self) -> None:
        """Make an authority, and a certificate of this machine."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        for number, each in enumerate(issued.cert_chain_pems):
            each.write_to_path(str(self.folder / "cert.pem"), append=number > 0)

    def run(self, *words: str) -> dict[str, Any]:
        """`assay kms …` with ``--json``; its answer."""
        done = subprocess.run(
            self._command(*words, "--json"),
            env=self._environment(), cwd=self.folder, capture_output=True, text=True,
            check=False, timeout=_START_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def user(self, name: str, *, full_access: bool = False) -> dict[str, str]:
        """A new principal and its access key, as variables for AWS's own tools."""
        self.run("principal", "add", name, *(["--full-access"] if full_access else []))
        made = self.run("access-key", "create", name)
        return {
            "AWS_ACCESS_KEY_ID": made["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": made["secret_access_key"],
        }

    def start(self, port: int = 0) -> None:
        """Start it, on a port that is free or this one, and wait until it listens."""
        words = (
            "serve", "--certificate", "cert.pem", "--private-key", "key.pem", "--port", str(port), "--json",
        )  # fmt: skip
        self.process = subprocess.Popen(
            self._command(*words), env=self._environment(), cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self.process.stdout is not None
        told = ""
        for line in self.process.stdout:
            told += line
            if line.rstrip() == "}":
                self.url = json.loads(told)["url"]
                return
        raise AssertionError(f"the service did not start: {told}")

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it with a signal; what it wrote after it had started."""
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(number)
        assert process.stdout is not None
        told = process.stdout.read()
        process.wait(60)
        process.stdout.close()
        return told

    def events(self) -> list[dict[str, Any]]:
        """The audit trail, oldest first."""
        done = subprocess.run(
            self._command("audit", "show"), env=self._environment(), cwd=self.folder,
            capture_output=True, text=True, check=True, timeout=_START_SECONDS,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    def client(self, access: Mapping[str, str]) -> Any:
        """boto3's client."""
        return boto3.client(
            "kms",
            region_name=REGION,
            endpoint_url=self.url,
            verify=str(self.folder / "ca.pem"),
            aws_access_key_id=access["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=access["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(
                retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60
            ),
        )

    def environment_of(self, access: Mapping[str, str]) -> dict[str, str]:
        """What AWS's own tools need to use it."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_CA_BUNDLE": str(self.folder / "ca.pem"),
            **access,
        }

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "assay", "kms", *words]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            **self.environment,
            "ASSAY_KMS_STATE": self.state,
            "ASSAY_KMS_TOKEN": self.token,
        }
