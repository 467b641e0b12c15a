"""A programme that uses the AWS Encryption SDK for Python; it runs in the clients' environment.

Each line of its input is a call as JSON, each line of its output what it gave or raised. It finds
the service by the variables of AWS alone. ``api`` is ``master-keys`` or ``keyrings``.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any

import aws_encryption_sdk as sdk
import boto3
from aws_cryptographic_material_providers.keystore import KeyStore
from aws_cryptographic_material_providers.keystore.config import KeyStoreConfig
from aws_cryptographic_material_providers.keystore.models import (
    CreateKeyInput,
    CreateKeyStoreInput,
    KMSConfigurationKmsKeyArn,
    VersionKeyInput,
)
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    CreateAwsKmsDiscoveryKeyringInput,
    CreateAwsKmsHierarchicalKeyringInput,
    CreateAwsKmsMultiKeyringInput,
    CreateAwsKmsRsaKeyringInput,
    DiscoveryFilter,
)
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import DiscoveryFilter as AccountFilter

client = sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
kms = boto3.client("kms")
kept: dict[str, Any] = {}


def keys_of(asked: dict[str, Any]) -> dict[str, Any]:
    """What the SDK takes as its source of keys."""
    if asked.get("cached"):
        return {"materials_manager": kept.setdefault(asked["cached"], caching(asked))}
    if asked["api"] == "master-keys":
        return {"key_provider": master_keys(asked)}
    if "rsa" in asked:
        algorithm = "RSAES_OAEP_SHA_1"
        public = kms.get_public_key(KeyId=asked["rsa"])["PublicKey"]
        pem = b"-----BEGIN PUBLIC KEY-----\n%b-----END PUBLIC KEY-----\n" % base64.encodebytes(
            public
        )
        return {"keyring": providers.create_aws_kms_rsa_keyring(CreateAwsKmsRsaKeyringInput(
            kms_key_id=asked["rsa"], encryption_algorithm=algorithm, public_key=pem, kms_client=kms,
        ))}  # fmt: skip
    if "branch" in asked:
        return {"keyring": providers.create_aws_kms_hierarchical_keyring(
            CreateAwsKmsHierarchicalKeyringInput(
                key_store=branches(asked["key"]), branch_key_id=asked["branch"], ttl_seconds=600
            )
        )}  # fmt: skip
    if "keys" in asked:
        first, *rest = asked["keys"]
        return {"keyring": providers.create_aws_kms_multi_keyring(
            CreateAwsKmsMultiKeyringInput(generator=first, kms_key_ids=rest)
        )}  # fmt: skip
    only = None
    if "accounts" in asked:
        only = DiscoveryFilter(account_ids=asked["accounts"], partition="aws")
    return {"keyring": providers.create_aws_kms_discovery_keyring(
        CreateAwsKmsDiscoveryKeyringInput(kms_client=kms, discovery_filter=only)
    )}  # fmt: skip


def branches(key: str) -> KeyStore:
    """Where the keys below a key of the service are kept, in DynamoDB."""
    return KeyStore(KeyStoreConfig(
        ddb_client=boto3.client("dynamodb"), ddb_table_name="branches", kms_client=kms,
        logical_key_store_name="branches", kms_configuration=KMSConfigurationKmsKeyArn(value=key),
    ))  # fmt: skip


def master_keys(asked: dict[str, Any]) -> Any:
    if "keys" in asked:
        return sdk.StrictAwsKmsMasterKeyProvider(key_ids=asked["keys"])
    only = None
    if "accounts" in asked:
        only = AccountFilter(account_ids=asked["accounts"], partition="aws")
    region = os.environ["AWS_DEFAULT_REGION"]
    return sdk.DiscoveryAwsKmsMasterKeyProvider(region_names=[region], discovery_filter=only)


def caching(asked: dict[str, Any]) -> Any:
    return sdk.CachingCryptoMaterialsManager(
        master_key_provider=master_keys(asked), cache=sdk.LocalCryptoMaterialsCache(10),
        max_age=600.0, max_messages_encrypted=asked.get("messages", 100),
    )  # fmt: skip


def call(asked: dict[str, Any]) -> Any:
    if asked["do"] == "create-branch":
        branches(asked["key"]).create_key_store(CreateKeyStoreInput())
        return branches(asked["key"]).create_key(CreateKeyInput()).branch_key_identifier
    if asked["do"] == "version-branch":
        branches(asked["key"]).version_key(VersionKeyInput(branch_key_identifier=asked["branch"]))
        return None
    given = base64.b64decode(asked["text"])
    pairs = {"encryption_context": asked["context"]} if "context" in asked else {}
    if asked["do"] == "encrypt":
        made, _ = client.encrypt(
            source=given, algorithm=Algorithm.get_by_id(asked["suite"]), **pairs, **keys_of(asked)
        )
        return {"text": base64.b64encode(made).decode()}
    if asked["api"] == "master-keys":  # these do not compare what was expected
        pairs = {}
    opened, header = client.decrypt(source=given, **pairs, **keys_of(asked))
    found = {k: v for k, v in header.encryption_context.items() if not k.startswith("aws-crypto-")}
    return {"text": base64.b64encode(opened).decode(), "context": found}


for line in sys.stdin:
    try:
        told = {"answer": call(json.loads(line))}
    except Exception as exc:  # noqa: BLE001 - whatever the SDK raises is told
        told = {"error": f"{type(exc).__name__}: {exc}"}
    print(json.dumps(told), flush=True)
