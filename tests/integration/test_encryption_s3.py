"""Sealed objects in a real S3 server, over TLS: its files hold no plaintext, its failures no half."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from assay.encryption import (
    BucketAccessError,
    BucketServiceError,
    MissingObjectError,
    ReplacedObjectError,
    SealedBucket,
    TamperedObjectError,
    TruncatedObjectError,
    UnsupportedConditionError,
    WrongObjectKeyError,
)
from assay.encryption.boto3 import Boto3ObjectStore
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

KEYRING = Keyring(MemoryKeyService(), MemoryDataKeyTable())
OWNER = "tenant-1"
CANARY = b"Quartz-and-Obsidian-canary"
MIB = 2**20


@pytest.fixture
def name(s3: Any) -> str:
    return s3.new_bucket()


@pytest.fixture
def bucket(s3: Any, name: str) -> SealedBucket:
    store = Boto3ObjectStore(s3.client(), name)
    return SealedBucket(store, KEYRING, name="uploads", part_bytes=5 * MIB, parallel=2)


def large(size: int) -> bytes:
    return (CANARY + bytes(1000)) * (size // 1026) + CANARY


def test_streams_ranges_and_lists(s3: Any, name: str, bucket: SealedBucket, tmp_path: Path) -> None:
    plain = large(17 * MIB)
    told: list[int] = []
    whole = bucket.put("a/large file ä.bin", io.BytesIO(plain), owner=OWNER, progress=told.append)
    small = bucket.put("small", CANARY, owner=OWNER)
    bucket.put("empty", b"", owner=OWNER)

    assert len(told) == 4  # parts land in any order
    assert told == sorted(told)
    assert told[-1] == whole.stored_bytes
    assert b"".join(bucket.get("a/large file ä.bin", owner=OWNER, seal_id=whole.seal_id)) == plain
    assert b"".join(bucket.get("empty", owner=OWNER)) == b""
    assert bucket.read("small", 7, 3, owner=OWNER) == CANARY[7:10]
    opened = bucket.open("a/large file ä.bin", owner=OWNER)
    for start, length in ((0, 5), (MIB - 3, 6), (16 * MIB, 100), (9 * MIB, 0)):
        assert opened.read(start, length) == plain[start : start + length]
    assert bucket.get_to_file("small", tmp_path / "small", owner=OWNER) == len(CANARY)
    assert (tmp_path / "small").read_bytes() == CANARY
    listed = {entry.key: entry.size_bytes for entry in bucket.list_objects()}
    assert listed == {"a/large file ä.bin": len(plain), "small": len(CANARY), "empty": 0}
    assert bucket.head("small").stored_bytes == small.stored_bytes
    files = [path for path in (s3.folder / name).rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not any(CANARY in path.read_bytes() for path in files)


def test_a_range_moves_little_over_the_wire(s3: Any, name: str, bucket: SealedBucket) -> None:
    bucket.put("a", io.BytesIO(large(12 * MIB)), owner=OWNER)
    client = s3.client()
    asked: list[str] = []
    client.meta.events.register(
        "before-call.s3.GetObject", lambda params, **_: asked.append(params["headers"]["Range"])
    )
    counted = SealedBucket(Boto3ObjectStore(client, name), KEYRING, name="uploads")

    assert len(counted.read("a", 5 * MIB + 7, 10, owner=OWNER)) == 10

    chunk, chunks = MIB + 16, 12
    sealed_size = bucket.head("a").stored_bytes
    assert asked == [
        "bytes=0-41",
        f"bytes={42 + (chunks - 1) * chunk}-{sealed_size - 1}",
        f"bytes={42 + 5 * chunk}-{42 + 6 * chunk - 1}",
    ]


def test_what_the_server_or_its_disk_changed_is_refused(
    s3: Any, name: str, bucket: SealedBucket
) -> None:
    old = bucket.put("a", large(3 * MIB), owner=OWNER)
    client = s3.client()
    older = client.get_object(Bucket=name, Key="a")["Body"].read()
    new = bucket.put("a", large(3 * MIB), owner=OWNER)
    good = client.get_object(Bucket=name, Key="a")["Body"].read()
    assert old.seal_id != new.seal_id

    def replace(data: bytes) -> None:
        client.put_object(Bucket=name, Key="a", Body=data)

    for data, error in (
        (b"", TruncatedObjectError),
        (good[:50], TruncatedObjectError),
        (good[: 42 + 2 * (MIB + 16)], TruncatedObjectError),
        (good[:-100], TamperedObjectError),
        (good + b"\0", TamperedObjectError),
        (good[:2_000_000] + b"\0" + good[2_000_001:], TamperedObjectError),
    ):
        replace(data)
        with pytest.raises(error):
            b"".join(bucket.get("a", owner=OWNER))
    replace(older)
    with pytest.raises(ReplacedObjectError):
        bucket.get("a", owner=OWNER, seal_id=new.seal_id)
    replace(good)
    client.copy_object(Bucket=name, Key="b", CopySource={"Bucket": name, "Key": "a"})
    with pytest.raises(TamperedObjectError):
        bucket.get("b", owner=OWNER)
    with pytest.raises(WrongObjectKeyError):
        bucket.get("a", owner="tenant-2")
    bucket.move("a", "c", owner=OWNER)
    assert b"".join(bucket.get("c", owner=OWNER)) == large(3 * MIB)
    with pytest.raises(MissingObjectError):
        bucket.get("a", owner=OWNER)


def test_an_upload_that_fails_leaves_nothing(s3: Any, name: str, bucket: SealedBucket) -> None:
    client = s3.client()

    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 11 * MIB:
                uploads = client.list_multipart_uploads(Bucket=name)["Uploads"]
                assert len(uploads) == 1  # parts are there, and must go
                raise OSError("gone")
            return super().read(size)

    with pytest.raises(OSError, match="gone"):
        bucket.put("a", Gone(bytes(20 * MIB)), owner=OWNER)

    assert "Uploads" not in client.list_multipart_uploads(Bucket=name)
    assert list(bucket.list_objects()) == []
    assert [path for path in (s3.folder / name).rglob("*") if path.is_file()] == []


def test_a_server_that_ignores_conditions_is_found_out(
    s3: Any, name: str, bucket: SealedBucket
) -> None:
    """This server overwrites whatever If-None-Match says; so the bucket does not trust it."""
    bucket.put("a", b"first", owner=OWNER)
    with pytest.raises(UnsupportedConditionError):
        bucket.put("a", b"second", owner=OWNER, if_absent=True)
    assert b"".join(bucket.get("a", owner=OWNER)) == b"first"
    assert [entry.key for entry in bucket.list_objects()] == ["a"]  # and no probe is left


def test_refusals_and_failures_have_names(s3: Any, name: str) -> None:
    def bucket(client: Any, where: str = name) -> SealedBucket:
        return SealedBucket(Boto3ObjectStore(client, where), KEYRING, name="uploads")

    wrong = bucket(s3.client(aws_secret_access_key="wrong"))
    for refused in (
        lambda: wrong.put("a", b"", owner=OWNER),
        lambda: wrong.head("a"),
        lambda: list(wrong.list_objects()),
    ):
        with pytest.raises(BucketAccessError):
            refused()
    with pytest.raises(BucketServiceError, match="SSLError"):  # no CA of ours: no connection
        bucket(s3.client(verify=True)).put("a", b"", owner=OWNER)
    with pytest.raises(BucketServiceError, match="NoSuchBucket"):
        bucket(s3.client(), "nobody").open("a", owner=OWNER)
    with pytest.raises(MissingObjectError):
        bucket(s3.client()).head("a")
    bucket(s3.client()).delete("a")


PROGRAM = """
import io, resource, sys, boto3
from botocore.config import Config
from assay.encryption import SealedBucket
from assay.encryption.boto3 import Boto3ObjectStore
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

url, ca, access, name = sys.argv[1:]
client = boto3.client(
    "s3", endpoint_url=url, verify=ca, aws_access_key_id=access,
    aws_secret_access_key=sys.stdin.read(), region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
)
keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
bucket = SealedBucket(
    Boto3ObjectStore(client, name), keyring, name="uploads", part_bytes=5 * 2**20, parallel=2
)

class Zeros:
    def __init__(self, left):
        self.left = left
    def read(self, size):
        given = min(size, self.left)
        self.left -= given
        return bytes(given)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

for mib in (16, 96):
    bucket.put("a", Zeros(mib * 2**20), owner="tenant-1")
    got = sum(map(len, bucket.get("a", owner="tenant-1")))
    assert got == mib * 2**20
    print(peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_memory_stays_flat(s3: Any, name: str) -> None:
    """Six times the size takes no more memory: the peak grows by less than a few parts."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, s3.url, str(s3.ca), s3.access_key, name],
        input=s3.secret_key, capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert second - first < 32, (first, second)


def test_the_server_is_the_one_that_is_meant(s3: Any, name: str) -> None:
    """The fixture itself: signatures are checked, so that the tests above mean something."""
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3.client(aws_secret_access_key="wrong").list_objects_v2(Bucket=name)
