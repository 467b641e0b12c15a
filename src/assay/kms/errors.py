"""What the service answers when it refuses or fails, by AWS's own names.

::

    KmsError
    ├── RequestError              refused before anybody was identified, or without a key
    │   ├── MissingTokenError         MissingAuthenticationTokenException
    │   ├── IncompleteSignatureError  IncompleteSignatureException
    │   ├── SignatureMismatchError    InvalidSignatureException
    │   ├── UnknownClientError        UnrecognizedClientException
    │   ├── AccessDeniedError         AccessDeniedException
    │   ├── UnknownOperationError     UnknownOperationException
    │   ├── SerializationError        SerializationException
    │   └── ValidationError           ValidationException
    ├── KeyStateError             the key is there and may not be used like this
    │   ├── DisabledError             DisabledException
    │   ├── InvalidStateError         KMSInvalidStateException
    │   ├── InvalidKeyUsageError      InvalidKeyUsageException
    │   └── UnsupportedError          UnsupportedOperationException
    ├── NotFoundError             NotFoundException
    ├── AlreadyExistsError        AlreadyExistsException
    ├── LimitError                LimitExceededException
    ├── DocumentError             MalformedPolicyDocumentException
    ├── ArgumentError             one argument is not what it must be
    │   ├── InvalidArnError           InvalidArnException
    │   ├── InvalidAliasNameError     InvalidAliasNameException
    │   ├── InvalidMarkerError        InvalidMarkerException
    │   ├── InvalidGrantTokenError    InvalidGrantTokenException
    │   ├── InvalidGrantIdError       InvalidGrantIdException
    │   └── TagError                  TagException
    ├── RefusedInputError         what was to be opened or verified is not authentic
    │   ├── InvalidCiphertextError    InvalidCiphertextException
    │   ├── IncorrectKeyError         IncorrectKeyException
    │   ├── InvalidMacError           KMSInvalidMacException
    │   └── InvalidSignatureError     KMSInvalidSignatureException
    ├── DryRunError               DryRunOperationException: it would have succeeded
    ├── AlteredTrailError         an event of the audit trail was altered or removed
    └── ServiceError              the service itself
        ├── StartError                it cannot begin to serve; no client sees it
        ├── TokenUnavailableError     DependencyTimeoutException (500)
        └── InternalError             KMSInternalException (500)

Source: AWS KMS API reference, "Errors" of each action, and "Common errors".

Example:
    >>> DisabledError("arn:aws:kms:…:key/… is disabled").code
    'DisabledException'
"""

from __future__ import annotations

from typing import ClassVar

from assay.core import AssayError


class KmsError(AssayError):
    """Anything that the service refuses or cannot do.

    Attributes:
        code: the name of the error on the wire.
        status: the HTTP status.
    """

    code: ClassVar[str] = "KMSInternalException"
    status: ClassVar[int] = 400


class RequestError(KmsError):
    """A request is refused before a key is looked at."""


class MissingTokenError(RequestError):
    """A request is not signed."""

    code = "MissingAuthenticationTokenException"
    status = 403


class IncompleteSignatureError(RequestError):
    """A signature lacks a part, or has a part that cannot be read."""

    code = "IncompleteSignatureException"


class SignatureMismatchError(RequestError):
    """A signature does not fit the request, or its time is past or to come."""

    code = "InvalidSignatureException"
    status = 403


class UnknownClientError(RequestError):
    """Nobody has this access key, or it was disabled."""

    code = "UnrecognizedClientException"
    status = 403


class AccessDeniedError(RequestError):
    """Policies and grants do not allow it.

    Attributes:
        rule: which rule refused, for the audit trail.
    """

    code = "AccessDeniedException"

    def __init__(self, message: str, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


class UnknownOperationError(RequestError):
    """No such action."""

    code = "UnknownOperationException"


class SerializationError(RequestError):
    """The body is not the JSON object that the action takes."""

    code = "SerializationException"


class ValidationError(RequestError):
    """An argument is missing, or outside of its range."""

    code = "ValidationException"


class KeyStateError(KmsError):
    """The key is there, and may not be used like this."""


class DisabledError(KeyStateError):
    """The key is disabled."""

    code = "DisabledException"


class InvalidStateError(KeyStateError):
    """The key waits for its deletion, or is in another state that does not allow the action."""

    code = "KMSInvalidStateException"


class InvalidKeyUsageError(KeyStateError):
    """The key is for another use, or does not know the algorithm."""

    code = "InvalidKeyUsageException"


class UnsupportedError(KeyStateError):
    """This service, its token, or this kind of key does not do that."""

    code = "UnsupportedOperationException"


class NotFoundError(KmsError):
    """No such key, alias or grant."""

    code = "NotFoundException"


class AlreadyExistsError(KmsError):
    """The alias is there already."""

    code = "AlreadyExistsException"


class LimitError(KmsError):
    """A quota is used up."""

    code = "LimitExceededException"


class DocumentError(KmsError):
    """A policy is not valid, or would lock its author out."""

    code = "MalformedPolicyDocumentException"


class ArgumentError(KmsError):
    """One argument is not what it must be."""


class InvalidArnError(ArgumentError):
    """An ARN is malformed, or of another account or Region."""

    code = "InvalidArnException"


class InvalidAliasNameError(ArgumentError):
    """No alias can have this name."""

    code = "InvalidAliasNameException"


class InvalidMarkerError(ArgumentError):
    """The marker is none that a list gave."""

    code = "InvalidMarkerException"


class InvalidGrantTokenError(ArgumentError):
    """The grant token is none that CreateGrant gave."""

    code = "InvalidGrantTokenException"


class InvalidGrantIdError(ArgumentError):
    """The grant id is none that CreateGrant gave."""

    code = "InvalidGrantIdException"


class TagError(ArgumentError):
    """A tag is not valid."""

    code = "TagException"


class RefusedInputError(KmsError):
    """What was to be opened or verified is not authentic."""


class InvalidCiphertextError(RefusedInputError):
    """A ciphertext does not open: altered, of another service, or another encryption context."""

    code = "InvalidCiphertextException"


class IncorrectKeyError(RefusedInputError):
    """A ciphertext is of another key than the request names."""

    code = "IncorrectKeyException"


class InvalidMacError(RefusedInputError):
    """A MAC does not verify."""

    code = "KMSInvalidMacException"


class InvalidSignatureError(RefusedInputError):
    """A signature does not verify."""

    code = "KMSInvalidSignatureException"


class DryRunError(KmsError):
    """The request asked whether it would succeed, and it would."""

    code = "DryRunOperationException"
    status = 412


class AlteredTrailError(KmsError):
    """An event of the audit trail was altered, removed or added."""


class ServiceError(KmsError):
    """The service itself cannot answer."""

    status = 500


class StartError(ServiceError):
    """The service cannot begin: its port is taken, or its certificate cannot be read."""


class TokenUnavailableError(ServiceError):
    """The token cannot be reached, or failed."""

    code = "DependencyTimeoutException"


class InternalError(ServiceError):
    """The state cannot be read or written, or something is broken."""

    code = "KMSInternalException"
