"""Policies: the published vectors, a second evaluator, and what must hold for all of them."""

from __future__ import annotations

import doctest
import importlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import kms_policy
from tests.unit.kms import policy_documents as documents

from assay.kms.actions import ACTIONS
from assay.kms.condition_keys import CONDITION_KEYS, find_key
from assay.kms.conditions import ConditionReader
from assay.kms.decision import (
    Verdict,
    check_no_lockout,
    decide,
    decide_retirement,
)
from assay.kms.documents import MAXIMUM_SIZE
from assay.kms.errors import DocumentError, InternalError
from assay.kms.grants import GrantRequest
from assay.kms.operators import OPERATORS
from assay.kms.patterns import text_of
from assay.kms.policies import MAXIMUM_IDENTITY, Policy, default_policy, parse_policy
from assay.kms.query import Query, caller_facts
from assay.kms.records import GrantRecord

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "kms-policies.json").read_text())
ACCOUNT, KEY = VECTORS["account"], VECTORS["key"]
ROOT, ADA = f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:user/ada"
NOW = datetime.fromisoformat("2026-11-26T15:00:00Z")


def fact(raw: Any) -> Any:
    if isinstance(raw, dict):
        return datetime.fromisoformat(raw["time"])
    return tuple(raw) if isinstance(raw, list) else raw


def asked(raw: dict[str, Any] | None) -> GrantRequest | None:
    if raw is None:
        return None
    return GrantRequest(
        raw["grantee"],
        frozenset(raw["operations"]),
        context_equals=raw.get("equals"),
        context_subset=raw.get("subset"),
    )


def query_of(raw: dict[str, Any]) -> Query:
    return Query(
        raw["principal"],
        raw["action"],
        raw["resource"],
        {name: fact(each) for name, each in raw["facts"].items()},
        context=raw.get("context"),
        grant=asked(raw.get("grant")),
    )


def key_policy(document: Any) -> Policy:
    return parse_policy(json.dumps(document), kind="key", account=ACCOUNT)


def identity_policy(document: Any, name: str = "1") -> Policy:
    return parse_policy(json.dumps(document), kind="identity", account=ACCOUNT, name=name)


def grant_record(raw: dict[str, Any], at: int) -> GrantRecord:
    return GrantRecord(
        str(at),
        KEY.rpartition("/")[2],
        raw["grantee"],
        frozenset(raw["operations"]),
        NOW,
        ROOT,
        retiring=raw.get("retiring"),
        context_equals=raw.get("equals"),
        context_subset=raw.get("subset"),
    )


def verdict(case: dict[str, Any]) -> Verdict:
    document = case["key_policy"]
    return decide(
        query_of(case["query"]),
        account=ACCOUNT,
        key_policy=None if document is None else key_policy(document),
        identity=[identity_policy(each, str(at)) for at, each in enumerate(case["identity"], 1)],
        grants=[grant_record(each, at) for at, each in enumerate(case["grants"], 1)],
    )


def verdict_by_specification(case: dict[str, Any]) -> bool:
    return kms_policy.allowed(
        ACCOUNT, case["key_policy"], case["identity"], case["grants"], case["query"]
    )


def conditioned(vector: dict[str, Any], effect: str) -> dict[str, Any]:
    """A case whose verdict tells whether the condition of a vector applies."""
    statement = {"Effect": effect, "Principal": "*", "Action": "*", "Resource": "*"}
    open_door = {**statement, "Effect": "Allow"}
    statements = [{**statement, "Condition": vector["condition"]}]
    query = {"principal": ADA, "action": "kms:TagResource", "resource": KEY}
    query |= {name: vector[name] for name in ("facts", "context", "grant") if name in vector}
    return {
        "key_policy": {
            "Version": "2012-10-17",
            "Statement": statements if effect == "Allow" else [open_door, *statements],
        },
        "identity": [],
        "grants": [],
        "query": query,
    }


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_each_case_is_decided_as_the_specification_says(case):
    found = verdict(case)
    assert found.allowed is case["allowed"], case["why"]
    assert found.rule == case.get("rule", found.rule)
    assert verdict_by_specification(case) is case["allowed"]


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
@pytest.mark.parametrize("vector", VECTORS["conditions"], ids=lambda vector: vector["name"])
def test_each_condition_applies_as_the_specification_says(vector, effect):
    case = conditioned(vector, effect)
    applies = vector[effect.lower()]
    assert verdict(case).allowed is (applies if effect == "Allow" else not applies)
    assert verdict_by_specification(case) is (applies if effect == "Allow" else not applies)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_each_malformed_document_is_refused_by_place_and_reason(vector):
    text = vector["text"] if "text" in vector else json.dumps(vector["document"])
    with pytest.raises(DocumentError) as caught:
        parse_policy(text, kind=vector["kind"], account=ACCOUNT)
    assert vector["reason"] in str(caught.value)
    assert caught.value.code == "MalformedPolicyDocumentException"


