"""Searches whose index finds candidates: the rows are opened and compared before they are given.

Specification: ``spec/blind-index.md``, "Searching".

Example:
    >>> matching(Customer.objects.filter(name__startswith="Ad"))         # doctest: +SKIP
    [<Customer: …>]
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from assay.encryption.concealment import concealed
from assay.encryption.django.errors import ApproximateSearchError
from assay.encryption.django.lookups import MATCHING, SealedLookup, conjuncts


@concealed
def matching(queryset: Any, *, limit: int | None = None) -> list[Any]:
    """The instances that a queryset really means, in its order.

    The database finds candidates through the indexes; each is opened, and kept when its values are
    what the queryset compares them with. A prefix, an n-gram, a range, and an equality of fewer
    than 64 bits are answered in this way only.

    Args:
        queryset: of a sealed model; its comparisons of sealed fields with candidates are those of
            ``filter``, of this model itself, joined by AND.
        limit: how many instances at most; the queryset itself must not be sliced.

    Raises:
        ApproximateSearchError: the queryset has another form.
        EnvelopeError: the envelope of a candidate does not open.
        MappingError: see its leaves.
        assay.keys.KeysError: a key is not to be had.
    """
    query = queryset.query
    if (
        query.is_sliced
        or query.distinct
        or query.combinator
        or query.group_by is not None
        or queryset._fields is not None
    ):
        raise ApproximateSearchError(
            "expected a queryset of instances for matching, without slices, distinct(), values(), "
            "annotations that group, and union(), which would count candidates, found one with; "
            "use matching(…, limit=…)"
        )
    compared = [each for each in _approximate(query.where) if each.search.accepts is not None]
    beside = {id(each) for each in conjuncts(query.where)}
    for each in compared:
        if id(each) not in beside or each.lhs.alias != query.get_initial_alias():
            raise ApproximateSearchError(
                f"expected the comparison of {each.lhs.target.name!r} in filter(), of the model "
                "itself and joined by AND, found it elsewhere"
            )
    candidates = queryset._chain()
    setattr(candidates.query, MATCHING, frozenset(map(id, compared)))
    # iterator() would need a size of chunks to prefetch.
    prefetches = bool(queryset._prefetch_related_lookups)
    rows = candidates if prefetches else candidates.iterator()
    wanted: Iterator[Any] = (row for row in rows if _is_meant(row, compared))
    return list(islice(wanted, limit))


def _is_meant(row: Any, compared: list[SealedLookup]) -> bool:
    return all(
        each.search.accepts is None or each.search.accepts(getattr(row, each.lhs.target.name))
        for each in compared
    )


def _approximate(where: Any) -> Iterator[SealedLookup]:
    for child in where.children:
        if isinstance(child, SealedLookup):
            yield child
        elif hasattr(child, "children"):
            yield from _approximate(child)
