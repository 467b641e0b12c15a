import json
from dataclasses import dataclass

import msgspec
import pytest

from assay.controls.asset import Key
from assay.controls.checks.key_custody import Attempt, CustodyFacts, KeyCustody, KmsKey, StoreFile
from assay.controls.context import Context
from assay.controls.errors import ObservationError
from assay.controls.observation import ObservationRecord, judge_record
from assay.controls.transit_key import TransitKey
from assay.controls.twins.keys import KmsTwin, TransitTwin
from assay.controls.twins.programme import twin_programme
from assay.core import Fidelity, Status

TOKEN = CustodyFacts(
    provider="pkcs11",
    fidelity=Fidelity.EMULATED,
    algorithm="AES-256-GCM",
    generated_inside=True,
    attributes={
        "sensitive": True, "extractable": False, "always_sensitive": True, "never_extractable": True,
    },
    attempts=(Attempt("read CKA_VALUE", True, "CKR_ATTRIBUTE_SENSITIVE"),),
    untried=(),
    store=None,
    described_as="SoftHSM project SoftHSM v2",
    residual_risk="Whoever holds the token files and the PIN holds the keys.",
)  # fmt: skip
STORE = msgspec.structs.replace(
    TOKEN,
    provider="embedded",
    attributes={},
    generated_inside=None,
    attempts=(Attempt("find the material in the file", True, "not found"),),
    store=StoreFile("0600", True, False, "0700", "scrypt", "AES-256-GCM"),
)

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}
KMS = msgspec.structs.replace(
    TOKEN,
    provider="aws-kms",
    fidelity=Fidelity.LIVE,
    attributes={},
    attempts=(Attempt("ask for the key as a public key", True, "UnsupportedOperationException"),),
    described_as="aws-kms",
    residual_risk="Whoever is allowed kms:Decrypt can use it.",
    kms=KmsKey(
        endpoint="https://kms.eu-central-1.amazonaws.com",
        key_state="Enabled",
        key_manager="CUSTOMER",
        origin="AWS_KMS",
        custom_key_store=None,
        multi_region=False,
        rotated=True,
        rotation_days=365,
        policy=json.dumps(POLICY),
        grants=(),
        unread=(),
    ),
)

TRANSIT = msgspec.structs.replace(
    TOKEN,
    provider="vault",
    attributes={},
    attempts=(Attempt("export the key", True, "400: is not exportable"),),
    described_as="vault",
    residual_risk="A root token can do everything.",
    transit=TransitKey(
        address="https://vault.example:8200",
        type="aes256-gcm96",
        exportable=False,
        allow_plaintext_backup=False,
        deletion_allowed=False,
        derived=False,
        imported=False,
        latest_version=3,
        min_decryption_version=1,
        min_available_version=0,
        auto_rotate_seconds=0,
        seal_type="shamir",
        storage_type="raft",
        server_version="1.21.0",
        unread=(),
    ),
)


def judged(facts, **changes):
    return KeyCustody().judge(msgspec.structs.replace(facts, **changes))


@pytest.mark.parametrize("facts", [TOKEN, STORE])
def test_a_key_that_stays_where_it_is_passes(facts):
    result = judged(facts)
    assert result.status is Status.PASS
    assert result.fidelity is Fidelity.EMULATED
    assert "not a hardware security module" in result.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [("sensitive", False), ("extractable", True), ("always_sensitive", False), ("never_extractable", False)],
)  # fmt: skip
def test_each_attribute_counts(name, value):
    assert judged(TOKEN, attributes={**TOKEN.attributes, name: value}).status is Status.FAIL
    unsaid = judged(TOKEN, attributes={**TOKEN.attributes, name: None})
    assert unsaid.status is Status.ERROR
    assert name in unsaid.reason


def test_a_key_that_came_out_fails():
    out = Attempt("wrap under another key", False, "40 bytes")
    assert judged(TOKEN, attempts=(*TOKEN.attempts, out)).status is Status.FAIL


def test_an_imported_key_fails_and_an_unknown_origin_is_an_error():
    assert judged(TOKEN, generated_inside=False).status is Status.FAIL
    assert judged(TOKEN, generated_inside=None).status is Status.ERROR


def test_a_door_that_could_not_be_tried_was_not_refused():
    result = judged(TOKEN, untried=("wrap under another key: no such mechanism",))
    assert result.status is Status.ERROR
    assert "no such mechanism" in result.reason


@pytest.mark.parametrize("facts", [TOKEN, STORE])
def test_without_an_attempt_nothing_can_be_told(facts):
    result = judged(facts, attempts=())
    assert result.status is Status.ERROR
    assert "nothing was tried" in result.reason


