"""`aws kms …` of the AWS CLI, as somebody types it.

Version 1 of the CLI; it ends with 255 where the service refuses (version 2: 254).
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .conftest import Kms

REFUSED = 255
SECRET = b"Quartz\0and\xffObsidian"


@dataclass(frozen=True)
class Aws:
    """`aws kms`, with the variables of one user."""

    program: Path
    folder: Path
    environment: Mapping[str, str]

    def run(self, line: str, *words: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """What it did; the line is split at blanks, further words are not."""
        return subprocess.run(
            [str(self.program), "kms", *line.split(), *words],
            env={**self.environment, **changed}, cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def __call__(self, line: str, *words: str) -> Any:
        """What it printed: JSON, or nothing."""
        done = self.run(line, *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def file(self, name: str, line: str, field: str) -> str:
        """A field of its answer, which is bytes, in a file; ``fileb://`` and its name."""
        (self.folder / name).write_bytes(base64.b64decode(self(line)[field]))
        return f"fileb://{name}"

    def refused(self, line: str, *words: str, **changed: str) -> str:
        """What it says when the service refuses."""
        done = self.run(line, *words, **changed)
        assert done.returncode == REFUSED, done.stdout + done.stderr
        assert not done.stdout.strip()
        return done.stderr


@pytest.fixture
def cli(kms: Kms, python_clients: Path, tmp_path: Path) -> Callable[[Mapping[str, str]], Aws]:
    (tmp_path / "secret").write_bytes(SECRET)
    program = python_clients / "aws"

    def of(access: Mapping[str, str]) -> Aws:
        return Aws(program, tmp_path, kms.environment(access))

    return of


@pytest.fixture
def aws(cli: Callable[[Mapping[str, str]], Aws], kms: Kms) -> Aws:
    return cli(kms.admin)


def test_a_key_is_made_named_found_and_described(aws: Aws) -> None:
    made = aws("create-key --description orders --tags TagKey=team,TagValue=north")["KeyMetadata"]
    key = made["KeyId"]
    aws(f"create-alias --alias-name alias/cli --target-key-id {key}")
    found = aws("describe-key --key-id alias/cli")["KeyMetadata"]
    assert found == made
    assert (found["KeyState"], found["KeySpec"]) == ("Enabled", "SYMMETRIC_DEFAULT")
    assert "alias/cli" in {each["AliasName"] for each in aws("list-aliases")["Aliases"]}
    aws("create-key")
    everything = {each["KeyId"] for each in aws("list-keys --page-size 1")["Keys"]}
    first = aws("list-keys --max-items 1")
    rest = aws(f"list-keys --starting-token {first['NextToken']}")["Keys"]
    assert key in everything
    assert {each["KeyId"] for each in [*first["Keys"], *rest]} == everything
    assert aws(f"list-resource-tags --key-id {key}")["Tags"] == [
        {"TagKey": "team", "TagValue": "north"}
    ]
    aws(f"tag-resource --key-id {key} --tags TagKey=cost,TagValue=7")
    aws(f"untag-resource --key-id {key} --tag-keys team")
    tags = aws(f"list-resource-tags --key-id {key}")["Tags"]
    assert tags == [{"TagKey": "cost", "TagValue": "7"}]


def test_bytes_are_sealed_opened_and_moved(aws: Aws, kms: Kms) -> None:
    key, other = kms.key(), kms.key()
    blob = aws.file(
        "blob",
        f"encrypt --key-id {key} --plaintext fileb://secret --encryption-context tenant=north",
        "CiphertextBlob",
    )
    decrypt = f"decrypt --ciphertext-blob {blob} --encryption-context"
    aws.file("opened", f"{decrypt} tenant=north", "Plaintext")
    assert (aws.folder / "opened").read_bytes() == SECRET
    assert "(InvalidCiphertextException)" in aws.refused(f"{decrypt} tenant=south")
    rotated = aws(f"rotate-key-on-demand --key-id {key}")
    assert rotated["KeyId"] == key
    (rotation,) = aws(f"list-key-rotations --key-id {key}")["Rotations"]
    assert rotation["RotationType"] == "ON_DEMAND"
    moved = aws.file(
        "moved",
        f"re-encrypt --ciphertext-blob {blob} --source-encryption-context tenant=north "
        f"--destination-key-id {other} --destination-encryption-context tenant=south",
        "CiphertextBlob",
    )
    opened = aws(f"decrypt --ciphertext-blob {moved} --encryption-context tenant=south")
    assert opened["KeyId"] == other
    assert base64.b64decode(opened["Plaintext"]) == SECRET
    made = aws(f"generate-data-key --key-id {key} --key-spec AES_256")
    assert len(base64.b64decode(made["Plaintext"])) == 32
    (aws.folder / "wrapped").write_bytes(base64.b64decode(made["CiphertextBlob"]))
    assert aws("decrypt --ciphertext-blob fileb://wrapped")["Plaintext"] == made["Plaintext"]


