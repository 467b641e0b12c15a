"""A blind index of the range in which a number or a moment lies.

Specification: ``spec/blind-index.md``, "Buckets".

Example:
    >>> Buckets(boundaries=(10, 100)).number(5), Buckets(width=10).number(-1)
    (0, -1)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from assay.encryption.blind_index import BlindIndex, Transform
from assay.encryption.errors import BlindIndexError, UnsupportedValueError
from assay.encryption.index_kinds import Search

DEFAULT_BUCKET_BITS = 32
MOST_BUCKETS = 1000
"""How many buckets one search looks for at most."""

_KINDS = (int, Decimal, date, datetime)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - for moments without a zone; UTC for the others
_DAY = timedelta(days=1)

_IS_WANTED: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": lambda value, wanted: value < wanted[0],
    "le": lambda value, wanted: value <= wanted[0],
    "gt": lambda value, wanted: value > wanted[0],
    "ge": lambda value, wanted: value >= wanted[0],
    "between": lambda value, wanted: wanted[0] <= value <= wanted[1],
}


@dataclass(frozen=True, slots=True)
class Buckets:
    """A blind index by which rows in a range are found: ``<``, ``<=``, ``>``, ``>=``, ``between``.

    A search looks for all buckets that the range touches; ``matching`` opens the rows that are
    found and compares them. Rows cannot be sorted by it.

    What it tells whoever reads the table: which rows of one owner lie in the same bucket, and how
    many lie in each. Where it is known how many there are (ages, dates, salaries), that tells which
    bucket is which, and so the value as exactly as the bucket is narrow. The hashes do not tell the
    order of the buckets, but a search does to whoever sees its statement: it names neighbours
    together. Few and wide buckets tell less. See ``spec/blind-index.md``.

    Attributes:
        boundaries: where one bucket ends and the next begins, which holds the boundary itself; all
            of the type of the field.
        width: instead of boundaries, how wide each bucket is: a whole number for int, a Decimal for
            Decimal, a timedelta for date (whole days) and datetime. A search then needs both ends
            of the range, and at most 1000 buckets between them.
        bits: how much of each hash is kept.
        acknowledged: as in `Equality`.

    Raises:
        BlindIndexError: it cannot be declared like this.
    """

    boundaries: tuple[Any, ...] = ()
    width: int | Decimal | timedelta | None = None
    bits: int = DEFAULT_BUCKET_BITS
    acknowledged: str | None = None

    def __post_init__(self) -> None:
        """Refuse boundaries or a width that make no buckets."""
        boundaries = tuple(self.boundaries)
        object.__setattr__(self, "boundaries", boundaries)
        if bool(boundaries) == (self.width is not None):
            raise BlindIndexError("expected boundaries or a width for buckets, found both or none")
        if len(boundaries) >= MOST_BUCKETS:
            raise BlindIndexError(
                f"expected fewer than {MOST_BUCKETS} boundaries, found {len(boundaries)}"
            )
        width_kind = type(self.width)
        if self.width is not None and (
            width_kind not in (int, Decimal, timedelta) or not self.width > type(self.width)(0)  # type: ignore[operator]  # the same type on both sides
        ):
            raise BlindIndexError(
                "expected a width above zero as int, Decimal or timedelta, found "
                f"{width_kind.__name__}"
            )
        if boundaries:
            plain = [_plain(each) for each in boundaries]
            if len({type(each) for each in boundaries}) > 1 or any(
                not a < b for a, b in pairwise(plain)
            ):
                raise BlindIndexError("expected boundaries of one type, each above the one before")

    def refusal_of(self, kind: type) -> str | None:
        """Why a field of this type cannot have the index, or None when it can."""
        if kind not in _KINDS:
            return f"expected an int, Decimal, date or datetime for buckets, found {kind.__name__}"
        if self.boundaries:
            if all(type(each) is kind for each in self.boundaries):
                return None
            return f"expected boundaries of type {kind.__name__}, as the field has"
        expected = {int: int, Decimal: Decimal}.get(kind, timedelta)
        if type(self.width) is not expected:
            return f"expected a width of type {expected.__name__} for {kind.__name__}"
        if kind is date and isinstance(self.width, timedelta) and self.width % _DAY:
            return "expected a width of whole days for date"
        return None

    def number(self, value: object) -> int:
        """The bucket of a value.

        Raises:
            UnsupportedValueError: a value that is in no bucket, or not comparable with the
                boundaries.
        """
        plain = _plain(value)
        try:
            if self.boundaries:
                return bisect_right([_plain(each) for each in self.boundaries], plain)
            return int(_distance(plain) // _step(self.width))
        except TypeError:
            pass
        raise UnsupportedValueError(
            "expected a value that can be compared with the boundaries of its buckets, found one "
            "of another type, or a moment of which one has a zone and the other has none"
        )

    def columns(self, table: str, field: str) -> Mapping[str, BlindIndex]:
        """The index of the column that the field gets: ``<field>_bucket``."""
        return {f"{field}_bucket": BlindIndex(table, field, self._transform(), self.bits)}

    def search(self, field: str, operation: str, operands: tuple[object, ...]) -> Search | None:
        """What to look for, or None when this kind cannot answer the operation.

        Args:
            field: the name of the field.
            operation: ``lt``, ``le``, ``gt``, ``ge`` or ``between``.
            operands: one value, or the lowest and the highest.

        Raises:
            UnsupportedValueError: a value that is in no bucket.
            BlindIndexError: the range has too many buckets, or an end that is open.
        """
        is_wanted = _IS_WANTED.get(operation)
        if is_wanted is None:
            return None
        numbers = [self.number(value) for value in operands]
        if operation == "between":
            lowest, highest = numbers
        elif self.boundaries:
            below = operation in ("lt", "le")
            lowest, highest = (0, numbers[0]) if below else (numbers[0], len(self.boundaries))
        else:
            raise BlindIndexError(
                f"expected both ends of a range of {field!r}, whose buckets have a width and go on "
                "for ever, found one; use between(lowest, highest), or declare boundaries"
            )
        if highest - lowest >= MOST_BUCKETS:
            raise BlindIndexError(
                f"expected a range of at most {MOST_BUCKETS} buckets of {field!r}, found "
                f"{highest - lowest + 1}; search for a smaller one, or declare wider buckets"
            )
        wanted = tuple(_plain(value) for value in operands)

        def accepts(value: object) -> bool:
            if value is None:
                return False
            try:
                return is_wanted(_plain(value), wanted)
            except TypeError:
                pass
            raise UnsupportedValueError(
                f"expected moments in {field!r} that can be compared with those of the range, "
                "found one with a zone, or without, unlike them"
            )

        terms = tuple(str(number).encode() for number in range(lowest, highest + 1))
        return Search(f"{field}_bucket", terms, accepts)

    def _transform(self) -> Transform:
        if self.boundaries:
            scheme = "boundaries/" + ",".join(_text(each) for each in self.boundaries)
        else:
            scheme = "width/" + _text(self.width)
        return Transform(
            f"buckets/{scheme}", _KINDS, lambda value: str(self.number(value)).encode()
        )


def _plain(value: object) -> Any:
    """A value as it is compared: numbers as fractions, moments with a zone in UTC."""
    match value:
        case datetime():
            return value.astimezone(UTC) if value.tzinfo is not None else value
        case date():
            return value
        case bool():
            pass
        case int():
            return Fraction(value)
        case Decimal() if value.is_finite():
            return Fraction(value)
    raise UnsupportedValueError(
        f"expected a finite int or Decimal, a date or a datetime for buckets, found "
        f"{type(value).__name__}"
    )


def _distance(plain: Any) -> Any:
    """How far a value is from zero, from the first of January 1970, or from the year 1."""
    if isinstance(plain, datetime):
        return plain - (_EPOCH if plain.tzinfo is None else _EPOCH.replace(tzinfo=UTC))
    return timedelta(days=plain.toordinal()) if isinstance(plain, date) else plain


def _step(width: int | Decimal | timedelta | None) -> Any:
    return width if isinstance(width, timedelta) else Fraction(width or 0)


def _text(value: object) -> str:
    """A boundary or width as it stands in the name of the transform."""
    if isinstance(value, timedelta):
        return f"{value // timedelta(microseconds=1)}us"
    plain = _plain(value)
    return str(plain) if isinstance(plain, Fraction) else str(plain.isoformat())
