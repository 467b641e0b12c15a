"""Searches whose index finds candidates: the rows are opened and compared before they are given.

Specification: ``spec/blind-index.md``, "Searching".

Example:
    >>> statement = select(Document).where(Document.title.startswith("repor"))   # doctest: +SKIP
    >>> matching(session, statement)                                             # doctest: +SKIP
    [<Document …>]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import Select, inspect
from sqlalchemy.orm import Session

from assay.encryption.concealment import concealed
from assay.encryption.sqlalchemy.columns import envelope_of
from assay.encryption.sqlalchemy.errors import ApproximateSearchError
from assay.encryption.sqlalchemy.expressions import BlindCriterion
from assay.encryption.sqlalchemy.model import envelope_column
from assay.encryption.sqlalchemy.searching import conjuncts, criteria_of

_OPTION = "assay_matching"
_COMPARED = object()
"""Only `matching` has it: the option says that candidates will be compared."""


@concealed
def matching(session: Session, statement: Select[Any], *, limit: int | None = None) -> list[Any]:
    """The instances that a statement really means, in its order.

    The database finds candidates through the indexes; each is opened, and kept when its values are
    what the statement compares them with. A prefix, an n-gram, a range, and an equality of fewer
    than 64 bits are answered in this way only.

    With an `AsyncSession`: ``await session.run_sync(matching, statement)``.

    Args:
        session: has a keyring, see `bind`.
        statement: a SELECT of one sealed model or an alias of it, whose comparisons of sealed
            fields with candidates stand in its WHERE, joined by AND.
        limit: how many instances at most; the statement itself must have none, because it would
            count candidates.

    Raises:
        ApproximateSearchError: the statement has another form, so that the candidates could not
            be told from what is meant.
        EnvelopeError: the envelope of a candidate does not open.
        MappingError: see its leaves.
        assay.keys.KeysError: a key is not to be had.
    """
    compared = _compared(statement)
    columns = _compared_columns(compared)
    found = session.execute(
        statement.add_columns(*columns.values()).execution_options(**{_OPTION: _COMPARED})
    ).unique()
    wanted: Iterator[Any] = (
        instance
        for instance, *stored in found
        if _is_meant(_as_stored(instance, dict(zip(columns, stored, strict=True))), compared)
    )
    return list(islice(wanted, limit))


def is_matching(options: Mapping[str, Any]) -> bool:
    """Whether what a statement finds is compared by `matching`."""
    return options.get(_OPTION) is _COMPARED


def _compared_columns(compared: list[BlindCriterion]) -> dict[str, Any]:
    """What says whether a field is as it was when the database found its row."""
    names = {
        name: each.entity
        for each in compared
        for name in (
            envelope_column(each.field.group),
            *([each.field.plaintext_attribute] if each.field.plaintext else ()),
        )
    }
    return {name: getattr(entity, name) for name, entity in names.items()}


def _as_stored(instance: Any, stored: Mapping[str, object]) -> Any:
    """An instance whose compared fields are those by which its row was found.

    A session keeps what it has loaded, also when the row has changed since; then the old value
    would be compared, and a row that is meant be missed. What is assigned and not flushed is kept.
    """
    state: Any = inspect(instance)
    held = state.dict
    if any(
        name in held and name not in state.committed_state and _bytes(held[name]) != value
        for name, value in stored.items()
    ):
        for group in instance.__sealed__.groups.values():
            names = [group.column, *(f.plaintext_attribute for f in group.fields if f.plaintext)]
            names += [group.version_column] if group.versioned else []
            if not state.committed_state.keys() & set(names):
                state.session.expire(instance, names)
    return instance


def _bytes(value: object) -> object:
    return value if (envelope := envelope_of(value)) is None else envelope


def _is_meant(instance: Any, compared: list[BlindCriterion]) -> bool:
    for each in compared:
        accepts = each.search.accepts
        if accepts is not None and not accepts(getattr(instance, each.field.name)):
            return False
    return True


def _compared(statement: Select[Any]) -> list[BlindCriterion]:
    """The comparisons with candidates, all of them of the one entity that is selected."""
    approximate = [each for each in criteria_of(statement) if each.search.accepts is not None]
    selected = [each["entity"] for each in statement.column_descriptions]
    is_whole = [each["expr"] is each["entity"] for each in statement.column_descriptions]
    if selected != selected[:1] or is_whole != [True]:
        raise _another_form("one sealed model", "a SELECT of something else, or of more")
    beside = {id(each) for each in conjuncts(statement)}
    for each in approximate:
        if id(each) not in beside or each.entity is not selected[0]:
            raise _another_form(
                f"the comparison of {each.field.name!r} in the statement's own WHERE, joined to "
                "the rest by AND, and of the model that is selected",
                "it elsewhere",
            )
    limits = (statement._limit_clause, statement._offset_clause, statement._fetch_clause)  # noqa: SLF001 - there is no other way to see them
    if any(each is not None for each in limits):
        raise _another_form(
            "a statement without LIMIT, OFFSET and FETCH, which would count candidates",
            "one; use matching(..., limit=…)",
        )
    if statement._group_by_clauses or statement._distinct:  # noqa: SLF001 - as above
        raise _another_form("a statement without GROUP BY and DISTINCT", "one")
    return approximate


def _another_form(expected: str, found: str) -> ApproximateSearchError:
    return ApproximateSearchError(f"expected {expected} for matching, found {found}")
