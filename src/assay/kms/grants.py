"""Grants: what CreateGrant may ask for, what a grant allows, and its token.

Section "Decision" of ``spec/kms.md``. A grant names one grantee, operations, and perhaps a
constraint upon the encryption context. It can allow, never deny, and is effective at once, so a
grant token is needed for nothing; it only names its grant.

Source: AWS KMS developer guide, "Grants in AWS KMS", "Using grant constraints", "Granting
CreateGrant permission".

Example:
    >>> operations_of(KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC) == {
    ...     "GenerateMac", "VerifyMac", "CreateGrant", "RetireGrant", "DescribeKey"
    ... }
    True
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from assay.kms.errors import (
    InvalidArnError,
    InvalidGrantTokenError,
    UnsupportedError,
    ValidationError,
)
from assay.kms.records import GrantRecord, KeySpec, KeyUsage

MAXIMUM_PAIRS = 8
"""Pairs in one constraint."""

MAXIMUM_VALUE = 384
"""Characters in one value of a constraint."""

_ALWAYS = frozenset({"CreateGrant", "RetireGrant", "DescribeKey"})
_WITHOUT_CONTEXT = frozenset({"RetireGrant", "DescribeKey"})
_CIPHER = frozenset({"Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo"})
_DATA_KEYS = frozenset(
    {
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
    }
)
_BY_USAGE: Mapping[KeyUsage, frozenset[str]] = {
    KeyUsage.ENCRYPT_DECRYPT: _ALWAYS | _CIPHER | {"GetPublicKey"},
    KeyUsage.SIGN_VERIFY: _ALWAYS | {"Sign", "Verify", "GetPublicKey"},
    KeyUsage.GENERATE_VERIFY_MAC: _ALWAYS | {"GenerateMac", "VerifyMac"},
}
GRANT_OPERATIONS = frozenset(
    {*_DATA_KEYS, "DeriveSharedSecret", "Encapsulate", "Decapsulate"}.union(*_BY_USAGE.values())
)
"""Every operation that a grant of AWS KMS can hold."""

_PRINCIPAL = re.compile(
    r"arn:aws[a-z-]*:(iam::[0-9]{12}:(root|user/.+|role/.+)"
    r"|sts::[0-9]{12}:(assumed-role|federated-user)/.+)"
)
_PRINCIPAL_CHARACTERS = re.compile(r"[\w+=,.@:/-]{1,256}", re.ASCII)
_NAME = re.compile(r"[a-zA-Z0-9:/_-]{1,256}")
_TOKEN = b"\x01"


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """The grant that CreateGrant asks for.

    Attributes:
        grantee: the ARN of who may.
        operations: what they may.
        retiring: the ARN of who may retire it, or None.
        name: to make CreateGrant idempotent, or "".
        context_equals: the encryption context that it asks for, or None.
        context_subset: the pairs that the context must hold, or None.
    """

    grantee: str
    operations: frozenset[str]
    retiring: str | None = None
    name: str = ""
    context_equals: Mapping[str, str] | None = None
    context_subset: Mapping[str, str] | None = None

    @property
    def context(self) -> dict[str, str]:
        """All pairs of its constraints, which conditions on an encryption context look at."""
        return {**(self.context_subset or {}), **(self.context_equals or {})}


def operations_of(spec: KeySpec, usage: KeyUsage) -> frozenset[str]:
    """The operations that a grant of such a key can hold."""
    if spec is KeySpec.SYMMETRIC_DEFAULT:
        return _ALWAYS | _CIPHER | _DATA_KEYS
    return _BY_USAGE[usage]


def check_grant(asked: GrantRequest, *, spec: KeySpec, usage: KeyUsage) -> None:
    """See whether such a grant can be made of such a key.

    Raises:
        InvalidArnError: the grantee or the retiring principal is nobody who can be one.
        ValidationError: no operation, an operation that the key does not have, a constraint where
            there is no encryption context, or one that is empty or too large; a name that is none.
    """
    _check_principal("GranteePrincipal", asked.grantee)
    if asked.retiring is not None:
        _check_principal("RetiringPrincipal", asked.retiring)
    if asked.name and not _NAME.fullmatch(asked.name):
        raise ValidationError(
            "Name: expected 1 to 256 of letters, digits and : / _ -, found something else"
        )
    _check_operations(asked.operations, spec, usage)
    _check_constraint("EncryptionContextEquals", asked.context_equals, spec)
    _check_constraint("EncryptionContextSubset", asked.context_subset, spec)


def check_no_service(arguments: Mapping[str, object]) -> None:
    """Refuse what only services inside of AWS can use.

    Args:
        arguments: of CreateGrant, as they came.

    Raises:
        UnsupportedError: a grantee or retiring principal that is a service, or the constraint
            ``SourceArn``: no request to this service comes on behalf of a resource.
    """
    for name in ("GranteeServicePrincipal", "RetiringServicePrincipal"):
        if arguments.get(name) is not None:
            raise UnsupportedError(f"{name}: there are no services here; name a user")
    constraints = arguments.get("Constraints")
    if isinstance(constraints, Mapping) and constraints.get("SourceArn") is not None:
        raise UnsupportedError("Constraints, SourceArn: no request comes on behalf of a resource")


def _check_principal(place: str, arn: str) -> None:
    if not _PRINCIPAL_CHARACTERS.fullmatch(arn) or not _PRINCIPAL.fullmatch(arn):
        raise InvalidArnError(
            f"{place}: expected the ARN of a user, a role or an account's root, "
            "such as arn:aws:iam::111122223333:user/ada, found something else"
        )


def _check_operations(operations: frozenset[str], spec: KeySpec, usage: KeyUsage) -> None:
    if not operations:
        raise ValidationError("Operations: expected at least one operation, found none")
    if unknown := sorted(operations - GRANT_OPERATIONS):
        raise ValidationError(
            f"Operations: no grant can hold {unknown[0][:40]!r}; "
            f"expected some of {', '.join(sorted(GRANT_OPERATIONS))}"
        )
    if missing := sorted(operations - operations_of(spec, usage)):
        raise ValidationError(
            f"Operations: a key of {spec} for {usage} has no {missing[0]}; "
            f"it has {', '.join(sorted(operations_of(spec, usage)))}"
        )


def _check_constraint(name: str, pairs: Mapping[str, str] | None, spec: KeySpec) -> None:
    if pairs is None:
        return
    if spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise ValidationError(
            f"Constraints, {name}: a key of {spec} has no encryption context; leave it out"
        )
    if not 1 <= len(pairs) <= MAXIMUM_PAIRS:
        raise ValidationError(
            f"Constraints, {name}: expected 1 to {MAXIMUM_PAIRS} pairs, found {len(pairs)}"
        )
    if not all(pairs) or max(map(len, pairs.values())) > MAXIMUM_VALUE:
        raise ValidationError(
            f"Constraints, {name}: expected names that are not empty and values of at most "
            f"{MAXIMUM_VALUE} characters"
        )


def grant_allows(
    grant: GrantRecord,
    principal: str,
    operation: str,
    context: Mapping[str, str] | None,
    asked: GrantRequest | None,
) -> bool:
    """Whether a grant of the key allows an operation (step 5 of "Decision").

    Args:
        grant: of the key.
        principal: the ARN of who asks.
        operation: as in a grant, ``Decrypt``, ``ReEncryptFrom``.
        context: the encryption context; None for an operation that takes none.
        asked: for ``CreateGrant``, the grant that would be made.
    """
    if principal != grant.grantee or operation not in grant.operations:
        return False
    if operation in _WITHOUT_CONTEXT:
        return True
    if operation == "CreateGrant":
        return asked is not None and _within(asked, grant)
    equals, subset = grant.context_equals, grant.context_subset
    if equals is None and subset is None:
        return True
    if context is None:
        return False
    return (equals is None or context == equals) and (subset is None or _holds(context, subset))


def _within(asked: GrantRequest, parent: GrantRecord) -> bool:
    """Whether every use of the new grant would be a use of its parent.

    "Granting CreateGrant permission": operations are some or all of the parent's, the constraint
    is as strict or stricter; ``EncryptionContextEquals`` may follow upon
    ``EncryptionContextSubset``, not the other way round.
    """
    if not asked.operations <= parent.operations:
        return False
    equals, subset = parent.context_equals, parent.context_subset
    if equals is not None and asked.context_equals != equals:
        return False
    return subset is None or any(
        pairs is not None and _holds(pairs, subset)
        for pairs in (asked.context_equals, asked.context_subset)
    )


def _holds(context: Mapping[str, str], pairs: Mapping[str, str]) -> bool:
    return all(context.get(name) == value for name, value in pairs.items())


def grant_token(grant_id: str) -> str:
    """The token that CreateGrant gives beside the id: base64, not secret."""
    return base64.b64encode(_TOKEN + bytes.fromhex(grant_id)).decode("ascii")


def grant_of_token(token: str) -> str:
    """The id of the grant that a token names.

    Raises:
        InvalidGrantTokenError: CreateGrant gave no such token.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidGrantTokenError("expected a grant token, found something else") from error
    if len(raw) != 33 or raw[:1] != _TOKEN:
        raise InvalidGrantTokenError("expected a grant token, found something else")
    return raw[1:].hex()
