"""Statements, envelopes and artefacts: forms, refusals, and what a disk can do to them."""

from __future__ import annotations

import errno
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import CanonicalJsonError, Fidelity, Status, sha256_hex, to_canonical_json
from assay.evidence import (
    PREDICATE_TYPES,
    ArtefactDigestError,
    ArtefactMissingError,
    ArtefactStore,
    ArtefactStoreError,
    DestroyedKeys,
    DestructionCompleted,
    DestructionOrdered,
    DrillRecorded,
    Envelope,
    EnvelopeError,
    EnvelopeSignatureError,
    PlannedCheck,
    Reading,
    RecordedPopulation,
    RecordedResult,
    ResultRecorded,
    RunFinished,
    RunStarted,
    SignedConsent,
    Statement,
    StatementError,
    Storage,
    open_envelope,
    pre_authentication_encoding,
    sign_envelope,
)
from assay.evidence.observation import require_observation
from assay.ledger import VerifierKey

AT = "2026-01-02T03:04:05.000006Z"
DIGEST = sha256_hex(b"")

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
text = st.text(st.characters(exclude_categories=["Cs"]))
versions = st.integers(1, 2**53 - 1)
digests = st.binary(max_size=4).map(sha256_hex)
moments = st.datetimes().map(lambda moment: f"{moment:%H:%M:%S.%f}Z").map("2026-01-02T".__add__)
places = st.builds(PlannedCheck, ids, versions, ids)
plans = st.lists(places, unique_by=lambda one: (one.check, one.asset), max_size=5)
failures = st.builds(
    RecordedResult,
    st.just(Status.FAIL),
    text,
    st.builds(RecordedPopulation, st.just(9), st.just(7), st.integers(1, 7), text),
    st.sampled_from(Fidelity),
    st.lists(text),
)
counts, texts = st.integers(0, 2**53 - 1), st.lists(text, max_size=3)
destroyed_keys = st.lists(
    st.tuples(ids, st.sampled_from(["rows", "indexes", "objects", "files"]), st.integers(1, 99)),
    unique_by=lambda one: one[:2],
    max_size=4,
).map(
    lambda places: [
        DestroyedKeys(table, kind, {str(version): f"{number:032x}"})
        for number, (table, kind, version) in enumerate(places)
    ]
)
ASKED = Reading("db", "keys", 1, 1, {"UnknownDataKeyError": 1}, "")
readings = st.builds(
    lambda place, kind, tried, more: Reading(
        place, kind, tried + more, tried, {"Error": tried} if tried else {}, "why" if more else ""
    ),
    *(ids, st.sampled_from(["keys", "sealing", "rows", "objects"])),
    *(st.integers(0, 9), st.integers(0, 9)),
)
predicates = st.one_of(
    st.builds(RunStarted, ids, moments, ids, digests, plans),
    st.builds(ResultRecorded, ids, moments, ids, versions, ids, ids, digests, failures),
    st.builds(RunFinished, ids, moments, st.integers(0, 2**53 - 1)),
    st.builds(
        DrillRecorded,
        *(ids, moments, ids, versions, ids),
        *(st.just(True), st.just(Status.PASS), st.just(Status.FAIL), text),
    ),
    st.builds(
        DestructionOrdered,
        *(ids, moments, ids, st.sampled_from(["subject", "tenant"]), digests, ids, digests),
        st.lists(st.builds(SignedConsent, ids, ids), min_size=3, max_size=4),
        destroyed_keys.filter(bool),
    ),
    st.builds(
        DestructionCompleted,
        *(ids, moments, destroyed_keys, moments, counts),
        st.lists(readings, max_size=3).map(lambda more: [ASKED, *more]),
        st.lists(st.builds(Storage, ids, counts, counts, counts, texts, texts, ids), min_size=1),
        st.one_of(st.just(""), moments),
    ),
)


@given(predicates)
def test_statements_read_as_they_were_written(predicate):
    data = Statement.of(predicate).to_bytes()
    statement = Statement.from_bytes(data)
    assert statement.read() == predicate
    assert statement.to_bytes() == data


