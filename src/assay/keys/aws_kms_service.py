"""KEKs and signing keys in AWS KMS, or behind another service with its API (``assay kms serve``).

A data key is made and wrapped by ``GenerateDataKey`` and opened by ``Decrypt``, with the encryption
context; the wrapped form names the key's ARN (``spec/data-keys.md``, version 2). An alias is
resolved once, when the service is opened: a process does not change its KEK while it runs, and
what was wrapped before an alias moved opens by the ARN that it names.

The encryption context, and with it the owner of a data key, stands in the clear in CloudTrail.

Signing keys are of the key spec ``ECC_NIST_EDWARDS25519`` and sign by ``ED25519_SHA_512`` with the
message type ``RAW``, which is Ed25519 of RFC 8032; AWS KMS takes at most 4096 bytes of a message.

Fidelity is ``live`` where AWS itself answers (amazonaws.com), ``emulated`` elsewhere.

Example:
    >>> service = AwsKmsProvider().open_key_service(
    ...     "aws-kms:alias/kek?region=eu-central-1", Path("."), os.environ)     # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from assay.core import Fidelity
from assay.keys.aws_kms import AwsKms
from assay.keys.aws_kms_creating import (
    KEK,
    SIGNING_KEY,
    AwsKeyKind,
    create_with_alias,
    make_key,
    schedule_deletion,
)
from assay.keys.aws_kms_custody import DescribedKey, custody_of, described, kms_fidelity
from assay.keys.aws_kms_uri import SCHEME, AwsKmsUri, KeyArn, parse_aws_kms_uri, parse_key_arn
from assay.keys.errors import (
    KeyDisabledError,
    KeyNotFoundError,
    KeyServiceError,
    KeyUriError,
    SigningError,
    UnwrapError,
)
from assay.keys.service import Custody, KeyService
from assay.keys.service_wrapping import join_service_wrapped, split_service_wrapped
from assay.keys.wrapping import does_not_open, require_data_key, wrap_associated_data

MOST_MESSAGE_BYTES = 4096


class _AwsKmsKey:
    """What a KEK and a signing key have in common: a connection, an ARN, facts."""

    def __init__(self, kms: AwsKms, key: DescribedKey) -> None:
        self._kms: AwsKms | None = kms
        self._arn = key.arn
        self._fidelity = kms_fidelity(kms.endpoint)

    @property
    def uri(self) -> str:
        """Which key: ``aws-kms:`` and its ARN, whatever alias it was opened by."""
        return f"{SCHEME}:{self._arn}"

    @property
    def fidelity(self) -> Fidelity:
        """``live`` where AWS itself answers, ``emulated`` elsewhere."""
        return self._fidelity

    def custody(self) -> Custody:
        """What the service says of the key, and its answers to whoever wants it.

        Raises:
            KeyServiceError: the service failed, so nothing can be said.
        """
        kms = self._open()
        return custody_of(kms, described(kms, str(self._arn)))

    def close(self) -> None:
        """Let go of the connection; a second call does nothing."""
        self._kms = None

    def _open(self) -> AwsKms:
        if self._kms is None:
            raise KeyServiceError(f"expected an open key {self.uri}, found one that was closed")
        return self._kms


class AwsKmsKeyService(_AwsKmsKey):
    """A KEK in AWS KMS."""

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Make a data key: 32 bytes, and the same wrapped (version 2).

        Raises:
            KeyServiceError: the service failed.
        """
        key = str(self._arn)
        answer = self._open().call(
            "GenerateDataKey",
            key,
            KeyId=key,
            KeySpec="AES_256",
            EncryptionContext=_checked(context),
        )
        _require(answer, "KeyId", key)
        return require_data_key(_bytes(answer, "Plaintext")), self._join(answer)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key, under the KEK that it names.

        Raises:
            UnwrapError: altered bytes, another context, or a KEK of another account or Region.
            KeyServiceError: the service failed.
        """
        key, ciphertext = self._split(wrapped)
        answer = self._open().call(
            "Decrypt",
            key,
            KeyId=key,
            CiphertextBlob=ciphertext,
            EncryptionContext=_checked(context),
        )
        if answer.get("KeyId") != key:
            raise does_not_open()
        return require_data_key(_bytes(answer, "Plaintext"))

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        """Wrap the same data key anew: inside of the service (``ReEncrypt``) where that opens it.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: a service failed.
        """
        new, kms = str(self._arn), self._open()
        if wrapped_by is not None and not isinstance(wrapped_by, AwsKmsKeyService):
            data_key = require_data_key(wrapped_by.unwrap(wrapped, context))
            answer = kms.call(
                "Encrypt", new, KeyId=new, Plaintext=data_key, EncryptionContext=_checked(context)
            )
        else:
            old, ciphertext = self._split(wrapped)
            pairs = _checked(context)
            answer = kms.call(
                "ReEncrypt",
                f"{old} and {new}",
                CiphertextBlob=ciphertext,
                SourceKeyId=old,
                SourceEncryptionContext=pairs,
                DestinationKeyId=new,
                DestinationEncryptionContext=pairs,
            )
            _require(answer, "SourceKeyId", old)
        _require(answer, "KeyId", new)
        return self._join(answer)

    def _join(self, answer: Mapping[str, Any]) -> bytes:
        try:
            return join_service_wrapped(self.uri, _bytes(answer, "CiphertextBlob"))
        except ValueError as exc:
            raise KeyServiceError(f"{exc}; {self._open().endpoint} sent it") from exc

    def _split(self, wrapped: bytes) -> tuple[str, bytes]:
        """Steps 1 to 3 of unwrapping: the ARN to ask for, and the ciphertext."""
        parts = split_service_wrapped(wrapped)
        scheme, _, name = parts.kek.partition(":")
        arn = parse_key_arn(name) if scheme == SCHEME else None
        if arn is None:
            raise UnwrapError(
                f"expected a data key whose KEK is {SCHEME}: and a key ARN, found another name; "
                "open the key service that wrapped it"
            )
        return str(self._permitted(arn)), parts.ciphertext

    def _permitted(self, arn: KeyArn) -> KeyArn:
        own = self._arn
        if (arn.partition, arn.account) != (own.partition, own.account):
            raise UnwrapError(
                f"expected a data key that a KEK of the account {own.account} wraps, found {arn}: "
                "a KEK of another account may be anybody's. When it is yours, open the key "
                "service with that key"
            )
        if arn.region != own.region and not arn.multi_region:
            raise UnwrapError(
                f"expected a data key that a KEK in {own.region} wraps, found {arn}; open the key "
                "service with that key"
            )
        return arn.related(own.region)


class AwsKmsSigner(_AwsKmsKey):
    """An Ed25519 key in AWS KMS."""

    def __init__(self, kms: AwsKms, key: DescribedKey) -> None:
        super().__init__(kms, key)
        arn = str(key.arn)
        encoded = _bytes(kms.call("GetPublicKey", arn, KeyId=arn), "PublicKey")
        try:
            public_key = load_der_public_key(encoded)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise _no_ed25519_key(arn) from exc
        if not isinstance(public_key, Ed25519PublicKey):
            raise _no_ed25519_key(arn)
        self._public_key = public_key

    def public_key(self) -> bytes:
        """The public key: 32 bytes as in RFC 8032."""
        return self._public_key.public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature of a message of 1 to 4096 bytes: 64 bytes as in RFC 8032.

        It is verified before it is given out: a faulty Ed25519 signature can reveal the key.

        Raises:
            SigningError: the message is empty or too long, the service failed, or its signature
                does not verify.
        """
        if not 1 <= len(message) <= MOST_MESSAGE_BYTES:
            raise SigningError(
                f"expected a message of 1 to {MOST_MESSAGE_BYTES} bytes, which AWS KMS takes, "
                f"found {len(message)}; sign a shorter one, or with a key on a PKCS#11 token"
            )
        arn = str(self._arn)
        try:
            answer = self._open().call(
                "Sign",
                arn,
                KeyId=arn,
                Message=message,
                MessageType="RAW",
                SigningAlgorithm="ED25519_SHA_512",
            )
            signature = _bytes(answer, "Signature")
            self._public_key.verify(signature, message)
        except (KeyServiceError, KeyNotFoundError) as exc:
            raise SigningError(f"expected a signature of {self.uri}: {exc}") from exc
        except InvalidSignature as exc:
            raise SigningError(
                f"expected a signature that verifies under the public key of {self.uri}, found one "
                "that does not; it was thrown away"
            ) from exc
        return signature


