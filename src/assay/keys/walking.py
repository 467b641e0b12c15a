"""Going through a table of data keys: what is there, and what each owner has.

Example:
    >>> for versions in versions_by_owner(table):           # doctest: +SKIP
    ...     newest = versions[-1]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from assay.core import DataKeyTable, WrappedDataKey

_AT_A_TIME = 500


def present_keys(table: DataKeyTable) -> Iterator[WrappedDataKey]:
    """Every key, by owner, class and version; without those that were destroyed and came back."""
    rows = table.each()
    while some := list(islice(rows, _AT_A_TIME)):
        gone = table.destroyed_among([row.key_id for row in some])
        yield from (row for row in some if row.key_id not in gone)


def versions_by_owner(table: DataKeyTable) -> Iterator[Sequence[WrappedDataKey]]:
    """All versions of an owner's key of a class, oldest first, for each owner and class."""
    for _, rows in groupby(present_keys(table), key=lambda row: (row.owner, row.key_class)):
        yield sorted(rows, key=lambda row: row.version)
