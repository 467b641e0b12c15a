"""``spec/kms.md``, "Decision" and "Policies": who may do what, decided slowly.

Documents are JSON that was found valid; what is refused is known by the vectors only. A query is
that of the vectors: ``principal``, ``action``, ``resource``, ``facts`` (a time is
``{"time": "2026-11-26T15:00:00Z"}``), ``context`` (null for an action that takes none) and
``grant`` (the one that CreateGrant asks for).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

Json = Any
NOTHING = object()
"""What a policy variable stands for when the request has no such value."""


def allowed(  # noqa: PLR0911 - step by step
    account: str,
    key_policy: Json | None,
    identity: Sequence[Json],
    grants: Sequence[Json],
    query: Json,
) -> bool:
    """The six steps of "Decision"."""
    root = f"arn:aws:iam::{account}:root"
    caller = query["principal"]
    mine = caller.split(":")[4] == account
    keyed = statements(key_policy) if key_policy is not None else []
    own = [each for policy in identity for each in statements(policy)]

    def names_caller(statement: Json) -> bool:
        return any(each in ("*", caller) for each in principals(statement))

    def names_account(statement: Json) -> bool:
        return mine and any(each in (root, account) for each in principals(statement))

    def chosen(among: list[Json], effect: str) -> list[Json]:
        return [each for each in among if each["Effect"] == effect and applies(each, query)]

    if chosen(own, "Deny"):  # 1
        return False
    if any(names_caller(each) or names_account(each) for each in chosen(keyed, "Deny")):
        return False
    if key_policy is None:
        return bool(caller == root or chosen(own, "Allow"))
    allows = chosen(keyed, "Allow")
    if caller == root and any(names_account(each) for each in allows):  # 2
        return True
    if any(names_caller(each) for each in allows):  # 3
        return True
    if any(names_account(each) for each in allows) and chosen(own, "Allow"):  # 4
        return True
    return any(granted(each, query) for each in grants)  # 5, 6


def granted(grant: Json, query: Json) -> bool:
    """Whether a grant allows it."""
    operation = query["action"].split(":")[1]
    if grant["grantee"] != query["principal"] or operation not in grant["operations"]:
        return False
    if operation in ("DescribeKey", "RetireGrant"):
        return True
    equals, subset = grant.get("equals"), grant.get("subset")
    if operation == "CreateGrant":
        asked = query.get("grant")
        return (
            asked is not None
            and set(asked["operations"]) <= set(grant["operations"])
            and (equals is None or asked.get("equals") == equals)
            and (
                subset is None
                or any(
                    pairs is not None and subset.items() <= pairs.items()
                    for pairs in (asked.get("equals"), asked.get("subset"))
                )
            )
        )
    context = query.get("context")
    if equals is None and subset is None:
        return True
    if context is None:
        return False
    return (equals is None or context == equals) and (
        subset is None or subset.items() <= context.items()
    )


def statements(policy: Json) -> list[Json]:
    """Its statements, each with the version of its document."""
    version = policy.get("Version", "2008-10-17")
    return [{**each, "Version": version} for each in listed(policy["Statement"])]


def listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def principals(statement: Json) -> list[str]:
    raw = statement["Principal"]
    return ["*"] if raw == "*" else listed(raw.get("AWS", []))


def applies(statement: Json, query: Json) -> bool:
    """Action, resource and every condition."""
    query = {**query, "variables": statement["Version"] == "2012-10-17"}

    def action_is(pattern: str) -> bool:
        return glob(tuple(pattern.lower()), query["action"].lower())

    if "Action" in statement:
        fits = any(action_is(each) for each in listed(statement["Action"]))
    else:
        fits = not any(action_is(each) for each in listed(statement["NotAction"]))
    if not fits:
        return False
    outside = "NotResource" in statement
    patterns = listed(statement["NotResource" if outside else "Resource"])
    found = [like(each, query["resource"], query) for each in patterns]
    if not sided(found, outside, statement["Effect"]):
        return False
    return all(
        condition(operator, key, listed(values), statement["Effect"], query)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def sided(found: list[Any], negated: bool, effect: str) -> bool:
    """Whether one matched, or, negated, none did: for certain, when it would allow."""
    if not negated:
        return True in found
    return True not in found and (effect == "Deny" or NOTHING not in found)


def condition(operator: str, key: str, values: list[Json], effect: str, query: Json) -> bool:
    """One operator upon one key."""
    values = [str(each).lower() if isinstance(each, bool) else str(each) for each in values]
    has = values_of(key, query)
    if operator == "Null":
        return ("true" if not has else "false") in [each.lower() for each in values]
    qualifier, _, name = operator.rpartition(":")
    negated = "Not" in name
    if not has:  # 1
        return {"ForAllValues": True, "ForAnyValue": False}.get(
            qualifier, negated or name.endswith("IfExists")
        )
    name = name.removesuffix("IfExists").replace("Not", "")

    def one(value: Json) -> bool:  # 2
        return sided([matches(name, wanted, value, query) for wanted in values], negated, effect)

    found = [one(each) for each in has]
    if qualifier:  # 3
        return all(found) if qualifier == "ForAllValues" else any(found)
    return all(found) if effect == "Allow" else any(found)


def values_of(key: str, query: Json) -> list[Json]:
    """What the request has of a condition key."""
    context = query.get("context")
    if context is None and query.get("grant"):
        context = {**(query["grant"].get("subset") or {}), **(query["grant"].get("equals") or {})}
    folded = key.lower()
    if folded == "kms:encryptioncontextkeys":
        return list(context or {})
    if folded.startswith("kms:encryptioncontext:"):
        return [
            v for k, v in (context or {}).items() if f"kms:encryptioncontext:{k.lower()}" == folded
        ]
    fact = query["facts"].get(folded.replace("customermasterkey", "key"))
    return [] if fact is None else listed(fact)


def matches(name: str, wanted: str, value: Json, query: Json) -> Any:  # noqa: PLR0911 - by operator
    """Whether a value of the request is what the policy says; `NOTHING` when nobody can tell."""
    text = shown(value)
    if name in ("StringEquals", "StringEqualsIgnoreCase"):
        pieces = read(wanted, query, wildcards=False)
        if pieces is NOTHING:
            return NOTHING
        plain = "".join(each if isinstance(each, str) else each[0] for each in pieces)
        return plain.lower() == text.lower() if name.endswith("Case") else plain == text
    if name == "StringLike":
        return like(wanted, text, query)
    if name in ("ArnEquals", "ArnLike"):
        parts = re.split(r":(?![^{]*\})", wanted, maxsplit=5)
        found = text.split(":", 5)
        if len(found) != 6:
            return False
        each = [like(a, b, query) for a, b in zip(parts, found, strict=True)]
        return NOTHING if NOTHING in each else all(each)
    if name == "Bool":
        return text == wanted.lower()
    if name == "IpAddress":
        address = ip_address(value)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address) in ip_network(wanted, strict=False)
    left, right = number(value), number(wanted)
    if name.startswith("Date"):
        left, right = seconds(value), seconds(wanted)
    relation = name.removeprefix("Numeric").removeprefix("Date")
    return {
        "Equals": left == right, "LessThan": left < right, "LessThanEquals": left <= right,
        "GreaterThan": left > right, "GreaterThanEquals": left >= right,
    }[relation]  # fmt: skip


def number(value: Json) -> Fraction:
    if isinstance(value, Mapping):
        return Fraction(int(seconds(value)))
    return Fraction(value) if re.fullmatch(r"[+-]?[0-9.]+", str(value)) else Fraction(0)


def seconds(value: Json) -> Fraction:
    """A time as seconds since 1970."""
    if isinstance(value, Mapping):
        value = value["time"]
    if isinstance(value, int) or re.fullmatch(r"[0-9]{5,}", value):
        return Fraction(int(value))
    whole = {4: "-01-01T00:00Z", 7: "-01T00:00Z", 10: "T00:00Z"}.get(len(value), "")
    when = datetime.fromisoformat(value + whole)
    passed = when.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return Fraction(passed.days * 86400 + passed.seconds) + Fraction(passed.microseconds, 10**6)


def shown(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value["time"] if isinstance(value, Mapping) else str(value)


def read(text: str, query: Json, *, wildcards: bool) -> Any:
    """A text of a policy: characters, and ``("*",)`` or ``("?",)`` where they are wildcards."""
    pieces: list[Any] = []
    pattern = r"\$\{([*?$])\}|\$\{([^}',]+)(?:, ?'([^']*)')?\}|(.)"
    for found in re.finditer(pattern if query["variables"] else r"()()()(.)", text, re.DOTALL):
        escaped, key, default, sign = found.groups()
        if escaped:
            pieces.append(escaped)
        elif key:
            has = values_of(key, query)
            if len(has) > 1 or (not has and default is None):
                return NOTHING
            pieces += shown(has[0]) if has else default
        else:
            pieces.append((sign,) if wildcards and sign in "*?" else sign)
    return pieces


def like(pattern: str, text: str, query: Json) -> Any:
    pieces = read(pattern, query, wildcards=True)
    if pieces is NOTHING:
        return NOTHING
    return glob(tuple(pieces), text, bare=False)


def glob(pieces: tuple[Any, ...], text: str, *, bare: bool = True) -> bool:
    """Whether a pattern matches; ``bare``: its characters ``*`` and ``?`` are the wildcards."""
    if bare:
        pieces = tuple((each,) if each in "*?" else each for each in pieces)

    @cache
    def at(piece: int, place: int) -> bool:
        if piece == len(pieces):
            return place == len(text)
        sign = pieces[piece]
        if sign == ("*",):
            return at(piece + 1, place) or (place < len(text) and at(piece, place + 1))
        return place < len(text) and sign in (("?",), text[place]) and at(piece + 1, place + 1)

    return at(0, 0)