class AwsKmsProvider:
    """The scheme ``aws-kms``.

    Attributes:
        longest_signed_bytes: of a message; only Ed25519ph, which is another signature, takes a
            digest instead.
    """

    longest_signed_bytes = MOST_MESSAGE_BYTES

    def open_key_service(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> AwsKmsKeyService:
        """Open the KEK that a URI names."""
        kms, key = _found(uri, directory, environment)
        return AwsKmsKeyService(kms, _usable(key, KEK))

    def open_signer(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> AwsKmsSigner:
        """Open the Ed25519 key that a URI names."""
        kms, key = _found(uri, directory, environment)
        return AwsKmsSigner(kms, _usable(key, SIGNING_KEY))

    def create_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Create a KEK, and the alias that the URI names."""
        parsed = parse_aws_kms_uri(uri)
        create_with_alias(_connected(parsed, directory, environment), parsed, KEK)

    def create_signing_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Create an Ed25519 key, and the alias that the URI names."""
        parsed = parse_aws_kms_uri(uri)
        create_with_alias(_connected(parsed, directory, environment), parsed, SIGNING_KEY)

    def key_custody(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Custody:
        """The facts about the key that a URI names, also when it is disabled."""
        return custody_of(*_found(uri, directory, environment))

    @contextmanager
    def leaky_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Iterator[str]:
        """A KEK in the same account that is to get its material from outside, for a drill.

        It never gets any. At the end its deletion is scheduled, in seven days; nothing is charged
        for a key that waits for it.
        """
        parsed = parse_aws_kms_uri(uri)
        kms = _connected(parsed, directory, environment)
        made = make_key(kms, KEK, Origin="EXTERNAL", Description="Assay: a drill's key")
        try:
            yield replace(parsed, key=str(made), region=None).with_query()
        finally:
            schedule_deletion(kms, made)


def _connected(uri: AwsKmsUri, directory: Path, environment: Mapping[str, str]) -> AwsKms:
    # boto3 reads these from the process itself, whatever mapping we were given.
    for name, value in environment.items():
        if name.startswith("AWS_") and os.environ.get(name) != value:
            raise KeyServiceError(
                f"expected {name} in the environment of this process, where boto3 reads it, found "
                "another value there or none; set it before the process starts"
            )
    return AwsKms(uri, directory)


def _found(
    uri: str, directory: Path, environment: Mapping[str, str]
) -> tuple[AwsKms, DescribedKey]:
    parsed = parse_aws_kms_uri(uri)
    kms = _connected(parsed, directory, environment)
    key = described(kms, parsed.key_asked)
    asked = parse_key_arn(parsed.key_asked)
    if asked not in {None, key.arn} or key.arn.region != kms.region:
        raise KeyServiceError(
            f"expected {kms.endpoint} to describe {parsed.key_asked} in {kms.region}, it described "
            f"{key.arn}; check region= and endpoint="
        )
    return kms, key


def _usable(key: DescribedKey, wanted: AwsKeyKind) -> DescribedKey:
    if (key.usage, key.spec) != (wanted.usage, wanted.spec):
        raise KeyUriError(
            f"expected a key for {wanted.usage} of the spec {wanted.spec}, found {key.arn} for "
            f"{key.usage} of the spec {key.spec}; name another key"
        )
    if key.state != "Enabled":
        raise KeyDisabledError(
            f"expected the key {key.arn} to be enabled, found it {key.state}; enable it, or cancel "
            "its deletion"
        )
    return key


def _checked(context: Mapping[str, str]) -> dict[str, str]:
    wrap_associated_data(context)  # refuses one that is empty, or that UTF-8 cannot write
    return dict(context)


def _require(answer: Mapping[str, Any], name: str, expected: str) -> None:
    if answer.get(name) != expected:
        raise KeyServiceError(
            f"expected AWS KMS to answer for {expected}, found an answer for another key; check "
            "endpoint="
        )


def _bytes(answer: Mapping[str, Any], name: str) -> bytes:
    value = answer.get(name)
    if not isinstance(value, bytes):
        raise KeyServiceError(
            f"expected {name} in the answer of AWS KMS, found none; check endpoint="
        )
    return value


def _no_ed25519_key(arn: str) -> KeyServiceError:
    return KeyServiceError(
        f"expected the Ed25519 public key of {arn}, found another; check the key"
    )
