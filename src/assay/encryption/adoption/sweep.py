"""Running a task over a whole table: batches in primary-key order, on any executor.

Example:
    >>> sweep(Job(opener, part.name, seal_span), pieces, crew, on_done)   # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import uuid4

from assay.core import Progress, SilentProgress
from assay.encryption.adoption.errors import CrewError, NothingToAdoptError
from assay.encryption.adoption.parts import Part, all_parts
from assay.encryption.adoption.ranges import Key, Span
from assay.encryption.adoption.store import Opener, Store, opened

_LOOK_EVERY_SECONDS = 2.0

KEYS_SHOWN = 5
"""How many keys of rows that were refused are kept."""


@dataclass(frozen=True)
class Tally:
    """What became of rows.

    Attributes:
        rows: how many were read.
        done: how many are now as they should be because of this.
        passed_over: how many another writer changed meanwhile; they are left to the next sweep.
        refused: for each reason how many could not be worked on.
        examples: the primary keys of some that were refused.
    """

    rows: int = 0
    done: int = 0
    passed_over: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Key, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            self.done + other.done,
            self.passed_over + other.passed_over,
            dict(Counter(self.refused) + Counter(other.refused)),
            (self.examples + other.examples)[:KEYS_SHOWN],
        )


Task = Callable[[Store, Part, Span], Tally]
"""Works on one span, in one transaction."""


@dataclass(frozen=True)
class Options:
    """How fast, and how much at once.

    Attributes:
        batch_rows: rows of one transaction.
        rows_per_second: the rate limit; None for none.
        in_flight: how many batches are on their way at once.
        monotonic: seconds that never go back.
        sleep: waits for seconds.
    """

    batch_rows: int = 500
    rows_per_second: float | None = None
    in_flight: int = 4
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


Watch = Callable[[Exception | None], None]
"""Given what work ended with, or None while it takes long: raises when whoever worked is lost."""


def nobody_is_lost(ended_with: Exception | None) -> None:
    """For executors that say so by themselves."""


@dataclass(frozen=True)
class Crew:
    """Who works, and how.

    Attributes:
        opener: opens the store where the work runs, or the store itself when that is here.
        executor: runs it.
        options: how fast, and how much at once.
        progress: told of rows.
        watch: looks after the executor.
    """

    opener: Opener | Store
    executor: Executor
    options: Options = field(default_factory=Options)
    progress: Progress = field(default_factory=SilentProgress)
    watch: Watch = nobody_is_lost


@dataclass(frozen=True)
class Job:
    """A task for a part of a table, as it is sent to where it runs.

    Attributes:
        opener: opens the store there, or the store itself when it runs in this process.
        part: the part's name.
        task: a function of a module, so that it can be sent by its name.
        run: names the run that it belongs to.
    """

    opener: Opener | Store
    part: str
    task: Task
    run: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, span: Span) -> Tally:
        """Work on one span."""
        store = self.opener if isinstance(self.opener, Store) else opened(self.opener, self.run)
        return self.task(store, part_called(store.base, self.part), span)


@lru_cache(maxsize=64)
def part_called(base: object, name: str) -> Part:
    """A part by its name, the same one each time.

    Raises:
        NothingToAdoptError: there is none.
    """
    for part in all_parts(base):
        if part.name == name:
            return part
    raise NothingToAdoptError(
        f"expected {name} among the models, found none: this process has other code than the one "
        "that gave it work"
    )


def sweep(
    job: Callable[[Span], Tally],
    pieces: Iterable[tuple[Span, int]],
    crew: Crew,
    on_done: Callable[[Span, Tally], None],
) -> Tally:
    """Work on pieces, a few at a time, and tell of each in the order of its keys.

    An error that is not about a row (no database, no key service) ends the sweep once the batches
    under way have ended; what is done stays done.

    Args:
        job: works on one span; sent to the executor.
        pieces: spans, and how many rows each has.
        crew: who works, and how.
        on_done: told of each span; everything before it is done as well.

    Raises:
        CrewError: a process that worked is gone.
        ClusterError: the cluster that worked is gone.
    """
    total, sent, options = Tally(), 0, crew.options
    begin = options.monotonic()
    waiting: deque[tuple[Span, Future[Tally]]] = deque()
    try:
        for span, rows in pieces:
            if options.rows_per_second:
                early = begin + sent / options.rows_per_second - options.monotonic()
                if early > 0:
                    options.sleep(early)
            with _told_of_the_dead():
                waiting.append((span, crew.executor.submit(job, span)))
            sent += rows
            while len(waiting) >= options.in_flight or (waiting and waiting[0][1].done()):
                total += _next(waiting, crew.watch, on_done)
        while waiting:
            total += _next(waiting, crew.watch, on_done)
    finally:
        for _, future in waiting:
            future.cancel()
    return total


def _next(
    waiting: deque[tuple[Span, Future[Tally]]],
    watch: Watch,
    on_done: Callable[[Span, Tally], None],
) -> Tally:
    span, future = waiting[0]
    while not future.done():
        if not wait([future], _LOOK_EVERY_SECONDS).done:
            watch(None)
    try:
        with _told_of_the_dead():
            tally = future.result()
    except CrewError:
        raise
    except Exception as exc:
        watch(exc)
        raise
    waiting.popleft()
    on_done(span, tally)
    return tally


@contextmanager
def _told_of_the_dead() -> Iterator[None]:
    """Name a pool that lost a process: it says so of work that waits, and to who brings more."""
    try:
        yield
    except BrokenExecutor:
        raise CrewError(
            "expected the processes that work to live until the end, found one that was killed or "
            "that ran out of memory; what is written stays written: run this step again, with "
            "fewer --workers or a smaller --batch if it happens again"
        ) from None
