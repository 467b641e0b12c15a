"""The condition keys that a policy may ask for, with the type of each.

A key that is not here makes a document malformed: a condition that nobody evaluates would be no
condition. Some keys are here although no request to this service has them, because what AWS says
of a request without them holds: nothing comes through another service, a VPC endpoint, an
organisation or a session with a second factor.

Names of condition keys compare without case, the names in an encryption context and of tags
included ("Case sensitivity of the encryption context condition").

Source: AWS KMS developer guide, "AWS KMS condition keys"; IAM user guide, "AWS global condition
context keys".

Example:
    >>> find_key("KMS:keyspec").name
    'kms:KeySpec'
    >>> find_key("kms:EncryptionContextKeys").many
    True
    >>> find_key("kms:EncryptionContext:Department").name
    'kms:EncryptionContext:Department'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

KeyType = Literal["text", "bool", "number", "date", "address"]


@dataclass(frozen=True, slots=True)
class ConditionKey:
    """One condition key.

    Attributes:
        name: as it is documented, or as the policy has it after a prefix.
        type: what its values are.
        many: whether a request may have several values of it; such a key needs a set operator.
        key_policies: whether a key policy may ask for it.
        every: whether ``ForAllValues`` may qualify it.
        instead: the name that a request has it by, when it is another.
    """

    name: str
    type: KeyType = "text"
    many: bool = False
    key_policies: bool = True
    every: bool = True
    instead: str = ""

    @property
    def fact(self) -> str:
        """Its name in lower case, as `Query.facts` has it."""
        return (self.instead or self.name).lower()


CONTEXT_PREFIX = "kms:encryptioncontext:"
"""In lower case; the name of a pair of the encryption context follows."""

CONTEXT_KEYS = "kms:encryptioncontextkeys"
"""In lower case; all names of the encryption context."""


def _named(type_: KeyType, *names: str) -> tuple[ConditionKey, ...]:
    return tuple(ConditionKey(name, type_) for name in names)


def _several(*names: str) -> tuple[ConditionKey, ...]:
    return tuple(ConditionKey(name, many=True) for name in names)


_ALL = (
    *_named(
        "text",
        "kms:CallerAccount",
        "kms:DataKeyPairSpec",
        "kms:EncryptionAlgorithm",
        "kms:ExpirationModel",
        "kms:GrantConstraintType",
        "kms:GranteePrincipal",
        "kms:KeyAgreementAlgorithm",
        "kms:KeyOrigin",
        "kms:KeySpec",
        "kms:KeyUsage",
        "kms:MacAlgorithm",
        "kms:MessageType",
        "kms:MultiRegionKeyType",
        "kms:PolicyName",
        "kms:PrimaryRegion",
        "kms:ReplicaRegion",
        "kms:RequestAlias",
        "kms:RetiringPrincipal",
        "kms:SigningAlgorithm",
        "kms:ViaService",
        "kms:WrappingAlgorithm",
        "kms:WrappingKeySpec",
        "aws:CalledViaFirst",
        "aws:CalledViaLast",
        "aws:FederatedProvider",
        "aws:PrincipalAccount",
        "aws:PrincipalArn",
        "aws:PrincipalOrgID",
        "aws:PrincipalServiceName",
        "aws:PrincipalType",
        "aws:RequestedRegion",
        "aws:ResourceAccount",
        "aws:ResourceOrgID",
        "aws:SourceAccount",
        "aws:SourceArn",
        "aws:SourceIdentity",
        "aws:SourceVpc",
        "aws:SourceVpce",
        "aws:UserAgent",
        "aws:userid",
        "aws:username",
    ),
    *_named(
        "bool",
        "kms:BypassPolicyLockoutSafetyCheck",
        "kms:GrantIsForAWSResource",
        "kms:MultiRegion",
        "kms:ReEncryptOnSameKey",
        "aws:MultiFactorAuthPresent",
        "aws:PrincipalIsAWSService",
        "aws:SecureTransport",
        "aws:ViaAWSService",
    ),
    *_named(
        "number",
        "kms:RotationPeriodInDays",
        "kms:ScheduleKeyDeletionPendingWindowInDays",
        "kms:ValidTo",
        "aws:MultiFactorAuthAge",
    ),
    *_named("date", "aws:CurrentTime", "aws:EpochTime", "aws:TokenIssueTime"),
    *_named("address", "aws:SourceIp", "aws:VpcSourceIp"),
    *_several(
        "kms:EncryptionContextKeys",
        "kms:GrantOperations",
        "aws:CalledVia",
        "aws:PrincipalOrgPaths",
        "aws:PrincipalServiceNamesList",
        "aws:ResourceOrgPaths",
        "aws:TagKeys",
    ),
    # Deprecated; they "work the same way".
    ConditionKey("kms:CustomerMasterKeySpec", instead="kms:KeySpec"),
    ConditionKey("kms:CustomerMasterKeyUsage", instead="kms:KeyUsage"),
    # "IAM policies only": a key policy that asked for it would not be evaluated by AWS.
    ConditionKey("kms:ResourceAliases", many=True, key_policies=False),
)

_PREFIXES = (
    # ForAllValues with these two is refused by AWS as OverlyPermissiveCondition.
    ConditionKey("kms:EncryptionContext:", every=False),
    ConditionKey("aws:RequestTag/", every=False),
    ConditionKey("aws:ResourceTag/"),
    ConditionKey("aws:PrincipalTag/"),
)

CONDITION_KEYS: Mapping[str, ConditionKey] = MappingProxyType(
    {each.name.lower(): each for each in (*_ALL, *_PREFIXES)}
)
"""Every condition key by its name in lower case; after a ``:`` or ``/`` at the end goes a name."""


def find_key(name: str) -> ConditionKey | None:
    """The condition key that a policy names; None when nothing is known by that name.

    Args:
        name: in any case, with what follows a prefix.
    """
    folded = name.lower()
    for prefix in _PREFIXES:
        if folded.startswith(prefix.fact):
            return replace(prefix, name=name) if len(name) > len(prefix.name) else None
    return CONDITION_KEYS.get(folded)
