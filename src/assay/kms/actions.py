"""The actions of KMS: what each is decided upon, and which condition keys it brings.

A policy may name these actions only, so that a misspelt ``Deny`` is refused when it is put and not
found out when it was needed. The service evaluates some of them only; a policy written for AWS may
name all.

Source: AWS KMS developer guide, "AWS KMS permissions"; Service Authorization Reference, "Actions,
resources, and condition keys for AWS Key Management Service".

Example:
    >>> ACTIONS["kms:Decrypt"].resources
    ('key',)
    >>> "kms:SigningAlgorithm" in ACTIONS["kms:Sign"].keys
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ResourceKind = Literal["key", "alias"]

_KEY = (
    "kms:CallerAccount",
    "kms:KeySpec",
    "kms:KeyUsage",
    "kms:KeyOrigin",
    "kms:MultiRegion",
    "kms:MultiRegionKeyType",
    "kms:ResourceAliases",
    "kms:ViaService",
    "aws:ResourceTag/",
)
"""What every action on a key brings; a name that ends in ``:`` or ``/`` is followed by one."""

_CONTEXT = ("kms:EncryptionContext:", "kms:EncryptionContextKeys")
_CIPHER = ("kms:RequestAlias", "kms:EncryptionAlgorithm", *_CONTEXT)
_PAIR = (*_CIPHER, "kms:DataKeyPairSpec")
_MOVE = (*_CIPHER, "kms:ReEncryptOnSameKey")
_SIGN = ("kms:RequestAlias", "kms:SigningAlgorithm", "kms:MessageType")
_MAC = ("kms:RequestAlias", "kms:MacAlgorithm")
_STORE = ("kms:CallerAccount",)
_TAGS = ("aws:RequestTag/", "aws:TagKeys")
_GRANT = (
    *_CONTEXT,
    "kms:GrantConstraintType",
    "kms:GrantIsForAWSResource",
    "kms:GrantOperations",
    "kms:GranteePrincipal",
    "kms:RetiringPrincipal",
)
_CREATE = (
    "kms:CallerAccount",
    "kms:KeySpec",
    "kms:KeyUsage",
    "kms:KeyOrigin",
    "kms:MultiRegion",
    "kms:MultiRegionKeyType",
    "kms:ViaService",
    "kms:BypassPolicyLockoutSafetyCheck",
    *_TAGS,
)


@dataclass(frozen=True, slots=True)
class Action:
    """One permission.

    Attributes:
        name: ``kms:Decrypt``; of most operations their name, of ReEncrypt two.
        resources: kinds of what it is decided upon, each one by itself; nothing for an action of
            the whole account.
        keys: condition keys beside the global ones.
    """

    name: str
    resources: tuple[ResourceKind, ...]
    keys: frozenset[str]


def _on_key(name: str, *keys: str) -> Action:
    return Action(f"kms:{name}", ("key",), frozenset({*_KEY, *keys}))


def _on_alias(name: str) -> Action:
    return Action(f"kms:{name}", ("alias", "key"), frozenset(_KEY))


def _on_account(name: str, *keys: str) -> Action:
    return Action(f"kms:{name}", (), frozenset(keys))


_ALL = (
    _on_key("CancelKeyDeletion"),
    _on_account("ConnectCustomKeyStore", *_STORE),
    _on_alias("CreateAlias"),
    _on_account("CreateCustomKeyStore", *_STORE),
    _on_key("CreateGrant", *_GRANT),
    _on_account("CreateKey", *_CREATE),
    _on_key("Decapsulate", "kms:RequestAlias"),
    _on_key("Decrypt", *_CIPHER),
    _on_alias("DeleteAlias"),
    _on_account("DeleteCustomKeyStore", *_STORE),
    _on_key("DeleteImportedKeyMaterial"),
    _on_key("DeriveSharedSecret", "kms:RequestAlias", "kms:KeyAgreementAlgorithm"),
    _on_account("DescribeCustomKeyStores", *_STORE),
    _on_key("DescribeKey", "kms:RequestAlias"),
    _on_key("DisableKey"),
    _on_key("DisableKeyRotation"),
    _on_account("DisconnectCustomKeyStore", *_STORE),
    _on_key("EnableKey"),
    _on_key("EnableKeyRotation", "kms:RotationPeriodInDays"),
    _on_key("Encapsulate", "kms:RequestAlias"),
    _on_key("Encrypt", *_CIPHER),
    _on_key("GenerateDataKey", *_CIPHER),
    _on_key("GenerateDataKeyPair", *_PAIR),
    _on_key("GenerateDataKeyPairWithoutPlaintext", *_PAIR),
    _on_key("GenerateDataKeyWithoutPlaintext", *_CIPHER),
    _on_key("GenerateMac", *_MAC),
    _on_account("GenerateRandom"),
    _on_key("GetKeyLastUsage"),
    _on_key("GetKeyPolicy", "kms:PolicyName"),
    _on_key("GetKeyRotationStatus"),
    _on_key("GetParametersForImport", "kms:WrappingAlgorithm", "kms:WrappingKeySpec"),
    _on_key("GetPublicKey", "kms:RequestAlias"),
    _on_key("ImportKeyMaterial", "kms:ExpirationModel", "kms:ValidTo"),
    _on_account("ListAliases"),
    _on_key("ListGrants", "kms:GrantIsForAWSResource"),
    _on_key("ListKeyPolicies"),
    _on_key("ListKeyRotations"),
    _on_account("ListKeys"),
    _on_key("ListResourceTags"),
    _on_account("ListRetirableGrants"),
    _on_key("PutKeyPolicy", "kms:BypassPolicyLockoutSafetyCheck", "kms:PolicyName"),
    _on_key("ReEncryptFrom", *_MOVE),
    _on_key("ReEncryptTo", *_MOVE),
    _on_key("ReplicateKey", "kms:ReplicaRegion"),
    _on_key("RetireGrant", *_CONTEXT, "kms:GrantConstraintType"),
    _on_key("RevokeGrant", "kms:GrantIsForAWSResource"),
    _on_key("RotateKeyOnDemand"),
    _on_key("ScheduleKeyDeletion", "kms:ScheduleKeyDeletionPendingWindowInDays"),
    _on_key("Sign", *_SIGN),
    _on_key("SynchronizeMultiRegionKey"),
    _on_key("TagResource", *_TAGS),
    _on_key("UntagResource", "aws:TagKeys"),
    _on_alias("UpdateAlias"),
    _on_account("UpdateCustomKeyStore", *_STORE),
    _on_key("UpdateKeyDescription"),
    _on_key("UpdatePrimaryRegion", "kms:PrimaryRegion"),
    _on_key("Verify", *_SIGN),
    _on_key("VerifyMac", *_MAC),
)

ACTIONS: Mapping[str, Action] = MappingProxyType({each.name: each for each in _ALL})
"""Every action by its name, ``kms:`` included."""
