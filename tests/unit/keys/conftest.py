"""AWS KMS for the tests of this folder: moto, behind a front that fails as a test wants it to."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.kms_front import KmsFront

from assay.keys.aws_kms_service import AwsKmsKeyService, AwsKmsProvider, AwsKmsSigner

REGION = "eu-central-1"
CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}


@pytest.fixture(scope="session")
def models_read_once() -> Iterator[None]:
    """boto3 reads its models of services anew for each session, which takes most of the time."""
    from botocore.loaders import create_loader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", functools.cache(create_loader))
        yield


@pytest.fixture(scope="session")
def moto_server() -> Iterator[tuple[str, int]]:
    """Host and port of moto in a thread of this process."""
    import moto.kms.models
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        # As AWS writes them; moto puts dashes into the ids of multi-Region keys.
        generate = moto.kms.models.generate_key_id

        def generate_key_id(multi_region: bool = False) -> str:
            plain = generate(False)
            return f"mrk-{plain.replace('-', '')}" if multi_region else plain

        patch.setattr("moto.kms.models.generate_key_id", generate_key_id)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        with contextlib.redirect_stdout(io.StringIO()):
            server.start()
        yield server.get_host_and_port()
        server.stop()


@dataclass
class Kms:
    """What a test sees of KMS.

    Attributes:
        front: the server.
        client: boto3's own, for what an administrator would do.
        alias: a name that no other test has.
        folder: where URIs are written.
    """

    front: KmsFront
    client: Any
    alias: str
    folder: Path

    def uri(self, key: str | None = None, **options: str) -> str:
        found = {"region": REGION, "endpoint": self.front.endpoint, "deadline": "20", **options}
        query = "&".join(f"{name}={value}" for name, value in found.items() if value)
        return f"aws-kms:{key or self.alias}?{query}"

    def create(self, key: str | None = None) -> None:
        AwsKmsProvider().create_key(self.uri(key), self.folder, os.environ)

    def service(self, key: str | None = None, **options: str) -> AwsKmsKeyService:
        uri = self.uri(key, **options)
        return AwsKmsProvider().open_key_service(uri, self.folder, os.environ)

    def signer(self) -> AwsKmsSigner:
        provider = AwsKmsProvider()
        provider.create_signing_key(self.uri(), self.folder, os.environ)
        return provider.open_signer(self.uri(), self.folder, os.environ)

    def replicate(self, arn: str, region: str) -> str:
        """A related key in another Region; moto's API wants ids of its own form for that."""
        from moto.kms.models import kms_backends

        account, key_id = arn.split(":")[4], arn.rpartition("/")[2]
        return str(kms_backends[account][REGION].replicate_key(key_id, region).arn)

    def arn(self, key: str | None = None) -> str:
        return str(self.client.describe_key(KeyId=key or self.alias)["KeyMetadata"]["Arn"])


@pytest.fixture
def kms(
    moto_server: tuple[str, int],
    models_read_once: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Kms]:
    """KMS with nothing in it that this test would know."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with KmsFront(moto_server) as front:
        client = boto3.client("kms", region_name=REGION, endpoint_url=front.endpoint)
        yield Kms(front, client, f"alias/t-{secrets.token_hex(6)}", tmp_path)