def test_a_statement_is_what_in_toto_says():
    data = Statement.of(RunFinished("run-1", AT, 3)).to_bytes()
    assert data == (
        b'{"_type":"https://in-toto.io/Statement/v1",'
        b'"predicate":{"at":"2026-01-02T03:04:05.000006Z","recorded":3,"run":"run-1"},'
        b'"predicateType":"urn:assay:run-finished:v1",'
        b'"subject":[{"digest":{"sha256":"%b"},"name":"run"}]}' % sha256_hex(b"run-1").encode()
    )


@pytest.mark.parametrize("urn", PREDICATE_TYPES)
def test_every_member_of_every_predicate_counts(urn):
    """None may be missing, none may be of another type, none may be added."""
    predicate = {
        RunStarted: RunStarted("run", AT, "0.1", DIGEST, [PlannedCheck("c", 1, "a")]),
        ResultRecorded: ResultRecorded(
            *("run", AT, "c", 1, "a", "datastore", DIGEST),
            RecordedResult(Status.PASS, "", RecordedPopulation(1, 1, 0, "rows"), Fidelity.LIVE, []),
        ),
        RunFinished: RunFinished("run", AT, 0),
        DrillRecorded: DrillRecorded(*("run", AT, "c", 1, "v", True, Status.PASS, Status.FAIL, "")),
        DestructionOrdered: DestructionOrdered(
            *("id", AT, "example.com/log", "tenant", DIGEST, "why", DIGEST),
            [SignedConsent("person", "envelope")] * 3,
            [DestroyedKeys("db", "rows", {"1": "0" * 32})],
        ),
        DestructionCompleted: DestructionCompleted(
            *("id", AT, [DestroyedKeys("db", "rows", {"2": "1" * 32})], AT, 10),
            [Reading("db", "keys", 1, 1, {"UnknownDataKeyError": 1}, "")],
            [Storage("db", 1, 1, 9, ["rewritten"], ["a backup"], "")],
            AT,
        ),
    }[PREDICATE_TYPES[urn]]
    good = Statement.of(predicate)
    assert good.read() == predicate

    def refuse(said):
        statement = Statement(good.subject, urn, said)
        with pytest.raises(StatementError):
            Statement.from_bytes(statement.to_bytes()).read()

    def spoil(value):
        """Every way to spoil one member of a value, at any depth."""
        if isinstance(value, dict):
            yield value | {"surplus": 1}
            for key, member in value.items():
                yield {name: one for name, one in value.items() if name != key}
                for spoiled in spoil(member):
                    yield value | {key: spoiled}
        elif isinstance(value, list):
            yield "no list"
            yield from ([spoiled] for one in value for spoiled in spoil(one))
        else:
            yield None
            yield {}
            yield "17" if isinstance(value, int) else 17

    for spoiled in spoil(msgspec.to_builtins(predicate)):
        refuse(spoiled)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b"1" * 10_000,
        b'{"_type":1.5}',
        b'{"_type":"\\ud800"}',
    ],
)
def test_what_is_no_statement(data):
    with pytest.raises(StatementError):
        Statement.from_bytes(data)


def test_what_cannot_be_canonical_is_not_written():
    failed = (False, Status.FAIL, Status.FAIL)
    lone_surrogate = DrillRecorded("r", AT, "c", 1, "v", *failed, "\ud800")
    with pytest.raises(CanonicalJsonError):
        Statement.of(lone_surrogate).to_bytes()


def test_a_result_that_cannot_be_is_no_result():
    for counts in ((1, 0, 0), (0, 0, 0), (2, 2, 1), (1, 2, 0)):
        result = RecordedResult(
            Status.PASS, "", RecordedPopulation(*counts, "rows"), Fidelity.LIVE, []
        )
        predicate = ResultRecorded("run", AT, "c", 1, "a", "k", DIGEST, result)
        with pytest.raises(StatementError, match="urn:assay:result:v1: expected"):
            Statement.of(predicate).read()


@pytest.mark.parametrize(
    ("caught", "intact", "injected"),
    [
        (True, "pass", "pass"),
        (True, "error", "fail"),
        (True, "fail", "fail"),
        (False, "pass", "fail"),
    ],
)
def test_a_drill_that_contradicts_itself(caught, intact, injected):
    drill = DrillRecorded("r", AT, "c", 1, "v", caught, Status(intact), Status(injected), "why")
    with pytest.raises(StatementError, match="is caught when"):
        Statement.of(drill).read()


