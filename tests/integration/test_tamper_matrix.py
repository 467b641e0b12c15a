"""The tamper matrix over real servers: PostgreSQL, MariaDB and S3. MongoDB has its own place."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from tests.sealed_object_vault import READS, BucketVault, small_chunks
from tests.sealed_table_vault import Contract, Letter, TableVault, VaultBase
from tests.tamper_matrix import CANARY, Attack

from assay.database import open_engine
from assay.encryption import (
    EncryptionError,
    MemoryObjectStore,
    SealedBucket,
    TamperedObjectError,
    TruncatedObjectError,
)
from assay.encryption.boto3 import Boto3ObjectStore
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

__all__ = ["small_chunks"]
MIB = 2**20


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    found = open_engine(request.getfixturevalue(f"{request.param}_url"))
    yield found
    VaultBase.metadata.drop_all(found)
    found.dispose()


@pytest.fixture(params=[Letter, Contract], ids=lambda each: each.__name__)
def model(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[True, False], ids=["mapped", "past-the-mapping"])
def table(engine: Engine, model: Any, request: pytest.FixtureRequest) -> Iterator[TableVault]:
    vault = TableVault(engine, model, through_mapping=request.param)
    yield vault
    vault.close()


def test_tables(attack: Attack, table: TableVault) -> None:
    attack.run(table.target())


class RawObjects:
    """The objects of a bucket past the sealing, by name."""

    def __init__(self, client: Any, bucket: str) -> None:
        self.client, self.bucket = client, bucket

    def __getitem__(self, key: str) -> bytes:
        found = self.client.get_object(Bucket=self.bucket, Key=key)
        return bytes(found["Body"].read())

    def __setitem__(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def __delitem__(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def __contains__(self, key: str) -> bool:
        return "Contents" in self.client.list_objects_v2(Bucket=self.bucket, Prefix=key)


@pytest.mark.parametrize("read", READS)
def test_buckets(small_chunks: None, attack: Attack, s3: Any, read: str, tmp_path: Path) -> None:
    client, name = s3.client(), s3.new_bucket()
    stores = [Boto3ObjectStore(client, name), MemoryObjectStore()]
    vault = BucketVault(stores, RawObjects(client, name), READS[read], tmp_path)
    attack.run(vault.target(step=17))


def _stored_in_parts(client: Any, name: str, parts: list[bytes]) -> None:
    """An upload of an attacker, whose parts the server puts together."""
    upload = client.create_multipart_upload(Bucket=name, Key="a")["UploadId"]
    stored = []
    for number, part in enumerate(parts, 1):
        given = {"Bucket": name, "Key": "a", "UploadId": upload, "PartNumber": number}
        stored.append({"PartNumber": number, "ETag": client.upload_part(**given, Body=part)["ETag"]})  # fmt: skip
    client.complete_multipart_upload(
        Bucket=name, Key="a", UploadId=upload, MultipartUpload={"Parts": stored}
    )


def test_parts_of_an_upload_in_another_order(s3: Any) -> None:
    """Chunks of 1 MiB, as they are, in real parts that begin and end within chunks."""
    client, name = s3.client(), s3.new_bucket()
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    bucket = SealedBucket(Boto3ObjectStore(client, name), keyring, name="uploads", part_bytes=5 * MIB)  # fmt: skip
    plain = (CANARY.encode() + bytes(1000)) * (16 * MIB // 1017)
    bucket.put("a", io.BytesIO(plain), owner="north")
    whole = client.get_object(Bucket=name, Key="a")["Body"].read()
    parts = [whole[at : at + 5 * MIB] for at in range(0, len(whole), 5 * MIB)]
    assert len(parts) == 4
    one, two, three, rest = parts
    chunk = MIB + 16
    arrangements: list[tuple[list[bytes], type[EncryptionError]]] = [
        ([one, three, two, rest], TamperedObjectError),
        ([one, two, two, rest], TamperedObjectError),
        ([one, two, two, three, rest], TamperedObjectError),
        ([one, three, rest], TamperedObjectError),
        ([one, two, three], TamperedObjectError),
        ([whole[: 42 + 6 * chunk], whole[42 + 6 * chunk : 42 + 12 * chunk]], TruncatedObjectError),
        ([whole[: 42 + 12 * chunk + 15]], TruncatedObjectError),
        ([whole[: 42 + 12 * chunk + 16]], TamperedObjectError),
    ]
    for arranged, error in arrangements:
        _stored_in_parts(client, name, arranged)
        with pytest.raises(EncryptionError) as raised:
            b"".join(bucket.get("a", owner="north"))
        assert type(raised.value) is error
        assert CANARY not in str(raised.value)
    _stored_in_parts(client, name, parts)
    assert b"".join(bucket.get("a", owner="north")) == plain
    _stored_in_parts(client, name, [one, three, two, rest])
    opened = bucket.open("a", owner="north")
    assert opened.read(0, 4 * MIB) == plain[: 4 * MIB], "what lies before the exchanged parts"
    with pytest.raises(TamperedObjectError):
        opened.read(5 * MIB, 1)
