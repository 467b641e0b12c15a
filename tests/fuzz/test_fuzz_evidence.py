"""Parsers of evidence: any bytes give a value or one of the room's named errors.

Each target also asserts that what was accepted is written back as the same bytes: one spelling.
With atheris installed: ``python tests/fuzz/test_fuzz_evidence.py``.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from assay.core import Fidelity, Population, Result, sha256_hex, to_canonical_json
from assay.evidence import (
    BundleHeader,
    DestructionRequest,
    Envelope,
    EvidenceError,
    ObservationMismatchError,
    SignedConsent,
    Statement,
    consent_role,
    open_envelope,
    verify_bundle,
    verify_certificate,
    verify_claim,
)
from assay.evidence.observation import require_observation
from assay.ledger import LedgerError, VerifierKey

VECTORS = Path(__file__).parents[1] / "vectors"
KEY = VerifierKey.parse(json.loads((VECTORS / "dsse.json").read_text("utf-8"))["key"])
ENVELOPE = json.loads((VECTORS / "dsse.json").read_text("utf-8"))["accepted"][0][
    "envelope"
].encode()
BUNDLE = base64.b64decode(json.loads((VECTORS / "bundle.json").read_text("utf-8"))["file"])
HEADER = b'{"first":0,"format":"assay bundle v1","origin":"example.com/log","prefix":[],"size":4}'
FINISHED = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "run", "digest": {"sha256": sha256_hex(b"r")}}],
    "predicateType": "urn:assay:run-finished:v1",
    "predicate": {"run": "r", "at": "9999-12-31T23:59:59.999999Z", "recorded": 0},
}

DESTRUCTION = json.loads((VECTORS / "destruction.json").read_text("utf-8"))
DESTRUCTION_KEY = VerifierKey.parse(DESTRUCTION["key"])
_CERTIFICATE = DESTRUCTION["accepted"][0]["certificate"]
DESTRUCTION_FILES = (to_canonical_json(_CERTIFICATE), to_canonical_json(_CERTIFICATE["request"]))

pieces = st.sampled_from(
    [
        *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"-1", b"1.5", b"null", b"\\ud800"),
        *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"\0" * 22, b"\xff" * 4),
    ]
)


def judge(*_: object) -> Result:
    return Result.of(Population(1, 1, 0, "rows"), Fidelity.FIXTURE, "rows open")


def fuzz(data: bytes) -> None:
    """Every parser of the room, on the same bytes."""
    with suppress(EvidenceError):
        statement = Statement.from_bytes(data)
        assert statement.to_bytes() == data
        predicate = statement.read()
        assert Statement.of(predicate).to_bytes() == data
        if hasattr(predicate, "observation"):
            with suppress(ObservationMismatchError):
                require_observation(data, predicate, predicate.at)
    with suppress(EvidenceError):
        assert Envelope.from_bytes(data).to_bytes() == data
    with suppress(EvidenceError):
        open_envelope(data, KEY)
    with suppress(EvidenceError):
        assert BundleHeader.from_bytes(data).to_bytes() == data
    with suppress(EvidenceError):
        request = DestructionRequest.from_bytes(data)
        assert request.to_bytes() == data
    with suppress(EvidenceError):
        said = SignedConsent(person=str(KEY), envelope=data.decode("utf-8", "replace"))
        consent_role(said, "d-1", "example.com/log", "0" * 64)
    with suppress(EvidenceError, LedgerError):
        verify_certificate(data, DESTRUCTION_KEY)
    with suppress(EvidenceError, LedgerError):
        verify_claim(data.decode("utf-8", "surrogateescape"), data, KEY)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with suppress(EvidenceError, LedgerError):
            verify_bundle(Path(file.name), KEY, judge)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.binary(max_size=300) | st.lists(pieces, max_size=12).map(b"".join))
@example(b"[" * 100_000)
@example(b"[" * 900 + b"]" * 900)
@example(b"1" * 10_000)
@example(to_canonical_json(FINISHED))
@example(ENVELOPE)
@example(HEADER)
@example(HEADER.replace(b"4}", b"9007199254740991}"))
@example(BUNDLE)
@example(DESTRUCTION_FILES[0])
@example(DESTRUCTION_FILES[1])
def test_any_bytes_give_a_value_or_a_named_error(data):
    fuzz(data)


@given(st.data())
def test_changed_documents(data):
    """Near misses find more than noise does."""
    good = data.draw(
        st.sampled_from([ENVELOPE, HEADER, to_canonical_json(FINISHED), BUNDLE, *DESTRUCTION_FILES])
    )
    at = data.draw(st.integers(0, len(good) - 1))
    put = data.draw(pieces | st.binary(max_size=3))
    fuzz(good[:at] + put + good[at + data.draw(st.integers(0, 3)) :])


@given(json_values, st.sampled_from(["_type", "subject", "predicateType", "predicate"]))
def test_members_of_other_types(value, member):
    fuzz(json.dumps(FINISHED | {member: value}, sort_keys=True, separators=(",", ":")).encode())


@given(json_values, st.sampled_from(["run", "at", "recorded", "more"]))
def test_predicates_with_members_of_other_types(value, member):
    changed = FINISHED | {"predicate": {"run": "r", "at": "x", "recorded": 0} | {member: value}}
    fuzz(json.dumps(changed, sort_keys=True, separators=(",", ":")).encode())


if __name__ == "__main__":
    import atheris

    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
