"""The kinds of blind index that can be declared for a sealed field, and what each tells.

Specification: ``spec/blind-index.md``.

Example:
    >>> Equality(casefold).columns("documents", "owner_email")   # doctest: +SKIP
    {'owner_email_index': BlindIndex('documents', 'owner_email', casefold, 128)}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from assay.encryption.blind_index import (
    DEFAULT_BITS,
    FEWEST_BITS_FOR_EQUALITY,
    BlindIndex,
    Transform,
)
from assay.encryption.errors import BlindIndexError

FEWEST_BITS_FOR_UNIQUENESS = 128
"""With fewer bits two different values could be refused as one."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for in which column, so that no row that is wanted is missed.

    Attributes:
        column: the column of the index.
        terms: normalised values, of which the index of one is looked for.
        accepts: whether a value is really wanted; None when every row that is found is.
        every: all terms must stand in the index, which holds many, and not only one of them.
    """

    column: str
    terms: tuple[bytes, ...]
    accepts: Callable[[object], bool] | None = None
    every: bool = False


@dataclass(frozen=True, slots=True)
class Equality:
    """A blind index by which rows with an equal value are found: ``==``, ``!=``, ``in_``, joins.

    What it tells whoever reads the table: which rows of one owner have an equal value, and which
    have none. With few different values, or well-known frequencies, that gives the values away:
    never index a truth value, a country or a status. See ``spec/blind-index.md``.

    Attributes:
        transform: which values are equal: `exact`, `casefold`, `digits`, or one of your own.
        bits: how much of the hash is kept. With fewer than 64, what a statement finds are
            candidates, which only ``matching`` compares; they tell less.
        name: the name of an index that fields of several tables share, so that they can be joined
            on equal values of one owner. It tells, too, which rows of these tables have an equal
            value. Each field under the name has the same transform and bits.
        unique: two rows of one owner may not have an equal value; needs 128 bits or more.
        acknowledged: why it is acceptable to index a field with few different values, whose
            frequencies give them away. Without it an index of a bool or an Enum is refused, and
            ``assay index plan`` refuses one of a column in which it measures few values.

    Raises:
        BlindIndexError: it cannot be declared like this.
    """

    transform: Transform
    bits: int = DEFAULT_BITS
    name: str | None = None
    unique: bool = False
    acknowledged: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not keep its word."""
        if self.unique and self.bits < FEWEST_BITS_FOR_UNIQUENESS:
            raise BlindIndexError(
                f"expected {FEWEST_BITS_FOR_UNIQUENESS} bits or more for a unique index, found "
                f"{self.bits}, of which two different values may have the same"
            )
        if self.name is not None and (not self.name or self.bits < FEWEST_BITS_FOR_EQUALITY):
            raise BlindIndexError(
                f"expected a name and {FEWEST_BITS_FOR_EQUALITY} bits or more for an index that "
                f"tables share, found {self.name!r} and {self.bits} bits"
            )
        if self.acknowledged is not None and not self.acknowledged.strip():
            raise BlindIndexError(
                "expected the reason why an index of few values is acceptable, found none; write "
                "it into acknowledged=…"
            )

    @property
    def is_exact(self) -> bool:
        """Whether what a statement finds by it is equal, and not only a candidate."""
        return self.bits >= FEWEST_BITS_FOR_EQUALITY

    def refusal_of(self, kind: type) -> str | None:
        """Why a field of this type cannot have the index, or None when it can."""
        if not self.transform.takes(kind):
            return (
                f"expected a type that the transform {self.transform.name!r} accepts, found "
                f"{kind.__name__}; choose another transform"
            )
        if (kind is bool or issubclass(kind, Enum)) and self.acknowledged is None:
            return (
                f"expected a type with many values, found {kind.__name__}: how often each of its "
                "few values occurs tells which is which; leave the index out, or say in "
                'acknowledged="…" why that is acceptable'
            )
        return None

    def columns(self, table: str, field: str) -> Mapping[str, BlindIndex]:
        """The index of each column that the field gets.

        Args:
            table: the stable name of the table.
            field: the name of the field.
        """
        place = (table, field) if self.name is None else ("", self.name)
        return {f"{field}_index": BlindIndex(*place, self.transform, self.bits)}

    def search(self, field: str, operation: str, operands: tuple[object, ...]) -> Search | None:
        """What to look for, or None when this kind cannot answer the operation.

        Args:
            field: the name of the field.
            operation: ``eq`` or ``in``.
            operands: the values that are wanted.

        Raises:
            UnsupportedValueError: a value of a type that the transform does not accept.
        """
        if operation not in ("eq", "in"):
            return None
        wanted = tuple(dict.fromkeys(self.transform(value) for value in operands))
        accepts = None
        if not self.is_exact:
            transform = self.transform

            def accepts(value: object) -> bool:
                return value is not None and transform(value) in wanted

        return Search(f"{field}_index", wanted, accepts)