def test_every_operator_and_every_qualifier_has_a_vector_where_it_holds_and_one_where_not():
    told: dict[str, set[bool]] = {}
    for vector in VECTORS["conditions"]:
        for name in vector["condition"]:
            told.setdefault(name.removesuffix("IfExists"), set()).add(vector["allow"])
    assert {name for name, both in told.items() if both == {True, False}} >= {*OPERATORS, "Null"}
    assert {"ForAllValues:StringEquals", "ForAnyValue:StringNotEquals"} <= told.keys()


@pytest.mark.parametrize("text", ["[" * 20_000, '{"Statement": {"Condition": ' + "[" * 20_000])
def test_a_document_that_is_nested_too_deep_is_refused(text):
    with pytest.raises(DocumentError, match="nested too deep"):
        parse_policy(text, kind="key", account=ACCOUNT)


def test_a_document_may_be_as_long_as_the_limit_and_not_longer():
    text = default_policy(ACCOUNT)
    fitting = text + " " * (MAXIMUM_SIZE - len(text))
    assert parse_policy(fitting, kind="key", account=ACCOUNT).statements
    with pytest.raises(DocumentError, match="at most 32768 bytes, found 32769"):
        parse_policy(fitting + " ", kind="key", account=ACCOUNT)


def test_the_limit_counts_bytes():
    statement = '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Sid": "%s"}}'
    with pytest.raises(DocumentError, match="at most 32768 bytes"):
        parse_policy(statement % ("\xe4" * 16_384), kind="key", account=ACCOUNT)


def test_an_identity_policy_is_measured_without_white_space():
    statement = {"Sid": "", "Effect": "Allow", "Action": "*", "Resource": "*"}
    document = json.dumps({"Statement": statement})
    dense = len(document.replace(" ", ""))
    statement["Sid"] = "a" * (MAXIMUM_IDENTITY - dense)
    fitting = json.dumps({"Statement": statement}, indent=8)
    assert parse_policy(fitting, kind="identity", account=ACCOUNT).statements
    with pytest.raises(DocumentError, match="at most 10240 characters"):
        parse_policy(fitting.replace("aaa", "aaaa", 1), kind="identity", account=ACCOUNT)


@pytest.mark.parametrize("pattern", ["*a" * 2000 + "b", "*" + "a?" * 2000 + "b*c"])
def test_no_pattern_takes_longer_than_its_text_times_its_own(pattern):
    """Looked for in every way, as a regular expression would, it would take longer than the sun."""
    block = {"StringLike": {"kms:EncryptionContext:d": pattern}}
    (condition,) = ConditionReader(deny=False).read(block, "Condition")
    assert not condition.holds(Query(ADA, "kms:Decrypt", KEY, {}, context={"d": "a" * 8192}))


def test_the_default_key_policy_is_that_of_aws():
    statement = json.loads(default_policy(ACCOUNT))["Statement"][0]
    assert statement["Principal"] == {"AWS": ROOT}
    assert (statement["Action"], statement["Resource"]) == ("kms:*", "*")
    assert key_policy(json.loads(default_policy(ACCOUNT))).statements[0].actions == set(ACTIONS)


def test_a_policy_is_read_once_and_cannot_be_changed():
    policy = key_policy(json.loads(default_policy(ACCOUNT)))
    with pytest.raises(AttributeError):
        policy.statements = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        policy.statements[0].deny = True  # type: ignore[misc]


