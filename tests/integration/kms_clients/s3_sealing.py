"""A programme that uses the Amazon S3 Encryption Client for Python; see ``encryption_sdk.py``.

The key service is found by the variables of AWS; the S3 server is named in ``S3_…``.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any

import boto3
from botocore.config import Config
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring


def plain() -> Any:
    """A client of its own for each: the sealing client hooks into it."""
    return boto3.client(
        "s3", endpoint_url=os.environ["S3_URL"], region_name="us-east-1",
        aws_access_key_id=os.environ["S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["S3_SECRET_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip


def call(asked: dict[str, Any]) -> Any:
    keyring = KmsKeyring(boto3.client("kms"), asked["key"])
    sealing = S3EncryptionClient(plain(), S3EncryptionClientConfig(keyring=keyring))
    where = {"Bucket": asked["bucket"], "Key": asked["name"], "EncryptionContext": asked["context"]}
    if asked["do"] == "put":
        sealing.put_object(**where, Body=base64.b64decode(asked["text"]))
        return None
    return base64.b64encode(sealing.get_object(**where)["Body"].read()).decode()


for line in sys.stdin:
    try:
        told = {"answer": call(json.loads(line))}
    except Exception as exc:  # noqa: BLE001 - whatever the client raises is told
        told = {"error": f"{type(exc).__name__}: {exc}"}
    print(json.dumps(told), flush=True)
