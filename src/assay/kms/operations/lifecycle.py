"""Keys from creation to destruction, and what is written about them.

Example:
    >>> create_key(call, CreateKey(description="orders"))               # doctest: +SKIP
    {'KeyMetadata': {...}}
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from assay.kms.arguments import (
    Arguments,
    OfKey,
    checked_length,
    checked_range,
    given,
    refuse_set,
)
from assay.kms.call import ANY_STATE, NOT_PENDING, Call
from assay.kms.errors import LimitError, TagError, UnsupportedError, ValidationError
from assay.kms.key_kinds import KINDS
from assay.kms.operations.pages import Page, paged
from assay.kms.operations.putting import checked_policy
from assay.kms.policies import default_policy
from assay.kms.public_keys import encrypt_oaep
from assay.kms.query import Fact
from assay.kms.records import (
    BackingKey,
    KeyRecord,
    KeySpec,
    KeyState,
    KeyUsage,
    Rotation,
)

MOST_TAGS = 50
_WAITING_DAYS = (7, 30)
_LONGEST_DESCRIPTION = 8192

_USAGES: Mapping[KeySpec, tuple[KeyUsage, ...]] = {
    spec: tuple(usage for each, usage in KINDS if each is spec) for spec in KeySpec
}

_ALGORITHMS: Mapping[tuple[KeySpec, KeyUsage], tuple[str, tuple[str, ...]]] = {
    (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT): (
        "EncryptionAlgorithms", ("SYMMETRIC_DEFAULT",)
    ),
    **{
        (spec, KeyUsage.ENCRYPT_DECRYPT): (
            "EncryptionAlgorithms", ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
        )
        for spec in (KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096)
    },
    **{
        (spec, KeyUsage.SIGN_VERIFY): (
            "SigningAlgorithms",
            tuple(
                f"RSASSA_{scheme}_SHA_{size}"
                for scheme in ("PKCS1_V1_5", "PSS")
                for size in (256, 384, 512)
            ),
        )
        for spec in (KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096)
    },
    (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY): ("SigningAlgorithms", ("ECDSA_SHA_256",)),
    (KeySpec.ECC_NIST_P384, KeyUsage.SIGN_VERIFY): ("SigningAlgorithms", ("ECDSA_SHA_384",)),
    (KeySpec.ECC_NIST_P521, KeyUsage.SIGN_VERIFY): ("SigningAlgorithms", ("ECDSA_SHA_512",)),
    (KeySpec.ECC_NIST_EDWARDS25519, KeyUsage.SIGN_VERIFY): (
        "SigningAlgorithms", ("ED25519_SHA_512",)
    ),
    **{
        (spec, KeyUsage.GENERATE_VERIFY_MAC): ("MacAlgorithms", (f"HMAC_SHA_{spec.value[5:]}",))
        for spec in (KeySpec.HMAC_224, KeySpec.HMAC_256, KeySpec.HMAC_384, KeySpec.HMAC_512)
    },
}  # fmt: skip
"""What a key of a kind and use can do: the field of its metadata, and the algorithms."""


class Tag(Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """A tag."""

    tag_key: str
    tag_value: str


class CreateKey(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of CreateKey."""

    policy: str | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    key_usage: str | UnsetType = UNSET
    customer_master_key_spec: str | UnsetType = UNSET
    key_spec: str | UnsetType = UNSET
    origin: str | UnsetType = UNSET
    custom_key_store_id: str | UnsetType = UNSET
    xks_key_id: str | UnsetType = UNSET
    bypass_policy_lockout_safety_check: bool | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET
    multi_region: bool | UnsetType = UNSET


