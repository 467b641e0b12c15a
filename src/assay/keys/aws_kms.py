"""AWS KMS by boto3 (``assay[aws]``): the one file of this room that speaks to it.

A thin type, `AwsKms`, whose calls take and give plain values, keep to one deadline with all their
attempts, and raise errors of this room. What is wrapped and signed with it: ``aws_kms_service``.

Also any other service that answers this API, named by ``endpoint=`` in the key's URI.

Least privileges, as an IAM policy; leave out the statements for what is not done:

.. code-block:: json

    {"Version": "2012-10-17", "Statement": [
      {"Sid": "SealAndRead", "Effect": "Allow", "Resource": "KEY-ARN",
       "Action": ["kms:DescribeKey", "kms:GenerateDataKey", "kms:Decrypt"]},
      {"Sid": "Rewrap", "Effect": "Allow", "Resource": ["OLD-KEY-ARN", "KEY-ARN"],
       "Action": ["kms:DescribeKey", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:Encrypt"]},
      {"Sid": "SignTheLog", "Effect": "Allow", "Resource": "SIGNING-KEY-ARN",
       "Action": ["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign"]},
      {"Sid": "ObserveCustody", "Effect": "Allow", "Resource": "KEY-ARN",
       "Action": ["kms:DescribeKey", "kms:GetKeyRotationStatus", "kms:GetKeyPolicy",
                  "kms:ListGrants", "kms:GetPublicKey", "kms:GetParametersForImport",
                  "kms:GenerateDataKey", "kms:Decrypt"]},
      {"Sid": "CreateKeysAndDrill", "Effect": "Allow", "Resource": "*",
       "Action": ["kms:CreateKey", "kms:TagResource", "kms:CreateAlias", "kms:DescribeKey",
                  "kms:ScheduleKeyDeletion"]}]}

Source: AWS KMS API reference 2014-11-01; "Permissions for AWS KMS actions".

Example:
    >>> kms = AwsKms(parse_aws_kms_uri("aws-kms:alias/kek"), Path("."))     # doctest: +SKIP
    >>> kms.call("DescribeKey", "alias/kek", KeyId="alias/kek")             # doctest: +SKIP
    {'KeyMetadata': {...}}
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import boto3.session
    import botocore.exceptions as botocore_errors
    from botocore import xform_name
    from botocore.config import Config

    from assay.keys.attempts import (
        ANSWER_SHARE,
        CONNECT_SHARE,
        TryAgainError,
        ended_in_tls,
        within_deadline,
    )
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"expected the package {exc.name} for keys in AWS KMS, found none; install assay[aws]",
        name=exc.name,
    ) from exc

from assay.keys.aws_kms_uri import AwsKmsUri
from assay.keys.errors import (
    KeyAccessError,
    KeyDisabledError,
    KeyExistsError,
    KeyNotFoundError,
    KeysError,
    KeyServiceError,
    KeyServiceUnavailableError,
)
from assay.keys.uri_options import is_safe_endpoint
from assay.keys.wrapping import does_not_open

_CONNECTIONS = 50
_NOT_IMPLEMENTED = 501

_TOO_BUSY = frozenset({
    "ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled",
    "RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded",
})  # fmt: skip
_IN_TROUBLE = frozenset({
    "DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException",
    "InternalFailure", "InternalServerError", "ServiceUnavailable", "ServiceUnavailableException",
    "RequestTimeout", "RequestTimeoutException",
})  # fmt: skip
_CREDENTIALS_REFUSED = frozenset({
    "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
    "SignatureDoesNotMatch", "ExpiredTokenException", "ExpiredToken", "IncompleteSignature",
    "IncompleteSignatureException", "MissingAuthenticationToken",
    "MissingAuthenticationTokenException", "RequestExpired", "OptInRequired",
})  # fmt: skip
_DOES_NOT_OPEN = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_NOT_ALLOWED = frozenset({"AccessDeniedException", "AccessDenied", "NotAuthorized"})
_ADVICE: Mapping[str, tuple[type[KeysError], str]] = {
    "NotFoundException": (
        KeyNotFoundError,
        "check partition, Region and account, and the key's name",
    ),
    "DisabledException": (KeyDisabledError, "enable the key"),
    "KMSInvalidStateException": (
        KeyDisabledError,
        "look at the key's state: it may be pending deletion or import, or its key store away",
    ),
    "AlreadyExistsException": (KeyExistsError, "it was not overwritten"),
    "LimitExceededException": (KeyServiceError, "the account's quota is used up: ask for a higher"),
}
_IAM_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "ReEncrypt": ("kms:ReEncryptFrom", "kms:ReEncryptTo"),
    "CreateKey": ("kms:CreateKey", "kms:TagResource"),
}
_NO_CONNECTION = (
    botocore_errors.EndpointConnectionError,
    botocore_errors.ConnectTimeoutError,
    botocore_errors.ProxyConnectionError,
)
_CONNECTION_BROKE = (
    *_NO_CONNECTION,
    botocore_errors.ReadTimeoutError,
    botocore_errors.ConnectionClosedError,
)
_NO_CREDENTIALS = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.CredentialRetrievalError,
    botocore_errors.TokenRetrievalError,
    botocore_errors.SSOError,
)


class _NoPlaintext(logging.Filter):
    """Keeps botocore, whose debug log has each request and answer, from writing data keys there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may be written."""
        return "Plaintext" not in repr(record.args)


for _logger in ("botocore.parsers", "botocore.endpoint"):
    logging.getLogger(_logger).addFilter(_NoPlaintext())


@dataclass(frozen=True)
class Refusal:
    """What the service answered instead of doing it.

    Attributes:
        code: AWS's name of the error ("AccessDeniedException").
        cause: as botocore raised it.
    """

    code: str
    cause: Exception = field(repr=False)

    @property
    def not_allowed(self) -> bool:
        """Whether it refused the caller, and so told nothing of the key."""
        return self.code in _NOT_ALLOWED | _CREDENTIALS_REFUSED


class AwsKms:
    """A connection to AWS KMS in one Region. Safe to share between threads, and over a fork.

    The deadline covers connecting, asking, and the pauses between attempts. It does not cover what
    the machine's resolver takes to find the host, a second address of it that does not answer
    either, and what boto3 does to find credentials.

    Args:
        uri: Region, endpoint, CA, profile and deadline.
        directory: where its relative paths start.

    Attributes:
        endpoint: the address that is asked.

    Raises:
        KeyServiceError: no Region, profile or CA file, or an endpoint without TLS.
    """

    def __init__(self, uri: AwsKmsUri, directory: Path) -> None:
        self._uri = uri
        self._ca = str(directory / uri.ca) if uri.ca else None
        if self._ca and not Path(self._ca).is_file():
            raise KeyServiceError(f"expected certificates to trust at {self._ca}, found no file")
        self._connected: tuple[int, Any] = (os.getpid(), self._connect())
        client = self._connected[1]
        self.endpoint: str = client.meta.endpoint_url
        self.region: str = client.meta.region_name
        if not is_safe_endpoint(self.endpoint):
            raise KeyServiceError(
                "expected boto3 to be configured with an endpoint of AWS KMS that begins with "
                "https:// (http:// only for this machine), found another in AWS_ENDPOINT_URL… or "
                "in its configuration file"
            )

    def call(
        self, operation: str, key: str, *, repeatable: bool = True, **parameters: Any
    ) -> dict[str, Any]:
        """Do it, or raise.

        Args:
            operation: as the API names it ("GenerateDataKey").
            key: which key, for messages.
            repeatable: see `ask`.
            parameters: as the API names them.

        Raises:
            UnwrapError: a ciphertext does not open under this key and context.
            KeyAccessError: the caller is not allowed to, or has no valid credentials.
            KeyNotFoundError: no such key.
            KeyDisabledError: the key is not used in its state.
            KeyExistsError: the name is taken.
            KeyServiceUnavailableError: no answer within the deadline.
            KeyServiceError: anything else.
        """
        answer = self.ask(operation, key, repeatable=repeatable, **parameters)
        if isinstance(answer, Refusal):
            raise _named(answer.code, operation, key) from answer.cause
        return answer

    def ask(
        self, operation: str, key: str, *, repeatable: bool = True, **parameters: Any
    ) -> dict[str, Any] | Refusal:
        """The answer, also when it is a refusal.

        Args:
            operation: as the API names it.
            key: which key, for messages.
            repeatable: whether it may be done twice; else it is tried again only where it is
                certain that it was not done.
            parameters: as the API names them.

        Raises:
            KeyAccessError: no credentials.
            KeyServiceUnavailableError: no answer within the deadline.
            KeyServiceError: the connection cannot be made, or the answer is not understood.
        """
        seconds = self._uri.deadline_seconds
        try:
            return within_deadline(seconds, self._attempt, operation, key, parameters, repeatable)
        except TryAgainError as exc:
            raise KeyServiceUnavailableError(
                f"expected AWS KMS at {self.endpoint} to answer {_actions(operation)} for {key} "
                f"within the deadline of {seconds} s, found {exc.answer} to "
                "the last attempt; try again later"
            ) from exc.__cause__

    def _attempt(
        self, operation: str, key: str, parameters: Mapping[str, Any], repeatable: bool
    ) -> dict[str, Any] | Refusal:
        try:
            method = getattr(self._client(), xform_name(operation))
            answer: dict[str, Any] = method(**parameters)
        except botocore_errors.ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))[:64]
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            in_trouble = code in _IN_TROUBLE or (status >= 500 and status != _NOT_IMPLEMENTED)
            if code in _TOO_BUSY or (repeatable and in_trouble):
                raise TryAgainError(code or str(status)) from exc
            return Refusal(code, exc)
        except _CONNECTION_BROKE as exc:
            if not repeatable and not isinstance(exc, _NO_CONNECTION):
                raise _broken(operation, key, exc) from exc
            raise TryAgainError(type(exc).__name__) from exc
        except _NO_CREDENTIALS as exc:
            raise KeyAccessError(
                "expected boto3 to find credentials for AWS KMS, found none that are complete: "
                "give the machine a role, set AWS_… variables, or name a profile (profile=)"
            ) from exc
        except botocore_errors.SSLError as exc:
            if ended_in_tls(exc):
                if not repeatable:
                    raise _broken(operation, key, exc) from exc
                raise TryAgainError("an end of the connection") from exc
            raise KeyServiceError(
                f"expected a certificate of {self.endpoint} that is trusted and valid, found "
                "another; name the file of its CA (ca=) when it is one of your own"
            ) from exc
        except botocore_errors.BotoCoreError as exc:
            raise _broken(operation, key, exc) from exc
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            # What botocore raises over an answer of another form; it may hold what was answered.
            raise _broken(operation, key, exc) from None
        return answer

    def _client(self) -> Any:
        # A connection that parent and child both use would mix their answers.
        process, client = self._connected
        if process != os.getpid():
            client = self._connect()
            self._connected = (os.getpid(), client)
        return client

    def _connect(self) -> Any:
        deadline = self._uri.deadline_seconds
        config = Config(
            connect_timeout=CONNECT_SHARE * deadline,
            read_timeout=ANSWER_SHARE * deadline,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=_CONNECTIONS,
        )
        try:
            session = boto3.session.Session(profile_name=self._uri.profile)
            return session.client(
                "kms",
                region_name=self._uri.region_asked,
                endpoint_url=self._uri.endpoint,
                verify=self._ca,
                config=config,
            )
        except botocore_errors.NoRegionError as exc:
            raise KeyServiceError(
                "expected a Region for AWS KMS, found none; name it in the URI (region=) or set "
                "AWS_DEFAULT_REGION"
            ) from exc
        except (botocore_errors.BotoCoreError, ValueError, OSError) as exc:
            raise KeyServiceError(
                f"expected boto3 to be configured for AWS KMS, found {type(exc).__name__}; check "
                "profile=, ca=, and boto3's configuration file"
            ) from exc


def _actions(operation: str) -> str:
    return " and ".join(_IAM_ACTIONS.get(operation, (f"kms:{operation}",)))


def _broken(operation: str, key: str, exc: Exception) -> KeyServiceError:
    return KeyServiceError(
        f"expected AWS KMS to answer {_actions(operation)} for {key}, found "
        f"{type(exc).__name__}; whether it was done is not known"
    )


def _named(code: str, operation: str, key: str) -> KeysError:
    """The error of this room for a refusal: what was asked, of which key, and what to do."""
    if code in _DOES_NOT_OPEN:
        return does_not_open()
    actions = _actions(operation)
    asked = f"expected AWS KMS to do {actions} for {key}, it answered {code}"
    if code in _NOT_ALLOWED:
        return KeyAccessError(
            f"{asked}; allow the caller {actions} on this key, in the key policy, an IAM policy "
            "or a grant"
        )
    if code in _CREDENTIALS_REFUSED:
        return KeyAccessError(
            f"{asked}; the credentials that boto3 found are not valid there: renew them, and "
            "check the clock of this machine"
        )
    kind, advice = _ADVICE.get(code, (KeyServiceError, "see AWS's documentation of this answer"))
    return kind(f"{asked}; {advice}")
