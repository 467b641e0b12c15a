"""Grants: what CreateGrant may ask for, and tokens."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kms.errors import (
    InvalidArnError,
    InvalidGrantTokenError,
    UnsupportedError,
    ValidationError,
)
from assay.kms.grants import (
    GRANT_OPERATIONS,
    GrantRequest,
    check_grant,
    check_no_service,
    grant_of_token,
    grant_token,
    operations_of,
)
from assay.kms.records import KeySpec, KeyUsage

ADA = "arn:aws:iam::111122223333:user/ada"
ALWAYS = {"CreateGrant", "RetireGrant", "DescribeKey"}
CIPHER = ALWAYS | {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"}
PLAIN = GrantRequest(ADA, frozenset({"Decrypt"}))


def check(asked: GrantRequest, spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT) -> None:
    check_grant(asked, spec=spec, usage=KeyUsage.ENCRYPT_DECRYPT)


@pytest.mark.parametrize(
    ("spec", "usage", "operations"),
    [
        (
            KeySpec.SYMMETRIC_DEFAULT,
            KeyUsage.ENCRYPT_DECRYPT,
            CIPHER
            | {
                "GenerateDataKey",
                "GenerateDataKeyPair",
                "GenerateDataKeyWithoutPlaintext",
                "GenerateDataKeyPairWithoutPlaintext",
            },
        ),
        (KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT, CIPHER | {"GetPublicKey"}),
        (KeySpec.RSA_4096, KeyUsage.SIGN_VERIFY, ALWAYS | {"Sign", "Verify", "GetPublicKey"}),
        (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY, ALWAYS | {"Sign", "Verify", "GetPublicKey"}),
        (
            KeySpec.HMAC_512,
            KeyUsage.GENERATE_VERIFY_MAC,
            ALWAYS | {"GenerateMac", "VerifyMac"},
        ),
    ],
)
def test_a_grant_can_hold_what_its_key_can_do(spec, usage, operations):
    assert operations_of(spec, usage) == operations
    for operation in GRANT_OPERATIONS:
        asked = GrantRequest(ADA, frozenset({"DescribeKey", operation}))
        if operation in operations:
            check_grant(asked, spec=spec, usage=usage)
        else:
            with pytest.raises(ValidationError, match=f"has no {operation};"):
                check_grant(asked, spec=spec, usage=usage)


def test_the_operations_are_those_of_clients():
    import botocore.session

    model = botocore.session.get_session().get_service_model("kms")
    assert set(model.shape_for("GrantOperation").enum) == GRANT_OPERATIONS


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((), "at least one operation, found none"),
        (("decrypt",), "no grant can hold 'decrypt'"),
        (("ReEncrypt",), "no grant can hold 'ReEncrypt'"),
        (("Decrypt", "ScheduleKeyDeletion"), "no grant can hold 'ScheduleKeyDeletion'"),
    ],
)
def test_other_operations_are_refused(operations, message):
    with pytest.raises(ValidationError, match=message):
        check(GrantRequest(ADA, frozenset(operations)))


@pytest.mark.parametrize(
    "principal",
    [
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::444455556666:user/team/ada",
        "arn:aws:iam::111122223333:role/app",
        "arn:aws:sts::111122223333:assumed-role/app/session",
        "arn:aws-cn:iam::111122223333:user/a+b=c,d.e@f-g_h",
    ],
)
def test_principals_of_every_kind_are_taken(principal):
    check(replace(PLAIN, grantee=principal, retiring=principal))


@pytest.mark.parametrize(
    "principal",
    [
        "",
        "*",
        "ada",
        "111122223333",
        "arn:aws:iam::111122223333:user/",
        "arn:aws:iam::111122223333:user/*",
        "arn:aws:iam::111122223333:group/g",
        "arn:aws:iam::1111:user/ada",
        "arn:aws:iam::111122223333:rooty",
        "arn:aws:kms:eu-central-1:111122223333:key/k",
        "dynamodb.eu-central-1.amazonaws.com",
        ADA + "\n",
        ADA + "\xe4",
        ADA + "a" * 256,
    ],
)
def test_other_principals_are_refused(principal):
    with pytest.raises(InvalidArnError, match=r"^GranteePrincipal: expected the ARN"):
        check(replace(PLAIN, grantee=principal))
    with pytest.raises(InvalidArnError, match=r"^RetiringPrincipal: expected the ARN"):
        check(replace(PLAIN, retiring=principal))


@pytest.mark.parametrize("name", ["a", "a:b/c_d-E9", "x" * 256])
def test_names_are_taken(name):
    check(replace(PLAIN, name=name))


@pytest.mark.parametrize("name", [" ", "a b", "a\n", "\xe4", "x" * 257, "a.b"])
def test_other_names_are_refused(name):
    with pytest.raises(ValidationError, match=r"^Name: expected"):
        check(replace(PLAIN, name=name))


CONSTRAINTS = [
    ("context_equals", "EncryptionContextEquals"),
    ("context_subset", "EncryptionContextSubset"),
]


@pytest.mark.parametrize(("field", "name"), CONSTRAINTS)
def test_a_constraint_may_be_as_large_as_the_limits_and_not_larger(field, name):
    def asked(pairs: int, size: int) -> GrantRequest:
        return replace(PLAIN, **{field: {str(at): "v" * size for at in range(pairs)}})

    check(asked(8, 384))
    for pairs, size in ((9, 1), (0, 0)):
        with pytest.raises(
            ValidationError, match=f"^Constraints, {name}: expected 1 to 8 pairs, found {pairs}"
        ):
            check(asked(pairs, size))
    with pytest.raises(ValidationError, match=f"^Constraints, {name}: .* values of at most 384"):
        check(asked(1, 385))
    with pytest.raises(ValidationError, match="names that are not empty"):
        check(replace(PLAIN, **{field: {"": "x", "a": "b"}}))


@pytest.mark.parametrize(("field", "name"), CONSTRAINTS)
def test_a_constraint_needs_an_encryption_context(field, name):
    with pytest.raises(ValidationError, match=f"^Constraints, {name}: a key of RSA_2048 has no"):
        check(replace(PLAIN, **{field: {"a": "b"}}), KeySpec.RSA_2048)


def test_no_error_tells_the_values_of_a_constraint():
    with pytest.raises(ValidationError) as caught:
        check(replace(PLAIN, context_equals={"owner": "secret" * 100}))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"GranteeServicePrincipal": "dynamodb.amazonaws.com"}, "^GranteeServicePrincipal: "),
        ({"RetiringServicePrincipal": "dynamodb.amazonaws.com"}, "^RetiringServicePrincipal: "),
        ({"Constraints": {"SourceArn": "arn:aws:s3:::b"}}, "^Constraints, SourceArn: "),
    ],
)
def test_what_only_services_of_aws_can_use_is_refused(arguments, message):
    with pytest.raises(UnsupportedError, match=message):
        check_no_service({"KeyId": "k", **arguments})


@pytest.mark.parametrize(
    "arguments", [{}, {"Constraints": None}, {"Constraints": {"EncryptionContextEquals": {}}}]
)
def test_what_users_can_use_is_left(arguments):
    check_no_service({"GranteePrincipal": ADA, **arguments})


@given(st.binary(min_size=32, max_size=32).map(bytes.hex))
def test_a_token_names_its_grant(grant_id):
    assert grant_of_token(grant_token(grant_id)) == grant_id


@given(st.text() | st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode()))
def test_other_tokens_are_refused(token):
    try:
        found = grant_of_token(token)
    except InvalidGrantTokenError:
        return
    assert grant_token(found) == token


@pytest.mark.parametrize(
    "token",
    [
        "",
        grant_token("ab" * 32)[:-1],
        grant_token("ab" * 32) + "\n",
        " " + grant_token("ab" * 32),
        grant_token("ab" * 31),
        grant_token("ab" * 33),
        base64.b64encode(b"\x02" + b"x" * 32).decode(),
        "\xe4" * 44,
        # the same bytes under other bits that base64 leaves unused
        base64.b64encode(b"\x01" + b"x" * 31).decode()[:-4] + "eH==",
    ],
)
def test_a_token_that_nobody_gave_is_refused(token):
    with pytest.raises(InvalidGrantTokenError, match="expected a grant token"):
        grant_of_token(token)