DEFAULT_PREFIX_BITS = 32


@dataclass(frozen=True, slots=True)
class Prefix:
    """A blind index by which rows whose text begins in a certain way are found: ``startswith``.

    A search finds candidates by the longest of the lengths that is not longer than what is looked
    for; ``matching`` opens and compares them. Beginnings that are shorter than all lengths cannot
    be searched for.

    What it tells whoever reads the table: which rows of one owner begin with the same characters,
    for each of the lengths, and how often each beginning occurs. Short beginnings of names and
    words have well-known frequencies, so this tells much more than an index of equality: few and
    long lengths tell less. Rows that share a longer beginning also share the shorter ones, so the
    columns together give a tree. See ``spec/blind-index.md``.

    Attributes:
        transform: how the text is normalised before its beginning is taken.
        lengths: of how many characters of the normalised text a beginning is indexed; one column
            for each.
        bits: how much of each hash is kept; fewer tell less and find more candidates.
        acknowledged: as in `Equality`.

    Raises:
        BlindIndexError: it cannot be declared like this.
    """

    transform: Transform
    lengths: tuple[int, ...]
    bits: int = DEFAULT_PREFIX_BITS
    acknowledged: str | None = None

    def __post_init__(self) -> None:
        """Refuse lengths that make no beginning."""
        lengths = tuple(self.lengths)
        if not lengths or any(type(n) is not int or n < 1 for n in lengths):
            raise BlindIndexError(
                f"expected one or more lengths of at least 1 character, found {lengths!r}; write "
                "for example lengths=(3, 5)"
            )
        object.__setattr__(self, "lengths", tuple(sorted(set(lengths))))

    def refusal_of(self, kind: type) -> str | None:
        """Why a field of this type cannot have the index, or None when it can."""
        return refusal_of_text(self.transform, kind)

    def columns(self, table: str, field: str) -> Mapping[str, BlindIndex]:
        """The index of each column that the field gets: ``<field>_prefix_<length>``."""
        return {
            self._column(field, n): BlindIndex(
                table, field, prefix_of(self.transform, n), self.bits
            )
            for n in self.lengths
        }

    def search(self, field: str, operation: str, operands: tuple[object, ...]) -> Search | None:
        """What to look for, or None when this kind cannot answer the operation.

        Args:
            field: the name of the field.
            operation: ``startswith``.
            operands: the one beginning that is wanted.

        Raises:
            UnsupportedValueError: a value of a type that the transform does not accept.
            BlindIndexError: the beginning is shorter than all lengths.
        """
        if operation != "startswith":
            return None
        transform = self.transform
        wanted = normalised_text(transform, operands[0])
        fitting = [length for length in self.lengths if length <= len(wanted)]
        if not fitting:
            raise BlindIndexError(
                f"expected a beginning of at least {self.lengths[0]} characters to look for in "
                f"{field!r}, found a shorter one"
            )
        term = wanted[: fitting[-1]].encode()

        def accepts(value: object) -> bool:
            return value is not None and normalised_text(transform, value).startswith(wanted)

        return Search(self._column(field, fitting[-1]), (term,), accepts)

    @staticmethod
    def _column(field: str, length: int) -> str:
        return f"{field}_prefix_{length}"


def prefix_of(transform: Transform, length: int) -> Transform:
    """The first characters of a normalised text, as a transform of its own."""

    def normalise(value: object) -> bytes:
        return normalised_text(transform, value)[:length].encode()

    return Transform(f"prefix/{length}/{transform.name}", (str,), normalise)


def normalised_text(transform: Transform, value: object) -> str:
    """A normalised text as characters.

    Raises:
        UnsupportedValueError: the transform does not accept the value.
        BlindIndexError: the transform makes something else than text of it.
    """
    try:
        return transform(value).decode()
    except UnicodeDecodeError:
        pass
    raise BlindIndexError(
        f"expected a transform that makes text of text, found {transform.name!r}, which does not"
    )


def refusal_of_text(transform: Transform, kind: type) -> str | None:
    """Why a field of this type cannot have an index of parts of its text, or None when it can."""
    if kind is str and transform.takes(str):
        return None
    return (
        f"expected text for an index of its parts, found {kind.__name__} and the transform "
        f"{transform.name!r}; declare the field as Mapped[str]"
    )
