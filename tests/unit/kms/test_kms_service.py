"""The service through boto3: what AWS's own clients send, and what they understand of the answers."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from assay.kms.operations import OPERATIONS, UNSUPPORTED

from .office import ACCOUNT, FULL_ACCESS, REGION, ROOT, Office, made_client


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.service.close()


@pytest.fixture
def kms(office: Office) -> Any:
    return office.client()


@pytest.fixture
def key(kms: Any) -> str:
    return str(kms.create_key(Description="orders")["KeyMetadata"]["KeyId"])


def refused(code: str, act: Any, **arguments: Any) -> str:
    """Call, and expect AWS's own error of that name; returns its message."""
    with pytest.raises(ClientError) as caught:
        act(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return str(caught.value.response["Error"]["Message"])


def test_every_action_of_the_api_is_answered_or_refused_by_name(kms: Any) -> None:
    known = {*OPERATIONS, *UNSUPPORTED}
    assert known == set(kms.meta.service_model.operation_names)


def test_every_argument_of_every_action_is_declared(kms: Any) -> None:
    model = kms.meta.service_model
    for action, operation in OPERATIONS.items():
        shape = model.operation_model(action).input_shape
        fields = {each.encode_name: each.required for each in _fields(operation.takes)}
        assert set(fields) == set(shape.members), action
        required = {name for name, needed in fields.items() if needed}
        assert required <= set(shape.required_members), action


def _fields(kind: Any) -> Any:
    import msgspec

    return msgspec.structs.fields(kind)


def test_a_key_and_its_metadata(kms: Any) -> None:
    made = kms.create_key(Description="orders", Tags=[{"TagKey": "team", "TagValue": "shop"}])
    told = made["KeyMetadata"]
    assert told["Arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{told['KeyId']}"
    assert (told["KeyState"], told["Enabled"], told["Origin"]) == ("Enabled", True, "AWS_KMS")
    assert told["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    for reference in (told["KeyId"], told["Arn"]):
        assert kms.describe_key(KeyId=reference)["KeyMetadata"] == told
    assert kms.list_keys()["Keys"] == [{"KeyId": told["KeyId"], "KeyArn": told["Arn"]}]
    assert kms.list_resource_tags(KeyId=told["KeyId"])["Tags"] == [
        {"TagKey": "team", "TagValue": "shop"}
    ]


def test_a_data_key_opens_under_its_context_and_no_other(kms: Any, key: str) -> None:
    context = {"tenant": "north", "class": "rows"}
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    assert len(made["Plaintext"]) == 32
    blob = made["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert (opened["Plaintext"], opened["KeyId"]) == (made["Plaintext"], made["KeyId"])
    for other in ({}, {"tenant": "north"}, {**context, "tenant": "south"}, {**context, "x": ""}):
        refused(
            "InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob, EncryptionContext=other
        )
    for position in range(len(blob)):
        forged = bytearray(blob)
        forged[position] ^= 1
        with pytest.raises(ClientError) as caught:
            kms.decrypt(CiphertextBlob=bytes(forged), EncryptionContext=context)
        assert caught.value.response["Error"]["Code"] in {
            "InvalidCiphertextException", "NotFoundException",
        }  # fmt: skip
    other_key = kms.create_key()["KeyMetadata"]["KeyId"]
    refused(
        "IncorrectKeyException",
        kms.decrypt,
        CiphertextBlob=blob,
        KeyId=other_key,
        EncryptionContext=context,
    )
    hidden = kms.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=64)
    assert "Plaintext" not in hidden
    assert len(kms.decrypt(CiphertextBlob=hidden["CiphertextBlob"])["Plaintext"]) == 64


def test_ciphertexts_move_between_keys_and_contexts(kms: Any, key: str) -> None:
    other = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x" * 4096, EncryptionContext={"a": "1"})[
        "CiphertextBlob"
    ]
    moved = kms.re_encrypt(
        CiphertextBlob=blob, SourceEncryptionContext={"a": "1"},
        DestinationKeyId=other["Arn"], DestinationEncryptionContext={"b": "2"},
    )  # fmt: skip
    assert moved["KeyId"] == other["Arn"]
    opened = kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"b": "2"})
    assert opened["Plaintext"] == b"x" * 4096
    refused("ValidationException", kms.encrypt, KeyId=key, Plaintext=b"x" * 4097)


