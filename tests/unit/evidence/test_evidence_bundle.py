"""Bundles: written, verified, and refused for every reason of the specification."""

from __future__ import annotations

import copy
import dataclasses
import errno
import os
import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay.core import (
    AssayError,
    Fidelity,
    Population,
    Result,
    Status,
    sha256_hex,
    to_canonical_json,
)
from assay.evidence import (
    ArtefactDigestError,
    ArtefactMissingError,
    BundleEmptyError,
    BundleHeader,
    BundleHeaderError,
    BundleMemberMissingError,
    BundleRootError,
    BundleWriteError,
    DrillRecorded,
    Gap,
    JudgementError,
    ObservationMismatchError,
    PlannedCheck,
    ResultRecorded,
    RunFinished,
    RunStarted,
    Statement,
    StatementError,
    UnknownCheckError,
    VerifiedBundle,
    sign_envelope,
    verify_bundle,
    verify_claim,
    verify_result_claim,
    write_bundle,
)
from assay.evidence.archive import Archive
from assay.ledger import (
    Checkpoint,
    ConsistencyProofError,
    EntryIndexError,
    InclusionProofError,
    TlogProof,
    UnknownNoteKeyError,
    VerifierKey,
    decode_entries,
    encode_entries,
)


@pytest.fixture(scope="module")
def data(vectors):
    return vectors("bundle.json")


@pytest.fixture(scope="module")
def base(data, unbase64, tmp_path_factory):
    """The members of the vectors' first file."""
    path = tmp_path_factory.mktemp("vectors") / "bundle"
    path.write_bytes(unbase64(data["file"]))
    archive = Archive.open(path)
    return {name: archive.read(name) for name in archive.members}


@pytest.fixture(scope="module")
def file_of(base, archive_of, unbase64):
    """The file that a vector describes."""

    def build(case):
        if "file" in case:
            return unbase64(case["file"])
        members = dict(base)
        for name, content in case["changes"].items():
            if content is None:
                del members[name]
            else:
                members[name] = unbase64(content)
        return archive_of(members)

    return build


# --- vectors -------------------------------------------------------------------------------


def test_accepted_bundles(data, file_of, judge, tmp_path):
    key = VerifierKey.parse(data["key"])
    for number, case in enumerate(data["accepted"]):
        path = tmp_path / f"{number}"
        path.write_bytes(file_of(case))
        assert sha256_hex(path.read_bytes()) == case["sha256"], case["name"]
        bundle = verify_bundle(path, key, judge)
        assert (bundle.first, bundle.size) == (case["first"], case["size"])
        assert [run.id for run in bundle.runs] == case["runs"]
        assert list(bundle.unfinished_runs) == case["unfinished"]
        assert list(bundle.cut_runs) == case["cut"]
        assert [list(gap) for gap in bundle.gaps] == case["gaps"]
        assert len(bundle.drills) == case["drills"]


def test_refused_bundles(data, file_of, judge, tmp_path, refused):
    key = VerifierKey.parse(data["key"])
    for number, case in enumerate(data["refused"]):
        path = tmp_path / f"{number}"
        path.write_bytes(file_of(case))
        refused(case, lambda path=path: verify_bundle(path, key, judge))


def test_a_bundle_under_another_key(data, unbase64, judge, tmp_path, new_signer):
    (tmp_path / "bundle").write_bytes(unbase64(data["file"]))
    for key in (
        VerifierKey("example.com/log", new_signer(bytes(32)).public_key()),
        VerifierKey("example.com/other", new_signer().public_key()),
    ):
        with pytest.raises(UnknownNoteKeyError):
            verify_bundle(tmp_path / "bundle", key, judge)


# --- writing and reading back --------------------------------------------------------------


