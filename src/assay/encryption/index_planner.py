"""What an index of a column would tell: a pure function of how often the column's values occur.

How much is guessed. The attacker reads the index and knows how often values occur: in this very
column (the worst case, and the default), or in a public sample (``reference``). He sorts both by
frequency and takes the index of rank *n* for the value of rank *n*. For an index that maps equal
values to equal hashes this is the guess of greatest likelihood (Lacharité and Paterson, "A note on
the optimality of frequency analysis vs. lp-optimization", IACR ePrint 2015/1158; the attack:
Naveed, Kamara and Wright, CCS 2015). Values of the same frequency cannot be told apart, and are
counted with the chance of guessing each. For n-grams this is a lower bound: which of them stand
together in a row tells more (Islam, Kuzu and Kantarcioglu, NDSS 2012).

What has to be small is not this but an upper bound:

- A short hash makes values alike and so disturbs the ranks, but there are better guesses than by
  rank. At most as much is guessed as if the hash were long, and as if for each hash the most
  frequent of its values were known.
- A sample lets fewer values be told apart than the whole column, because most of them occur in it
  once. At most as much is guessed as if every value that was seen twice were known, and of the
  others one for each frequency that values can have in the column and hardly be seen twice.

Nothing here gives a value away.

The values of all owners are counted as if they were one owner's. Specification:
``spec/blind-index.md``, "What a blind index tells".

Example:
    >>> seen = Distribution({"yes": 900, "no": 100}, nulls=0, of_rows=1000)
    >>> measured = measure_column("consent", seen, text_kinds(casefold), key)    # doctest: +SKIP
    >>> measured.indexes[0].guessed, judge_indexes(measured).status              # doctest: +SKIP
    (1.0, <Status.FAIL: 'fail'>)
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TypeVar
from uuid import UUID

from assay.encryption.blind_index import BlindIndex, Transform, exact
from assay.encryption.bucket_index import Buckets
from assay.encryption.errors import UnsupportedTypeError
from assay.encryption.index_kinds import Equality, Prefix, normalised_text
from assay.encryption.ngram_index import Ngram, NgramIndex, ngrams
from assay.keys import DataKey

_HARDLY_SEEN_TWICE = 5
"""How often a value must be expected in a sample so that it is seen there at least twice: what is
expected five times is not with a chance of four in a hundred (Poisson)."""

_LENGTHS_BITS = (128, 64, 32, 16, 8)
_DAY = timedelta(days=1)

T = TypeVar("T")
Kind = Equality | Prefix | Ngram | Buckets


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often the values of a column occur, in all of its rows or in some.

    Attributes:
        values: how often each value was seen, without null; they are in the clear, and not shown.
        nulls: how many rows without a value were seen.
        of_rows: how many rows the column has; more than were seen when it is a sample.
    """

    values: Mapping[object, int] = field(repr=False)
    nulls: int
    of_rows: int

    @property
    def seen(self) -> int:
        """How many rows were seen, with a value and without."""
        return sum(self.values.values()) + self.nulls

    @property
    def is_whole(self) -> bool:
        """Whether no row was left out."""
        return self.seen >= self.of_rows


@dataclass(frozen=True, slots=True)
class MeasuredIndex:
    """What one column of an index tells.

    Attributes:
        kind: ``equality``, ``prefix``, ``n-grams`` or ``buckets``.
        size: the length of a prefix, the size of an n-gram, the width of buckets, or nothing.
        transform: the name of the transform; of a prefix or n-gram the one that comes first.
        bits: of each hash.
        entries: how many different things are hashed: values, beginnings, n-grams or buckets.
        seen_once: the share of all occurrences whose entry was seen once. So large is the chance
            that one more row has an entry that was not seen yet (Good and Turing).
        collide_expected: how many different values look like another one, by calculation.
        collide_measured: the same, counted under a random key.
        rows_per_search: how many rows a search finds on average, wanted or not, among those seen.
        guessed: the share of rows whose entry is guessed right; for n-grams of the n-grams.
        guessed_at_most: an upper bound of it, for the whole column also when a sample was seen.
        in_reference: the share of rows whose entry the attacker has heard of; None when he knows
            the column itself.
        acknowledged: the reason in the code why few values are acceptable, or None.
    """

    kind: str
    size: str
    transform: str
    bits: int
    entries: int
    seen_once: float
    collide_expected: float
    collide_measured: int
    rows_per_search: float
    guessed: float
    guessed_at_most: float
    in_reference: float | None
    acknowledged: str | None

    @property
    def label(self) -> str:
        """The kind, and its size where it has one."""
        return f"{self.kind} {self.size}".strip()


@dataclass(frozen=True, slots=True)
class MeasuredColumn:
    """What was measured of one column; `judge_indexes` says what follows.

    Attributes:
        column: its name.
        declared: whether the indexes are those of a model; otherwise they are proposals.
        rows: how many values were seen.
        nulls: how many rows without one were seen.
        of_rows: how many rows the column has.
        distinct: how many different values were seen.
        min_entropy_bits: of the most frequent value; how hard it is to guess one at once.
        indexes: what each index would tell.
    """

    column: str
    declared: bool
    rows: int
    nulls: int
    of_rows: int
    distinct: int
    min_entropy_bits: float
    indexes: tuple[MeasuredIndex, ...]

    @property
    def is_whole(self) -> bool:
        """Whether no row of the column was left out."""
        return self.rows + self.nulls >= self.of_rows


