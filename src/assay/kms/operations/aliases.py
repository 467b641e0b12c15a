"""Names for keys.

The caller needs the permission on the alias, by an identity policy, and on each key that gains or
loses the name, by its key policy.

Example:
    >>> create_alias(call, CreateAlias(alias_name="alias/orders", target_key_id=key_id))  # doctest: +SKIP
"""  # noqa: E501 - an example

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from assay.kms.arguments import Arguments, given
from assay.kms.call import ANY_STATE, NOT_PENDING, Call
from assay.kms.errors import (
    AlreadyExistsError,
    InvalidAliasNameError,
    LimitError,
    NotFoundError,
    ValidationError,
)
from assay.kms.operations.pages import Page, paged
from assay.kms.records import AliasRecord, KeyRecord

MOST_ALIASES_OF_A_KEY = 50
_NAME = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}", re.ASCII)


class CreateAlias(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of CreateAlias and UpdateAlias."""

    alias_name: str
    target_key_id: str


class DeleteAlias(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of DeleteAlias."""

    alias_name: str


class ListAliases(Page, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of ListAliases."""

    key_id: str | UnsetType = UNSET


def create_alias(call: Call, arguments: CreateAlias) -> None:
    """Give a key a name that no key has."""
    name = _checked(arguments.alias_name)
    call.anywhere(call.state.alias_arn(name))
    record = _target(call, arguments.target_key_id)
    if name in call.state.aliases:
        raise AlreadyExistsError(
            f"An alias with the name {call.state.alias_arn(name)} already exists"
        )
    if len(call.state.aliases_of(record.key_id)) >= MOST_ALIASES_OF_A_KEY:
        raise LimitError(
            f"expected at most {MOST_ALIASES_OF_A_KEY} aliases of a key, found as many"
        )
    call.transaction.put(AliasRecord(name, record.key_id, call.now, call.now))


def update_alias(call: Call, arguments: CreateAlias) -> None:
    """Give a name from one key to another of the same kind and use."""
    name = _checked(arguments.alias_name)
    call.anywhere(call.state.alias_arn(name))
    alias = _existing(call, name)
    before = call.key(alias.key_id, states=NOT_PENDING | ANY_STATE)
    record = _target(call, arguments.target_key_id)
    if (before.spec.value[:4], before.usage) != (record.spec.value[:4], record.usage):
        raise ValidationError(
            "expected the alias to move between keys of the same kind and use, found another"
        )
    call.transaction.put(replace(alias, key_id=record.key_id, updated_at=call.now))


def delete_alias(call: Call, arguments: DeleteAlias) -> None:
    """Take a name from its key."""
    name = _checked(arguments.alias_name)
    call.anywhere(call.state.alias_arn(name))
    alias = _existing(call, name)
    call.key(alias.key_id, states=ANY_STATE)
    call.transaction.remove(alias)


def list_aliases(call: Call, arguments: ListAliases) -> dict[str, Any]:
    """List all aliases, or those of one key."""
    call.anywhere()
    wanted = given(arguments.key_id, None)
    of = None if wanted is None else call.key(wanted, action="DescribeKey", states=ANY_STATE).key_id
    entries = [
        (
            name,
            {
                "AliasName": name,
                "AliasArn": call.state.alias_arn(name),
                "TargetKeyId": alias.key_id,
                "CreationDate": alias.created_at.timestamp(),
                "LastUpdatedDate": alias.updated_at.timestamp(),
            },
        )
        for name, alias in sorted(call.state.aliases.items())
        if of is None or alias.key_id == of
    ]
    return paged("Aliases", entries, arguments, 100)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidAliasNameError(
            "expected an alias name of alias/ and 1 to 250 letters, digits, /, _ and -, found "
            "another"
        )
    if name.startswith("alias/aws/"):
        raise InvalidAliasNameError(
            "expected an alias name outside of alias/aws/, which is reserved"
        )
    return name


def _existing(call: Call, name: str) -> AliasRecord:
    alias = call.state.aliases.get(name)
    if alias is None:
        raise NotFoundError(f"Alias {call.state.alias_arn(name)} is not found.")
    return alias


def _target(call: Call, key_id: str) -> KeyRecord:
    if "alias/" in key_id:
        raise ValidationError("expected the id or ARN of a key as TargetKeyId, found an alias")
    return call.key(key_id, states=NOT_PENDING)