def test_a_verified_bundle_says_what_was_recorded(workshop):
    workshop.start(assets=["db", "spare"])
    workshop.tick()
    workshop.record("db", [True, False])
    workshop.tick()
    workshop.finish()
    workshop.tick()
    workshop.start("run-2")
    bundle = workshop.verify(workshop.bundle())
    assert (bundle.origin, bundle.first, bundle.size) == ("example.com/log", 0, 4)
    assert bundle.checkpoint == workshop.log.head()
    assert bundle.signed_checkpoint == workshop.log.signed_head()
    assert bundle.verifier_key == workshop.log.verifier_key
    assert [index for index, _ in bundle.statements()] == [0, 1, 2, 3]
    assert [type(said) for _, said in bundle.statements()] == [
        RunStarted,
        ResultRecorded,
        RunFinished,
        RunStarted,
    ]
    run, unfinished = bundle.runs
    assert run.started == bundle.statement(0)
    assert run.finished == bundle.statement(2)
    assert run.scope_bytes() == bundle.artefact(run.scope) == b'{"organisation":"Metal"}'
    assert list(run.results) == [("rows", "db")]
    assert len(run.results) == 1
    view = run.results["rows", "db"]
    assert (view.index, view.statement) == (1, bundle.statement(1))
    assert view.result == Result(
        Status.FAIL,
        "rows do not open",
        Population(2, 2, 1, "rows"),
        Fidelity.FIXTURE,
        ("row 1",),
    )
    assert run.gaps == bundle.gaps == (Gap("run-1", "rows", "spare"),)
    assert unfinished.finished is None
    assert unfinished.gaps == ()
    assert bundle.unfinished_runs == ("run-2",)
    assert bundle.entry(1) == workshop.log.entry(1)
    with pytest.raises(EntryIndexError):
        bundle.entry(4)
    with pytest.raises(BundleMemberMissingError):
        bundle.artefact(sha256_hex(b"nothing"))


def test_writing_gives_the_bundle_of_the_vectors(workshop, data, unbase64):
    """The first file of the vectors, recorded through the recorder."""

    def at(second):
        workshop.clock.set(datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC))
        return workshop.recorder.now()

    scope = to_canonical_json({"organisation": "Metal"})
    planned = [PlannedCheck("rows", 1, "db"), PlannedCheck("rows", 1, "spare")]
    record = workshop.recorder.record
    record(RunStarted("run-1", at(1), "0.1.0", sha256_hex(scope), planned), [scope])
    at(2)
    observation = workshop.observation(rows=[True, True])
    record(workshop.result(observation, at=at(3)), [observation])
    record(RunFinished("run-1", at(4), 1))
    record(DrillRecorded("drill-1", at(5), "rows", 1, "clear-row", True, "pass", "fail", ""))
    assert workshop.bundle().read_bytes() == unbase64(data["file"])


def test_a_bundle_from_a_later_statement_on(workshop):
    workshop.fill(256)
    for run in ("run-1", "run-2"):
        workshop.start(run)
        workshop.finish(run, recorded=0)
    assert write_bundle(workshop.log, workshop.artefacts, workshop.folder / "b", first=259) == 4
    bundle = workshop.verify(workshop.folder / "b")
    assert (bundle.first, bundle.size) == (256, 260)
    assert [run.id for run in bundle.runs] == ["run-1", "run-2"]
    with pytest.raises(EntryIndexError):
        bundle.entry(255)
    claim = verify_claim(bundle.proof(259), bundle.entry(259), bundle.verifier_key)
    assert claim.predicate == RunFinished("run-2", claim.predicate.at, 0)
    whole = workshop.verify(workshop.bundle(first=255))
    assert whole.first == 0
    assert whole.entry(255) == workshop.log.entry(255)


def test_an_empty_bundle_is_not_written(workshop):
    for first in (None, 0, 1):
        with pytest.raises(BundleEmptyError):
            workshop.bundle(first)
    workshop.start()
    for first in (-1, 1):
        with pytest.raises(BundleEmptyError):
            workshop.bundle(first)
    assert not (workshop.folder / "bundle").exists()


def test_a_missing_or_altered_artefact_makes_no_bundle(workshop):
    workshop.whole_run()
    path = workshop.bundle()
    before = path.read_bytes()
    artefact = next((workshop.folder / "artefacts").glob("*/*"))
    content = artefact.read_bytes()
    artefact.unlink()
    with pytest.raises(ArtefactMissingError):
        workshop.bundle()
    artefact.write_bytes(content + b" ")
    with pytest.raises(ArtefactDigestError):
        workshop.bundle()
    assert path.read_bytes() == before
    assert [one.name for one in workshop.folder.glob("*bundle*")] == ["bundle"]


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_a_full_disk_makes_no_bundle_and_spoils_none(workshop, monkeypatch, step):
    workshop.whole_run()
    path = workshop.bundle()
    before = path.read_bytes()

    real_open = Path.open

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_for_new_files(path, mode="r", **kwargs):
        return full() if "x" in mode else real_open(path, mode, **kwargs)

    with monkeypatch.context() as patched:
        if step == "write":
            patched.setattr("assay.evidence.archive.ArchiveWriter.finish", full)
        elif step == "open":
            patched.setattr(Path, "open", full_for_new_files)
        else:
            patched.setattr(os, step, full)
        with pytest.raises(BundleWriteError, match="No space left"):
            workshop.bundle()
    assert path.read_bytes() == before
    assert [one.name for one in workshop.folder.glob("*bundle*")] == ["bundle"]


