"""Creating keys in AWS KMS, each with the alias by which it is found.

The key policy is left to the account's default. A key is tagged ``made-by: assay``.

Source: AWS KMS API reference 2014-11-01, CreateKey and CreateAlias.

Example:
    >>> create_with_alias(kms, parse_aws_kms_uri("aws-kms:alias/kek"), KEK)     # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.keys.aws_kms import AwsKms
from assay.keys.aws_kms_custody import DescribedKey, described
from assay.keys.aws_kms_uri import SCHEME, AwsKmsUri, KeyArn
from assay.keys.errors import KeyExistsError, KeyNotFoundError, KeyServiceError, KeyUriError

_SHORTEST_WAIT_DAYS = 7


@dataclass(frozen=True, slots=True)
class AwsKeyKind:
    """What a key is for.

    Attributes:
        usage: AWS's KeyUsage.
        spec: AWS's KeySpec.
    """

    usage: str
    spec: str


KEK = AwsKeyKind("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT")
SIGNING_KEY = AwsKeyKind("SIGN_VERIFY", "ECC_NIST_EDWARDS25519")


def create_with_alias(kms: AwsKms, parsed: AwsKmsUri, kind: AwsKeyKind) -> None:
    """Create a key, and the alias that a URI names.

    Raises:
        KeyUriError: the URI names no alias.
        KeyExistsError: there is such an alias; it was not changed.
        KeyServiceError: the service failed.
    """
    if parsed.alias is None or parsed.alias != parsed.key:
        raise KeyUriError(
            f"expected the URI of a key to create to name an alias ({SCHEME}:alias/NAME), found "
            "an ARN or a key id, which AWS KMS chooses itself"
        )
    try:
        described(kms, parsed.key)
    except KeyNotFoundError:
        pass
    else:
        raise KeyExistsError(
            f"expected no {parsed.alias} in {kms.region}, found one; it was not overwritten"
        )
    made = make_key(kms, kind, Description=f"Assay: {parsed.alias}")
    try:
        kms.call("CreateAlias", str(made), AliasName=parsed.alias, TargetKeyId=str(made))
    except KeyExistsError:
        # Either another was first, or our first attempt was heard and only its answer was lost.
        if described(kms, parsed.key).arn == made:
            return
        raise KeyExistsError(
            f"expected to be the only one who makes {parsed.alias}, found another made in the same "
            f"moment; it was not overwritten. The key {made} is left over: schedule its deletion"
        ) from None
    except KeyServiceError as exc:
        raise type(exc)(
            f"{exc}. The key {made} was made and has no alias: give it one, or schedule its "
            "deletion"
        ) from exc


def make_key(kms: AwsKms, kind: AwsKeyKind, **options: str) -> KeyArn:
    """Create a key without an alias.

    Raises:
        KeyServiceError: the service failed.
    """
    # Not tried again when an answer is lost: it might make a second key.
    answer = kms.call(
        "CreateKey",
        "a new key",
        repeatable=False,
        KeyUsage=kind.usage,
        KeySpec=kind.spec,
        Tags=[{"TagKey": "made-by", "TagValue": "assay"}],
        **options,
    )
    return DescribedKey.parse(answer, kms.endpoint).arn


def schedule_deletion(kms: AwsKms, key: KeyArn) -> None:
    """Have a key deleted after the shortest wait, seven days.

    Raises:
        KeyServiceError: the service failed.
    """
    kms.call(
        "ScheduleKeyDeletion",
        str(key),
        KeyId=key.key_id,
        PendingWindowInDays=_SHORTEST_WAIT_DAYS,
    )
