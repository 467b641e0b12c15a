"""The recorder: what it takes, what it refuses, and that refusing changes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assay.core import AssayError, sha256_hex, to_rfc3339
from assay.evidence import (
    ArtefactMissingError,
    ArtefactUnnamedError,
    BooksError,
    ClockWentBackError,
    DrillRecorded,
    ObservationMismatchError,
    PlannedCheck,
    Recorder,
    RecorderKeyError,
    RunFinished,
    RunStarted,
    Statement,
    StatementError,
    open_envelope,
)
from assay.ledger import EntryTooLargeError

SCOPE = b'{"organisation":"Metal"}'


def statement(workshop, index):
    payload = open_envelope(workshop.log.entry(index), workshop.log.verifier_key)
    return Statement.from_bytes(payload).read()


@pytest.fixture
def nothing_is_recorded(workshop):
    """Asserts that the log stays as it was while work is refused."""

    def refuse(error, work, match=None):
        before = workshop.log.signed_head()
        with pytest.raises(error, match=match):
            work()
        assert workshop.log.signed_head() == before

    return refuse


def test_a_run_is_recorded_with_what_it_rests_on(workshop):
    workshop.whole_run()
    assert workshop.log.head().size == 3
    started, result, finished = (statement(workshop, index) for index in range(3))
    assert workshop.artefacts.read(started.scope) == SCOPE
    assert b'"rows":[true]' in workshop.artefacts.read(result.observation)
    assert (result.run, finished.recorded) == ("run-1", 1)
    assert started.at < result.at < finished.at


def test_artefacts_are_durable_before_the_statement(workshop, monkeypatch):
    observation = (workshop.start(), workshop.observation())[1]

    def crash(entries):
        assert workshop.artefacts.read(sha256_hex(observation)) == observation
        raise KeyboardInterrupt

    monkeypatch.setattr(workshop.log, "append", crash)
    with pytest.raises(KeyboardInterrupt):
        workshop.recorder.record(workshop.result(observation), [observation])


def test_artefacts_that_are_stored_already_may_be_left_out(workshop):
    workshop.start()
    observation = workshop.observation()
    workshop.artefacts.put(observation)
    assert workshop.recorder.record(workshop.result(observation)) == 1


def test_artefacts_and_statement_must_fit(workshop, nothing_is_recorded):
    workshop.start()
    observation = workshop.observation()
    result = workshop.result(observation)
    record = workshop.recorder.record
    nothing_is_recorded(ArtefactMissingError, lambda: record(result))
    nothing_is_recorded(ArtefactMissingError, lambda: record(result, []))
    nothing_is_recorded(ArtefactUnnamedError, lambda: record(result, [observation, b"more"]))
    finished = RunFinished("run-1", workshop.recorder.now(), 0)
    nothing_is_recorded(ArtefactUnnamedError, lambda: record(finished, [observation]))


def test_what_does_not_have_its_schema(workshop, nothing_is_recorded):
    for predicate in (
        RunFinished("run-1", "yesterday", 0),
        RunFinished("", workshop.recorder.now(), 0),
        RunFinished("run-1", workshop.recorder.now(), -1),
        RunFinished("run-1", workshop.recorder.now(), 1.5),
    ):
        nothing_is_recorded(StatementError, lambda it=predicate: workshop.recorder.record(it))


def test_what_a_verifier_would_refuse(workshop, nothing_is_recorded):
    observation = workshop.observation()
    record, finish = workshop.record, workshop.finish
    nothing_is_recorded(BooksError, record, "to have started")
    nothing_is_recorded(BooksError, finish, "to have started")
    workshop.start()
    nothing_is_recorded(BooksError, workshop.start, "to start once")
    nothing_is_recorded(BooksError, lambda: record("spare"), "planned not at all")
    version_2 = workshop.result(observation, check_version=2)
    nothing_is_recorded(
        BooksError,
        lambda: workshop.recorder.record(version_2, [observation]),
        "planned in version 1",
    )
    nothing_is_recorded(BooksError, finish, "finish with 0 results, it says 1")
    record()
    nothing_is_recorded(BooksError, record, "once, it does twice")
    finish()
    nothing_is_recorded(BooksError, finish, "which has finished")
    nothing_is_recorded(BooksError, record, "which has finished")


def test_an_observation_of_something_else(workshop, nothing_is_recorded):
    workshop.start(assets=["db", "spare"])
    spare = workshop.observation("spare")
    nothing_is_recorded(
        ObservationMismatchError,
        lambda: workshop.recorder.record(workshop.result(spare), [spare]),
        "expected an observation of db by rows version 1, found one of spare",
    )


@pytest.mark.parametrize(
    ("seconds", "fits"), [(-5, True), (-5.000001, False), (5, True), (5.1, False)]
)
def test_an_observation_of_another_time(workshop, nothing_is_recorded, seconds, fits):
    workshop.start()
    moment = workshop.clock.now() + timedelta(seconds=seconds)
    observation = workshop.observation(collected_at=to_rfc3339(moment))

    def record():
        return workshop.recorder.record(workshop.result(observation), [observation])

    if fits:
        assert record() == 1
    else:
        nothing_is_recorded(ObservationMismatchError, record, "made between")


def test_a_clock_that_goes_back_a_little_keeps_the_last_time(workshop):
    workshop.start()
    last = statement(workshop, 0).at
    workshop.tick(-5)
    assert workshop.recorder.now() == last
    workshop.record()
    assert statement(workshop, 1).at == last
    # A time that was asked for before another statement was recorded is moved as well.
    early = RunFinished("run-1", to_rfc3339(workshop.clock.now()), 1)
    workshop.recorder.record(early)
    assert statement(workshop, 2).at == last


def test_a_clock_that_goes_back_is_refused(workshop, nothing_is_recorded):
    workshop.start()
    finished = RunFinished("run-1", to_rfc3339(workshop.clock.now() - timedelta(seconds=6)), 0)
    nothing_is_recorded(ClockWentBackError, lambda: workshop.recorder.record(finished))
    workshop.tick(-5.000001)
    both = "2026-01-02T03:04:05.000006Z, found 2026-01-02T03:04:00.000005Z"
    nothing_is_recorded(ClockWentBackError, workshop.recorder.now, both)
    nothing_is_recorded(ClockWentBackError, workshop.new_recorder().now, both)
    workshop.tick(0.000001)
    workshop.finish(recorded=0)


def test_another_key_than_the_logs(workshop, new_signer):
    with pytest.raises(RecorderKeyError):
        Recorder(workshop.log, workshop.artefacts, new_signer(bytes(32)), workshop.clock)


def test_a_signer_that_fails(workshop, nothing_is_recorded):
    workshop.start()
    workshop.signer.broken = True
    nothing_is_recorded(AssayError, workshop.record, "token is gone")
    workshop.signer.broken = False
    workshop.record()
    workshop.finish()
    assert workshop.verify(workshop.bundle()).gaps == ()


def test_a_statement_that_is_too_large(workshop, nothing_is_recorded):
    workshop.start()
    observation = workshop.observation()
    result = workshop.result(observation, asset_kind="x" * 400)
    huge = RunStarted(
        "run-2",
        workshop.recorder.now(),
        "0.1.0",
        sha256_hex(SCOPE),
        [PlannedCheck("rows", 1, f"{number} {'x' * 400}") for number in range(200)],
    )
    nothing_is_recorded(EntryTooLargeError, lambda: workshop.recorder.record(huge, [SCOPE]))
    workshop.recorder.record(result, [observation])


def test_unfinished_runs_are_found(workshop):
    assert workshop.recorder.unfinished_runs() == ()
    for run in ("one", "two", "three"):
        workshop.start(run)
    workshop.finish("two", recorded=0)
    assert [started.run for started in workshop.recorder.unfinished_runs()] == ["one", "three"]
    assert [started.run for started in workshop.new_recorder().unfinished_runs()] == [
        "one",
        "three",
    ]


def test_another_recorder_goes_on_with_a_run(workshop):
    workshop.start(assets=["db", "spare"])
    workshop.record()
    later = workshop.recorder = workshop.new_recorder()
    with pytest.raises(BooksError, match="once, it does twice"):
        workshop.record()
    workshop.record("spare")
    workshop.finish(recorded=2)
    assert later.unfinished_runs() == ()
    with pytest.raises(BooksError, match="which has finished"):
        workshop.new_recorder().record(RunFinished("run-1", later.now(), 2))


def test_two_recorders_at_once_see_each_other(workshop):
    first, second = workshop.recorder, workshop.new_recorder()
    workshop.start(assets=["db", "spare"])
    workshop.recorder = second
    workshop.record("db")
    workshop.tick()
    workshop.start("run-2")
    workshop.recorder = first
    assert first.now() == second.now()
    with pytest.raises(BooksError, match="to start once"):
        workshop.start("run-2")
    with pytest.raises(BooksError, match="once, it does twice"):
        workshop.record("db")
    workshop.record("spare")
    workshop.finish(recorded=2)
    workshop.tick(-2)
    workshop.recorder = second
    workshop.record(run="run-2")
    workshop.finish("run-2")
    bundle = workshop.verify(workshop.bundle())
    assert (bundle.unfinished_runs, bundle.gaps) == ((), ())


def test_a_recorder_sees_what_others_recorded_even_when_it_is_not_asked_for_the_time(workshop):
    first, second = workshop.recorder, workshop.new_recorder()
    early = second.now()
    workshop.tick(3)
    workshop.start(assets=["db"])
    planned = [PlannedCheck("rows", 1, "db")]
    again = RunStarted("run-1", early, "0.1.0", sha256_hex(SCOPE), planned)
    with pytest.raises(BooksError, match="to start once"):
        second.record(again, [SCOPE])
    second.record(RunStarted("run-2", early, "0.1.0", sha256_hex(SCOPE), planned), [SCOPE])
    assert statement(workshop, 1).at == statement(workshop, 0).at > early
    assert first.now() == statement(workshop, 1).at


def test_drills_are_recorded_without_a_run(workshop):
    drill = DrillRecorded(
        "drill-1", workshop.recorder.now(), "rows", 1, "clear-row", True, "pass", "fail", ""
    )
    assert workshop.recorder.record(drill) == 0
    assert statement(workshop, 0).violation == "clear-row"
