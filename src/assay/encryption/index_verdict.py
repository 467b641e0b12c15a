"""Whether the indexes of a column may be: a pure function of what was measured.

An index is refused when its entries are few, or when more than a tenth of the rows could be
guessed, unless its declaration says in ``acknowledged`` why that is acceptable. Where too few
values were seen to know, the answer is ``error``, which blocks as a refusal does.

Example:
    >>> judge_indexes(measured).sentence                                         # doctest: +SKIP
    'Equality(casefold, bits=128): at most 0.1% of the rows are guessed'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from assay.core import Status
from assay.encryption.blind_index import FEWEST_BITS_FOR_EQUALITY
from assay.encryption.index_planner import MeasuredColumn, MeasuredIndex

FEWEST_ROWS = 100
"""With fewer values nothing can be said about how often they occur."""

FEW_ENTRIES = 100
"""An index with fewer different entries is one of few values."""

STILL_NEW = 0.05
"""As long as more of the rows than this have an entry that was not seen before, it is not known
whether the entries are few."""

MOST_GUESSED = 0.1
"""An index that lets more of the rows be guessed is refused like one of few values."""

LITTLE_GUESSED = 0.01
"""Of a recommended index at most so many rows are guessed, if there is such a one."""


@dataclass(frozen=True, slots=True)
class IndexVerdict:
    """What follows from a measurement.

    Attributes:
        status: ``pass``: the declared indexes may stay, or an index is recommended; ``fail``: one
            is refused, or none can be recommended; ``error``: could not tell.
        indexes: the status of each measured index, in their order.
        sentence: what to do.
    """

    status: Status
    indexes: tuple[Status, ...]
    sentence: str


def judge_indexes(measured: MeasuredColumn) -> IndexVerdict:
    """Say of each measured index whether it may be, and what to do."""
    if measured.rows < FEWEST_ROWS:
        return IndexVerdict(
            Status.ERROR,
            (Status.ERROR,) * len(measured.indexes),
            f"could not tell: expected at least {FEWEST_ROWS} values, found {measured.rows}; "
            "measure where the data is",
        )
    each = tuple(_judge(index, is_whole=measured.is_whole) for index in measured.indexes)
    decide = _of_declared if measured.declared else _of_proposals
    status, sentence = decide(list(zip(measured.indexes, each, strict=True)))
    return IndexVerdict(status, each, sentence)


def _judge(index: MeasuredIndex, *, is_whole: bool) -> Status:
    if index.acknowledged is not None:
        return Status.PASS
    if not index.entries or index.in_reference == 0:
        return Status.ERROR
    if (index.guessed_at_most if is_whole else index.guessed) > MOST_GUESSED:
        return Status.FAIL
    if index.entries < FEW_ENTRIES:
        return Status.FAIL if index.seen_once <= STILL_NEW else Status.ERROR
    return Status.ERROR if index.guessed_at_most > MOST_GUESSED else Status.PASS


_Judged = Sequence[tuple[MeasuredIndex, Status]]


def _of_declared(judged: _Judged) -> tuple[Status, str]:
    refused = [index.label for index, status in judged if status is Status.FAIL]
    untold = [index.label for index, status in judged if status is Status.ERROR]
    if refused:
        return Status.FAIL, (
            f"refused: {', '.join(refused)}: few values, or easily guessed; leave the index out, "
            'or say in acknowledged="…" why that is acceptable'
        )
    if untold or not judged:
        return Status.ERROR, _could_not_tell(untold)
    return Status.PASS, "keep the declared indexes"


def _of_proposals(judged: _Judged) -> tuple[Status, str]:
    """Equality if values can have it, and the most bits that tell little."""
    candidates = [pair for pair in judged if pair[0].kind == "equality"] or judged
    fitting = [index for index, status in candidates if status is Status.PASS]
    if fitting:
        little = [index for index in fitting if index.guessed_at_most <= LITTLE_GUESSED]
        chosen = (
            max(little, key=lambda index: index.bits)
            if little
            else min(fitting, key=lambda index: (index.guessed_at_most, -index.bits))
        )
        how = "" if chosen.bits >= FEWEST_BITS_FOR_EQUALITY else ", searched with matching()"
        return Status.PASS, (
            f"{_declaration(chosen)}{how}: at most {_share(chosen.guessed_at_most)} of the rows "
            "are guessed"
        )
    untold = [index.label for index, status in candidates if status is Status.ERROR]
    if untold or not judged:
        return Status.ERROR, _could_not_tell(list(dict.fromkeys(untold)))
    return Status.FAIL, (
        "no index: few values, or easily guessed; find the rows by another column, or say in "
        'acknowledged="…" why that is acceptable'
    )


def _declaration(index: MeasuredIndex) -> str:
    if index.kind == "equality":
        return f"Equality({index.transform}, bits={index.bits})"
    return f"{index.kind.capitalize()} of {index.size}, {index.bits} bits"


def _share(share: float) -> str:
    return f"{math.ceil(round(share * 1000, 6)) / 10:.1f}%"


def _could_not_tell(labels: Sequence[str]) -> str:
    return (
        f"could not tell: {', '.join(labels) or 'there is no index'}: expected more rows, or a "
        "reference that has values of the column; measure the whole column with a larger --sample"
    )
