"""What a token gives and answers, made up by a test: what SoftHSM never does."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP521R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.keys import (
    CiphertextError,
    KeyServiceError,
    KeyUriError,
    SessionLostError,
    TokenError,
    open_token,
)
from assay.keys.pkcs11_opening import opened
from assay.keys.pkcs11_public import CURVES, read_public_key
from assay.keys.pkcs11_uri import KeySelector, parse_token_uri
from assay.keys.token_keys import KeyType

POINT = (Encoding.X962, PublicFormat.UncompressedPoint)


def answering(answer: str) -> Any:
    def decrypt() -> bytes:
        raise TokenError("decrypt", answer)

    return decrypt


def test_what_opens_is_not_asked_about() -> None:
    assert opened(lambda: b"plaintext", answering("DeviceError")) == b"plaintext"


@pytest.mark.parametrize("answer", ["EncryptedDataInvalid", "SignatureInvalid", "DataInvalid"])
def test_a_plain_answer_is_believed(answer: str) -> None:
    with pytest.raises(CiphertextError):
        opened(answering(answer), answering("DeviceError"))


@pytest.mark.parametrize("answer", ["GeneralError", "FunctionFailed", "DataLenRange"])
def test_an_unclear_answer_is_looked_into(answer: str) -> None:
    with pytest.raises(CiphertextError):
        opened(answering(answer), lambda: None)
    with pytest.raises(TokenError, match="DeviceMemory"):
        opened(answering(answer), answering("DeviceMemory"))


def test_a_token_in_trouble_stays_one() -> None:
    with pytest.raises(TokenError, match="DeviceError"):
        opened(answering("DeviceError"), lambda: None)

    def lost() -> bytes:
        raise SessionLostError("decrypt", "GeneralError")

    with pytest.raises(SessionLostError):
        opened(lost, lambda: None)


class HalfSession:
    """A session that gives these attributes of a public half."""

    def __init__(self, **attributes: bytes) -> None:
        self._attributes = attributes

    def public_attributes(self, key: KeySelector, *names: str) -> tuple[bytes, ...]:
        return tuple(self._attributes[name] for name in names)


def public_half(key_type: KeyType, **attributes: bytes) -> Any:
    session: Any = HalfSession(**attributes)
    return read_public_key(session, KeySelector(None, b"\x01", key_type))


@pytest.mark.parametrize("curve", CURVES, ids=bytes.hex)
def test_points_come_with_and_without_their_header(curve: bytes) -> None:
    expected = generate_private_key(CURVES[curve]).public_key()
    point = expected.public_bytes(*POINT)
    length = bytes([len(point)]) if len(point) < 128 else bytes([0x81, len(point)])
    for written in (point, b"\x04" + length + point):
        found = public_half(KeyType.EC, EC_PARAMS=curve, EC_POINT=written)
        assert isinstance(found, EllipticCurvePublicKey)
        assert found == expected


def test_an_ed25519_point_whose_first_byte_looks_like_a_header() -> None:
    expected = Ed25519PrivateKey.generate().public_key()
    point = expected.public_bytes(Encoding.Raw, PublicFormat.Raw)
    for written in (point, b"\x04\x20" + point):
        assert public_half(KeyType.EC_EDWARDS, EC_POINT=written) == expected
    looks = b"\x04\x20" + point[2:]
    found = public_half(KeyType.EC_EDWARDS, EC_POINT=looks)
    assert found.public_bytes(Encoding.Raw, PublicFormat.Raw) == looks


def test_an_rsa_half() -> None:
    numbers = generate_rsa(65537, 2048).public_key().public_numbers()
    modulus = numbers.n.to_bytes(257)  # with a leading zero, as some tokens write it
    found = public_half(KeyType.RSA, MODULUS=modulus, PUBLIC_EXPONENT=b"\x01\x00\x01")
    assert isinstance(found, RSAPublicKey)
    assert found.public_numbers() == numbers


P256 = next(iter(CURVES))


@pytest.mark.parametrize(
    ("key_type", "attributes"),
    [
        (KeyType.EC, {"EC_PARAMS": b"\x06\x05\x2b\x81\x04\x00\x0a", "EC_POINT": bytes(65)}),
        (KeyType.EC, {"EC_PARAMS": P256, "EC_POINT": b""}),
        (KeyType.EC, {"EC_PARAMS": P256, "EC_POINT": b"\x04" + bytes(64)}),
        (
            KeyType.EC,
            {
                "EC_PARAMS": P256,
                "EC_POINT": generate_private_key(SECP521R1()).public_key().public_bytes(*POINT),
            },
        ),
        (KeyType.EC_EDWARDS, {"EC_POINT": bytes(31)}),
        (KeyType.EC_EDWARDS, {"EC_POINT": bytes(34)}),
        (KeyType.RSA, {"MODULUS": b"", "PUBLIC_EXPONENT": b""}),
    ],
    ids=["secp256k1", "nothing", "not on the curve", "another curve", "31", "34", "no modulus"],
)
def test_what_is_no_public_key_is_refused(key_type: KeyType, attributes: dict[str, bytes]) -> None:
    with pytest.raises(KeyServiceError, match="no such key"):
        public_half(key_type, **attributes)


def test_curves_are_those_of_their_oids() -> None:
    assert isinstance(CURVES[P256], SECP256R1)
    assert [curve.key_size for curve in CURVES.values()] == [256, 384, 521]


def test_a_uri_of_a_token_names_no_key() -> None:
    parsed = parse_token_uri("pkcs11:token=assay?module-path=/m.so&pin-source=env:PIN")
    assert (parsed.token, parsed.module_path, parsed.pin_source) == ("assay", "/m.so", "env:PIN")
    for key in ("object=kek", "id=%01", "type=private"):
        with pytest.raises(KeyUriError, match="a token alone"):
            parse_token_uri(f"pkcs11:token=assay;{key}")
    for uri in ("pkcs11:manufacturer=m", "embedded:keys.json", "pkcs11:token=a?pin-value=1"):
        with pytest.raises(KeyUriError):
            open_token(uri, directory=None, environment={})  # type: ignore[arg-type] # not reached
