"""Public keys as a token holds them, read for this process.

Standard: PKCS#11 3.0, sections 2.1.2 (RSA), 2.3.3 (EC) and 2.3.5 (Edwards curves). CKA_EC_POINT is
a DER octet string around the point; some tokens leave that out.

Example:
    >>> read_public_key(session, KeySelector(None, key_id, KeyType.EC))       # doctest: +SKIP
    <cryptography...ECPublicKey object at ...>
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from assay.keys.errors import KeyServiceError
from assay.keys.pkcs11 import Session
from assay.keys.pkcs11_uri import KeySelector
from assay.keys.token_keys import KeyType

CURVES: dict[bytes, EllipticCurve] = {
    b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07": SECP256R1(),
    b"\x06\x05\x2b\x81\x04\x00\x22": SECP384R1(),
    b"\x06\x05\x2b\x81\x04\x00\x23": SECP521R1(),
}
"""CKA_EC_PARAMS of the curves that are known: the OID of a named curve (RFC 5480) in DER."""

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


def read_public_key(session: Session, key: KeySelector) -> PublicKey:
    """The public half of a pair.

    Raises:
        KeyNotFoundError: no such public half on the token.
        KeyServiceError: the token failed, or what it gave is no public key of that type.
    """
    try:
        if key.key_type is KeyType.RSA:
            modulus, exponent = session.public_attributes(key, "MODULUS", "PUBLIC_EXPONENT")
            numbers = RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus))
            return numbers.public_key()
        if key.key_type is KeyType.EC_EDWARDS:
            (point,) = session.public_attributes(key, "EC_POINT")
            return Ed25519PublicKey.from_public_bytes(_without_header(point, 32))
        curve, point = session.public_attributes(key, "EC_PARAMS", "EC_POINT")
        known = CURVES[curve]
        size = 1 + 2 * ((known.key_size + 7) // 8)
        return EllipticCurvePublicKey.from_encoded_point(known, _without_header(point, size))
    except (ValueError, KeyError) as exc:
        raise KeyServiceError(
            f"expected the public half of the {key.key_type.spoken} key {key.name()!r}, found "
            "attributes that are no such key"
        ) from exc


def _without_header(point: bytes, size: int) -> bytes:
    """A point of ``size`` bytes, without the header of its DER octet string."""
    length = bytes([size]) if size < 128 else bytes([0x81, size])
    header = b"\x04" + length
    if len(point) == len(header) + size and point.startswith(header):
        return point[len(header) :]
    return point