# --- envelopes -----------------------------------------------------------------------------


def test_the_encoding_is_that_of_the_vectors(vectors):
    for case in vectors("dsse.json")["encodings"]:
        found = pre_authentication_encoding(case["payload"].encode(), case["type"])
        assert found == case["encoding"].encode()


def test_accepted_envelopes(vectors, new_signer):
    data = vectors("dsse.json")
    key, signer = VerifierKey.parse(data["key"]), new_signer(bytes.fromhex(data["seed"]))
    for case in data["accepted"]:
        payload, envelope = case["payload"].encode(), case["envelope"].encode()
        assert open_envelope(envelope, key) == payload
        assert sign_envelope(payload, key, signer) == envelope
        assert Envelope.from_bytes(envelope).to_bytes() == envelope


def test_refused_envelopes(vectors, refused):
    for case in vectors("dsse.json")["refused"]:
        key, envelope = VerifierKey.parse(case["key"]), case["envelope"].encode("latin-1")
        refused(case, lambda key=key, envelope=envelope: open_envelope(envelope, key))


def test_every_one_byte_change_of_an_envelope_is_refused(vectors):
    data = vectors("dsse.json")
    key, envelope = VerifierKey.parse(data["key"]), data["accepted"][0]["envelope"].encode()
    for at in range(len(envelope)):
        for flip in (0x01, 0x20, 0x80):
            changed = envelope[:at] + bytes([envelope[at] ^ flip]) + envelope[at + 1 :]
            with pytest.raises(EnvelopeError):
                open_envelope(changed, key)


def test_a_signer_with_another_key_makes_no_envelope(vectors, new_signer):
    key = VerifierKey.parse(vectors("dsse.json")["key"])
    with pytest.raises(EnvelopeSignatureError):
        sign_envelope(b"{}", key, new_signer(bytes(32)))


# --- artefacts -----------------------------------------------------------------------------


def test_artefacts_are_kept_under_their_digest(tmp_path):
    store = ArtefactStore(tmp_path / "deep" / "artefacts")
    digest = store.put(b"facts")
    assert digest == sha256_hex(b"facts")
    assert digest in store
    assert store.read(digest) == b"facts"
    path = tmp_path / "deep" / "artefacts" / digest[:2] / digest[2:]
    before = path.stat()
    assert store.put(b"facts") == digest
    assert path.stat() == before, "written again"


def test_an_altered_artefact_is_refused_and_put_makes_it_good(tmp_path):
    store = ArtefactStore(tmp_path)
    digest = store.put(b"facts")
    (tmp_path / digest[:2] / digest[2:]).write_bytes(b"Facts")
    with pytest.raises(ArtefactDigestError, match="was altered"):
        store.read(digest)
    store.put(b"facts")
    assert store.read(digest) == b"facts"


def test_an_artefact_that_is_not_there(tmp_path):
    store = ArtefactStore(tmp_path)
    for digest in (DIGEST, "", "../../etc/passwd", DIGEST.upper()):
        with pytest.raises(ArtefactMissingError):
            store.read(digest)
    assert DIGEST not in store


def test_a_disk_that_fails(tmp_path, monkeypatch):
    store = ArtefactStore(tmp_path / "artefacts")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ArtefactStoreError, match="No space left"):
            store.put(b"facts")
    assert sha256_hex(b"facts") not in store
    digest = store.put(b"facts")
    (tmp_path / "artefacts" / digest[:2] / digest[2:]).unlink()
    (tmp_path / "artefacts" / digest[:2] / digest[2:]).mkdir()
    with pytest.raises(ArtefactStoreError):
        store.read(digest)


def test_the_last_and_first_moments_that_there_are():
    """Tolerance must not reach beyond the calendar."""
    for at in ("9999-12-31T23:59:59.999999Z", "1000-01-01T00:00:00.000000Z"):
        result = RecordedResult(
            Status.PASS, "", RecordedPopulation(1, 1, 0, "rows"), Fidelity.LIVE, []
        )
        recorded = ResultRecorded("run", at, "c", 1, "a", "k", DIGEST, result)
        observation = {"check": "c", "check_version": 1, "asset": "a", "collected_at": at}
        require_observation(to_canonical_json(observation), recorded, at)
