"""What AWS KMS says of a key, and what became of each attempt."""

from __future__ import annotations

import json
import os
from typing import Any

import boto3
import msgspec
import pytest
from moto import mock_aws
from tests.kms_front import refused

from assay.core import Fidelity
from assay.keys import Custody, KeyServiceUnavailableError, UnwrapError, key_custody
from assay.keys.aws_kms import AwsKms
from assay.keys.aws_kms_custody import custody_of, described, kms_fidelity
from assay.keys.aws_kms_service import AwsKmsProvider
from assay.keys.aws_kms_uri import parse_aws_kms_uri

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}
DOORS = (
    "bring material from outside into the key (GetParametersForImport)",
    "ask for the key as a public key (GetPublicKey)",
    "open a data key without its context (Decrypt)",
    "open a data key under another context (Decrypt)",
)


def custody(kms: Any, deadline: str = "20") -> Custody:
    return key_custody(kms.uri(deadline=deadline), directory=kms.folder, environment=os.environ)


def test_every_door_is_tried_and_stays_shut(kms: Any) -> None:
    kms.create()
    found = kms.service().custody()
    assert tuple(attempt.door for attempt in found.export_attempts) == DOORS
    assert all(attempt.refused for attempt in found.export_attempts)
    assert [attempt.answer for attempt in found.export_attempts] == [
        "UnsupportedOperationException", "UnsupportedOperationException",
        "InvalidCiphertextException", "InvalidCiphertextException",
    ]  # fmt: skip
    assert found.untried_doors == ()
    assert found.provider == "aws-kms"
    assert found.algorithm == "AES-256-GCM"
    assert found.origin.generated_inside is True
    assert found.fidelity is Fidelity.EMULATED
    assert "is not AWS" in found.residual_risk
    assert found.uri == f"aws-kms:{kms.arn()}"
    assert msgspec.convert(msgspec.to_builtins(found), Custody) == found


def test_facts_are_read(kms: Any) -> None:
    kms.create()
    arn = kms.arn()
    kms.client.enable_key_rotation(KeyId=arn)
    kms.client.create_grant(
        KeyId=arn, GranteePrincipal="arn:aws:iam::123456789012:role/app", Name="g",
        Operations=["Decrypt", "GenerateDataKey"],
        Constraints={"EncryptionContextSubset": {"owner": "a"}},
    )  # fmt: skip
    facts = custody(kms).kms
    assert facts is not None
    assert (facts.key, facts.key_state, facts.key_manager) == (arn, "Enabled", "CUSTOMER")
    assert (facts.origin, facts.custom_key_store, facts.multi_region) == ("AWS_KMS", None, False)
    assert facts.rotated is True
    assert facts.endpoint == kms.front.endpoint
    assert json.loads(facts.policy or "")["Statement"][0]["Effect"] == "Allow"
    assert facts.grants == (
        "arn:aws:iam::123456789012:role/app may Decrypt, GenerateDataKey under a constraint on "
        "the encryption context",
    )
    assert facts.unread == ()


def test_what_the_caller_may_not_read_is_said(kms: Any) -> None:
    kms.create()
    kms.front.refuse = {"GetKeyPolicy", "ListGrants", "GetKeyRotationStatus"}
    facts = custody(kms).kms
    assert facts is not None
    assert (facts.policy, facts.grants, facts.rotated, facts.rotation_days) == (None,) * 4
    assert facts.unread == (
        "GetKeyRotationStatus: AccessDeniedException",
        "GetKeyPolicy: AccessDeniedException",
        "ListGrants: AccessDeniedException",
    )


@pytest.mark.parametrize(
    ("action", "doors"),
    [("GetParametersForImport", 1), ("GetPublicKey", 1), ("GenerateDataKey", 1), ("Decrypt", 1)],
)
def test_a_caller_who_may_not_ask_has_not_tried(kms: Any, action: str, doors: int) -> None:
    kms.create()
    kms.front.refuse = {action}
    found = custody(kms)
    assert len(found.untried_doors) == doors
    assert "AccessDeniedException" in found.untried_doors[0]
    assert all(attempt.refused for attempt in found.export_attempts)
    assert len(found.export_attempts) < len(DOORS)


def test_an_operation_that_the_service_does_not_know_leaves_its_door_untried(kms: Any) -> None:
    kms.create()
    for action in ("GetParametersForImport", "GetKeyPolicy"):
        kms.front.unknown = {action}
        found = custody(kms, deadline="4")
        assert found.kms is not None
        said = (*found.untried_doors, *found.kms.unread)
        assert len(said) == 1
        assert action in said[0]
        assert "no answer within the deadline" in said[0]


def test_a_disabled_key_has_facts_and_tells_nothing_more(kms: Any) -> None:
    kms.create()
    kms.front.change(kms.arn(), KeyState="Disabled")
    found = custody(kms)
    assert found.kms is not None
    assert found.kms.key_state == "Disabled"
    assert any("DisabledException" in door for door in found.untried_doors)


