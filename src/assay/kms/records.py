"""What the service keeps of keys, aliases, grants and principals; never key material.

Example:
    >>> record.state                                                    # doctest: +SKIP
    <KeyState.ENABLED: 'Enabled'>
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class KeyState(StrEnum):
    """States of a key, as DescribeKey tells them."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"


class KeyUsage(StrEnum):
    """What a key is for."""

    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    SIGN_VERIFY = "SIGN_VERIFY"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"


class KeySpec(StrEnum):
    """Kinds of keys that a token can make."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    HMAC_224 = "HMAC_224"
    HMAC_256 = "HMAC_256"
    HMAC_384 = "HMAC_384"
    HMAC_512 = "HMAC_512"


class Rotation(StrEnum):
    """Why a backing key was made."""

    FIRST = "FIRST"
    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


@dataclass(frozen=True, slots=True)
class BackingKey:
    """One version of a key: an object in the token.

    Attributes:
        version: from 1.
        handle: the object's CKA_ID, 16 random bytes.
        created_at: when it was made.
        rotation: why it was made.
    """

    version: int
    handle: bytes
    created_at: datetime
    rotation: Rotation


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One KMS key.

    Attributes:
        key_id: UUID, or ``mrk-`` and 32 hexadecimal digits.
        arn: its ARN.
        spec: its kind.
        usage: what it is for.
        state: whether it may be used.
        created_at: when it was made.
        policy: its key policy, JSON as it was put.
        description: free text.
        deletion_at: from when on its material is destroyed, while it waits for that.
        rotation_days: days between automatic rotations; None when they are off.
        rotation_from: from when on these days are counted.
        public_key: DER SubjectPublicKeyInfo of an asymmetric key.
        tags: key to value.
        backing: its versions, oldest first; more than one only of symmetric keys.
        missing: algorithms of its kind that the token turned out not to have.
    """

    key_id: str
    arn: str
    spec: KeySpec
    usage: KeyUsage
    state: KeyState
    created_at: datetime
    policy: str
    description: str = ""
    deletion_at: datetime | None = None
    rotation_days: int | None = None
    rotation_from: datetime | None = None
    public_key: bytes | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    backing: tuple[BackingKey, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def multi_region(self) -> bool:
        """Whether it is a multi-Region key."""
        return self.key_id.startswith("mrk-")


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """A name for a key.

    Attributes:
        name: ``alias/NAME``.
        key_id: of the key.
        created_at: when it was made.
        updated_at: when it was last pointed elsewhere.
    """

    name: str
    key_id: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """A permission that stands beside the policies.

    Attributes:
        grant_id: 64 hexadecimal digits.
        key_id: of the key.
        grantee: the ARN of who may.
        operations: what they may.
        created_at: when it was made.
        issued_by: the ARN of who made it.
        retiring: the ARN of who may retire it, or None.
        name: to make CreateGrant idempotent, or "".
        context_equals: the encryption context that it asks for, or None.
        context_subset: the pairs that the context must hold, or None.
    """

    grant_id: str
    key_id: str
    grantee: str
    operations: frozenset[str]
    created_at: datetime
    issued_by: str
    retiring: str | None = None
    name: str = ""
    context_equals: Mapping[str, str] | None = None
    context_subset: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PrincipalRecord:
    """Who may sign requests.

    Attributes:
        arn: ``arn:aws:iam::ACCOUNT:user/NAME``, or the account's root.
        policies: identity policies by name, JSON as they were put.
        enabled: whether requests are accepted.
    """

    arn: str
    policies: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class AccessKeyRecord:
    """What a principal signs requests with. The secret is sealed under a key of the token.

    Attributes:
        access_key_id: 20 characters, ``AKIA…``.
        principal: the ARN of whose it is.
        sealed_secret: nonce (12 bytes), ciphertext and tag.
        created_at: when it was made.
        enabled: whether requests are accepted.
    """

    access_key_id: str
    principal: str
    sealed_secret: bytes
    created_at: datetime
    enabled: bool = True
