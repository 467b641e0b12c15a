"""Ed25519 keys in AWS KMS.

moto does not know ``ECC_NIST_EDWARDS25519``: the front of ``tests/kms_front.py`` holds these keys.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.kms_front import answered

from assay.core import Fidelity
from assay.keys import KeyExistsError, KeyServiceError, KeyUriError, SigningError, open_signer
from assay.keys.aws_kms_service import AwsKmsProvider


def test_a_signing_key_signs(kms: Any) -> None:
    signer = kms.signer()
    public = Ed25519PublicKey.from_public_bytes(signer.public_key())
    for message in (b"\0", b"head", bytes(4096)):
        public.verify(signer.sign(message), message)
    again = open_signer(kms.uri(), directory=kms.folder, environment=os.environ)
    assert again.public_key() == signer.public_key()
    assert again.uri.startswith("aws-kms:arn:aws:kms:eu-central-1:123456789012:key/")
    assert again.fidelity is Fidelity.EMULATED
    with pytest.raises(KeyExistsError):
        kms.signer()


@pytest.mark.parametrize("message", [b"", bytes(4097)], ids=["empty", "too long"])
def test_what_the_service_would_not_take_is_named_before(kms: Any, message: bytes) -> None:
    signer = kms.signer()
    with pytest.raises(SigningError, match="1 to 4096 bytes"):
        signer.sign(message)
    assert kms.front.calls["Sign"] == 0


@pytest.mark.parametrize("signature", [bytes(64), bytes(63), b"\xff" * 64, b""])
def test_a_faulty_signature_is_thrown_away(kms: Any, signature: bytes) -> None:
    signer = kms.signer()
    body = json.dumps({"Signature": base64.b64encode(signature).decode()}).encode()
    kms.front.faults.append(answered(200, body))
    with pytest.raises(SigningError, match="does not; it was thrown away"):
        signer.sign(b"head")
    kms.front.faults.append(answered(200, b"{}"))
    with pytest.raises(SigningError, match="Signature in the answer"):
        signer.sign(b"head")
    signer.sign(b"head")


def test_a_refused_signature_is_named(kms: Any) -> None:
    signer = kms.signer()
    kms.front.refuse = {"Sign"}
    with pytest.raises(SigningError, match="allow the caller kms:Sign"):
        signer.sign(b"head")
    kms.front.refuse = set()
    kms.front.change(signer.uri.partition(":")[2], KeyState="Disabled")
    with pytest.raises(SigningError, match="enable the key"):
        signer.sign(b"head")


def test_a_key_that_is_no_ed25519_key_is_refused(kms: Any) -> None:
    kms.signer().close()
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for key in (der, b"no DER", b""):
        body = json.dumps({"PublicKey": base64.b64encode(key).decode()}).encode()
        kms.front.faults.extend([lambda _: False, answered(200, body)])
        with pytest.raises(KeyServiceError, match="Ed25519 public key"):
            AwsKmsProvider().open_signer(kms.uri(), kms.folder, os.environ)
    with pytest.raises(KeyUriError, match="SYMMETRIC_DEFAULT, found"):
        kms.service()


def test_the_custody_of_a_signing_key(kms: Any) -> None:
    custody = kms.signer().custody()
    assert custody.algorithm == "Ed25519"
    assert custody.origin.generated_inside is True
    assert [attempt.refused for attempt in custody.export_attempts] == [True]
    assert custody.untried_doors == ()
