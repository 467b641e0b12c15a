"""What was measured: contenders, paths, and the ratios of their medians.

Example:
    >>> times = Times(time.perf_counter)
    >>> with times.measure("plaintext", "insert"):
    ...     pass
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Times:
    """Seconds for each contender and path, a list with one entry for each round.

    Attributes:
        clock: what tells the time: the wall's, or the process's own.
        seconds: what was measured.
    """

    clock: Callable[[], float]
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @property
    def contenders(self) -> list[str]:
        """Who was measured, in the order of their turns."""
        return list(dict.fromkeys(contender for contender, _ in self.seconds))

    @contextmanager
    def measure(self, contender: str, path: str) -> Iterator[None]:
        """Take the time of a block, without what garbage of others costs."""
        gc.collect()
        gc.disable()
        start = self.clock()
        try:
            yield
        finally:
            taken = self.clock() - start
            gc.enable()
        self.seconds.setdefault((contender, path), []).append(taken)

    def ratio(self, contender: str, base: str, path: str) -> float:
        """How much longer one contender takes than another, by the medians."""
        return statistics.median(self.seconds[contender, path]) / statistics.median(
            self.seconds[base, path]
        )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(each) + " |" for each in lines]
