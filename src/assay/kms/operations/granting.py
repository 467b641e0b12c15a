"""Grants: permissions for one principal that stand beside the policies.

A grant counts at once, so grant tokens, which AWS needs while a new grant spreads, are accepted and
change nothing.

Example:
    >>> create_grant(call, CreateGrant(key_id=key_id, grantee_principal=arn,
    ...                                operations=["Decrypt"]))        # doctest: +SKIP
"""

from __future__ import annotations

import secrets
from dataclasses import fields
from typing import Any

from msgspec import UNSET, UnsetType

from assay.kms.arguments import Arguments, Context, OfKey, given, refuse_set
from assay.kms.call import ANY_STATE, Call
from assay.kms.errors import (
    InvalidArnError,
    InvalidGrantIdError,
    LimitError,
    NotFoundError,
    ValidationError,
)
from assay.kms.grants import GrantRequest, check_grant, grant_of_token, grant_token
from assay.kms.operations.pages import Page, paged
from assay.kms.query import Fact
from assay.kms.records import GrantRecord

MOST_GRANTS_OF_A_KEY = 50_000
_NO_SERVICES = "there are no services here; name a user"


class Constraints(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Constraints of a grant."""

    encryption_context_subset: Context | UnsetType = UNSET
    encryption_context_equals: Context | UnsetType = UNSET
    source_arn: Any | UnsetType = UNSET


class CreateGrant(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of CreateGrant."""

    operations: list[str]
    grantee_principal: str | UnsetType = UNSET
    grantee_service_principal: Any | UnsetType = UNSET
    retiring_service_principal: Any | UnsetType = UNSET
    retiring_principal: str | UnsetType = UNSET
    constraints: Constraints | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class RevokeGrant(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of RevokeGrant."""

    grant_id: str
    dry_run: bool | UnsetType = UNSET


class RetireGrant(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of RetireGrant."""

    grant_token: str | UnsetType = UNSET
    key_id: str | UnsetType = UNSET
    grant_id: str | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class ListGrants(Page, frozen=True, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    """Arguments of ListGrants."""

    key_id: str
    grantee_service_principal: Any | UnsetType = UNSET
    grant_id: str | UnsetType = UNSET
    grantee_principal: str | UnsetType = UNSET


class ListRetirableGrants(Page, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of ListRetirableGrants."""

    retiring_principal: str | UnsetType = UNSET
    retiring_service_principal: Any | UnsetType = UNSET


def create_grant(call: Call, arguments: CreateGrant) -> dict[str, Any]:
    """Let a principal do some operations with a key, under constraints."""
    asked = _asked(arguments)
    record = call.key(
        arguments.key_id,
        facts=_facts(asked),
        context=asked.context,
        grant=asked,
        dry_run=bool(given(arguments.dry_run, False)),
    )
    check_grant(asked, spec=record.spec, usage=record.usage)
    there = call.state.grants_of(record.key_id)
    found = next((each for each in there if asked.name and _request_of(each) == asked), None)
    if found is None:
        if len(there) >= MOST_GRANTS_OF_A_KEY:
            raise LimitError(f"expected at most {MOST_GRANTS_OF_A_KEY} grants of a key, found more")
        found = GrantRecord(
            grant_id=secrets.token_hex(32),
            key_id=record.key_id,
            created_at=call.now,
            issued_by=call.principal.arn,
            **{each.name: getattr(asked, each.name) for each in fields(GrantRequest)},
        )
        call.transaction.put(found)
    return {"GrantId": found.grant_id, "GrantToken": grant_token(found.grant_id)}


def list_grants(call: Call, arguments: ListGrants) -> dict[str, Any]:
    """List the grants of a key."""
    refuse_set(arguments, grantee_service_principal=_NO_SERVICES)
    facts: dict[str, Fact] = {"kms:grantisforawsresource": False}
    record = call.key(arguments.key_id, states=ANY_STATE, facts=facts)
    wanted, grantee = given(arguments.grant_id, None), given(arguments.grantee_principal, None)
    entries = [
        (each.grant_id, _shown(each, record.arn))
        for each in call.state.grants_of(record.key_id)
        if wanted in {None, each.grant_id} and grantee in {None, each.grantee}
    ]
    if wanted is not None and not entries and grantee is None:
        raise InvalidGrantIdError("expected the id of a grant of this key, found another")
    return paged("Grants", entries, arguments, 100)


def list_retirable_grants(call: Call, arguments: ListRetirableGrants) -> dict[str, Any]:
    """List the grants that a principal may retire."""
    refuse_set(arguments, retiring_service_principal=_NO_SERVICES)
    if arguments.retiring_principal is UNSET:
        raise ValidationError("expected RetiringPrincipal, found none")
    call.anywhere()
    entries = [
        (grant_id, _shown(each, call.state.key_arn(each.key_id)))
        for grant_id, each in sorted(call.state.grants.items())
        if each.retiring == arguments.retiring_principal
    ]
    return paged("Grants", entries, arguments, 100)


def revoke_grant(call: Call, arguments: RevokeGrant) -> None:
    """Take a grant back."""
    facts: dict[str, Fact] = {"kms:grantisforawsresource": False}
    record = call.key(arguments.key_id, states=ANY_STATE, facts=facts)
    grant = call.state.grants.get(arguments.grant_id)
    if grant is None or grant.key_id != record.key_id:
        raise NotFoundError("expected the id of a grant of this key, found another")
    call.stop_if_dry(given(arguments.dry_run, False))
    call.transaction.remove(grant)


def retire_grant(call: Call, arguments: RetireGrant) -> None:
    """Give a grant up: by who may retire it, the account, or the grantee who may RetireGrant."""
    grant_id, key_arn = _named(arguments)
    grant = call.state.grants.get(grant_id)
    if grant is None or key_arn not in {None, call.state.key_arn(grant.key_id)}:
        # Only whom a policy allows it learns that there is none.
        call.anywhere(key_arn or "*")
        raise NotFoundError("expected a grant, found none")
    call.retiring(grant)
    call.stop_if_dry(given(arguments.dry_run, False))
    call.transaction.remove(grant)


def _named(arguments: RetireGrant) -> tuple[str, str | None]:
    """The id of the grant, and the ARN of its key when that is what it was named by."""
    token = given(arguments.grant_token, None)
    if token is not None:
        return grant_of_token(token), None
    grant_id, key_arn = given(arguments.grant_id, None), given(arguments.key_id, None)
    if grant_id is None or key_arn is None:
        raise ValidationError("expected GrantToken, or KeyId and GrantId, found neither")
    if not key_arn.startswith("arn:"):
        raise InvalidArnError("expected the ARN of the key as KeyId, found another form")
    return grant_id, key_arn


def _asked(arguments: CreateGrant) -> GrantRequest:
    refuse_set(
        arguments,
        grantee_service_principal=_NO_SERVICES,
        retiring_service_principal=_NO_SERVICES,
    )
    constraints = given(arguments.constraints, Constraints())
    refuse_set(constraints, source_arn="no request comes on behalf of a resource")
    if arguments.grantee_principal is UNSET:
        raise ValidationError("expected GranteePrincipal, found none")
    return GrantRequest(
        grantee=str(arguments.grantee_principal),
        operations=frozenset(arguments.operations),
        retiring=given(arguments.retiring_principal, None),
        name=given(arguments.name, ""),
        context_equals=given(constraints.encryption_context_equals, None),
        context_subset=given(constraints.encryption_context_subset, None),
    )


def _request_of(grant: GrantRecord) -> GrantRequest:
    return GrantRequest(**{each.name: getattr(grant, each.name) for each in fields(GrantRequest)})


def _facts(grant: GrantRequest) -> dict[str, Fact]:
    kind = None
    if grant.context_equals is not None:
        kind = "EncryptionContextEquals"
    elif grant.context_subset is not None:
        kind = "EncryptionContextSubset"
    return {
        "kms:grantoperations": tuple(sorted(grant.operations)),
        "kms:granteeprincipal": grant.grantee,
        "kms:retiringprincipal": grant.retiring,
        "kms:grantconstrainttype": kind,
        "kms:grantisforawsresource": False,
    }


def _shown(grant: GrantRecord, key_arn: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "KeyId": key_arn,
        "GrantId": grant.grant_id,
        "Name": grant.name,
        "CreationDate": grant.created_at.timestamp(),
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": f"arn:aws:iam::{grant.issued_by.split(':')[4]}:root",
        "Operations": sorted(grant.operations),
    }
    if grant.retiring is not None:
        told["RetiringPrincipal"] = grant.retiring
    constraints = {
        "EncryptionContextEquals": grant.context_equals,
        "EncryptionContextSubset": grant.context_subset,
    }
    constraints = {name: value for name, value in constraints.items() if value is not None}
    if constraints:
        told["Constraints"] = constraints
    return told