@pytest.mark.parametrize("change", ["disable", "delete"])
def test_a_key_that_may_not_be_used_is_not_used(kms: Any, key: str, change: str) -> None:
    mac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    ed = kms.create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")["KeyMetadata"][
        "KeyId"
    ]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    for each in (key, mac, ed):
        if change == "disable":
            kms.disable_key(KeyId=each)
        else:
            kms.schedule_key_deletion(KeyId=each, PendingWindowInDays=7)
    code = "DisabledException" if change == "disable" else "KMSInvalidStateException"
    for act, arguments in (
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {"KeyId": key, "KeySpec": "AES_256"}),
        (kms.generate_data_key_without_plaintext, {"KeyId": key, "KeySpec": "AES_256"}),
        (kms.generate_data_key_pair, {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"}),
        (kms.re_encrypt, {"CiphertextBlob": blob, "DestinationKeyId": key}),
        (kms.generate_mac, {"KeyId": mac, "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}),
        (kms.sign, {"KeyId": ed, "Message": b"m", "SigningAlgorithm": "ED25519_SHA_512"}),
        (kms.get_public_key, {"KeyId": ed}),
        (kms.enable_key_rotation, {"KeyId": key}),
        (kms.rotate_key_on_demand, {"KeyId": key}),
        (kms.create_grant, {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"]}),
    ):
        refused(code, act, **arguments)
    if change == "delete":
        refused("KMSInvalidStateException", kms.enable_key, KeyId=key)
        kms.cancel_key_deletion(KeyId=key)
        refused("KMSInvalidStateException", kms.cancel_key_deletion, KeyId=key)
    kms.enable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_deleted_key_is_gone_with_its_material(office: Office, kms: Any, key: str) -> None:
    kms.create_alias(AliasName="alias/orders", TargetKeyId=key)
    blob = kms.encrypt(KeyId="alias/orders", Plaintext=b"x")["CiphertextBlob"]
    before = office.token.handles()
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    office.clock.ahead = timedelta(days=8)
    office.restart()
    office.clock.ahead = timedelta()
    refused("NotFoundException", kms.describe_key, KeyId=key)
    refused("NotFoundException", kms.decrypt, CiphertextBlob=blob)
    assert kms.list_aliases()["Aliases"] == []
    assert len(before - office.token.handles()) == 1
    assert any(each["action"] == "DeleteKey" for each in office.events())


def test_rotated_keys_open_what_their_older_versions_sealed(
    office: Office, kms: Any, key: str
) -> None:
    first = kms.encrypt(KeyId=key, Plaintext=b"1")["CiphertextBlob"]
    kms.rotate_key_on_demand(KeyId=key)
    second = kms.encrypt(KeyId=key, Plaintext=b"2")["CiphertextBlob"]
    assert first[17:21] != second[17:21]
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 90)
    office.clock.ahead = timedelta(days=91)
    office.restart()
    office.clock.ahead = timedelta()
    third = kms.encrypt(KeyId=key, Plaintext=b"3")["CiphertextBlob"]
    opened = [kms.decrypt(CiphertextBlob=each)["Plaintext"] for each in (first, second, third)]
    assert opened == [b"1", b"2", b"3"]
    kinds = [each["RotationType"] for each in kms.list_key_rotations(KeyId=key)["Rotations"]]
    assert kinds == ["ON_DEMAND", "AUTOMATIC"]


def test_a_backing_key_is_replaced_before_its_nonces_could_repeat(
    office: Office, kms: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.kms.operations.ciphers.USES_BEFORE_ROTATION", 3)
    blobs = [kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"] for _ in range(5)]
    assert [int.from_bytes(each[17:21]) for each in blobs] == [1, 1, 1, 2, 2]
    office.restart()
    more = [kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"] for _ in range(2)]
    assert [int.from_bytes(each[17:21]) for each in more] == [2, 3]
    monkeypatch.setattr("assay.kms.operations.ciphers.USES_BEFORE_ROTATION", 9)
    monkeypatch.setattr("assay.kms.operations.ciphers.MOST_USES", 1)
    refused("LimitExceededException", kms.encrypt, KeyId=key, Plaintext=b"x")


@pytest.mark.parametrize(
    ("spec", "algorithms"),
    [
        ("RSA_2048", ["RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_512"]),
        ("ECC_NIST_P256", ["ECDSA_SHA_256"]),
        ("ECC_NIST_P384", ["ECDSA_SHA_384"]),
        ("ECC_NIST_P521", ["ECDSA_SHA_512"]),
        ("ECC_NIST_EDWARDS25519", ["ED25519_SHA_512"]),
    ],
)
def test_signatures(kms: Any, key: str, spec: str, algorithms: list[str]) -> None:
    signing = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    assert set(algorithms) <= set(signing["SigningAlgorithms"])
    assert kms.get_public_key(KeyId=signing["KeyId"])["PublicKey"]
    for algorithm in algorithms:
        what = {"KeyId": signing["KeyId"], "Message": b"message", "SigningAlgorithm": algorithm}
        signature = kms.sign(**what)["Signature"]
        assert kms.verify(**what, Signature=signature)["SignatureValid"]
        refused(
            "KMSInvalidSignatureException",
            kms.verify,
            **{**what, "Message": b"other"},
            Signature=signature,
        )
        digest = hashlib.new(f"sha{algorithm[-3:]}", b"message").digest()
        by_digest = {**what, "Message": digest, "MessageType": "DIGEST"}
        if spec == "ECC_NIST_EDWARDS25519":
            refused("ValidationException", kms.sign, **by_digest)
        else:
            assert kms.verify(**by_digest, Signature=signature)["SignatureValid"]
            refused("ValidationException", kms.sign, **{**by_digest, "Message": digest[:-1]})
    refused(
        "InvalidKeyUsageException",
        kms.sign,
        KeyId=key,
        Message=b"m",
        SigningAlgorithm=algorithms[0],
    )
    refused("InvalidKeyUsageException", kms.encrypt, KeyId=signing["KeyId"], Plaintext=b"x")
    refused(
        "InvalidKeyUsageException",
        kms.sign,
        KeyId=signing["KeyId"],
        Message=b"m",
        SigningAlgorithm="SM2DSA",
    )


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_macs(kms: Any, bits: int) -> None:
    key = kms.create_key(KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"][
        "KeyId"
    ]
    what = {"KeyId": key, "Message": b"message", "MacAlgorithm": f"HMAC_SHA_{bits}"}
    mac = kms.generate_mac(**what)["Mac"]
    assert len(mac) == bits // 8
    assert kms.verify_mac(**what, Mac=mac)["MacValid"]
    refused("KMSInvalidMacException", kms.verify_mac, **what, Mac=mac[:-1] + bytes([mac[-1] ^ 1]))
    refused("KMSInvalidMacException", kms.verify_mac, **{**what, "Message": b"other"}, Mac=mac)


def test_rsa_encryption(kms: Any) -> None:
    key = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    for algorithm in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        made = kms.encrypt(KeyId=key, Plaintext=b"secret", EncryptionAlgorithm=algorithm)
        what = {"CiphertextBlob": made["CiphertextBlob"], "EncryptionAlgorithm": algorithm}
        assert kms.decrypt(KeyId=key, **what)["Plaintext"] == b"secret"
        refused("ValidationException", kms.decrypt, **what)
        refused(
            "InvalidCiphertextException",
            kms.decrypt,
            KeyId=key,
            **{**what, "CiphertextBlob": b"\1" * 256},
        )
    refused(
        "ValidationException", kms.encrypt, KeyId=key, Plaintext=b"x" * 215,
        EncryptionAlgorithm="RSAES_OAEP_SHA_1",
    )  # fmt: skip
    refused("UnsupportedOperationException", kms.enable_key_rotation, KeyId=key)


def test_aliases(kms: Any, key: str) -> None:
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/orders", TargetKeyId=key)
    refused("AlreadyExistsException", kms.create_alias, AliasName="alias/orders", TargetKeyId=other)
    refused("InvalidAliasNameException", kms.create_alias, AliasName="orders", TargetKeyId=other)
    refused(
        "InvalidAliasNameException", kms.create_alias, AliasName="alias/aws/s3", TargetKeyId=other
    )
    blob = kms.encrypt(KeyId="alias/orders", Plaintext=b"x")["CiphertextBlob"]
    kms.update_alias(AliasName="alias/orders", TargetKeyId=other)
    assert kms.describe_key(KeyId="alias/orders")["KeyMetadata"]["KeyId"] == other
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/orders"
    assert kms.encrypt(KeyId=arn, Plaintext=b"x")["KeyId"].endswith(other)
    assert [each["AliasArn"] for each in kms.list_aliases(KeyId=other)["Aliases"]] == [arn]
    assert kms.list_aliases(KeyId=key)["Aliases"] == []
    kms.delete_alias(AliasName="alias/orders")
    refused("NotFoundException", kms.encrypt, KeyId="alias/orders", Plaintext=b"x")


def test_what_is_not_there_and_what_is_nobodys(office: Office, kms: Any, key: str) -> None:
    for reference in ("1b9ec9d2-0000-4000-8000-000000000000", "alias/none", f"{key[:-1]}?"):
        refused("NotFoundException", kms.describe_key, KeyId=reference)
    refused(
        "NotFoundException", kms.describe_key, KeyId=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{key}"
    )
    refused("InvalidArnException", kms.describe_key, KeyId="arn:aws:s3:::bucket")
    stranger = office.client("stranger")
    refused("AccessDeniedException", stranger.describe_key, KeyId="alias/none")
    refused("AccessDeniedException", stranger.describe_key, KeyId=key)
    refused("AccessDeniedException", stranger.list_keys)
    refused("AccessDeniedException", stranger.create_key)
    refused("AccessDeniedException", stranger.generate_random, NumberOfBytes=8)


def test_a_key_policy_decides(office: Office, kms: Any, key: str) -> None:
    reader = office.user("reader")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "root", "Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"},
            {
                "Sid": "north", "Effect": "Allow", "Principal": {"AWS": reader},
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*",
                "Condition": {"StringEquals": {"kms:EncryptionContext:tenant": "north"}},
            },
        ],
    }  # fmt: skip
    kms.put_key_policy(KeyId=key, Policy=json.dumps(policy))
    assert json.loads(kms.get_key_policy(KeyId=key)["Policy"]) == policy
    north, south = ({"tenant": each} for each in ("north", "south"))
    client = office.client("reader")
    made = client.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=north)
    blob = made["CiphertextBlob"]
    assert (
        client.decrypt(CiphertextBlob=blob, EncryptionContext=north)["Plaintext"]
        == made["Plaintext"]
    )
    refused(
        "AccessDeniedException",
        client.generate_data_key,
        KeyId=key,
        KeySpec="AES_256",
        EncryptionContext=south,
    )
    refused(
        "AccessDeniedException", client.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=north
    )
    policy["Statement"].append(  # type: ignore[attr-defined]
        {"Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
    )
    kms.put_key_policy(KeyId=key, Policy=json.dumps(policy))
    for each in (client, kms):
        message = refused(
            "AccessDeniedException", each.decrypt, CiphertextBlob=blob, EncryptionContext=north
        )
        assert "explicit deny" in message
    alone = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": reader},
            "Action": "kms:Decrypt",
            "Resource": "*",
        },
    }
    refused(
        "MalformedPolicyDocumentException", kms.put_key_policy, KeyId=key, Policy=json.dumps(alone)
    )
    refused("MalformedPolicyDocumentException", kms.create_key, Policy="{}")
    kms.put_key_policy(KeyId=key, Policy=json.dumps(alone), BypassPolicyLockoutSafetyCheck=True)
    refused("AccessDeniedException", kms.describe_key, KeyId=key)


def test_grants(office: Office, kms: Any, key: str) -> None:
    worker = office.user("worker")
    client = office.client("worker")
    blob = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"tenant": "north", "n": "1"})[
        "CiphertextBlob"
    ]
    given = {
        "KeyId": key, "GranteePrincipal": worker, "Operations": ["Decrypt", "RetireGrant"],
        "Constraints": {"EncryptionContextSubset": {"tenant": "north"}}, "Name": "job",
    }  # fmt: skip
    refused(
        "AccessDeniedException",
        client.decrypt,
        CiphertextBlob=blob,
        EncryptionContext={"tenant": "north", "n": "1"},
    )
    made = kms.create_grant(**given)
    assert kms.create_grant(**given)["GrantId"] == made["GrantId"]
    opened = client.decrypt(
        CiphertextBlob=blob,
        EncryptionContext={"tenant": "north", "n": "1"},
        GrantTokens=[made["GrantToken"]],
    )
    assert opened["Plaintext"] == b"x"
    refused(
        "AccessDeniedException", client.decrypt, CiphertextBlob=blob, EncryptionContext={"n": "1"}
    )
    refused(
        "AccessDeniedException",
        client.encrypt,
        KeyId=key,
        Plaintext=b"x",
        EncryptionContext={"tenant": "north"},
    )
    (listed,) = kms.list_grants(KeyId=key)["Grants"]
    assert (listed["GrantId"], listed["GranteePrincipal"]) == (made["GrantId"], worker)
    stranger = office.client("stranger")
    refused("AccessDeniedException", stranger.retire_grant, GrantToken=made["GrantToken"])
    client.retire_grant(GrantToken=made["GrantToken"])
    refused(
        "AccessDeniedException",
        client.decrypt,
        CiphertextBlob=blob,
        EncryptionContext={"tenant": "north", "n": "1"},
    )
    again = kms.create_grant(**given)
    kms.revoke_grant(KeyId=key, GrantId=again["GrantId"])
    assert kms.list_grants(KeyId=key)["Grants"] == []
    refused("NotFoundException", kms.revoke_grant, KeyId=key, GrantId=again["GrantId"])


