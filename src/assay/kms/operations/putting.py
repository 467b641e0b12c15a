"""Key policies: read, put, and checked before they are put.

Example:
    >>> put_key_policy(call, PutKeyPolicy(key_id="alias/orders", policy=text))   # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from assay.kms.arguments import OfKey, checked_length, given
from assay.kms.call import ANY_STATE, NOT_PENDING, Call, compiled
from assay.kms.errors import NotFoundError
from assay.kms.operations.pages import Page, paged
from assay.kms.query import Fact
from assay.kms.records import KeyRecord

_ONLY_POLICY = "default"


class GetKeyPolicy(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of GetKeyPolicy."""

    policy_name: str | UnsetType = UNSET


class PutKeyPolicy(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of PutKeyPolicy."""

    policy: str
    policy_name: str | UnsetType = UNSET
    bypass_policy_lockout_safety_check: bool | UnsetType = UNSET


class ListKeyPolicies(Page, frozen=True, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    """Arguments of ListKeyPolicies."""

    key_id: str


def get_key_policy(call: Call, arguments: GetKeyPolicy) -> dict[str, Any]:
    """Tell the key policy."""
    name = given(arguments.policy_name, _ONLY_POLICY)
    record = call.key(arguments.key_id, states=ANY_STATE, facts={"kms:policyname": name})
    _check_name(name)
    return {"Policy": record.policy, "PolicyName": _ONLY_POLICY}


def put_key_policy(call: Call, arguments: PutKeyPolicy) -> None:
    """Replace the key policy."""
    bypass = bool(given(arguments.bypass_policy_lockout_safety_check, False))
    name = given(arguments.policy_name, _ONLY_POLICY)
    facts: dict[str, Fact] = {
        "kms:bypasspolicylockoutsafetycheck": bypass,
        "kms:policyname": name,
    }
    record = call.key(arguments.key_id, states=NOT_PENDING, facts=facts)
    _check_name(name)
    checked_policy(call, record, arguments.policy, bypass=bypass)
    call.transaction.put(replace(record, policy=arguments.policy))


def list_key_policies(call: Call, arguments: ListKeyPolicies) -> dict[str, Any]:
    """List the names of key policies: there is one."""
    call.key(arguments.key_id, states=ANY_STATE)
    return paged("PolicyNames", [(_ONLY_POLICY, _ONLY_POLICY)], arguments, 1000)


def checked_policy(call: Call, record: KeyRecord, policy: str, *, bypass: bool) -> None:
    """Refuse a key policy that is malformed, or under which its author could not put another.

    Raises:
        DocumentError: it is.
        ValidationError: it is too long.
    """
    checked_length("Policy", policy, 1, 32768)
    compiled(policy, "key", call.state.account)
    if not bypass:
        call.refuse_lockout(record, policy)


def _check_name(name: str) -> None:
    if name != _ONLY_POLICY:
        raise NotFoundError(f"expected the policy {_ONLY_POLICY!r}, found {name[:40]!r}")