class ScheduleKeyDeletion(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of ScheduleKeyDeletion."""

    pending_window_in_days: int | UnsetType = UNSET


class UpdateKeyDescription(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of UpdateKeyDescription."""

    description: str


class DescribeKey(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of DescribeKey."""

    grant_tokens: list[str] | UnsetType = UNSET


class TagResource(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of TagResource."""

    tags: list[Tag]


class UntagResource(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of UntagResource."""

    tag_keys: list[str]


class ListResourceTags(
    Page, frozen=True, rename="pascal", forbid_unknown_fields=True, kw_only=True
):
    """Arguments of ListResourceTags."""

    key_id: str


class ListKeys(Page, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of ListKeys."""

    resource_owners: Any | UnsetType = UNSET


def create_key(call: Call, arguments: CreateKey) -> dict[str, Any]:
    """Make a key in the token, with its policy."""
    refuse_set(
        arguments,
        custom_key_store_id="keys live in the token of this service",
        xks_key_id="keys live in the token of this service",
    )
    if given(arguments.origin, "AWS_KMS") != "AWS_KMS":
        raise UnsupportedError(
            "expected Origin AWS_KMS: keys are made inside of the token and never imported"
        )
    spec, usage = _spec_and_usage(arguments)
    tags = _tags(given(arguments.tags, []))
    policy = given(arguments.policy, default_policy(call.state.account))
    bypass = bool(given(arguments.bypass_policy_lockout_safety_check, False))
    multi_region = bool(given(arguments.multi_region, False))
    call.anywhere(
        facts={
            "kms:keyspec": spec.value,
            "kms:keyusage": usage.value,
            "kms:keyorigin": "AWS_KMS",
            "kms:multiregion": multi_region,
            "kms:multiregionkeytype": "PRIMARY" if multi_region else None,
            "kms:bypasspolicylockoutsafetycheck": bypass,
            "aws:tagkeys": tuple(tags),
            **{f"aws:requesttag/{name.lower()}": value for name, value in tags.items()},
        }
    )
    description = given(arguments.description, "")
    checked_length("Description", description, 0, _LONGEST_DESCRIPTION)
    key_id = f"mrk-{secrets.token_hex(16)}" if multi_region else str(uuid.uuid4())
    record = KeyRecord(
        key_id=key_id,
        arn=call.state.key_arn(key_id),
        spec=spec,
        usage=usage,
        state=KeyState.ENABLED,
        created_at=call.now,
        policy=policy,
        description=description,
        tags=tags,
    )
    checked_policy(call, record, policy, bypass=bypass)
    made = call.token.create_key(spec, usage, f"{key_id}/1")
    backing = (BackingKey(1, made.handle, call.now, Rotation.FIRST),)
    record = replace(record, backing=backing, public_key=made.public_key)
    record = replace(record, missing=_missing(call, record))
    call.transaction.put(record)
    call.keys.append((record.arn, None))
    return {"KeyMetadata": metadata(record, call)}


def describe_key(call: Call, arguments: DescribeKey) -> dict[str, Any]:
    """Tell what a key is."""
    record = call.key(arguments.key_id, states=ANY_STATE)
    return {"KeyMetadata": metadata(record, call)}


def list_keys(call: Call, arguments: ListKeys) -> dict[str, Any]:
    """List all keys."""
    refuse_set(arguments, resource_owners="there are no keys of AWS services here")
    call.anywhere()
    entries = [(key_id, {"KeyId": key_id, "KeyArn": call.state.keys[key_id].arn})
               for key_id in sorted(call.state.keys)]  # fmt: skip
    return paged("Keys", entries, arguments, 1000)


def enable_key(call: Call, arguments: OfKey) -> None:
    """Allow a disabled key to be used again."""
    record = call.key(arguments.key_id, states=NOT_PENDING)
    call.transaction.put(replace(record, state=KeyState.ENABLED))


def disable_key(call: Call, arguments: OfKey) -> None:
    """Forbid every use of a key."""
    record = call.key(arguments.key_id, states=NOT_PENDING)
    call.transaction.put(replace(record, state=KeyState.DISABLED))


def schedule_key_deletion(call: Call, arguments: ScheduleKeyDeletion) -> dict[str, Any]:
    """Let a key wait for its destruction; until then it can be had back, and cannot be used."""
    days = checked_range(
        "PendingWindowInDays", given(arguments.pending_window_in_days, _WAITING_DAYS[1]),
        *_WAITING_DAYS,
    )  # fmt: skip
    record = call.key(
        arguments.key_id,
        states=NOT_PENDING,
        facts={"kms:schedulekeydeletionpendingwindowindays": days},
    )
    until = call.now + timedelta(days=days)
    record = replace(record, state=KeyState.PENDING_DELETION, deletion_at=until)
    call.transaction.put(record)
    return {
        "KeyId": record.arn,
        "DeletionDate": until.timestamp(),
        "KeyState": record.state.value,
        "PendingWindowInDays": days,
    }


def cancel_key_deletion(call: Call, arguments: OfKey) -> dict[str, Any]:
    """Take a key back that waits for its destruction; it is disabled afterwards."""
    record = call.key(arguments.key_id, states=frozenset({KeyState.PENDING_DELETION}))
    call.transaction.put(replace(record, state=KeyState.DISABLED, deletion_at=None))
    return {"KeyId": record.arn}


def update_key_description(call: Call, arguments: UpdateKeyDescription) -> None:
    """Describe a key anew."""
    checked_length("Description", arguments.description, 0, _LONGEST_DESCRIPTION)
    record = call.key(arguments.key_id, states=NOT_PENDING)
    call.transaction.put(replace(record, description=arguments.description))


def tag_resource(call: Call, arguments: TagResource) -> None:
    """Add tags to a key, or change their values."""
    tags = _tags(arguments.tags)
    facts: dict[str, Fact] = {
        "aws:tagkeys": tuple(tags),
        **{f"aws:requesttag/{name.lower()}": value for name, value in tags.items()},
    }
    record = call.key(arguments.key_id, states=NOT_PENDING, facts=facts)
    together = {**record.tags, **tags}
    if len(together) > MOST_TAGS:
        raise LimitError(f"expected at most {MOST_TAGS} tags of a key, found {len(together)}")
    call.transaction.put(replace(record, tags=together))


def untag_resource(call: Call, arguments: UntagResource) -> None:
    """Take tags from a key."""
    facts: dict[str, Fact] = {"aws:tagkeys": tuple(arguments.tag_keys)}
    record = call.key(arguments.key_id, states=NOT_PENDING, facts=facts)
    kept = {name: value for name, value in record.tags.items() if name not in arguments.tag_keys}
    call.transaction.put(replace(record, tags=kept))


def list_resource_tags(call: Call, arguments: ListResourceTags) -> dict[str, Any]:
    """List the tags of a key."""
    record = call.key(arguments.key_id, states=ANY_STATE)
    entries = [
        (name, {"TagKey": name, "TagValue": record.tags[name]}) for name in sorted(record.tags)
    ]
    return paged("Tags", entries, arguments, 50)


def metadata(record: KeyRecord, call: Call) -> dict[str, Any]:
    """What DescribeKey tells of a key."""
    field, algorithms = _ALGORITHMS[record.spec, record.usage]
    told: dict[str, Any] = {
        "AWSAccountId": call.state.account,
        "KeyId": record.key_id,
        "Arn": record.arn,
        "CreationDate": record.created_at.timestamp(),
        "Enabled": record.state is KeyState.ENABLED,
        "Description": record.description,
        "KeyUsage": record.usage.value,
        "KeyState": record.state.value,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": record.spec.value,
        "KeySpec": record.spec.value,
        field: [name for name in algorithms if name not in record.missing],
        "MultiRegion": record.multi_region,
    }
    if record.deletion_at is not None:
        told["DeletionDate"] = record.deletion_at.timestamp()
    if record.multi_region:
        told["MultiRegionConfiguration"] = {
            "MultiRegionKeyType": "PRIMARY",
            "PrimaryKey": {"Arn": record.arn, "Region": call.state.region},
            "ReplicaKeys": [],
        }
    return told


def algorithms_of(record: KeyRecord) -> tuple[str, ...]:
    """What a key can do, by AWS's names."""
    known = _ALGORITHMS[record.spec, record.usage][1]
    return tuple(name for name in known if name not in record.missing)


def _missing(call: Call, record: KeyRecord) -> tuple[str, ...]:
    """The ways to decrypt under an RSA key that the token does not know, found by trying each.

    What is encrypted to a public key that nobody can decrypt would be lost.
    """
    if record.usage is not KeyUsage.ENCRYPT_DECRYPT or record.public_key is None:
        return ()
    missing = []
    for name in _ALGORITHMS[record.spec, record.usage][1]:
        hash_name = name.removeprefix("RSAES_OAEP_")
        probe = encrypt_oaep(record.public_key, hash_name, b"probe")
        try:
            call.token.decrypt_oaep(record.backing[-1].handle, hash_name, probe)
        except UnsupportedError:
            missing.append(name)
    return tuple(missing)


def _spec_and_usage(arguments: CreateKey) -> tuple[KeySpec, KeyUsage]:
    old, new = given(arguments.customer_master_key_spec, None), given(arguments.key_spec, None)
    if old is not None and new is not None:
        raise ValidationError("expected KeySpec or CustomerMasterKeySpec, found both")
    name = new or old or "SYMMETRIC_DEFAULT"
    try:
        spec = KeySpec(name)
    except ValueError:
        raise UnsupportedError(
            f"expected KeySpec to be one of {', '.join(KeySpec)}, found {name[:40]!r}"
        ) from None
    usages = _USAGES[spec]
    wanted = given(arguments.key_usage, None)
    if wanted is None:
        if spec is not KeySpec.SYMMETRIC_DEFAULT:
            raise ValidationError(f"expected KeyUsage for a key of {spec}, found none")
        return spec, usages[0]
    if wanted not in usages:
        raise ValidationError(
            f"expected KeyUsage {' or '.join(usages)} for a key of {spec}, found {wanted[:40]!r}"
        )
    return spec, KeyUsage(wanted)


def _tags(tags: Iterable[Tag]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in tags:
        if not 1 <= len(each.tag_key) <= 128 or len(each.tag_value) > 256:
            raise TagError(
                "expected a tag key of 1 to 128 characters and a value of at most 256, found "
                f"{len(each.tag_key)} and {len(each.tag_value)}"
            )
        if each.tag_key.lower().startswith("aws:"):
            raise TagError("expected a tag key that does not begin with aws:, found one that does")
        if each.tag_key in found:
            raise TagError(f"expected each tag key once, found {each.tag_key!r} twice")
        found[each.tag_key] = each.tag_value
    if len(found) > MOST_TAGS:
        raise LimitError(f"expected at most {MOST_TAGS} tags of a key, found {len(found)}")
    return found
