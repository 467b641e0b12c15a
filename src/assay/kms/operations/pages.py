"""Lists in pages, as AWS gives them: Limit and Marker in, Truncated and NextMarker out.

Example:
    >>> paged("Keys", [("a", 1), ("b", 2)], Page(limit=1), 1000)
    {'Keys': [1], 'Truncated': True, 'NextMarker': 'a'}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from assay.kms.arguments import Arguments, checked_range, given
from assay.kms.errors import InvalidMarkerError


class Page(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of every list.

    Attributes:
        limit: how many at most.
        marker: the id after which to go on.
    """

    limit: int | UnsetType = UNSET
    marker: str | UnsetType = UNSET


def paged(name: str, entries: Sequence[tuple[str, Any]], page: Page, most: int) -> dict[str, Any]:
    """One page of a list.

    Args:
        name: of the list in the answer.
        entries: id and entry, sorted by id.
        page: which one.
        most: how many a caller may ask for; half of it, and at most 100, when they do not say.

    Raises:
        ValidationError: Limit is out of its range.
        InvalidMarkerError: the marker is no id.
    """
    limit = checked_range("Limit", given(page.limit, min(100, most)), 1, most)
    marker = given(page.marker, "")
    if marker and not 1 <= len(marker) <= 1024:
        raise InvalidMarkerError("expected a marker that a list gave, found another")
    rest = [entry for entry in entries if entry[0] > marker]
    shown = {name: [entry for _, entry in rest[:limit]], "Truncated": len(rest) > limit}
    if len(rest) > limit:
        shown["NextMarker"] = rest[limit - 1][0]
    return shown
