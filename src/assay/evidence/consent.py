"""Requests for a destruction, and the consents of people to them (``spec/destruction.md``).

A request holds the owner and stays with the company; a consent names only its digest and may stand
in the log.

Example:
    >>> envelope = sign_consent(request, "approve", at, person, signer)       # doctest: +SKIP
    >>> require_consents(ordered)                                             # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.core import (
    AssayError,
    Signer,
    from_canonical_json,
    from_rfc3339,
    owner_digest,
    pae,
    sha256_hex,
    to_canonical_json,
)
from assay.evidence.destructions import (
    DestroyedKeys,
    DestructionOrdered,
    KeyClassName,
    KeyId,
    Kind,
    SignedConsent,
    VersionText,
    repeated_keys,
)
from assay.evidence.dsse import open_envelope, sign_envelope
from assay.evidence.errors import ConsentError, EnvelopeError, RequestError, StatementError
from assay.evidence.fields import Count, Digest, Name
from assay.evidence.statement import Statement
from assay.ledger import VerifierKey, VerifierKeyError

FORMAT = "assay destruction request v1"
CONSENT_TYPE = "urn:assay:destruction-consent:v1"
SUBJECT = "destruction-request"
APPROVALS = 2

Role = Literal["request", "approve"]


class RequestedKey(Struct, frozen=True, forbid_unknown_fields=True):
    """One key that is to be destroyed.

    Attributes:
        key_id: 32 hexadecimal digits.
        created_at: when it was made.
    """

    key_id: KeyId
    created_at: str


class RequestedKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of one class in one key table, as they stood when the request was made.

    Attributes:
        table: id of the datastore that the key table belongs to.
        key_class: what the keys are used for.
        versions: by version, in decimal.
    """

    table: Name
    key_class: KeyClassName
    versions: Annotated[Mapping[VersionText, RequestedKey], Meta(min_length=1)]


class Held(Struct, frozen=True, forbid_unknown_fields=True):
    """What will be unreadable in one place.

    Attributes:
        place: a sealed table or a bucket.
        kind: rows or objects.
        count: how many.
    """

    place: Name
    kind: Literal["rows", "objects"]
    count: Count


class DestructionRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What people are asked to approve. It holds personal data.

    Attributes:
        destruction: id.
        log: origin of the log.
        kind: whether the owner is a data subject or a tenant.
        owner: whose keys.
        salt: 64 hexadecimal digits.
        reason: why, in words that do not hold the owner.
        requested_at: when it was made.
        expires_at: when it can no longer be executed.
        keys: every key of the owner.
        holds: what will be unreadable.
    """

    format: Literal["assay destruction request v1"] = "assay destruction request v1"
    destruction: Name
    log: Name
    kind: Kind
    owner: Name
    salt: Digest
    reason: Name
    requested_at: str
    expires_at: str
    keys: Annotated[Sequence[RequestedKeys], Meta(min_length=1)]
    holds: Sequence[Held]

    def to_bytes(self) -> bytes:
        """The canonical JSON, whose digest people sign."""
        return to_canonical_json(msgspec.to_builtins(self))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_hex(self.to_bytes())

    @property
    def commitment(self) -> str:
        """The salted commitment to the owner."""
        return owner_commitment(self.salt, owner_digest(self.owner))

    @property
    def key_ids(self) -> tuple[DestroyedKeys, ...]:
        """The keys as the order names them."""
        return ids_of(self.keys)

    @classmethod
    def from_bytes(cls, data: bytes) -> DestructionRequest:
        """Read a request.

        Raises:
            RequestError: the bytes are no request, or it contradicts itself.
        """
        try:
            request = msgspec.convert(from_canonical_json(data), cls)
            times = [request.requested_at, request.expires_at]
            times += [key.created_at for each in request.keys for key in each.versions.values()]
            for time in times:
                from_rfc3339(time)
        except (AssayError, ValueError, RecursionError) as exc:
            raise RequestError(f"expected a destruction request: {exc}") from exc
        problem = repeated_keys(request.key_ids)
        if request.owner in request.reason:
            problem = "the reason enters the log and must not contain the owner"
        if problem is not None:
            raise RequestError(f"destruction request: {problem}")
        return request


def ids_of(keys: Sequence[RequestedKeys]) -> tuple[DestroyedKeys, ...]:
    """Keys as an order names them."""
    return tuple(
        DestroyedKeys(
            table=each.table,
            key_class=each.key_class,
            versions={number: key.key_id for number, key in each.versions.items()},
        )
        for each in keys
    )


class _Consent(Struct, frozen=True, forbid_unknown_fields=True):
    """The predicate of a consent."""

    destruction: Name
    log: Name
    role: Role
    at: str


def owner_commitment(salt: str, digest: bytes) -> str:
    """``SHA-256(PAE(["assay destruction owner v1", salt, owner digest]))`` in hexadecimal.

    Args:
        salt: 64 hexadecimal digits.
        digest: see `assay.core.owner_digest`.
    """
    message = pae([b"assay destruction owner v1", bytes.fromhex(salt), digest])
    return hashlib.sha256(message).hexdigest()


def sign_consent(
    request: DestructionRequest, role: Role, at: str, person: VerifierKey, signer: Signer
) -> SignedConsent:
    """Consent to a request.

    Args:
        request: what the person was shown.
        role: whether the person asks for it or approves it.
        at: when.
        person: the verifier key of the signer.
        signer: signs.

    Raises:
        EnvelopeSignatureError: the signer has another key than the person.
        AssayError: the signer could not sign.
    """
    said: dict[str, Any] = msgspec.to_builtins(
        _Consent(destruction=request.destruction, log=request.log, role=role, at=at)
    )
    statement = Statement(((SUBJECT, request.digest),), CONSENT_TYPE, said)
    envelope = sign_envelope(statement.to_bytes(), person, signer)
    return SignedConsent(person=str(person), envelope=envelope.decode())


def consent_role(consent: SignedConsent, destruction: str, log: str, request: str) -> Role:
    """What a consent consents to (Consent, 1).

    Args:
        consent: the consent.
        destruction: id of the destruction.
        log: origin of the log.
        request: digest of the request.

    Raises:
        ConsentError: it is not signed by its person, or about something else.
    """
    try:
        person = VerifierKey.parse(consent.person)
        payload = open_envelope(consent.envelope.encode(), person)
        statement = Statement.from_bytes(payload)
        said = msgspec.convert(statement.predicate, _Consent)
        from_rfc3339(said.at)
    except (VerifierKeyError, EnvelopeError, StatementError) as exc:
        raise ConsentError(f"expected a consent signed by its person: {exc}") from exc
    except (AssayError, ValueError) as exc:
        raise ConsentError(f"expected a consent, found another statement: {exc}") from exc
    about = (statement.predicate_type, statement.subject, said.destruction, said.log)
    if about != (CONSENT_TYPE, ((SUBJECT, request),), destruction, log):
        raise ConsentError(
            f"expected {person.name} to consent to the request of destruction {destruction}, found "
            "a consent to something else, or to a request that was changed since"
        )
    return said.role


def require_two_people(
    consents: Sequence[SignedConsent], destruction: str, log: str, request: str
) -> tuple[VerifierKey, tuple[VerifierKey, ...]]:
    """Who asked, and who approved (Consent, 1 and 2).

    Args:
        consents: all of them.
        destruction: id of the destruction.
        log: origin of the log.
        request: digest of the request.

    Raises:
        ConsentError: one does not verify, or they do not suffice.
    """
    asked: list[VerifierKey] = []
    approved: list[VerifierKey] = []
    for consent in consents:
        role = consent_role(consent, destruction, log, request)
        (asked if role == "request" else approved).append(VerifierKey.parse(consent.person))
    if len(asked) != 1:
        raise ConsentError(f"expected one person who requested, found {len(asked)}")
    names, keys = {one.name for one in approved}, {one.public_key for one in approved}
    once = len(names) == len(keys) == len(approved)
    if min(len(names), len(keys)) < APPROVALS or not once:
        raise ConsentError(
            f"expected {APPROVALS} different people with different keys who approved, found "
            f"{min(len(names), len(keys))}"
        )
    return asked[0], tuple(approved)


def require_consents(ordered: DestructionOrdered) -> None:
    """Make sure that the people whom an order names consented to its request.

    Raises:
        ConsentError: they did not, or they do not suffice.
    """
    require_two_people(ordered.consents, ordered.destruction, ordered.log, ordered.request)