def test_a_bundle_is_one_moment_of_a_log_that_grows(workshop, monkeypatch):
    """Entries that are appended while it is written are not in it."""
    workshop.whole_run()
    grown = iter(range(1000))
    real = workshop.artefacts.read

    def read_and_grow(digest):
        recorder = workshop.new_recorder()
        run = f"drill-{next(grown)}"
        recorder.record(
            DrillRecorded(run, recorder.now(), "rows", 1, "v", True, "pass", "fail", "")
        )
        return real(digest)

    monkeypatch.setattr(workshop.artefacts, "read", read_and_grow)
    bundle = workshop.verify(workshop.bundle())
    assert bundle.size == 3
    assert workshop.log.head().size > 3


# --- what it is good for -------------------------------------------------------------------


def test_a_claim_is_verified_by_itself(workshop, new_signer):
    for number in range(5):
        workshop.whole_run(f"run-{number}")
    bundle = workshop.verify(workshop.bundle())
    key = bundle.verifier_key
    for index, said in bundle.statements():
        claim = verify_claim(bundle.proof(index), bundle.entry(index), key)
        assert (claim.index, claim.predicate, claim.checkpoint) == (index, said, bundle.checkpoint)
        assert TlogProof.parse(bundle.proof(index)) == workshop.log.prove(index)
    with pytest.raises(InclusionProofError):
        verify_claim(bundle.proof(1), bundle.entry(2), key)
    other = VerifierKey("example.com/log", new_signer(bytes(32)).public_key())
    with pytest.raises(UnknownNoteKeyError):
        verify_claim(bundle.proof(1), bundle.entry(1), other)
    with pytest.raises(EntryIndexError):
        bundle.proof(15)


def test_a_claim_about_a_result_is_verified_down_to_its_observation(workshop, judge):
    workshop.start(assets=["db", "spare"])
    workshop.record("db")
    spare = workshop.observation("spare")
    stolen = workshop.result(spare, asset="db")
    bundle = workshop.verify(workshop.bundle())
    observation = bundle.artefact(bundle.statement(1).observation)
    key, proof, entry = bundle.verifier_key, bundle.proof(1), bundle.entry(1)
    assert verify_result_claim(proof, entry, observation, key, judge).index == 1
    with pytest.raises(ArtefactDigestError):
        verify_result_claim(proof, entry, observation + b" ", key, judge)
    with pytest.raises(JudgementError):
        verify_result_claim(proof, entry, observation, key, lambda *_: None)
    with pytest.raises(StatementError, match="about a result"):
        verify_result_claim(bundle.proof(0), bundle.entry(0), observation, key, judge)
    # A signed result that rests on the observation of something else proves nothing.
    signed = sign_envelope(Statement.of(stolen).to_bytes(), key, workshop.signer)
    index = workshop.log.append([signed]).start
    with pytest.raises(ObservationMismatchError):
        verify_result_claim(workshop.log.prove(index).text, signed, spare, key, judge)


def test_a_log_that_was_rewritten_does_not_extend_its_past(new_workshop):
    workshop = new_workshop("honest")
    workshop.whole_run()
    kept = workshop.log.head()
    workshop.whole_run("run-2")
    bundle = workshop.verify(workshop.bundle())
    bundle.require_extends(kept)
    bundle.require_extends(bundle.checkpoint)
    rewritten = new_workshop("rewritten")
    rewritten.tick()
    rewritten.whole_run()
    rewritten.whole_run("run-2")
    with pytest.raises(ConsistencyProofError, match="rewritten"):
        rewritten.verify(rewritten.bundle()).require_extends(kept)
    for older in (
        Checkpoint("example.com/other", kept.size, kept.root),
        Checkpoint(kept.origin, bundle.size + 1, kept.root),
    ):
        with pytest.raises(ConsistencyProofError):
            bundle.require_extends(older)


