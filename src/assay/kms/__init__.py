"""A key management service: the API of AWS KMS in front of a PKCS#11 token.

Format and decisions: ``spec/kms.md``.

Example:
    >>> service = Service(Store(engine, str(uuid4())), token)           # doctest: +SKIP
    >>> app = KmsApp(service.answer, is_healthy=service.is_healthy)     # doctest: +SKIP
"""

from assay.kms.administration import (
    FULL_ACCESS,
    Administration,
    MadeAccessKey,
    Trail,
    initialise,
)
from assay.kms.errors import AlteredTrailError, KmsError
from assay.kms.http import KmsApp
from assay.kms.memory_token import MemoryToken
from assay.kms.pkcs11_token import Pkcs11Token
from assay.kms.records import (
    AccessKeyRecord,
    KeySpec,
    KeyState,
    KeyUsage,
    PrincipalRecord,
)
from assay.kms.request import Answer, SignedRequest
from assay.kms.service import Service
from assay.kms.store import Store
from assay.kms.tls import server_context
from assay.kms.token import Token

__all__ = [
    "FULL_ACCESS",
    "AccessKeyRecord",
    "Administration",
    "AlteredTrailError",
    "Answer",
    "KeySpec",
    "KeyState",
    "KeyUsage",
    "KmsApp",
    "KmsError",
    "MadeAccessKey",
    "MemoryToken",
    "Pkcs11Token",
    "PrincipalRecord",
    "Service",
    "SignedRequest",
    "Store",
    "Token",
    "Trail",
    "initialise",
    "server_context",
]
