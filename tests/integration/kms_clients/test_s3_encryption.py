"""Objects in S3: encrypted by an S3 server (SSE-KMS), and by a client before they get there.

The server is SeaweedFS, which speaks to AWS KMS by the AWS SDK for Go; the client is the Amazon S3
Encryption Client for Python.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError as S3Error

from .conftest import ClientError, Kms, Programme
from .seaweedfs import S3

SECRET = b"Quartz-and-Obsidian" * 100
BY_SERVER = ["GenerateDataKey", "Decrypt"]


@pytest.fixture
def key(kms: Kms, seaweedfs: S3) -> str:
    """A key that the S3 server may use, by a grant."""
    key = kms.key()
    kms.client.create_grant(KeyId=key, GranteePrincipal=seaweedfs.principal, Operations=BY_SERVER)
    return key


def test_the_server_encrypts_and_decrypts(seaweedfs: S3, kms: Kms, key: str) -> None:
    s3, where = seaweedfs.client, {"Bucket": seaweedfs.new_bucket(), "Key": "letter"}
    put = s3.put_object(**where, Body=SECRET, ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key)
    assert s3.get_object(**where)["Body"].read() == SECRET
    stored = [path.read_bytes() for path in seaweedfs.folder.rglob("*.dat")]
    assert stored
    assert not any(SECRET[:19] in each for each in stored)
    contexts = [
        each["context"] for each in kms.server.events()
        if each.get("key") == key and each["action"] == "Decrypt"
    ]  # fmt: skip
    assert contexts == [{"aws:s3:arn": f"arn:aws:s3:::{where['Bucket']}/letter"}]


def test_a_bucket_encrypts_by_default(seaweedfs: S3, kms: Kms, key: str) -> None:
    s3, bucket = seaweedfs.client, seaweedfs.new_bucket()
    rule = {"ApplyServerSideEncryptionByDefault": {
        "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key,
    }}  # fmt: skip
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=bucket, Key="letter", Body=SECRET)
    found = s3.get_object(Bucket=bucket, Key="letter")
    assert found["ServerSideEncryption"] == "aws:kms"
    assert found["Body"].read() == SECRET
    assert kms.performed("GenerateDataKey", key) == ["ok"]


def test_a_disabled_key_closes_the_object(seaweedfs: S3, kms: Kms, key: str) -> None:
    s3, where = seaweedfs.client, {"Bucket": seaweedfs.new_bucket(), "Key": "letter"}
    sealing = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    s3.put_object(**where, Body=SECRET, **sealing)
    kms.client.rotate_key_on_demand(KeyId=key)
    kms.client.disable_key(KeyId=key)
    with pytest.raises(S3Error):
        s3.get_object(**where)
    with pytest.raises(S3Error):
        s3.put_object(**{**where, "Key": "other"}, Body=SECRET, **sealing)
    assert set(kms.performed("Decrypt", key)) == {"DisabledException"}
    kms.client.enable_key(KeyId=key)
    assert s3.get_object(**where)["Body"].read() == SECRET


def test_a_server_that_may_not_use_the_key_stores_nothing(seaweedfs: S3, kms: Kms) -> None:
    s3, bucket, key = seaweedfs.client, seaweedfs.new_bucket(), kms.key()
    with pytest.raises(S3Error):
        s3.put_object(
            Bucket=bucket, Key="letter", Body=SECRET, ServerSideEncryption="aws:kms",
            SSEKMSKeyId=key,
        )  # fmt: skip
    assert set(kms.performed("GenerateDataKey", key)) == {"AccessDeniedException"}
    assert not s3.list_objects_v2(Bucket=bucket).get("Contents")


@pytest.fixture
def sealing(kms: Kms, seaweedfs: S3, python_clients: Path, tmp_path: Path) -> Iterator[Programme]:
    environment = kms.environment(
        S3_URL=seaweedfs.url, S3_ACCESS_KEY=seaweedfs.access_key, S3_SECRET_KEY=seaweedfs.secret_key
    )
    program = Path(__file__).with_name("s3_sealing.py")
    made = Programme([str(python_clients / "python"), str(program)], environment, tmp_path)
    yield made
    made.close()


def test_the_client_encrypts_before_it_sends(sealing: Programme, seaweedfs: S3, kms: Kms) -> None:
    key, bucket = kms.key(), seaweedfs.new_bucket()
    asked = {"key": key, "bucket": bucket, "name": "letter", "context": {"tenant": "north"}}
    text = base64.b64encode(SECRET).decode()
    sealing("put", text=text, **asked)
    assert sealing("get", **asked) == text
    assert (
        SECRET[:19] not in seaweedfs.client.get_object(Bucket=bucket, Key="letter")["Body"].read()
    )
    with pytest.raises(ClientError, match="does not match"):
        sealing("get", **{**asked, "context": {"tenant": "south"}})
    with pytest.raises(ClientError, match="IncorrectKey"):
        sealing("get", **{**asked, "key": kms.key()})
    kms.client.disable_key(KeyId=key)
    with pytest.raises(ClientError, match="Disabled"):
        sealing("get", **asked)
