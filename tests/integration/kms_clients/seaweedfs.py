"""SeaweedFS as an S3 server whose server-side encryption asks `assay kms serve`."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_START_SECONDS = 60.0
_SERVERS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class S3:
    """The server.

    Attributes:
        url: where it answers.
        access_key: whom it lets in.
        secret_key: and how.
        principal: the ARN of its own user at the key service.
        folder: its files.
    """

    url: str
    access_key: str
    secret_key: str
    principal: str
    folder: Path

    @property
    def client(self) -> Any:
        """boto3's client."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )  # fmt: skip

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"bucket-{secrets.token_hex(4)}"
        self.client.create_bucket(Bucket=name)
        return name


def served(program: Path, kms: Any, folder: Path) -> Iterator[S3]:
    """Start it, and end it."""
    access = kms.server.user("s3-server")
    ports = _free_ports(2 * len(_SERVERS))
    port_of = dict(zip(_SERVERS, ports, strict=False))
    server = S3(
        f"http://127.0.0.1:{port_of['s3']}", "assaytests", secrets.token_hex(16),
        f"arn:aws:iam::{kms.account}:user/s3-server", folder,
    )  # fmt: skip
    (folder / "s3.json").write_text(json.dumps(_configuration(server, kms, access)))
    (folder / "data").mkdir()
    words = [
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-filer", "-s3",
        f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=64",
        "-volume.max=500",
        *(f"-{name}.port={port}" for name, port in port_of.items()),
        *(f"-{name}.port.grpc={port}" for name, port in zip(_SERVERS, ports[4:], strict=True)),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), "server", *words], cwd=folder, stdout=log, stderr=log,
            env={"PATH": os.environ["PATH"], "HOME": str(folder),
                 "AWS_CA_BUNDLE": str(kms.server.folder / "ca.pem")},
        )  # fmt: skip
    try:
        _await(process, server)
        yield server
    finally:
        process.kill()  # it would wait for its parts to leave each other
        process.wait()
        for port in ports:
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - its place
                socket_file.unlink()


def _configuration(server: S3, kms: Any, access: Any) -> dict[str, Any]:
    return {
        "identities": [{
            "name": "tests", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
        }],
        "kms": {
            "default_provider": "assay",
            "providers": {"assay": {
                "type": "aws", "region": kms.server.environment_of(access)["AWS_REGION"],
                "endpoint": kms.server.url, "access_key": access["AWS_ACCESS_KEY_ID"],
                "secret_key": access["AWS_SECRET_ACCESS_KEY"], "cache_enabled": False,
            }},
        },
    }  # fmt: skip


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in listeners:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in listeners]


def _await(process: subprocess.Popen[bytes], server: S3) -> None:
    """Until an object can be written: its parts find each other one by one."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(BotoCoreError, ClientError):
            bucket = server.new_bucket()
            server.client.put_object(Bucket=bucket, Key="ready", Body=b"x")
            return
        time.sleep(0.1)
    log = (server.folder / "log").read_text(errors="replace")
    pytest.fail(f"SeaweedFS did not start: {log[-2000:]}", pytrace=False)