def text_kinds(transform: Transform) -> tuple[Kind, ...]:
    """What is proposed for a column of text."""
    return (
        *(Equality(transform, bits=bits) for bits in _LENGTHS_BITS),
        Prefix(transform, lengths=(2, 3, 5, 8)),
        Ngram(transform),
    )


def kinds_for(values: Iterable[object], transform: Transform) -> tuple[Kind, ...]:
    """What is proposed for a column: all kinds that its values can have, in several lengths.

    Args:
        values: the different values, all of one type.
        transform: for text.

    Raises:
        UnsupportedTypeError: no index takes values of their type, or there are several types.
    """
    known = list(values)
    types = {type(value) for value in known}
    (kind,) = types if len(types) == 1 else ((None,) if types else (str,))
    equalities = tuple(Equality(exact, bits=bits) for bits in _LENGTHS_BITS)
    if kind is str:
        return text_kinds(transform)
    if kind in (int, Decimal):
        ranges = _ranges_of_numbers(known)
        return (*equalities, *ranges) if kind is int else ranges
    if kind is date:
        return (*equalities, *(Buckets(width=days * _DAY) for days in (7, 30, 365)))
    if kind is datetime:
        return tuple(Buckets(width=days * _DAY) for days in (1, 7, 30, 365))
    if kind in (bool, UUID, bytes):
        return equalities
    raise UnsupportedTypeError(
        "expected values of one type that an index takes (str, int, Decimal, date, datetime, "
        f"UUID, bytes or bool), found {', '.join(sorted(each.__name__ for each in types))}"
    )


def measure_column(  # noqa: PLR0913 - each is another fact
    column: str,
    seen: Distribution,
    kinds: Sequence[Kind],
    key: DataKey,
    *,
    declared: bool = False,
    reference: Mapping[object, int] | None = None,
) -> MeasuredColumn:
    """Measure what indexes of a column tell.

    Args:
        column: its name, for the report.
        seen: how often its values occur.
        kinds: the indexes.
        key: any index key; a random one.
        declared: whether the indexes are those of a model.
        reference: how often values occur in what the attacker knows; the column itself when None.

    Raises:
        UnsupportedValueError: an index does not accept a value.
    """
    rows = sum(seen.values.values())
    return MeasuredColumn(
        column=column,
        declared=declared,
        rows=rows,
        nulls=seen.nulls,
        of_rows=seen.of_rows,
        distinct=len(seen.values),
        min_entropy_bits=-math.log2(max(seen.values.values()) / rows) + 0.0 if rows else 0.0,
        indexes=tuple(
            _measure(kind, name, index, seen, reference, key)
            for kind in kinds
            for name, index in kind.columns("table", "field").items()
            if rows
        ),
    )


def sample(values: Iterable[T], most: int, random: Random) -> tuple[list[T], int]:
    """At most so many of the values, each with the same chance (Vitter's algorithm R).

    Args:
        values: read once, from the first to the last.
        most: how many to keep at most.
        random: where the chance comes from; it decides nothing that must be secret.

    Returns:
        those kept, and how many there were.
    """
    kept: list[T] = []
    number = 0
    for number, value in enumerate(values, 1):
        if number <= most:
            kept.append(value)
        else:
            place = random.randrange(number)
            if place < most:
                kept[place] = value
    return kept, number


def _ranges_of_numbers(values: Sequence[object]) -> tuple[Buckets, ...]:
    """Widths of a power of ten, from the largest that the values exceed downwards."""
    numbers = [value for value in values if isinstance(value, int | Decimal)]
    spread = Decimal(max(numbers)) - Decimal(min(numbers))
    if not spread.is_finite() or spread <= 0:
        return ()
    widths = [Decimal(10) ** (spread.adjusted() - step) for step in range(4)]
    if type(numbers[0]) is Decimal:
        return tuple(Buckets(width=width) for width in widths)
    return tuple(Buckets(width=int(width)) for width in widths if width > 1)