def test_messages_are_signed_and_authenticated(aws: Aws, kms: Kms) -> None:
    pair = kms.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    message = f"--key-id {pair} --message fileb://secret --signing-algorithm ECDSA_SHA_256"
    signature = aws.file("signature", f"sign {message}", "Signature")
    assert aws(f"verify {message} --signature {signature}")["SignatureValid"] is True
    aws.file("public", f"get-public-key --key-id {pair}", "PublicKey")
    public = load_der_public_key((aws.folder / "public").read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    made = (aws.folder / "signature").read_bytes()
    public.verify(made, SECRET, ec.ECDSA(hashes.SHA256()))
    (aws.folder / "signature").write_bytes(made[:-1] + bytes([made[-1] ^ 1]))
    said = aws.refused(f"verify {message} --signature {signature}")
    assert "(KMSInvalidSignatureException)" in said
    secret = kms.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    message = f"--key-id {secret} --message fileb://secret --mac-algorithm HMAC_SHA_256"
    mac = aws.file("mac", f"generate-mac {message}", "Mac")
    assert aws(f"verify-mac {message} --mac {mac}")["MacValid"] is True


def test_policies_and_grants_decide(
    aws: Aws, cli: Callable[[Mapping[str, str]], Aws], kms: Kms, reader: Mapping[str, str]
) -> None:
    key, theirs = kms.key(), cli(reader)
    grantee = f"arn:aws:iam::{kms.account}:user/reader"
    seal = f"encrypt --key-id {key} --plaintext fileb://secret --encryption-context tenant=north"
    assert "(AccessDeniedException)" in theirs.refused(seal)
    grant = aws(
        f"create-grant --key-id {key} --grantee-principal {grantee} --operations Encrypt "
        "--constraints EncryptionContextSubset={tenant=north}"
    )
    assert theirs(seal)["KeyId"] == key
    assert "(AccessDeniedException)" in theirs.refused(seal.replace("north", "south"))
    (listed,) = aws(f"list-grants --key-id {key}")["Grants"]
    assert listed["GrantId"] == grant["GrantId"]
    assert listed["Constraints"] == {"EncryptionContextSubset": {"tenant": "north"}}
    aws(f"revoke-grant --key-id {key} --grant-id {grant['GrantId']}")
    assert "(AccessDeniedException)" in theirs.refused(seal)
    policy = json.loads(aws(f"get-key-policy --key-id {key}")["Policy"])
    policy["Statement"].append({
        "Effect": "Allow", "Principal": {"AWS": grantee}, "Action": "kms:Encrypt", "Resource": "*",
    })  # fmt: skip
    (aws.folder / "policy.json").write_text(json.dumps(policy))
    put = f"put-key-policy --key-id {key} --policy file://policy.json"
    aws(put)
    assert theirs(seal)["KeyId"] == key
    assert json.loads(aws(f"get-key-policy --key-id {key}")["Policy"]) == policy
    (aws.folder / "policy.json").write_text(json.dumps({**policy, "Statement": []}))
    assert "(MalformedPolicyDocumentException)" in aws.refused(put)


def test_a_key_that_may_not_be_used_is_named(aws: Aws, kms: Kms) -> None:
    key = kms.key()
    seal = f"encrypt --key-id {key} --plaintext fileb://secret"
    aws(f"disable-key --key-id {key}")
    said = aws.refused(seal)
    assert f"(DisabledException) when calling the Encrypt operation: {key} is disabled" in said
    aws(f"enable-key --key-id {key}")
    waiting = aws(f"schedule-key-deletion --key-id {key} --pending-window-in-days 7")
    assert waiting["KeyState"] == "PendingDeletion"
    assert "(KMSInvalidStateException)" in aws.refused(seal)
    aws(f"cancel-key-deletion --key-id {key}")
    assert "(DisabledException)" in aws.refused(seal)
    aws(f"enable-key --key-id {key}")
    assert aws(seal)["KeyId"] == key
    assert "(NotFoundException)" in aws.refused("describe-key --key-id alias/nobody")


def test_a_wrong_secret_or_authority_is_refused(aws: Aws, kms: Kms) -> None:
    import trustme

    wrong = {**kms.admin, "AWS_SECRET_ACCESS_KEY": "x" * 40}
    assert "(InvalidSignatureException)" in aws.refused("list-keys", **wrong)
    assert "(UnrecognizedClientException)" in aws.refused("list-keys", AWS_ACCESS_KEY_ID="A" * 20)
    assert "for us-east-1" in aws.refused("list-keys --region us-east-1")
    trustme.CA().cert_pem.write_to_path(str(aws.folder / "other.pem"))
    said = aws.refused("list-keys", AWS_CA_BUNDLE="other.pem")
    assert "CERTIFICATE_VERIFY_FAILED" in said