def test_what_a_document_holds_stands_in_a_rule_or_an_error_cut_and_on_one_line():
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
    policy = _policy({**statement, "Sid": "s" * 1000})
    assert policy.statements[0].label == f"key policy, statement 1 ({'s' * 64})"
    for name in ("x\n" * 1000, "x" * 1000):
        for changed in (
            {name: "x"},
            {"Sid": name},
            {"Effect": name},
            {"Principal": {name: "x"}},
            {"Action": name},
            {"Resource": name},
            {"Condition": {name: {"kms:KeySpec": "x"}}},
            {"Condition": {"StringEquals": {name: "x"}}},
            {"Condition": {"StringEquals": {f"aws:RequestTag/{name}": []}}},
            {"Condition": {"Bool": {f"aws:RequestTag/{name}": "true"}}},
            {"Condition": {"Bool": {"kms:MultiRegion": name}}},
            {"Condition": {"StringEquals": {"kms:KeySpec": "${" + name}}},
        ):
            if changed == {"Sid": "x" * 1000}:
                continue
            with pytest.raises(DocumentError) as caught:
                _policy({**statement, **changed})
            assert len(str(caught.value)) < 600
            assert "\n" not in str(caught.value)


# What must hold for every policy and every query.


@given(documents.cases())
def test_both_evaluators_agree(case):
    assert verdict(case).allowed is verdict_by_specification(case)


@given(documents.cases(), documents.statements("key", "Deny"), st.integers(0, 5))
def test_another_deny_never_allows_more(case, statement, at):
    before = verdict(case).allowed
    case["key_policy"]["Statement"].insert(at, statement)
    assert verdict(case).allowed <= before


@given(documents.cases(), documents.statements("identity", "Deny"))
def test_another_deny_of_the_identity_never_allows_more(case, statement):
    before = verdict(case).allowed
    case["identity"].append({"Version": "2012-10-17", "Statement": statement})
    assert verdict(case).allowed <= before


@given(documents.cases(), documents.statements("key", "Allow"), st.integers(0, 5))
def test_another_allow_never_allows_less(case, statement, at):
    before = verdict(case).allowed
    case["key_policy"]["Statement"].insert(at, statement)
    assert verdict(case).allowed >= before


@given(documents.cases(), documents.grants())
def test_another_grant_never_allows_less_and_no_grant_passes_a_deny(case, grant):
    before = verdict(case)
    case["grants"].insert(0, grant)
    after = verdict(case)
    assert after.allowed >= before.allowed
    if before.rule.startswith("explicit deny"):
        assert not after.allowed


@given(documents.cases(), st.randoms(use_true_random=False))
def test_the_order_of_statements_policies_grants_and_values_does_not_matter(case, random):
    before = verdict(case).allowed
    for policy in (case["key_policy"], *case["identity"]):
        random.shuffle(policy["Statement"])
        for statement in policy["Statement"]:
            for keys in statement.get("Condition", {}).values():
                for values in keys.values():
                    if isinstance(values, list):
                        random.shuffle(values)
    random.shuffle(case["identity"])
    random.shuffle(case["grants"])
    assert verdict(case).allowed is before


@given(documents.cases(), st.integers(0, 8), st.booleans())
def test_the_verdict_does_not_depend_on_how_the_json_is_written(case, indent, escaped):
    policy = case["key_policy"]
    text = json.dumps(policy, indent=indent, ensure_ascii=escaped, sort_keys=escaped)
    written = parse_policy(text.replace("k", "\\u006b"), kind="key", account=ACCOUNT)
    query, own = query_of(case["query"]), [identity_policy(each) for each in case["identity"]]
    assert (
        decide(query, account=ACCOUNT, key_policy=written, identity=own).rule
        == decide(query, account=ACCOUNT, key_policy=key_policy(policy), identity=own).rule
    )


@given(documents.cases())
def test_actions_and_condition_keys_compare_without_case(case):
    before = verdict(case).allowed
    for policy in (case["key_policy"], *case["identity"]):
        for statement in policy["Statement"]:
            for name in statement.keys() & {"Action", "NotAction"}:
                statement[name] = [each.swapcase() for each in kms_policy.listed(statement[name])]
            for operator, keys in statement.get("Condition", {}).items():
                statement["Condition"][operator] = {k.swapcase(): v for k, v in keys.items()}
    assert verdict(case).allowed is before


@given(documents.cases())
def test_a_verdict_always_names_its_rule(case):
    found = verdict(case)
    assert found.rule.startswith(
        ("key policy, statement ", "identity policy ", "grant ", "the account's root")
        if found.allowed
        else ("explicit deny in ", "no statement or grant", "no identity policy")
    )


def test_an_action_that_does_not_exist_is_denied_whatever_policies_say():
    everything = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
    policy = key_policy({"Statement": everything})
    query = Query(ADA, "kms:ReEncrypt", KEY, {})
    assert not decide(query, account=ACCOUNT, key_policy=policy).allowed


