"""Recording: statements into the log, what they rest on into the artefact store.

The steps are those of ``spec/evidence.md``, section Recording.

Example:
    >>> recorder = Recorder(log, artefacts, signer, SystemClock())           # doctest: +SKIP
    >>> recorder.record(RunStarted(at=recorder.now(), ...), [scope])         # doctest: +SKIP
    0
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from assay.core import Clock, Signer, from_rfc3339, sha256_hex, to_rfc3339
from assay.evidence.artefacts import ArtefactStore
from assay.evidence.books import Books
from assay.evidence.destructions import DestructionCompleted, DestructionOrdered
from assay.evidence.dsse import open_envelope, sign_envelope
from assay.evidence.errors import (
    ArtefactMissingError,
    ArtefactUnnamedError,
    BooksError,
    ClockWentBackError,
    RecorderKeyError,
)
from assay.evidence.observation import require_observation
from assay.evidence.predicates import (
    Predicate,
    ResultRecorded,
    RunFinished,
    RunStarted,
    named_artefacts,
)
from assay.evidence.statement import Statement
from assay.ledger import FileLog

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far the clock may be behind the log; the log's time is used meanwhile."""


class Recorder:
    """Takes predicates; what it took is signed, in the log and durable."""

    def __init__(
        self, log: FileLog, artefacts: ArtefactStore, signer: Signer, clock: Clock
    ) -> None:
        """Record into a log.

        Args:
            log: takes the statements.
            artefacts: takes what they rest on.
            signer: the log's own key: one key verifies everything.
            clock: where the time comes from.

        Raises:
            RecorderKeyError: the signer has another key than the log.
        """
        if signer.public_key() != log.verifier_key.public_key:
            raise RecorderKeyError(
                "expected statements to be signed by the key of the log, found another key; "
                "open both with the same signer"
            )
        self._log = log
        self._artefacts = artefacts
        self._signer = signer
        self._clock = clock
        # What this recorder knows of the log: everything from its last statement on at the time
        # of the first use. Earlier runs are read when they are needed.
        self._books = Books(cut_allowed=True)
        self._known: int | None = None
        self._last: datetime | None = None

    def now(self) -> str:
        """The time for the next statement: the clock's, but never before the last statement's.

        Raises:
            ClockWentBackError: the clock is more than 5 seconds behind.
        """
        self._catch_up()
        return to_rfc3339(self._not_before_last(self._clock.now()))

    def record(self, predicate: Predicate, artefacts: Sequence[bytes] = ()) -> int:
        """Sign a statement and append it.

        Args:
            predicate: what it says; its time is moved forward to that of the last statement when
                it is at most 5 seconds before it.
            artefacts: what the predicate names; may be left out when it is stored already.

        Returns:
            Its index in the log.

        Raises:
            StatementError: the predicate is not of its schema.
            ArtefactError: predicate and artefacts do not fit, or cannot be stored.
            ClockWentBackError: its time is more than 5 seconds before the last statement's.
            LedgerError: it could not be appended.
            AssayError: it could not be signed.
        """
        predicate = Statement.of(predicate).read()  # step 1
        self._require_named(predicate, artefacts)
        for artefact in artefacts:  # step 2
            self._artefacts.put(artefact)
        with self._log.exclusive():  # step 3
            self._catch_up()
            predicate = self._in_time(predicate)  # step 4
            self._require_place(predicate)  # step 5
            payload = Statement.of(predicate).to_bytes()
            envelope = sign_envelope(payload, self._log.verifier_key, self._signer)  # step 6
            index = self._log.append([envelope]).start
            self._enter(index, predicate)
        return index

    def unfinished_runs(self) -> tuple[RunStarted, ...]:
        """The runs in the log that started and never finished, oldest first; reads the whole log.

        Raises:
            EvidenceError, LedgerError: the log holds what cannot be read.
        """
        started: dict[str, RunStarted] = {}
        for _, predicate in self._statements(0, None):
            if isinstance(predicate, RunStarted):
                started[predicate.run] = predicate
            elif isinstance(predicate, RunFinished):
                started.pop(predicate.run, None)
        return tuple(started.values())

    def _require_named(self, predicate: Predicate, artefacts: Sequence[bytes]) -> None:
        named, given = set(named_artefacts(predicate)), {sha256_hex(one) for one in artefacts}
        if given - named:
            raise ArtefactUnnamedError(
                "expected only artefacts that the statement names, found another; nothing was "
                "recorded"
            )
        for digest in named - given:
            if digest not in self._artefacts:
                raise ArtefactMissingError(
                    f"expected the artefact {digest}, which the statement names, found neither "
                    "its bytes nor a stored copy; nothing was recorded"
                )

    def _in_time(self, predicate: Predicate) -> Predicate:
        said = from_rfc3339(predicate.at)
        moved = self._not_before_last(said)
        return (
            predicate if moved == said else msgspec.structs.replace(predicate, at=to_rfc3339(moved))
        )

    def _not_before_last(self, moment: datetime) -> datetime:
        last = self._last
        if last is None or moment >= last:
            return moment
        if last - moment > CLOCK_TOLERANCE:
            raise ClockWentBackError(
                f"expected a time after the last statement, {to_rfc3339(last)}, found "
                f"{to_rfc3339(moment)}: the clock went back; set it right, nothing was recorded"
            )
        return last

    def _require_place(self, predicate: Predicate) -> None:
        if isinstance(predicate, ResultRecorded | RunFinished):
            if predicate.run not in self._books.runs:
                self._load_run(predicate.run)
        elif isinstance(predicate, DestructionOrdered | DestructionCompleted):
            self._load_destruction(predicate)
        self._books.require(predicate)
        if isinstance(predicate, ResultRecorded):
            observation = self._artefacts.read(predicate.observation)
            started_at = self._books.runs[predicate.run].started_at
            require_observation(observation, predicate, started_at)

    def _catch_up(self) -> None:
        """Enter what others appended since."""
        size = self._log.head().size
        known = max(0, size - 1) if self._known is None else self._known
        for index, predicate in self._statements(known, size):
            self._enter(index, predicate)
        self._known = size

    def _enter(self, index: int, predicate: Predicate) -> None:
        self._books.enter(index, predicate)
        self._known = index + 1
        self._last = from_rfc3339(predicate.at)

    def _load_destruction(self, new: DestructionOrdered | DestructionCompleted) -> None:
        """Enter what the log says of a destruction, and refuse what follows on nothing there.

        Reads the whole log.
        """
        books = Books()
        for index, predicate in self._statements(0, self._known):
            if (
                isinstance(predicate, DestructionOrdered | DestructionCompleted)
                and predicate.destruction == new.destruction
            ):
                books.enter(index, predicate)
        books.require(new)
        self._books.destructions |= books.destructions

    def _load_run(self, run: str) -> None:
        """Enter a run that started before this recorder did; reads the whole log."""
        books = Books()
        for index, predicate in self._statements(0, self._known):
            if (
                isinstance(predicate, RunStarted | ResultRecorded | RunFinished)
                and predicate.run == run
            ):
                books.enter(index, predicate)
        if run not in books.runs:
            raise BooksError(f"expected run {run} to have started, it has not")
        self._books.adopt(books.runs[run])

    def _statements(self, first: int, end: int | None) -> Iterator[tuple[int, Predicate]]:
        for index, entry in enumerate(self._log.entries(first, end), first):
            payload = open_envelope(entry, self._log.verifier_key)
            yield index, Statement.from_bytes(payload).read()