def _measure(  # noqa: PLR0913, PLR0917 - see measure_column
    kind: Kind,
    name: str,
    index: BlindIndex,
    seen: Distribution,
    reference: Mapping[object, int] | None,
    key: DataKey,
) -> MeasuredIndex:
    occurrences, holders = _entries(index, seen.values)
    indexer = index.indexer(key)
    hashes: dict[bytes, list[bytes]] = defaultdict(list)
    for entry in occurrences:
        hashes[bytes(indexer.compute_normalised(entry))].append(entry)
    found = {hashed: sum(occurrences[e] for e in alike) for hashed, alike in hashes.items()}
    total = sum(found.values()) or 1
    known = occurrences if reference is None else _entries(index, reference)[0]
    guessed = _guessed(hashes, found, occurrences, known) / total
    if seen.is_whole:
        at_most = _guessed({e: [e] for e in occurrences}, occurrences, occurrences, known) / total
    else:
        at_most = _at_most(occurrences.values(), seen.of_rows / seen.seen)
    best = sum(max(occurrences[entry] for entry in alike) for alike in hashes.values()) / total
    return MeasuredIndex(
        kind=_NAMES[type(kind)],
        size=_size(kind, name),
        transform=exact.name if isinstance(kind, Buckets) else kind.transform.name,
        bits=index.bits,
        entries=len(occurrences),
        seen_once=sum(1 for count in occurrences.values() if count == 1) / total,
        collide_expected=_expected(holders, index.bits),
        collide_measured=_alike(hashes, holders),
        rows_per_search=sum(count * count for count in found.values()) / total,
        guessed=guessed,
        guessed_at_most=max(guessed, min(at_most, best)),
        in_reference=None
        if reference is None
        else sum(count for entry, count in occurrences.items() if entry in known) / total,
        acknowledged=kind.acknowledged,
    )


def _entries(
    index: BlindIndex, values: Mapping[object, int]
) -> tuple[Counter[bytes], Counter[bytes]]:
    """For each entry of an index in how many rows it occurs, and of how many different values.

    What can look alike of n-grams are these themselves, so each counts as a value of its own.
    """
    occurrences: Counter[bytes] = Counter()
    if isinstance(index, NgramIndex):
        for value, count in values.items():
            for gram in ngrams(normalised_text(index.transform, value), index.size):
                occurrences[gram] += count
        return occurrences, Counter(occurrences.keys())
    holders: Counter[bytes] = Counter()
    for value, count in values.items():
        entry = index.transform(value)
        occurrences[entry] += count
        holders[entry] += 1
    return occurrences, holders


def _alike(hashes: Mapping[bytes, Sequence[bytes]], holders: Mapping[bytes, int]) -> int:
    """How many different values have the hash of another one."""
    counts = (sum(holders[entry] for entry in alike) for alike in hashes.values())
    return sum(count for count in counts if count > 1)


def _expected(holders: Mapping[bytes, int], bits: int) -> float:
    """How many values look like another: those of one entry, and those that the hash makes alike.

    A hash of *b* bits is alike for one of *n* other entries with probability 1 - (1 - 2^-b)^n.
    """
    alone = sum(1 for each in holders.values() if each == 1)
    chance = -math.expm1((len(holders) - 1) * math.log1p(-(2.0**-bits))) if holders else 0.0
    return sum(each for each in holders.values() if each > 1) + alone * chance


def _guessed(
    hashes: Mapping[bytes, Sequence[bytes]],
    found: Mapping[bytes, int],
    occurrences: Mapping[bytes, int],
    reference: Mapping[bytes, int],
) -> float:
    """How many occurrences are guessed right on average, by rank.

    A hash lies anywhere among the ranks of its frequency, and so does an entry of the reference;
    both lie on the same rank with the chance |common ranks| / (|ranks of one| * |of the other|).
    """
    seen, known = _ranks(found.values()), _ranks(reference.values())
    right = 0.0
    for hashed, alike in hashes.items():
        first, behind = seen[found[hashed]]
        for entry in alike:
            if entry not in reference:
                continue
            known_first, known_behind = known[reference[entry]]
            common = min(behind, known_behind) - max(first, known_first)
            if common > 0:
                chance = common / ((behind - first) * (known_behind - known_first))
                right += chance * occurrences[entry]
    return right


def _at_most(counts: Iterable[int], columns_per_sample: float) -> float:
    """The share that may be guessed in a column of which this is a sample.

    Of values that occur equally often one is guessed. A value that occurs more than *t* times in
    the column is hardly seen less than twice, so those seen once add at most 1 + 2 + … + t.
    """
    numbers = list(counts)
    total = sum(numbers)
    rarely = math.ceil(_HARDLY_SEEN_TWICE * columns_per_sample)
    of_rare = rarely * (rarely + 1) / 2 / (total * columns_per_sample or 1)
    return min(1.0, sum(n for n in numbers if n > 1) / (total or 1) + of_rare)


def _ranks(counts: Iterable[int]) -> dict[int, tuple[int, int]]:
    """For each frequency the first rank that has it, and the first behind."""
    ranks, place = {}, 0
    for count, how_many in sorted(Counter(counts).items(), reverse=True):
        ranks[count] = (place, place + how_many)
        place += how_many
    return ranks


_NAMES = {Equality: "equality", Prefix: "prefix", Ngram: "n-grams", Buckets: "buckets"}


def _size(kind: Kind, column: str) -> str:
    match kind:
        case Prefix():
            return column.rpartition("_")[2]
        case Ngram():
            return str(kind.size)
        case Buckets() if isinstance(kind.width, timedelta):
            days = kind.width / _DAY
            return f"{days:g} day{'' if days == 1 else 's'}"
        case Buckets() if kind.width is not None:
            return f"{kind.width:f}" if isinstance(kind.width, Decimal) else str(kind.width)
        case _:
            return ""
