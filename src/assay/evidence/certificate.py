"""Certificates of a destruction (``spec/destruction.md``, Certificate); verified offline.

Example:
    >>> found = verify_certificate(Path("certificate.json").read_bytes(), key)  # doctest: +SKIP
    >>> found.completed.at                                                      # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct

from assay.core import AssayError, from_canonical_json, to_canonical_json
from assay.evidence.consent import DestructionRequest, require_two_people
from assay.evidence.destructions import DestructionCompleted, DestructionOrdered
from assay.evidence.errors import CertificateError, RequestError
from assay.evidence.verified import VerifiedBundle
from assay.evidence.verify import VerifiedClaim, verify_claim
from assay.ledger import VerifierKey


class ProvenStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """A statement with its proof.

    Attributes:
        entry: the signed envelope.
        proof: the tlog-proof.
    """

    entry: str
    proof: str


class _Wire(Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate as JSON has it."""

    format: Literal["assay destruction certificate v1"]
    request: dict[str, Any]
    ordered: ProvenStatement
    completed: ProvenStatement


@dataclass(frozen=True)
class Certificate:
    """What a certificate says; see `verify_certificate`.

    Attributes:
        request: what people approved.
        ordered: the order.
        completed: the completion.
        ordered_index: index of the order in the log.
        completed_index: index of the completion.
        requested_by: who asked.
        approved_by: who approved.
    """

    request: DestructionRequest
    ordered: DestructionOrdered
    completed: DestructionCompleted
    ordered_index: int
    completed_index: int
    requested_by: VerifierKey
    approved_by: tuple[VerifierKey, ...]


def certificate_bytes(
    request: DestructionRequest, ordered: ProvenStatement, completed: ProvenStatement
) -> bytes:
    """Write a certificate."""
    return to_canonical_json(
        {
            "format": "assay destruction certificate v1",
            "request": msgspec.to_builtins(request),
            "ordered": msgspec.to_builtins(ordered),
            "completed": msgspec.to_builtins(completed),
        }
    )


def verify_certificate(
    data: bytes, key: VerifierKey, bundle: VerifiedBundle | None = None
) -> Certificate:
    """Verify a certificate, without any network, key or database.

    Args:
        data: its bytes.
        key: the log's verifier key.
        bundle: a verified bundle of the log, which must hold both statements.

    Raises:
        CertificateError: it is none, or says what the log does not.
        ConsentError: fewer than two people approved.
        LedgerError, EvidenceError: its statements are not in the log, or no statements.
    """
    wire, request = _read(data)  # step 1
    first, ordered, second, completed = _statements(wire, key)  # step 2
    _require_same(request, ordered)  # step 3
    if (completed.destruction, ordered.log) != (request.destruction, key.name):
        raise CertificateError("expected statements about the requested destruction, found others")
    requested_by, approved_by = require_two_people(  # step 4
        ordered.consents, request.destruction, request.log, request.digest
    )
    if ordered.at > request.expires_at:
        raise CertificateError(
            f"expected an order before the request expired, {request.expires_at}, found one of "
            f"{ordered.at}"
        )
    if bundle is not None:  # step 5
        _require_in(bundle, first.index, wire.ordered)
        _require_in(bundle, second.index, wire.completed)
    return Certificate(
        request, ordered, completed, first.index, second.index, requested_by, approved_by
    )


def _read(data: bytes) -> tuple[_Wire, DestructionRequest]:
    try:
        wire = msgspec.convert(from_canonical_json(data), _Wire)
        return wire, DestructionRequest.from_bytes(to_canonical_json(wire.request))
    except RequestError as exc:
        raise CertificateError(f"certificate: {exc}") from exc
    except (AssayError, ValueError, RecursionError) as exc:
        raise CertificateError(f"expected a certificate of a destruction: {exc}") from exc


def _statements(
    wire: _Wire, key: VerifierKey
) -> tuple[VerifiedClaim, DestructionOrdered, VerifiedClaim, DestructionCompleted]:
    first, second = (
        verify_claim(one.proof, one.entry.encode(), key) for one in (wire.ordered, wire.completed)
    )
    ordered, completed = first.predicate, second.predicate
    if not isinstance(ordered, DestructionOrdered) or not isinstance(
        completed, DestructionCompleted
    ):
        raise CertificateError("expected an order and a completion, found other statements")
    if first.index >= second.index:
        raise CertificateError("expected the order to stand before the completion, it does not")
    return first, ordered, second, completed


def _require_same(request: DestructionRequest, ordered: DestructionOrdered) -> None:
    pairs = {
        "destruction": (request.destruction, ordered.destruction),
        "log": (request.log, ordered.log),
        "digest": (request.digest, ordered.request),
        "owner": (request.commitment, ordered.owner),
        "kind": (request.kind, ordered.kind),
        "reason": (request.reason, ordered.reason),
        "keys": (list(request.key_ids), list(ordered.keys)),
    }
    different = [name for name, (asked, said) in pairs.items() if asked != said]
    if different:
        raise CertificateError(
            f"expected the order to name the request, found another {', '.join(different)}: one of "
            "them was altered"
        )


def _require_in(bundle: VerifiedBundle, index: int, said: ProvenStatement) -> None:
    if not bundle.first <= index < bundle.size or bundle.entry(index) != said.entry.encode():
        raise CertificateError(
            f"expected the bundle to hold statement {index} of the certificate, it does not: it "
            "is of another log, begins later or ends earlier"
        )
