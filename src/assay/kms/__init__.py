"""A key management service: the API of AWS KMS in front of a PKCS#11 token.

Format and decisions: ``spec/kms.md``.

Example:
    >>> KeySpec("ECC_NIST_EDWARDS25519").name
    'ECC_NIST_EDWARDS25519'
"""

from assay.kms.errors import KmsError
from assay.kms.records import KeySpec, KeyState, KeyUsage
from assay.kms.token import Token

__all__ = ["KeySpec", "KeyState", "KeyUsage", "KmsError", "Token"]
