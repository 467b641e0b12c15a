"""The books: which statements a run or a destruction may have, and what is missing from it.

Whoever records keeps them, so that nothing enters the log that a verifier would refuse; whoever
verifies keeps them again (``spec/bundle.md``, step 8; ``spec/destruction.md``, Books).

Example:
    >>> books = Books()
    >>> books.enter(0, RunStarted(...))                               # doctest: +SKIP
    >>> books.enter(1, RunFinished(...))                              # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass, field
from sys import intern

from assay.evidence.consent import require_consents
from assay.evidence.destructions import DestructionCompleted, DestructionOrdered
from assay.evidence.errors import BooksError
from assay.evidence.predicates import (
    DrillRecorded,
    Predicate,
    ResultRecorded,
    RunFinished,
    RunStarted,
)

Place = tuple[str, str]
"""Id of a check and id of an asset."""


@dataclass(slots=True)
class RunBook:
    """One run.

    Attributes:
        id: of the run.
        scope: digest of its scope artefact.
        started_at: when it started.
        started_index: index of the statement that says so.
        planned: version of the check for each place.
        results: index of the statement for each place that was recorded.
        finished_index: index of the statement that it finished; None when there is none.
    """

    id: str
    scope: str
    started_at: str
    started_index: int
    planned: dict[Place, int]
    results: dict[Place, int] = field(default_factory=dict)
    finished_index: int | None = None

    @property
    def missing(self) -> tuple[Place, ...]:
        """What was planned and not recorded."""
        return tuple(place for place in self.planned if place not in self.results)


@dataclass(slots=True)
class DestructionBook:
    """One destruction.

    Attributes:
        id: of the destruction.
        ordered_index: index of its order; None when it stands before the part.
        completed_index: index of its completion; None when there is none.
    """

    id: str
    ordered_index: int | None
    completed_index: int | None = None


class Books:
    """The runs and destructions of a log, or of a part of it.

    Attributes:
        runs: by id, in the order in which they started.
        cut: ids of runs that started before the part, in the order in which they were seen.
        destructions: by id, in the order in which they were seen.
    """

    def __init__(self, *, cut_allowed: bool = False) -> None:
        """Open empty books.

        Args:
            cut_allowed: the part does not begin with the log's first entry, so runs may have
                started before it.
        """
        self.runs: dict[str, RunBook] = {}
        self.cut: dict[str, None] = {}
        self.destructions: dict[str, DestructionBook] = {}
        self._cut_allowed = cut_allowed

    def require(self, predicate: Predicate) -> None:
        """Refuse a statement that the books have no place for.

        Raises:
            BooksError: see ``spec/bundle.md``, step 8.
        """
        match predicate:
            case RunStarted():
                if predicate.run in self.runs or predicate.run in self.cut:
                    raise BooksError(f"expected run {predicate.run} to start once, it does twice")
            case ResultRecorded():
                book = self._open_book(predicate.run)
                if book is not None:
                    _require_result(book, predicate)
            case RunFinished():
                book = self._open_book(predicate.run)
                if book is not None and predicate.recorded != len(book.results):
                    raise BooksError(
                        f"expected run {predicate.run} to finish with {len(book.results)} results, "
                        f"it says {predicate.recorded}"
                    )
            case DestructionOrdered():
                if predicate.destruction in self.destructions:
                    raise BooksError(
                        f"expected destruction {predicate.destruction} to be ordered once and "
                        "before it is completed, found another statement about it before"
                    )
                require_consents(predicate)
            case DestructionCompleted():
                self._require_open_destruction(predicate.destruction)
            case DrillRecorded():
                pass

    def enter(self, index: int, predicate: Predicate) -> None:
        """Enter the statement with an index.

        Raises:
            BooksError: as `require`.
        """
        self.require(predicate)
        match predicate:
            case RunStarted():
                self.runs[predicate.run] = _new_book(index, predicate)
            case ResultRecorded():
                book = self._open_book(predicate.run)
                if book is None:
                    self.cut[predicate.run] = None
                else:
                    book.results[intern(predicate.check), intern(predicate.asset)] = index
            case RunFinished():
                book = self._open_book(predicate.run)
                if book is None:
                    self.cut[predicate.run] = None
                else:
                    book.finished_index = index
            case DestructionOrdered():
                ordered = DestructionBook(predicate.destruction, index)
                self.destructions[predicate.destruction] = ordered
            case DestructionCompleted():
                unseen = DestructionBook(predicate.destruction, None)
                book_ = self.destructions.setdefault(predicate.destruction, unseen)
                book_.completed_index = index
            case DrillRecorded():
                pass

    def adopt(self, book: RunBook) -> None:
        """Take over a run from other books; here it may have been cut."""
        self.cut.pop(book.id, None)
        self.runs[book.id] = book

    @property
    def unfinished_destructions(self) -> tuple[str, ...]:
        """Ids of destructions that were ordered and not completed."""
        return tuple(one.id for one in self.destructions.values() if one.completed_index is None)

    def _require_open_destruction(self, destruction: str) -> None:
        book = self.destructions.get(destruction)
        if book is None:
            if not self._cut_allowed:
                raise BooksError(
                    f"expected destruction {destruction} to be ordered before it is completed, it "
                    "was not"
                )
        elif book.completed_index is not None:
            raise BooksError(
                f"expected destruction {destruction} to be completed once, it was already"
            )

    def _open_book(self, run: str) -> RunBook | None:
        """The book of an unfinished run; None when it is a cut run."""
        book = self.runs.get(run)
        if book is None:
            if not self._cut_allowed:
                raise BooksError(f"expected run {run} to have started, it has not")
            return None
        if book.finished_index is not None:
            raise BooksError(f"expected nothing more of run {run}, which has finished")
        return book


def _new_book(index: int, started: RunStarted) -> RunBook:
    planned = {(intern(one.check), intern(one.asset)): one.check_version for one in started.planned}
    return RunBook(started.run, started.scope, started.at, index, planned)


def _require_result(book: RunBook, result: ResultRecorded) -> None:
    place = (result.check, result.asset)
    version = book.planned.get(place)
    if version != result.check_version:
        plan = "not at all" if version is None else f"in version {version}"
        raise BooksError(
            f"expected run {book.id} to record what it planned, found {result.asset} by "
            f"{result.check} version {result.check_version}, planned {plan}"
        )
    if place in book.results:
        raise BooksError(
            f"expected run {book.id} to record {result.asset} by {result.check} once, it does twice"
        )
