"""All actions of the API, in one visible table.

Example:
    >>> OPERATIONS["Decrypt"].takes.__name__
    'Decrypt'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from assay.kms.arguments import Arguments, OfKey
from assay.kms.call import Call
from assay.kms.operations import (
    aliases,
    ciphers,
    data_keys,
    granting,
    lifecycle,
    putting,
    rotation,
    signing,
)


class Operation(NamedTuple):
    """One action.

    Attributes:
        takes: its arguments.
        perform: does it; gives the answer, or None for an empty one.
    """

    takes: type[Arguments]
    perform: Callable[[Call, Any], Mapping[str, Any] | None]


OPERATIONS: Mapping[str, Operation] = {
    "CancelKeyDeletion": Operation(OfKey, lifecycle.cancel_key_deletion),
    "CreateAlias": Operation(aliases.CreateAlias, aliases.create_alias),
    "CreateGrant": Operation(granting.CreateGrant, granting.create_grant),
    "CreateKey": Operation(lifecycle.CreateKey, lifecycle.create_key),
    "Decrypt": Operation(ciphers.Decrypt, ciphers.decrypt),
    "DeleteAlias": Operation(aliases.DeleteAlias, aliases.delete_alias),
    "DescribeKey": Operation(lifecycle.DescribeKey, lifecycle.describe_key),
    "DisableKey": Operation(OfKey, lifecycle.disable_key),
    "DisableKeyRotation": Operation(OfKey, rotation.disable_key_rotation),
    "EnableKey": Operation(OfKey, lifecycle.enable_key),
    "EnableKeyRotation": Operation(rotation.EnableKeyRotation, rotation.enable_key_rotation),
    "Encrypt": Operation(ciphers.Encrypt, ciphers.encrypt),
    "GenerateDataKey": Operation(data_keys.GenerateDataKey, data_keys.generate_data_key),
    "GenerateDataKeyPair": Operation(
        data_keys.GenerateDataKeyPair, data_keys.generate_data_key_pair
    ),
    "GenerateDataKeyPairWithoutPlaintext": Operation(
        data_keys.GenerateHiddenDataKeyPair, data_keys.generate_data_key_pair_without_plaintext
    ),
    "GenerateDataKeyWithoutPlaintext": Operation(
        data_keys.GenerateHiddenDataKey, data_keys.generate_data_key_without_plaintext
    ),
    "GenerateMac": Operation(signing.GenerateMac, signing.generate_mac),
    "GenerateRandom": Operation(data_keys.GenerateRandom, data_keys.generate_random),
    "GetKeyPolicy": Operation(putting.GetKeyPolicy, putting.get_key_policy),
    "GetKeyRotationStatus": Operation(OfKey, rotation.get_key_rotation_status),
    "GetPublicKey": Operation(signing.GetPublicKey, signing.get_public_key),
    "ListAliases": Operation(aliases.ListAliases, aliases.list_aliases),
    "ListGrants": Operation(granting.ListGrants, granting.list_grants),
    "ListKeyPolicies": Operation(putting.ListKeyPolicies, putting.list_key_policies),
    "ListKeyRotations": Operation(rotation.ListKeyRotations, rotation.list_key_rotations),
    "ListKeys": Operation(lifecycle.ListKeys, lifecycle.list_keys),
    "ListResourceTags": Operation(lifecycle.ListResourceTags, lifecycle.list_resource_tags),
    "ListRetirableGrants": Operation(granting.ListRetirableGrants, granting.list_retirable_grants),
    "PutKeyPolicy": Operation(putting.PutKeyPolicy, putting.put_key_policy),
    "ReEncrypt": Operation(ciphers.ReEncrypt, ciphers.re_encrypt),
    "RetireGrant": Operation(granting.RetireGrant, granting.retire_grant),
    "RevokeGrant": Operation(granting.RevokeGrant, granting.revoke_grant),
    "RotateKeyOnDemand": Operation(OfKey, rotation.rotate_key_on_demand),
    "ScheduleKeyDeletion": Operation(
        lifecycle.ScheduleKeyDeletion, lifecycle.schedule_key_deletion
    ),
    "Sign": Operation(signing.Sign, signing.sign),
    "TagResource": Operation(lifecycle.TagResource, lifecycle.tag_resource),
    "UntagResource": Operation(lifecycle.UntagResource, lifecycle.untag_resource),
    "UpdateAlias": Operation(aliases.CreateAlias, aliases.update_alias),
    "UpdateKeyDescription": Operation(
        lifecycle.UpdateKeyDescription, lifecycle.update_key_description
    ),
    "Verify": Operation(signing.Verify, signing.verify),
    "VerifyMac": Operation(signing.VerifyMac, signing.verify_mac),
}

UNSUPPORTED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "ConnectCustomKeyStore", "CreateCustomKeyStore", "DeleteCustomKeyStore",
            "DescribeCustomKeyStores", "DisconnectCustomKeyStore", "UpdateCustomKeyStore",
        ),
        "keys live in the token of this service",
    ),
    **dict.fromkeys(
        ("DeleteImportedKeyMaterial", "GetParametersForImport", "ImportKeyMaterial"),
        "keys are made inside of the token and never imported",
    ),
    **dict.fromkeys(("ReplicateKey", "UpdatePrimaryRegion"), "this service is one Region"),
    **dict.fromkeys(
        ("Decapsulate", "DeriveSharedSecret", "Encapsulate"), "no key is for key agreement here"
    ),
    "GetKeyLastUsage": "the audit trail says when a key was used",
}  # fmt: skip
"""The actions of the API that this service refuses, and why."""