def test_what_is_wrong_counts_before_what_is_not_known():
    out = Attempt("wrap under another key", False, "40 bytes")
    unsaid = {**TOKEN.attributes, "sensitive": None}
    result = judged(TOKEN, attempts=(out,), attributes=unsaid, untried=("another door",))
    assert result.status is Status.FAIL
    assert result.reason == "the key came out: wrap under another key (40 bytes)"
    assert judged(TOKEN, attempts=(out,), generated_inside=None).status is Status.FAIL
    extractable = {**TOKEN.attributes, "extractable": True}
    assert judged(TOKEN, attempts=(), attributes=extractable).status is Status.FAIL


@pytest.mark.parametrize("mode", ["0600", "0400"])
def test_a_store_file_may_be_read_by_its_owner_alone(mode):
    assert (
        judged(STORE, store=msgspec.structs.replace(STORE.store, mode=mode)).status is Status.PASS
    )


@dataclass
class Change:
    field: str
    value: object


@pytest.mark.parametrize(
    "change",
    [
        Change("mode", "0640"), Change("mode", "0644"), Change("owned_by_user", False),
        Change("symbolic_link", True), Change("directory_mode", "0777"), Change("kdf", "none"),
        Change("cipher", "none"),
    ],
    ids=lambda change: f"{change.field}={change.value}",
)  # fmt: skip
def test_each_weakness_of_a_store_file_counts(change):
    store = msgspec.structs.replace(STORE.store, **{change.field: change.value})
    assert judged(STORE, store=store).status is Status.FAIL


def judged_kms(**changes):
    return judged(KMS, kms=msgspec.structs.replace(KMS.kms, **changes))


def test_a_key_that_aws_kms_made_passes():
    result = judged_kms()
    assert (result.status, result.fidelity) == (Status.PASS, Fidelity.LIVE)
    assert result.reason == (
        "1 ways to export the key were tried and refused; AWS KMS made it in its hardware security "
        "modules. Whoever is allowed kms:Decrypt can use it."
    )
    emulated = judged(KMS, fidelity=Fidelity.EMULATED)
    assert emulated.status is Status.PASS
    assert "and is not AWS KMS" in emulated.reason


def test_a_custom_key_store_is_named():
    result = judged_kms(origin="AWS_CLOUDHSM", custom_key_store="cks-1")
    assert result.status is Status.PASS
    assert "the CloudHSM cluster of the custom key store cks-1" in result.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"origin": "EXTERNAL"}, "made elsewhere and imported"),
        ({"key_manager": "AWS"}, "managed by AWS, expected CUSTOMER"),
        ({"key_manager": "not said"}, "managed by not said"),
    ],
)
def test_a_key_that_aws_kms_does_not_keep_for_us_alone_fails(change, words):
    result = judged_kms(**change)
    assert result.status is Status.FAIL
    assert words in result.reason
    # what is wrong counts before what is not known
    assert judged(KMS, kms=msgspec.structs.replace(KMS.kms, **change), untried=("a",)).status is (
        Status.FAIL
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"origin": "EXTERNAL_KEY_STORE", "custom_key_store": "cks-2"}, "external key store cks-2"),
        ({"origin": "not said"}, "origin: not said"),
        ({"policy": "no JSON"}, "no policy document"),
        ({"policy": "[]"}, "no policy document"),
        ({"policy": "[" * 100_000}, "no policy document"),
        ({"policy": '{"Statement": [1]}'}, "no policy document"),
        ({"policy": "{}"}, "no policy document"),
    ],
)
def test_what_aws_kms_does_not_say_is_an_error(change, words):
    result = judged_kms(**change)
    assert result.status is Status.ERROR
    assert words in result.reason


def test_what_was_not_read_is_named():
    result = judged_kms(policy=None, unread=("GetKeyPolicy: AccessDeniedException",))
    assert result.status is Status.PASS
    assert result.reason.endswith("Not read: GetKeyPolicy: AccessDeniedException.")


def test_a_key_in_aws_kms_needs_no_attributes_but_attempts():
    assert judged(KMS, generated_inside=None).status is Status.PASS
    assert judged(KMS, attempts=()).status is Status.ERROR
    assert judged(KMS, untried=("ask: AccessDeniedException",)).status is Status.ERROR
    out = Attempt("open a data key without its context", False, "it opened")
    assert judged(KMS, attempts=(out,)).status is Status.FAIL


ALL = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}