def test_a_key_that_opens_without_its_context_came_out(kms: Any) -> None:
    kms.create()

    def any_context(handler: Any) -> bool:
        if handler.action == "Decrypt":
            for action, asked in reversed(kms.front.bodies):
                if action == "GenerateDataKey":
                    handler.asked["EncryptionContext"] = asked["EncryptionContext"]
                    break
            handler.body = json.dumps(handler.asked).encode()
        return False

    kms.front.faults.extend([any_context] * 20)
    came_out = {each.door: each.answer for each in custody(kms).export_attempts if not each.refused}
    assert came_out == {DOORS[2]: "it opened", DOORS[3]: "it opened"}


def test_a_key_with_imported_material_says_so(kms: Any) -> None:
    kms.create()
    kms.front.change(kms.arn(), Origin="EXTERNAL")
    found = custody(kms)
    assert found.origin.generated_inside is False
    assert found.kms is not None
    assert found.kms.origin == "EXTERNAL"
    assert [each.door for each in found.export_attempts if not each.refused] == [DOORS[0]]


@pytest.mark.parametrize(
    ("origin", "inside"), [("AWS_CLOUDHSM", True), ("EXTERNAL_KEY_STORE", None), ("New", None)]
)
def test_other_origins(kms: Any, origin: str, inside: bool | None) -> None:
    kms.create()
    kms.front.change(kms.arn(), Origin=origin, CustomKeyStoreId="cks-1")
    found = custody(kms)
    assert found.origin.generated_inside is inside
    assert found.kms is not None
    assert found.kms.custom_key_store == "cks-1"


def test_the_cipher_in_china_is_another(kms: Any) -> None:
    kms.create()
    china = kms.arn().replace("aws:kms:eu-central-1", "aws-cn:kms:cn-north-1")
    kms.front.change(kms.arn(), Arn=china)
    connected = AwsKms(parse_aws_kms_uri(kms.uri()), kms.folder)
    key = described(connected, kms.alias)
    kms.front.faults.extend([refused("UnsupportedOperationException")] * 10)
    assert custody_of(connected, key).algorithm == "SM4"


def test_a_drill_finds_its_leaky_key(kms: Any) -> None:
    kms.create()
    with AwsKmsProvider().leaky_key(kms.uri(), kms.folder, os.environ) as twin:
        found = key_custody(twin, directory=kms.folder, environment=os.environ)
        assert found.origin.generated_inside is False
        arn = found.uri.partition(":")[2]
        assert arn != kms.arn()
    state = kms.client.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"]
    assert state == "PendingDeletion"
    kms.service().generate_data_key(CONTEXT)


def test_a_service_in_trouble_tells_nothing(kms: Any) -> None:
    kms.create()
    kms.front.faults.append(lambda _: False)
    kms.front.faults.extend([refused("KMSInternalException", 500)] * 1000)
    with pytest.raises(KeyServiceUnavailableError):
        custody(kms, deadline="1")


@pytest.mark.parametrize(
    ("endpoint", "fidelity"),
    [
        ("https://kms.eu-central-1.amazonaws.com", Fidelity.LIVE),
        ("https://kms-fips.us-gov-east-1.amazonaws.com", Fidelity.LIVE),
        ("https://kms.cn-north-1.amazonaws.com.cn", Fidelity.LIVE),
        ("https://kms.eu-central-1.api.aws", Fidelity.LIVE),
        ("https://vpce-1-a.kms.eu-central-1.vpce.amazonaws.com", Fidelity.LIVE),
        ("http://kms.eu-central-1.amazonaws.com", Fidelity.EMULATED),
        ("https://kms.eu-central-1.amazonaws.com:8443", Fidelity.EMULATED),
        ("https://kms.eu-central-1.amazonaws.com.example", Fidelity.EMULATED),
        ("https://amazonaws.com", Fidelity.EMULATED),
        ("https://evilamazonaws.com", Fidelity.EMULATED),
        ("https://example/kms.eu-central-1.amazonaws.com", Fidelity.EMULATED),
        ("http://127.0.0.1:4566", Fidelity.EMULATED),
    ],
)
def test_fidelity_is_told_by_who_answers(endpoint: str, fidelity: Fidelity) -> None:
    assert kms_fidelity(endpoint) is fidelity


def test_without_an_endpoint_aws_is_asked(kms: Any) -> None:
    """With moto in the place of botocore's HTTP, so nobody is really asked."""
    with mock_aws():
        client = boto3.client("kms", region_name="eu-central-1")
        arn = client.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
        service = AwsKmsProvider().open_key_service(f"aws-kms:{arn}", kms.folder, os.environ)
        data_key, wrapped = service.generate_data_key(CONTEXT)
        assert service.unwrap(wrapped, CONTEXT) == data_key
        with pytest.raises(UnwrapError):
            service.unwrap(wrapped, {**CONTEXT, "owner": "b"})
        assert service.fidelity is Fidelity.LIVE