# Facts.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (True, "true"),
        (False, "false"),
        (365, "365"),
        (NOW, "2026-11-26T15:00:00Z"),
        (datetime.fromisoformat("2026-11-26T15:00:00.9+01:00"), "2026-11-26T14:00:00Z"),
    ],
)
def test_a_value_is_written_as_policies_write_it(value, text):
    assert text_of(value) == text


def test_facts_of_a_caller_are_told_by_the_arn():
    facts = caller_facts(
        f"arn:aws:iam::{ACCOUNT}:user/team/ada", region="eu-central-1", source="10.0.0.1", now=NOW
    )
    assert facts["aws:username"] == "ada"
    assert facts["aws:principaltype"] == "User"
    assert facts["aws:principalaccount"] == facts["kms:calleraccount"] == ACCOUNT
    assert facts["aws:epochtime"] == int(NOW.timestamp())
    assert facts["aws:userid"] is None
    assert facts["aws:securetransport"] is True
    assert facts["aws:viaawsservice"] is facts["aws:principalisawsservice"] is False
    root = caller_facts(ROOT, region="eu-central-1", source="", now=NOW, userid="x")
    assert (root["aws:username"], root["aws:principaltype"]) == (None, "Account")
    assert (root["aws:userid"], root["aws:sourceip"]) == (ACCOUNT, None)
    assert all(find_key(name) and name == name.lower() for name in facts)


@pytest.mark.parametrize(
    ("block", "facts"),
    [
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:sourceip": "unix"}),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:sourceip": 7}),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"aws:securetransport": "true"}),
        ({"NumericEquals": {"kms:RotationPeriodInDays": "1"}}, {"kms:rotationperiodindays": True}),
        ({"NumericEquals": {"kms:RotationPeriodInDays": "1"}}, {"kms:rotationperiodindays": "1"}),
        ({"DateEquals": {"aws:CurrentTime": "2026"}}, {"aws:currenttime": "2026"}),
        ({"DateEquals": {"aws:EpochTime": "2026"}}, {"aws:epochtime": True}),
        (
            {"DateEquals": {"aws:CurrentTime": "2026"}},
            {"aws:currenttime": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is what is refused
        ),
    ],
)
def test_a_fact_of_the_wrong_type_is_an_error_and_no_verdict(block, facts):
    (condition,) = ConditionReader(deny=False).read(block, "Condition")
    with pytest.raises(InternalError, match="of the request"):
        condition.holds(Query(ADA, "kms:Decrypt", KEY, facts))


# Lockout.


def _policy(*statements: dict[str, Any]) -> Policy:
    return key_policy({"Version": "2012-10-17", "Statement": list(statements)})


def _allow(principal: str, action: str = "kms:*", **more: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": action,
        "Resource": "*",
        **more,
    }


FACTS = caller_facts(ADA, region="eu-central-1", source="10.0.0.1", now=NOW)
CREATE = Query(ADA, "kms:CreateKey", KEY, FACTS)
MFA = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}


@pytest.mark.parametrize(
    "statements",
    [
        [_allow(ADA)],
        [_allow(ADA, "kms:PutKeyPolicy")],
        [_allow(ROOT)],
        [_allow(ROOT, "kms:Put*")],
        [_allow(ADA, Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})],
        [_allow(ROOT, Condition={"StringEquals": {"aws:PrincipalArn": ROOT}})],
        [_allow(ROOT, Condition={"StringEquals": {"aws:PrincipalType": "Account"}})],
        [_allow(ROOT, Condition={"StringEquals": {"aws:userid": ACCOUNT}})],
        [_allow(ROOT), {**_allow(ADA), "Effect": "Deny"}],
    ],
)
def test_a_policy_that_somebody_can_change_is_taken(statements):
    check_no_lockout(_policy(*statements), CREATE, account=ACCOUNT)