@pytest.mark.parametrize(
    "statement",
    [
        ALL,
        {**ALL, "Principal": {"AWS": "*"}},
        {**ALL, "Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}},
        {**ALL, "Action": ["kms:DescribeKey", "kms:Decrypt"]},
        {**ALL, "Action": "KMS:DECRYPT"},
        {**ALL, "Action": "kms:De*"},
        {**ALL, "Action": "*"},
        {**ALL, "Action": "kms:CreateGrant"},
        {**ALL, "Action": "kms:?utKeyPolicy"},
        {**ALL, "Condition": {}},
        {"Effect": "Allow", "NotPrincipal": {"AWS": "arn:aws:iam::1:root"}, "Action": "kms:*"},
        {"Effect": "Allow", "Principal": "*", "NotAction": "kms:DescribeKey"},
    ],
)
def test_a_policy_for_everybody_fails(statement):
    for statements in (statement, [statement], [*POLICY["Statement"], {**statement, "Sid": "x"}]):
        result = judged_kms(policy=json.dumps({"Statement": statements}))
        assert result.status is Status.FAIL
        assert "the key policy lets everybody use the key: statement" in result.reason
    assert "statement 2 (x)" in result.reason


@pytest.mark.parametrize(
    "statement",
    [
        {**ALL, "Effect": "Deny"},
        {**ALL, "Principal": {"AWS": "arn:aws:iam::111122223333:user/*"}},
        {**ALL, "Action": "kms:DescribeKey"},
        {**ALL, "Action": ["kms:List*", "kms:Get*", "kms:[a-z]*"]},
        {**ALL, "Condition": {"StringEquals": {"kms:CallerAccount": "111122223333"}}},
    ],
)
def test_a_policy_for_some_passes(statement):
    assert judged_kms(policy=json.dumps({"Statement": [statement]})).status is Status.PASS


def judged_transit(**changes):
    return judged(TRANSIT, transit=msgspec.structs.replace(TRANSIT.transit, **changes))


def test_a_key_in_vault_that_stays_passes_and_is_called_software():
    result = judged(TRANSIT)
    assert result.status is Status.PASS
    assert result.fidelity is Fidelity.EMULATED
    assert "https://vault.example:8200 says that it made the key" in result.reason
    assert "not a hardware security module. A root token can do everything." in result.reason
    assert "keeps everything in memory" in judged_transit(storage_type="inmem").reason
    assert (
        "Not read: sys/seal-status: 404." in judged_transit(unread=("sys/seal-status: 404",)).reason
    )


@pytest.mark.parametrize("name", ["exportable", "allow_plaintext_backup", "imported", "derived"])
def test_each_property_of_a_key_in_vault_counts(name):
    result = judged_transit(**{name: True})
    assert result.status is Status.FAIL
    assert f"({name})" in result.reason
    unsaid = judged_transit(**{name: None})
    assert unsaid.status is Status.ERROR
    assert f"does not say {name}" in unsaid.reason


def test_a_key_in_vault_that_came_out_fails_and_an_untried_door_is_an_error():
    out = Attempt("back the key up in the clear", False, "the server did it")
    assert judged(TRANSIT, attempts=(*TRANSIT.attempts, out)).status is Status.FAIL
    assert judged(TRANSIT, untried=("export the key: 403",)).status is Status.ERROR
    assert judged(TRANSIT, attempts=()).status is Status.ERROR


@pytest.mark.parametrize("name", ["exportable", "allow_plaintext_backup", "imported"])
def test_what_is_observed_is_what_vault_said(tmp_path, name):
    service = TransitTwin(name)
    with Context(tmp_path, twin_programme(), environment={}, key_service=service) as context:
        facts = KeyCustody().collect(Key(id="kek", uri=service.uri, purpose="encryption"), context)
    assert getattr(facts.transit, name) is True
    assert msgspec.convert(msgspec.to_builtins(facts), CustodyFacts) == facts


@pytest.mark.parametrize(
    ("version", "older"), [(1, TOKEN), (1, STORE), (2, TOKEN), (2, STORE), (2, KMS)]
)
def test_what_older_versions_observed_is_judged_as_it_was(version, older):
    check = KeyCustody()
    facts = msgspec.to_builtins(older)
    del facts["transit"]
    if version == 1:
        del facts["kms"]
    record = ObservationRecord(
        check="key-custody", check_version=version, asset="kek", collected_at="2026-01-01T00:00:00Z",
        fidelity=older.fidelity, facts=facts,
    ).to_bytes()  # fmt: skip
    result = judge_record({check.id: check}, record)
    assert result == judged(older)
    assert result.status is Status.PASS
    unknown = record.replace(f'"check_version":{version}'.encode(), b'"check_version":4')
    with pytest.raises(ObservationError, match="version 4"):
        judge_record({check.id: check}, unknown)


def test_what_is_observed_is_what_the_service_said(tmp_path):
    service = KmsTwin(Origin="EXTERNAL")
    with Context(tmp_path, twin_programme(), environment={}, key_service=service) as context:
        facts = KeyCustody().collect(Key(id="kek", uri=service.uri, purpose="encryption"), context)
    assert facts.kms.origin == "EXTERNAL"
    assert json.loads(facts.kms.policy)["Version"] == "2012-10-17"
    assert msgspec.convert(msgspec.to_builtins(facts), CustodyFacts) == facts
