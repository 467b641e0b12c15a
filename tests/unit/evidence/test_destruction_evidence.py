"""Destructions in the log: requests, consents, books, certificates, and every reason to refuse."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec
import pytest

from assay.core import owner_digest, sha256_hex, to_canonical_json
from assay.evidence import (
    BooksError,
    CertificateError,
    ConsentError,
    DestroyedKeys,
    DestructionCompleted,
    DestructionOrdered,
    DestructionRequest,
    EvidenceError,
    Held,
    ProvenStatement,
    Reading,
    RequestedKey,
    RequestedKeys,
    RequestError,
    Statement,
    StatementError,
    Storage,
    certificate_bytes,
    owner_commitment,
    read_ledger,
    sign_consent,
    sign_envelope,
    verify_certificate,
)
from assay.ledger import InclusionProofError, LedgerError, UnknownNoteKeyError, VerifierKey

AT, LATER = "2026-01-02T03:04:05.000006Z", "2026-01-09T03:04:05.000006Z"
KEY, OTHER_KEY = "0a" * 16, "0b" * 16
replace = msgspec.structs.replace


@pytest.fixture
def people(new_signer):
    """Three people with a key each."""
    signers = [new_signer(bytes([number]) * 32) for number in (1, 2, 3)]
    names = ("ada", "grace", "linus")
    pairs = zip(names, signers, strict=True)
    return {name: (VerifierKey(name, signer.public_key()), signer) for name, signer in pairs}


def request(**changes):
    made = DestructionRequest(
        destruction="d-1",
        log="example.com/log",
        kind="tenant",
        owner="north",
        salt="5a" * 32,
        reason="the contract ended",
        requested_at=AT,
        expires_at=LATER,
        keys=(
            RequestedKeys(
                table="db",
                key_class="rows",
                versions={"1": RequestedKey(key_id=KEY, created_at=AT)},
            ),
        ),
        holds=(Held(place="db/notes", kind="rows", count=2),),
    )
    return replace(made, **changes)


def consents(people, asked=None, *, by="linus", approved=("ada", "grace")):
    asked = asked or request()
    pairs = [(by, "request"), *((name, "approve") for name in approved)]
    return [sign_consent(asked, role, AT, *people[name]) for name, role in pairs]


def order(people, asked=None, **changes):
    asked = asked or request()
    made = DestructionOrdered(
        destruction=asked.destruction,
        at=AT,
        log=asked.log,
        kind=asked.kind,
        owner=asked.commitment,
        reason=asked.reason,
        request=asked.digest,
        consents=consents(people, asked),
        keys=list(asked.key_ids),
    )
    return replace(made, **changes)


def completion(**changes):
    made = DestructionCompleted(
        destruction="d-1",
        at=AT,
        also=[DestroyedKeys(table="db", key_class="rows", versions={"2": OTHER_KEY})],
        destroyed_at=AT,
        watch_seconds=10,
        readings=[
            Reading(
                place="db",
                kind="keys",
                found=2,
                attempted=2,
                refused={"UnknownDataKeyError": 2},
                untried="",
            )
        ],
        storage=[
            Storage(
                table="db",
                traced=1,
                files=1,
                bytes_read=9,
                cleaned=["all"],
                remains=[],
                unsearched="",
            )
        ],
        backups_until="",
    )
    return replace(made, **changes)


def refused_predicate(predicate):
    with pytest.raises(StatementError) as raised:
        Statement.of(predicate).read()
    return str(raised.value)


# --- requests ------------------------------------------------------------------------------


def test_a_request_reads_as_it_was_written():
    asked = request()
    assert DestructionRequest.from_bytes(asked.to_bytes()).to_bytes() == asked.to_bytes()
    assert asked.digest == sha256_hex(asked.to_bytes())
    assert asked.commitment == owner_commitment("5a" * 32, owner_digest("north"))
    assert asked.commitment != replace(asked, salt="5b" * 32).commitment
    assert asked.commitment != replace(asked, owner="south").commitment


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "north wants it"},
        {"reason": ""},
        {"owner": ""},
        {"salt": "5a"},
        {"expires_at": "soon"},
        {"keys": []},
        {"kind": "person"},
        {"format": "assay destruction request v2"},
        {"surplus": 1},
    ],
)
def test_what_is_no_request(change):
    data = json.loads(request().to_bytes()) | change
    with pytest.raises(RequestError):
        DestructionRequest.from_bytes(to_canonical_json(data))


def test_a_request_names_each_key_once():
    twice = RequestedKeys(
        table="other", key_class="rows", versions={"1": RequestedKey(key_id=KEY, created_at=AT)}
    )
    data = request(keys=(*request().keys, twice)).to_bytes()
    with pytest.raises(RequestError, match="each key once"):
        DestructionRequest.from_bytes(data)


# --- consents ------------------------------------------------------------------------------


def test_two_people_who_approve_suffice(workshop, people):
    index = workshop.recorder.record(order(people))
    assert workshop.verify(workshop.bundle()).unfinished_destructions == ("d-1",)
    assert index == 0


@pytest.mark.parametrize(
    ("by", "approved"),
    [
        ("linus", ("ada",)),
        ("linus", ("ada", "ada")),
        ("linus", ("ada", "grace", "ada")),
    ],
    ids=["one", "the same twice", "two and one of them twice"],
)
def test_fewer_do_not(workshop, people, by, approved):
    few = consents(people, by=by, approved=approved)
    few += [few[1]] * (3 - len(few))
    with pytest.raises(ConsentError, match="different people"):
        workshop.recorder.record(order(people, consents=few))
    assert workshop.log.head().size == 0


def test_one_key_under_two_names_is_one_person(workshop, people):
    _, signer = people["ada"]
    people["grace"] = VerifierKey("grace", signer.public_key()), signer
    with pytest.raises(ConsentError, match="different keys"):
        workshop.recorder.record(order(people))


def test_exactly_one_person_requests(workshop, people):
    given = consents(people)
    given[0] = sign_consent(request(), "approve", AT, *people["linus"])
    with pytest.raises(ConsentError, match="one person who requested"):
        workshop.recorder.record(order(people, consents=given))


def test_a_consent_to_something_else(workshop, people):
    others = {
        "another owner": request(owner="south"),
        "another reason": request(reason="another one"),
        "another destruction": request(destruction="d-2"),
        "another log": request(log="example.com/other"),
    }
    for asked in others.values():
        given = [*consents(people)[:2], sign_consent(asked, "approve", AT, *people["grace"])]
        with pytest.raises(ConsentError, match="something else"):
            workshop.recorder.record(order(people, consents=given))


def test_a_consent_that_somebody_else_signed(workshop, people):
    given = consents(people)
    given[2] = replace(given[2], person=str(people["linus"][0]))
    with pytest.raises(ConsentError, match="signed by its person"):
        workshop.recorder.record(order(people, consents=given))


def test_a_statement_of_the_log_is_no_consent(workshop, people):
    key, signer = people["grace"]
    said = sign_envelope(Statement.of(completion()).to_bytes(), key, signer).decode()
    given = [*consents(people)[:2], replace(consents(people)[2], envelope=said)]
    with pytest.raises(ConsentError, match="another statement"):
        workshop.recorder.record(order(people, consents=given))


# --- statements and books ------------------------------------------------------------------


def test_what_a_completion_cannot_say():
    reading = completion().readings[0]
    cases = {
        "every attempt": {"readings": [replace(reading, refused={"UnknownDataKeyError": 1})]},
        "every attempt ": {"readings": [replace(reading, found=1)]},
        "it is said why": {
            "readings": [reading, replace(reading, kind="rows", attempted=0, refused={})]
        },
        "at least one": {"readings": [replace(reading, kind="rows")]},
        "files of db": {"storage": [replace(completion().storage[0], files=0)]},
        "files of db ": {"storage": [replace(completion().storage[0], traced=0)]},
        "each key once": {"also": [*completion().also, replace(completion().also[0], table="x")]},
        "expected": {"destroyed_at": "soon"},
    }  # fmt: skip
    for words, change in cases.items():
        assert words.strip() in refused_predicate(completion(**change)), words
    assert Statement.of(completion()).read()


def test_an_order_and_its_completion_are_in_the_books(workshop, people):
    workshop.recorder.record(order(people))
    workshop.tick()
    workshop.start()
    workshop.recorder.record(completion())
    bundle = workshop.verify(workshop.bundle())
    assert bundle.unfinished_destructions == ()
    ledger = read_ledger(workshop.log)
    assert ledger.key_ids == (bytes.fromhex(KEY), bytes.fromhex(OTHER_KEY))
    assert (ledger.unfinished, ledger.size) == ((), 3)


def test_a_ledger_without_a_completion_says_so(workshop, people):
    workshop.start()
    workshop.recorder.record(order(people))
    ledger = read_ledger(workshop.log)
    assert ledger.unfinished == ("d-1",)
    assert ledger.key_ids == (bytes.fromhex(KEY),)


@pytest.mark.parametrize("fresh", [False, True], ids=["same recorder", "another recorder"])
def test_nothing_enters_that_the_books_refuse(workshop, people, fresh):
    def recorder():
        return workshop.new_recorder() if fresh else workshop.recorder

    with pytest.raises(BooksError, match="ordered before"):
        recorder().record(completion())
    recorder().record(order(people))
    workshop.fill(3)
    with pytest.raises(BooksError, match="ordered once"):
        recorder().record(order(people))
    recorder().record(completion())
    workshop.fill(3)
    with pytest.raises(BooksError, match="completed once"):
        recorder().record(completion())
    with pytest.raises(BooksError, match="ordered once"):
        recorder().record(order(people))


def test_a_log_that_says_otherwise_is_refused(workshop, people):
    """A verifier keeps the books itself."""
    key, signer = workshop.log.verifier_key, workshop.signer
    for predicates in (
        [completion()],
        [order(people, consents=consents(people, approved=("ada", "ada")))],
    ):
        path = workshop.folder / "other"
        other = type(workshop)(path)
        entries = [sign_envelope(Statement.of(p).to_bytes(), key, signer) for p in predicates]
        other.log.append(entries)
        with pytest.raises(BooksError):
            other.verify(other.bundle())
        with pytest.raises(BooksError):
            read_ledger(other.log)
        workshop.folder = workshop.folder / "next"
        workshop.folder.mkdir()


def test_a_completion_whose_order_was_cut(workshop, people):
    workshop.recorder.record(order(people))
    workshop.fill(300)
    workshop.recorder.record(completion())
    bundle = workshop.verify(workshop.bundle(first=290))
    assert (bundle.first, bundle.unfinished_destructions) == (256, ())


# --- certificates --------------------------------------------------------------------------


@pytest.fixture
def certified(workshop, people):
    """A log with a completed destruction, and what its certificate is made from."""
    workshop.start()
    first = workshop.recorder.record(order(people))
    second = workshop.recorder.record(completion())
    workshop.finish(recorded=0)
    proven = [
        ProvenStatement(
            entry=workshop.log.entry(index).decode(), proof=workshop.log.prove(index).text
        )
        for index in (first, second)
    ]
    return workshop, proven


def test_a_certificate_verifies_offline(certified):
    workshop, proven = certified
    data = certificate_bytes(request(), *proven)
    bundle = workshop.verify(workshop.bundle())
    found = verify_certificate(data, workshop.log.verifier_key, bundle)
    assert (found.ordered_index, found.completed_index) == (1, 2)
    assert found.requested_by.name == "linus"
    assert [one.name for one in found.approved_by] == ["ada", "grace"]
    assert found.request.owner == "north"


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "south"},
        {"salt": "5b" * 32},
        {"reason": "another"},
        {"kind": "subject"},
        {"expires_at": AT.replace("03", "02", 1)},
        {"destruction": "d-2"},
    ],
)
def test_an_altered_request_in_a_certificate(certified, change):
    workshop, proven = certified
    data = certificate_bytes(request(**change), *proven)
    with pytest.raises(CertificateError):
        verify_certificate(data, workshop.log.verifier_key)


def test_a_late_order_in_a_certificate(workshop, people):
    asked = request(expires_at=AT)
    workshop.tick(60)
    late = "2026-01-02T03:05:05.000006Z"
    workshop.recorder.record(order(people, asked, at=late))
    workshop.recorder.record(completion(at=late))
    proven = [
        ProvenStatement(entry=workshop.log.entry(n).decode(), proof=workshop.log.prove(n).text)
        for n in (0, 1)
    ]
    with pytest.raises(CertificateError, match="expired"):
        verify_certificate(certificate_bytes(asked, *proven), workshop.log.verifier_key)


def test_other_statements_in_a_certificate(certified):
    workshop, (first, second) = certified
    key = workshop.log.verifier_key
    run = ProvenStatement(entry=workshop.log.entry(0).decode(), proof=workshop.log.prove(0).text)
    for pair in ((second, first), (first, first), (run, second)):
        with pytest.raises(CertificateError):
            verify_certificate(certificate_bytes(request(), *pair), key)
    mixed = replace(first, proof=second.proof)
    with pytest.raises(InclusionProofError):
        verify_certificate(certificate_bytes(request(), mixed, second), key)


def test_a_certificate_of_another_log(certified, new_workshop, new_signer):
    workshop, proven = certified
    data = certificate_bytes(request(), *proven)
    with pytest.raises(UnknownNoteKeyError):
        verify_certificate(data, VerifierKey("example.com/log", new_signer(bytes(32)).public_key()))
    other = new_workshop("other")
    other.whole_run()
    other.fill(9)
    with pytest.raises(CertificateError, match="hold statement 1"):
        verify_certificate(data, workshop.log.verifier_key, other.verify(other.bundle()))


def test_no_byte_of_a_certificate_is_free(certified):
    workshop, proven = certified
    data = certificate_bytes(request(), *proven)
    key = workshop.log.verifier_key
    for at in range(0, len(data), 7):
        altered = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((EvidenceError, LedgerError)):
            verify_certificate(altered, key)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 9000, b'{"format":1}', b"\xff"])
def test_what_is_no_certificate(workshop, data):
    with pytest.raises(CertificateError):
        verify_certificate(data, workshop.log.verifier_key)


def test_nothing_about_the_owner_enters_the_log(certified):
    workshop, _ = certified
    digest = owner_digest("north")
    for entry in workshop.log.entries():
        payload = json.loads(entry)["payload"]
        raw = base64.b64decode(payload)
        for text in (b"north", digest.hex().encode(), b"5a" * 32):
            assert text not in raw


def test_the_vectors(vectors):
    """Made by ``tests/vectors/make_destruction_vectors.py``, which knows nothing of Assay."""
    data = vectors("destruction.json")
    key = VerifierKey.parse(data["key"])
    for case in data["accepted"]:
        found = verify_certificate(to_canonical_json(case["certificate"]), key)
        assert found.request.commitment == case["commitment"]
        assert found.request.digest == case["request_digest"]
    for case in data["refused"]:
        with pytest.raises((EvidenceError, LedgerError)) as raised:
            verify_certificate(to_canonical_json(case["certificate"]), key)
        assert type(raised.value).__name__ == case["error"], case["name"]


def test_the_vectors_are_what_their_program_makes(repository: Path):
    import runpy

    folder = repository / "tests" / "vectors"
    made = runpy.run_path(str(folder / "make_destruction_vectors.py"))["vectors"]()
    assert json.loads((folder / "destruction.json").read_text()) == made
