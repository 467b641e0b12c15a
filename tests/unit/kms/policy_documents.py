"""Policies and requests of every kind, small enough that they often meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "kms-policies.json").read_text())
ACCOUNT, KEY = VECTORS["account"], VECTORS["key"]
USERS = tuple(f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("ada", "bob"))
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALIAS = f"arn:aws:kms:eu-central-1:{ACCOUNT}:alias/"

PRINCIPALS = st.sampled_from(
    [
        "*",
        {"AWS": "*"},
        {"AWS": ROOT},
        {"AWS": ACCOUNT},
        {"AWS": "444455556666"},
        {"AWS": USERS[0]},
        {"AWS": [USERS[1], ROOT]},
        {"AWS": list(USERS)},
        {"Service": "ec2.amazonaws.com"},
        {"Service": "ec2.amazonaws.com", "AWS": [USERS[0]]},
    ]
)
ACTIONS = st.lists(
    st.sampled_from(
        ["*", "kms:*", "kms:Decrypt", "kms:DE*", "kms:?ncrypt", "kms:*Grant", "kms:Generate*Key*"]
    ),
    min_size=1,
    max_size=2,
)
RESOURCES = st.lists(
    st.sampled_from(
        [
            "*",
            KEY,
            KEY[:-1] + "0",
            f"arn:aws:kms:*:{ACCOUNT}:key/*",
            "arn:aws:kms:*",
            ALIAS + "*",
            ALIAS + "${aws:username}-*",
            ALIAS + "${aws:username, 'bob'}-?",
        ]
    ),
    min_size=1,
    max_size=2,
)

WORDS = ["ada", "Ada", "bob", "a", "*", "ad?", ""]
TEXTS = [
    *WORDS,
    "a*",
    "*a",
    "?da",
    "*d*",
    "${aws:username}",
    "${aws:username}*",
    "x${*}",
    "${$}",
    "$",
]
TEXT_OPERATORS = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
]
ARNS = [*USERS, f"arn:aws:iam::{ACCOUNT}:user/*", "arn:aws:iam::*:*", "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}"]  # fmt: skip
ORDERS = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]


def _one_or_many(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=3)


def _pair(operators: list[str], keys: list[str], values: list[Any]) -> st.SearchStrategy[Any]:
    suffix = st.sampled_from(["", "", "IfExists"])
    names = st.tuples(st.sampled_from(operators), suffix).map("".join)
    return st.tuples(names, st.sampled_from(keys), _one_or_many(values))


def _set(qualifier: str) -> st.SearchStrategy[Any]:
    names = st.sampled_from(TEXT_OPERATORS).map(f"{qualifier}:{{}}".format)
    keys = ["kms:EncryptionContextKeys", "aws:TagKeys"]
    return st.tuples(names, st.sampled_from(keys), _one_or_many(TEXTS))


PAIRS = st.one_of(
    _pair(TEXT_OPERATORS, ["kms:KeySpec", "aws:ResourceTag/t", "kms:EncryptionContext:d", "aws:username"], TEXTS),
    _set("ForAllValues"),
    _set("ForAnyValue"),
    _pair(["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"], ["aws:PrincipalArn"], ARNS),
    _pair(["Bool"], ["kms:MultiRegion"], ["true", "false", True, False]),
    _pair([f"Numeric{each}" for each in ORDERS], ["kms:RotationPeriodInDays"], ["1", 2, "2.5", "-1"]),
    _pair([f"Date{each}" for each in ORDERS], ["aws:CurrentTime", "aws:EpochTime"], ["2026-11-26", "1795705200", "2026-11-26T16:00:00+01:00"]),
    _pair(["IpAddress", "NotIpAddress"], ["aws:SourceIp"], ["10.0.0.0/8", "10.0.0.1", "::/0", "2001:db8::/32"]),
    st.tuples(st.just("Null"), st.sampled_from(["kms:KeySpec", "aws:TagKeys", "kms:EncryptionContextKeys", "kms:EncryptionContext:D"]), _one_or_many(["true", "false", True, False])),
)  # fmt: skip


def _blocks(pairs: list[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for operator, key, values in pairs:
        found.setdefault(operator, {})[key] = values
    return found


CONDITIONS = st.lists(PAIRS, max_size=2).map(_blocks)


@st.composite
def statements(draw: st.DrawFn, kind: str, effect: str | None = None) -> dict[str, Any]:
    """A statement of a key policy or an identity policy."""
    found: dict[str, Any] = {"Effect": effect or draw(st.sampled_from(["Allow", "Allow", "Deny"]))}
    found[draw(st.sampled_from(["Action", "Action", "NotAction"]))] = draw(ACTIONS)
    if kind == "key":
        found["Principal"] = draw(PRINCIPALS)
        found["Resource"] = draw(RESOURCES)
    else:
        found[draw(st.sampled_from(["Resource", "Resource", "NotResource"]))] = draw(RESOURCES)
    found["Condition"] = draw(CONDITIONS)
    return found


CONTEXTS = st.dictionaries(
    st.sampled_from(["d", "D", "ada", "a"]), st.sampled_from(WORDS), max_size=3
)
CONSTRAINTS = st.fixed_dictionaries(
    {}, optional={"equals": st.none() | CONTEXTS, "subset": st.none() | CONTEXTS}
)
OPERATIONS = st.lists(
    st.sampled_from(["Decrypt", "Encrypt", "DescribeKey", "CreateGrant"]), min_size=1, max_size=4
)


@st.composite
def grants(draw: st.DrawFn) -> dict[str, Any]:
    """A grant, or one that is asked for."""
    grantee = draw(st.sampled_from([*USERS, ROOT]))
    return {"grantee": grantee, "operations": draw(OPERATIONS), **draw(CONSTRAINTS)}


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "kms:keyspec": st.sampled_from([*WORDS, None]),
        "aws:resourcetag/t": st.sampled_from(WORDS),
        "aws:username": st.sampled_from(["ada", "bob", "*"]),
        "aws:principalarn": st.sampled_from([*USERS, ROOT, "ada"]),
        "aws:principalaccount": st.just(ACCOUNT),
        "aws:tagkeys": st.lists(st.sampled_from(WORDS), max_size=3),
        "kms:multiregion": st.booleans(),
        "kms:rotationperiodindays": st.integers(0, 3),
        "aws:currenttime": st.sampled_from(
            ["2026-11-26T00:00:00Z", "2026-11-26T15:00:00Z", "2026-11-27T00:00:00Z"]
        ).map(lambda time: {"time": time}),
        "aws:epochtime": st.sampled_from([1795705199, 1795705200, 1795705201]),
        "aws:sourceip": st.sampled_from(["10.0.0.1", "11.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"]),
    },
)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """A case in the form of the vectors, without what is expected."""

    def policy(kind: str) -> dict[str, Any]:
        version = draw(st.sampled_from(["2012-10-17", "2012-10-17", "2008-10-17"]))
        listed = draw(st.lists(statements(kind), min_size=1, max_size=3))
        return {"Version": version, "Statement": listed}

    query = {
        "principal": draw(st.sampled_from([*USERS, ROOT])),
        "action": "kms:" + draw(st.sampled_from(["Decrypt", "Encrypt", "DescribeKey", "CreateGrant", "GenerateDataKey"])),
        "resource": draw(st.sampled_from([KEY, KEY, ALIAS + "ada-1"])),
        "facts": draw(FACTS),
        "context": draw(st.none() | CONTEXTS),
        "grant": draw(st.none() | grants()),
    }  # fmt: skip
    return {
        "key_policy": policy("key"),
        "identity": [policy("identity") for _ in range(draw(st.integers(0, 2)))],
        "grants": draw(st.lists(grants(), max_size=2)),
        "query": query,
    }