def test_a_dry_run_changes_nothing(kms: Any, key: str) -> None:
    refused("DryRunOperationException", kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True)
    refused(
        "DryRunOperationException",
        kms.create_grant,
        KeyId=key,
        GranteePrincipal=ROOT,
        Operations=["Decrypt"],
        DryRun=True,
    )
    assert kms.list_grants(KeyId=key)["Grants"] == []


def test_lists_come_in_pages(kms: Any) -> None:
    made = sorted(kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(7))
    first = kms.list_keys(Limit=3)
    assert first["Truncated"]
    found = [
        each["KeyId"]
        for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 3})
        for each in page["Keys"]
    ]
    assert found == made
    refused("ValidationException", kms.list_keys, Limit=1001)


def test_what_this_service_does_not_do_is_refused_and_not_passed_over(kms: Any, key: str) -> None:
    for act, arguments in (
        (kms.create_key, {"Origin": "EXTERNAL"}),
        (kms.create_key, {"CustomKeyStoreId": "cks-1"}),
        (kms.create_key, {"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}),
        (kms.replicate_key, {"KeyId": key, "ReplicaRegion": "us-east-1"}),
        (
            kms.get_parameters_for_import,
            {
                "KeyId": key,
                "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
                "WrappingKeySpec": "RSA_2048",
            },
        ),
        (kms.decrypt, {"CiphertextBlob": b"x" * 60, "Recipient": {"AttestationDocument": b"x"}}),
    ):
        refused("UnsupportedOperationException", act, **arguments)


def test_every_call_is_in_the_audit_trail(office: Office, kms: Any, key: str) -> None:
    kms.encrypt(KeyId=key, Plaintext=b"Quartz", EncryptionContext={"tenant": "north"})
    refused(
        "AccessDeniedException", office.client("stranger").encrypt, KeyId=key, Plaintext=b"Quartz"
    )
    stolen = made_client(office.access["admin"].access_key_id, "x" * 40, office)
    refused("InvalidSignatureException", stolen.list_keys)
    unknown = made_client("AKIA" + "A" * 16, "x" * 40, office)
    refused("UnrecognizedClientException", unknown.list_keys)
    office.restart()
    events = office.events()
    encrypted, denied = [each for each in events if each["action"] == "Encrypt"]
    assert encrypted["principal"].endswith(":user/admin")
    assert encrypted["key"].endswith(key)
    assert (encrypted["context"], encrypted["outcome"]) == ({"tenant": "north"}, "ok")
    assert encrypted["source"] == "192.0.2.7"
    assert (denied["outcome"], denied["principal"][-9:]) == ("AccessDeniedException", "/stranger")
    assert denied["reason"] == "no statement or grant allows it"
    counted = {each["outcome"]: each["count"] for each in events if "count" in each}
    assert counted == {"InvalidSignatureException": 1, "UnrecognizedClientException": 1}
    assert "Quartz" not in json.dumps(events)
    assert office.administration.verify_trail().events == len(events)


def test_a_disabled_principal_and_a_removed_access_key_are_refused(
    office: Office, kms: Any
) -> None:
    kms.list_keys()
    office.administration.enable_principal("admin", enabled=False)
    refused("UnrecognizedClientException", kms.list_keys)
    office.administration.enable_principal("admin", enabled=True)
    kms.list_keys()
    office.administration.remove_access_key(office.access["admin"].access_key_id)
    refused("UnrecognizedClientException", kms.list_keys)


def test_two_processes_see_each_others_changes_at_once(office: Office, kms: Any, key: str) -> None:
    second = office.start("second")
    try:
        other = office.client("admin", second)
        blob = other.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        kms.disable_key(KeyId=key)
        refused("DisabledException", other.decrypt, CiphertextBlob=blob)
        other.enable_key(KeyId=key)
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
        office.administration.put_policy("admin", "policy-0", None)
        for each in (kms, other):
            refused("AccessDeniedException", each.decrypt, CiphertextBlob=blob)
    finally:
        second.close()
    assert FULL_ACCESS


def test_an_answer_that_nothing_decided_does_not_leave(
    kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = OPERATIONS["ListKeys"]._replace(perform=lambda *_: {"Keys": [], "Truncated": False})
    monkeypatch.setitem(OPERATIONS, "ListKeys", careless)  # type: ignore[arg-type]  # a dict
    refused("KMSInternalException", kms.list_keys)


def test_a_defect_in_one_request_is_not_the_end_of_the_others(
    office: Office, kms: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, held = threading.Event(), threading.Event()

    def broken(*_: object) -> None:
        raise ZeroDivisionError(key)

    def slow(call: Any, arguments: Any) -> Any:
        begun.set()
        held.wait(30)
        return list_aliases(call, arguments)

    list_aliases = OPERATIONS["ListAliases"].perform
    for action, perform in (("ListKeys", broken), ("ListAliases", slow)):
        changed = OPERATIONS[action]._replace(perform=perform)
        monkeypatch.setitem(OPERATIONS, action, changed)  # type: ignore[arg-type]  # a dict
    others = [office.client() for _ in range(3)]
    with ThreadPoolExecutor(5) as pool:
        pool.submit(kms.list_aliases)
        assert begun.wait(30)
        asked = [pool.submit(each.encrypt, KeyId=key, Plaintext=b"x") for each in others]
        failing = pool.submit(refused, "KMSInternalException", kms.list_keys)
        while office.service._jobs.qsize() < 4:  # all of them shall be in one batch
            time.sleep(0.01)
        held.set()
        assert key not in failing.result()
        assert all(each.result()["CiphertextBlob"] for each in asked)
    assert [each["action"] for each in office.events()].count("Encrypt") == 3
