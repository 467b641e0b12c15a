"""Values for the index planner that are still in the clear: of a file, or of any other source.

Example:
    >>> values = values_of_file(Path("names.txt"), None)                         # doctest: +SKIP
    >>> source = PlainValues("names.txt", values, "text", "casefold")            # doctest: +SKIP
    >>> measure_plain_values(source, key, 10_000, Random())                      # doctest: +SKIP
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from types import MappingProxyType

from assay.core import WrongInputError
from assay.encryption.blind_index import casefold, digits, exact
from assay.encryption.index_planner import (
    Distribution,
    MeasuredColumn,
    kinds_for,
    measure_column,
    sample,
)
from assay.encryption.index_verdict import FEWEST_ROWS
from assay.keys import DataKey

_TRANSFORMS = {each.name: each for each in (exact, casefold, digits)}
_TYPES: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        "text": str,
        "int": int,
        "decimal": Decimal,
        "date": date.fromisoformat,
        "datetime": datetime.fromisoformat,
    }
)


@dataclass(frozen=True, slots=True)
class PlainValues:
    """Values in the clear, and how they are to be indexed.

    Attributes:
        column: their name, for the report.
        values: read once; None where a row has none.
        kind: what text stands for, as the field would be declared: ``text``, ``int``, ``decimal``,
            ``date`` or ``datetime``. Values that are no text keep their type.
        transform: the name of a transform of text.
        reference: what the attacker knows; the column itself when None.
    """

    column: str
    values: Iterable[object] = field(repr=False)
    kind: str = "text"
    transform: str = "casefold"
    reference: Iterable[object] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse names that name nothing.

        Raises:
            WrongInputError: there is no such type or transform.
        """
        for what, found, known in (
            ("type", self.kind, _TYPES),
            ("transform", self.transform, _TRANSFORMS),
        ):
            if found not in known:
                raise WrongInputError(f"expected a {what} ({', '.join(known)}), found {found!r}")


def values_of_file(path: Path, column: str | None) -> Iterator[str | None]:
    """The values of a file; empty ones are null.

    Args:
        path: the file, UTF-8.
        column: the heading of a column of a CSV file; None for one value a line.

    Raises:
        WrongInputError: the file has no such column, or is neither UTF-8 nor CSV.
        OSError: it cannot be read.
    """
    reason = "other bytes"
    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            if column is None:
                yield from (line.rstrip("\r\n") or None for line in lines)
                return
            table = csv.DictReader(lines, strict=True)
            if column in (table.fieldnames or ()):
                yield from (_cell(row, column) for row in table)
                return
            reason = "no column of this name"
        except UnicodeDecodeError:
            pass  # the error holds the bytes, so it is not chained
        except csv.Error:
            reason = "lines that are no CSV"
    wanted = "UTF-8 with one value a line" if column is None else f"CSV in UTF-8 with {column!r}"
    raise WrongInputError(f"expected {wanted} in {path}, found {reason}")


def _cell(row: Mapping[str | None, object], column: str) -> str | None:
    if None in row or None in row.values():  # as DictReader marks a line of another length
        raise csv.Error
    return str(row[column]) or None


def measure_plain_values(
    source: PlainValues, key: DataKey, most: int, random: Random
) -> MeasuredColumn:
    """Measure what the usual indexes of a column would tell.

    Args:
        source: the values.
        key: any index key; a random one.
        most: how many rows are measured at most, chosen by chance.
        random: the chance.

    Raises:
        WrongInputError: a text is not of the type that was named, or the reference is too small to
            say what an attacker knows.
        UnsupportedTypeError: the values are of a type that has no index, or of several.
    """
    rows, of_rows = sample(_typed(source.values, source.kind), most, random)
    counted = Counter(rows)
    nulls = counted.pop(None, 0)
    kinds = kinds_for(counted, _TRANSFORMS[source.transform])
    seen = Distribution(counted, nulls, of_rows)
    return measure_column(source.column, seen, kinds, key, reference=_reference(source))


def _reference(source: PlainValues) -> Counter[object] | None:
    if source.reference is None:
        return None
    known = Counter(_typed(source.reference, source.kind))
    known.pop(None, None)
    if known.total() < FEWEST_ROWS:
        raise WrongInputError(
            f"expected a reference of at least {FEWEST_ROWS} values, as often as they occur, found "
            f"{known.total()}, which say little of what an attacker knows"
        )
    return known


def _typed(values: Iterable[object], kind: str) -> Iterator[object]:
    convert = _TYPES[kind]
    for number, value in enumerate(values, 1):
        if type(value) is not str or kind == "text":
            yield value
            continue
        try:
            converted = convert(value)
        except (ValueError, ArithmeticError):
            pass  # the error quotes the value, so it is not chained
        else:
            yield converted
            continue
        raise WrongInputError(f"expected a value of type {kind}, found another one at {number}")