def test_only_verification_makes_a_verified_bundle(workshop):
    workshop.whole_run()
    bundle = workshop.verify(workshop.bundle())
    fields = {one.name: getattr(bundle, one.name) for one in dataclasses.fields(bundle)}
    with pytest.raises(TypeError, match="by verify_bundle only"):
        VerifiedBundle(object(), **fields)
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(bundle, first=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.first = 1
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(bundle)
    assert copy.copy(bundle).checkpoint == bundle.checkpoint


def test_a_file_that_changes_after_its_verification_is_noticed(workshop):
    workshop.whole_run()
    path = workshop.bundle()
    bundle = workshop.verify(path)
    content = path.read_bytes()
    artefact = workshop.artefacts.read(bundle.runs[0].scope)
    with path.open("r+b") as file:
        file.write(content.replace(artefact, artefact[::-1]).replace(b"payload", b"Payload"))
    with pytest.raises(ArtefactDigestError, match="changed since"):
        bundle.artefact(bundle.runs[0].scope)
    with pytest.raises(BundleRootError, match="changed since"):
        bundle.statement(0)
    with path.open("r+b") as file:
        file.truncate(20)
    fresh = workshop.verify
    with pytest.raises(AssayError):
        fresh(path)
    with pytest.raises(AssayError):
        bundle.artefact(bundle.runs[0].scope)


def test_a_bundle_that_is_replaced_is_read_as_it_was(workshop):
    workshop.whole_run()
    bundle = workshop.verify(workshop.bundle())
    workshop.whole_run("run-2")
    workshop.bundle()
    assert [type(said) for _, said in bundle.statements()] == [
        RunStarted,
        ResultRecorded,
        RunFinished,
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnknownCheckError("unknown"), UnknownCheckError),
        (AssayError("malformed"), JudgementError),
        (ZeroDivisionError("bug"), JudgementError),
    ],
)
def test_a_judge_that_cannot_judge(workshop, error, expected):
    workshop.whole_run()

    def judge(*args):
        raise error

    with pytest.raises(expected, match="statement 1: ") as caught:
        verify_bundle(workshop.bundle(), workshop.log.verifier_key, judge)
    assert type(caught.value) is expected


def test_a_judge_that_answers_something_else(workshop, judge):
    workshop.whole_run()
    with pytest.raises(JudgementError, match="unexpected AttributeError"):
        verify_bundle(workshop.bundle(), workshop.log.verifier_key, lambda *_: None)
    with pytest.raises(JudgementError, match="does not follow from the observation"):
        verify_bundle(
            workshop.bundle(),
            workshop.log.verifier_key,
            lambda *args: dataclasses.replace(judge(*args), reason="another"),
        )


def test_the_judge_is_given_what_was_recorded(workshop, judge):
    workshop.whole_run()
    asked = []

    def listening(*args):
        asked.append(args)
        return judge(*args)

    bundle = verify_bundle(workshop.bundle(), workshop.log.verifier_key, listening)
    recorded = bundle.statement(1)
    assert asked == [("rows", 1, bundle.artefact(recorded.observation), "datastore")]


def test_progress_is_shown(workshop, judge):
    workshop.whole_run()
    shown = []

    class Shown:
        def advance(self, done, total, what):
            shown.append((done, total, what))

    verify_bundle(workshop.bundle(), workshop.log.verifier_key, judge, progress=Shown())
    assert (shown[0], shown[-1]) == ((0, 3, "statements"), (3, 3, "statements"))


def test_headers_read_as_they_were_written():
    header = BundleHeader("example.com/log", 768, 1000, (bytes(32), bytes(range(32))))
    assert BundleHeader.from_bytes(header.to_bytes()) == header
    for data in (b"", b"{}", b"[" * 100_000, b"1" * 5000, b"\xff"):
        with pytest.raises(BundleHeaderError):
            BundleHeader.from_bytes(data)


def test_a_head_that_is_not_the_logs_makes_no_bundle(workshop, monkeypatch):
    workshop.whole_run()
    forged = Checkpoint("example.com/log", 3, bytes(32)).sign(workshop.signer)
    real, notes = workshop.log.signed_head, [forged]
    monkeypatch.setattr(workshop.log, "signed_head", lambda: notes.pop() if notes else real())
    with pytest.raises(BundleRootError):
        workshop.bundle()
    assert not (workshop.folder / "bundle").exists()


def test_a_file_that_changes_while_it_is_verified_is_noticed(workshop, monkeypatch):
    """Between the step that computes the root and the steps that read what it covers."""
    workshop.whole_run()
    path, tile = workshop.bundle(), "tile/entries/000.p/3"
    real, reads = Archive.read, []

    def read(archive, name):
        content = real(archive, name)
        if name == tile:
            reads.append(name)
            if len(reads) > 1:
                return encode_entries(decode_entries(content, 3)[::-1])
        return content

    monkeypatch.setattr(Archive, "read", read)
    with pytest.raises(BundleRootError, match="it was changed"):
        workshop.verify(path)
