"""What AWS KMS says of a key, and how it answers whoever wants more than he may have.

The API (2014-11-01) has no operation that gives out the material of a symmetric or private key, so
there is no door to try as on a PKCS#11 token. What can be tried says whether the key is what it
seems, and whether a data key that was wrapped stays shut:

1. ask for it as a public key (GetPublicKey);
2. ask to bring material from outside into it (GetParametersForImport): a key that lets that happen
   has material that existed elsewhere;
3. open a data key without its encryption context, and under another one (Decrypt), after it was
   seen to open under its own.

Only an answer that is about the key counts as a refusal. A caller who is not allowed to ask, or a
key that is disabled, leaves the door untried.

Source: AWS KMS API reference 2014-11-01, DescribeKey (KeyMetadata), GetParametersForImport.

Example:
    >>> custody_of(kms, described(kms, "alias/kek")).kms.origin      # doctest: +SKIP
    'AWS_KMS'
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assay.core import Fidelity
from assay.keys.aws_kms import AwsKms, Refusal
from assay.keys.aws_kms_uri import SCHEME, KeyArn, parse_key_arn
from assay.keys.errors import KeyServiceError, KeyServiceUnavailableError
from assay.keys.service import Custody, ExportAttempt, KeyOrigin, KmsFacts

_AWS = re.compile(r"https://[A-Za-z0-9.-]+\.(?:amazonaws\.com|amazonaws\.com\.cn|api\.aws)/?")
_ALGORITHMS = {"SYMMETRIC_DEFAULT": "AES-256-GCM", "ECC_NIST_EDWARDS25519": "Ed25519"}
_GENERATED_INSIDE = {"AWS_KMS": True, "AWS_CLOUDHSM": True, "EXTERNAL": False}
_SAYS_NO = frozenset({
    "UnsupportedOperationException", "InvalidKeyUsageException", "UnknownOperationException",
    "InvalidAction",
})  # fmt: skip
_STAYS_SHUT = frozenset({"InvalidCiphertextException"})
_MOST_PAGES = 20


@dataclass(frozen=True, slots=True)
class DescribedKey:
    """What DescribeKey says (KeyMetadata).

    Attributes:
        arn: the key's own ARN.
        state: "Enabled", ...
        usage: "ENCRYPT_DECRYPT", ...
        spec: "SYMMETRIC_DEFAULT", ...
        manager: "CUSTOMER" or "AWS".
        origin: "AWS_KMS", ...
        custom_key_store: its id, if any.
        multi_region: whether it may have related keys.
    """

    arn: KeyArn
    state: str
    usage: str
    spec: str
    manager: str
    origin: str
    custom_key_store: str | None
    multi_region: bool

    @classmethod
    def parse(cls, answer: Mapping[str, Any], endpoint: str) -> DescribedKey:
        """From the answer of DescribeKey or CreateKey.

        Raises:
            KeyServiceError: it is not such an answer.
        """
        metadata = answer.get("KeyMetadata")
        said = metadata if isinstance(metadata, dict) else {}
        arn = parse_key_arn(str(said.get("Arn")))
        if arn is None:
            raise KeyServiceError(
                f"expected {endpoint} to describe a key by its ARN, found something else; check "
                "endpoint="
            )
        return cls(
            arn=arn,
            state=_word(said, "KeyState"),
            usage=_word(said, "KeyUsage"),
            spec=_word(said, "KeySpec"),
            manager=_word(said, "KeyManager"),
            origin=_word(said, "Origin"),
            custom_key_store=said.get("CustomKeyStoreId"),
            multi_region=said.get("MultiRegion") is True,
        )


def described(kms: AwsKms, key: str) -> DescribedKey:
    """Ask for a key: by its ARN, its id or an alias.

    Raises:
        KeyNotFoundError: no such key or alias.
        KeyServiceError: the service failed.
    """
    return DescribedKey.parse(kms.call("DescribeKey", key, KeyId=key), kms.endpoint)


def kms_fidelity(endpoint: str) -> Fidelity:
    """``live`` for an address of AWS itself, ``emulated`` for every other."""
    return Fidelity.LIVE if _AWS.fullmatch(endpoint) else Fidelity.EMULATED


def custody_of(kms: AwsKms, key: DescribedKey) -> Custody:
    """Read what can be read of a key, and try what can be tried.

    Raises:
        KeyServiceError: the service failed, so nothing can be said.
    """
    attempts, untried = _try_doors(kms, key)
    fidelity = kms_fidelity(kms.endpoint)
    return Custody(
        provider=SCHEME,
        fidelity=fidelity,
        uri=f"{SCHEME}:{key.arn}",
        algorithm=_algorithm(key),
        origin=KeyOrigin(_GENERATED_INSIDE.get(key.origin), f"Origin {key.origin}"),
        attributes={},
        export_attempts=attempts,
        untried_doors=untried,
        residual_risk=(
            "The API has no operation that gives the key away. Whoever is allowed kms:Decrypt can "
            "use it, an administrator of the account can allow it to himself, and "
            + (
                "AWS operates the hardware."
                if fidelity is Fidelity.LIVE
                else f"{kms.endpoint} is not AWS: its operator has what stands behind it."
            )
        ),
        kms=_facts(kms, key),
    )


def _algorithm(key: DescribedKey) -> str:
    if key.spec == "SYMMETRIC_DEFAULT" and key.arn.partition == "aws-cn":
        return "SM4"  # developer guide, "SYMMETRIC_DEFAULT key spec": another cipher in China
    return _ALGORITHMS.get(key.spec, key.spec)


def _facts(kms: AwsKms, key: DescribedKey) -> KmsFacts:
    unread: list[str] = []
    arn = str(key.arn)

    def read(operation: str, **parameters: Any) -> dict[str, Any] | None:
        answer = _answer(kms, operation, arn, **parameters)
        if isinstance(answer, dict):
            return answer
        unread.append(f"{operation}: {answer.code if isinstance(answer, Refusal) else answer}")
        return None

    rotation = read("GetKeyRotationStatus") or {}
    policy = read("GetKeyPolicy", PolicyName="default") or {}
    grants: tuple[str, ...] | None = ()
    marker: dict[str, str] = {}
    for _ in range(_MOST_PAGES):
        page = read("ListGrants", **marker)
        if page is None or grants is None:
            grants = None
            break
        grants += tuple(_sentence(each) for each in page.get("Grants", ()))
        if not page.get("Truncated"):
            break
        marker = {"Marker": str(page.get("NextMarker"))}
    else:
        unread.append(f"ListGrants: more than {_MOST_PAGES} pages")
    return KmsFacts(
        endpoint=kms.endpoint,
        key=arn,
        key_state=key.state,
        key_manager=key.manager,
        origin=key.origin,
        custom_key_store=key.custom_key_store,
        multi_region=key.multi_region,
        rotated=rotation.get("KeyRotationEnabled"),
        rotation_days=rotation.get("RotationPeriodInDays"),
        policy=policy.get("Policy"),
        grants=grants,
        unread=tuple(unread),
    )


def _sentence(grant: Mapping[str, Any]) -> str:
    may = ", ".join(sorted(map(str, grant.get("Operations", ())))) or "nothing"
    narrowed = " under a constraint on the encryption context" if grant.get("Constraints") else ""
    return f"{grant.get('GranteePrincipal')} may {may}{narrowed}"


def _try_doors(kms: AwsKms, key: DescribedKey) -> tuple[tuple[ExportAttempt, ...], tuple[str, ...]]:
    arn = str(key.arn)
    attempts: list[ExportAttempt] = []
    untried: list[str] = []

    def attempt(
        door: str, says_no: frozenset[str], came_out: str, operation: str, **parameters: Any
    ) -> None:
        answer = _answer(kms, operation, arn, **parameters)
        if isinstance(answer, str):
            untried.append(f"{door}: {answer}")
        elif not isinstance(answer, Refusal):
            attempts.append(ExportAttempt(door, refused=False, answer=came_out))
        elif answer.code in says_no:
            attempts.append(ExportAttempt(door, refused=True, answer=answer.code))
        else:
            hint = f"; allow the caller kms:{operation}" if answer.not_allowed else ""
            untried.append(f"{door}: {answer.code}, which says nothing of the key{hint}")

    attempt(
        "bring material from outside into the key (GetParametersForImport)",
        _SAYS_NO,
        "it gives what is needed to import material",
        "GetParametersForImport",
        WrappingAlgorithm="RSAES_OAEP_SHA_256",
        WrappingKeySpec="RSA_2048",
    )
    if key.usage != "ENCRYPT_DECRYPT":
        return tuple(attempts), tuple(untried)
    attempt(
        "ask for the key as a public key (GetPublicKey)", _SAYS_NO, "it gave one", "GetPublicKey"
    )
    context = {"assay": "custody", "probe": secrets.token_hex(8)}
    ciphertext = _data_key(kms, arn, context)
    if isinstance(ciphertext, Refusal):
        untried.append(
            f"open a data key under another context (Decrypt): {ciphertext.code} when one should "
            "be made and opened under its own"
        )
        return tuple(attempts), tuple(untried)
    for door, other in (
        ("open a data key without its context (Decrypt)", {}),
        ("open a data key under another context (Decrypt)", {**context, "probe": "another"}),
    ):
        attempt(
            door,
            _STAYS_SHUT,
            "it opened",
            "Decrypt",
            CiphertextBlob=ciphertext,
            EncryptionContext=other,
        )
    return tuple(attempts), tuple(untried)


def _answer(
    kms: AwsKms, operation: str, arn: str, **parameters: Any
) -> dict[str, Any] | Refusal | str:
    """The answer, or that there was none: a service may know most of the API and not all."""
    try:
        return kms.ask(operation, arn, KeyId=arn, **parameters)
    except KeyServiceUnavailableError:
        return "no answer within the deadline"


def _data_key(kms: AwsKms, arn: str, context: dict[str, str]) -> bytes | Refusal:
    """A wrapped data key that was seen to open under its context."""
    made = kms.ask("GenerateDataKey", arn, KeyId=arn, KeySpec="AES_256", EncryptionContext=context)
    if isinstance(made, Refusal):
        return made
    ciphertext = bytes(made["CiphertextBlob"])
    opened = kms.ask(
        "Decrypt", arn, KeyId=arn, CiphertextBlob=ciphertext, EncryptionContext=context
    )
    if isinstance(opened, Refusal):
        return opened
    if opened.get("Plaintext") != made.get("Plaintext"):
        raise KeyServiceError(
            f"expected {kms.endpoint} to open the data key that it made, found another"
        )
    return ciphertext


def _word(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) and value else "not said"