@pytest.mark.parametrize(
    "statements",
    [
        [_allow(f"arn:aws:iam::{ACCOUNT}:user/bob")],
        [_allow(ADA, "kms:Decrypt")],
        [_allow(ADA, "kms:GetKeyPolicy"), _allow(ROOT, "kms:Decrypt")],
        [_allow(ADA, Condition=MFA)],
        [_allow(ROOT, Condition=MFA)],
        [_allow(ROOT, Condition={"StringLike": {"aws:username": "*"}})],
        [_allow("*"), {**_allow("*", "kms:PutKeyPolicy"), "Effect": "Deny"}],
        [_allow(ROOT), {**_allow(ROOT, "kms:Put*"), "Effect": "Deny"}],
        [_allow(f"arn:aws:iam::{ACCOUNT}:role/admin")],
    ],
)
def test_a_policy_that_locks_out_is_refused_in_the_words_of_aws(statements):
    with pytest.raises(DocumentError) as caught:
        check_no_lockout(_policy(*statements), CREATE, account=ACCOUNT)
    assert str(caught.value) == (
        "The new key policy will not allow you to update the key policy in the future."
    )


def test_who_may_by_an_identity_policy_is_not_locked_out():
    condition = {"StringEquals": {"aws:PrincipalArn": ADA}}
    policy = _policy(_allow(ROOT, Condition=condition))
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    check_no_lockout(
        policy, CREATE, account=ACCOUNT, identity=[identity_policy({"Statement": everything})]
    )
    with pytest.raises(DocumentError):
        check_no_lockout(policy, CREATE, account=ACCOUNT)


# Retirement.

EVE = f"arn:aws:iam::{ACCOUNT}:user/eve"
GRANT = {"grantee": ADA, "operations": ["Decrypt"], "retiring": EVE}


def _statement(effect: str, action: str = "kms:RetireGrant") -> dict[str, Any]:
    return {"Statement": {"Effect": effect, "Action": action, "Resource": KEY}}


BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
HELD = {**GRANT, "operations": ["RetireGrant"]}
DENIED = "explicit deny in identity policy 1, statement 1"
NOBODY = "no identity policy allows it"


@pytest.mark.parametrize(
    ("caller", "grant", "identity", "allowed", "rule"),
    [
        (EVE, GRANT, [], True, "grant 1, its retiring principal"),
        (EVE, GRANT, [_statement("Deny")], False, DENIED),
        (
            EVE,
            GRANT,
            [_statement("Deny", "kms:RevokeGrant")],
            True,
            "grant 1, its retiring principal",
        ),
        (ADA, GRANT, [], False, NOBODY),
        (ADA, HELD, [], True, "grant 1"),
        (ADA, HELD, [_statement("Deny")], False, DENIED),
        (EVE, {**HELD, "retiring": None}, [], False, NOBODY),
        (ROOT, GRANT, [], True, "the account's root"),
        (BOB, GRANT, [], False, NOBODY),
        (BOB, GRANT, [_statement("Allow")], True, "identity policy 1, statement 1"),
        (BOB, GRANT, [_statement("Allow", "kms:RevokeGrant")], False, NOBODY),
    ],
)
def test_who_may_retire_a_grant_is_told_by_the_grant(caller, grant, identity, allowed, rule):
    found = decide_retirement(
        Query(caller, "kms:RetireGrant", KEY, {}),
        account=ACCOUNT,
        grant=grant_record(grant, 1),
        identity=[identity_policy(each) for each in identity],
    )
    assert found == Verdict(allowed, rule)


# Tables.


def test_every_operation_that_clients_know_has_its_actions():
    import botocore.session

    model = botocore.session.get_session().get_service_model("kms")
    operations = {f"kms:{name}" for name in model.operation_names} - {"kms:ReEncrypt"}
    assert operations <= ACTIONS.keys()
    assert ACTIONS.keys() - operations == {
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:SynchronizeMultiRegionKey",
    }


def test_every_condition_key_that_an_action_brings_is_known_and_no_other_is_of_kms():
    brought = {key for action in ACTIONS.values() for key in action.keys}
    assert all(key.lower() in CONDITION_KEYS for key in brought)
    of_kms = {key.name for key in CONDITION_KEYS.values() if key.name.startswith("kms:")}
    assert of_kms - brought == {"kms:CustomerMasterKeySpec", "kms:CustomerMasterKeyUsage"}


@pytest.mark.parametrize(
    "module",
    [
        "actions",
        "condition_keys",
        "conditions",
        "decision",
        "documents",
        "grants",
        "operators",
        "patterns",
        "policies",
        "query",
    ],
)
def test_the_examples_in_docstrings_run(module):
    found = doctest.testmod(importlib.import_module(f"assay.kms.{module}"))
    assert found.failed == 0
    assert found.attempted >= 1
