"""Two sealed fields compared with each other: ``A.email == C.email`` compares their index columns.

Blind indexes are equal when values are, provided that both are made alike: of the same field, or
under the same shared name, by the same transform and of the same length. Each owner has index keys
of its own, so rows of two owners never match. A null value has no index, and matches nothing.

Specification: ``spec/blind-index.md``.

Example:
    >>> select(A, C).join(C, A.email == C.email)                     # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy import BinaryExpression, FunctionFilter, Join, inspect
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BooleanClauseList, Grouping

from assay.encryption.blind_index import FEWEST_BITS_FOR_EQUALITY, BlindIndex
from assay.encryption.sqlalchemy.errors import SealedOperatorError
from assay.encryption.sqlalchemy.model import SealedField, SealedModel

_Side = tuple[SealedField, Any]
"""A field, and the model or alias of which it is one."""


class EqualIndexes(BinaryExpression[bool]):
    """The comparison of two columns of blind indexes, which has no negation."""

    inherit_cache = True

    def _negate(self) -> NoReturn:
        _refuse_negation()


def equal_indexes(op: Any, left: _Side, right: _Side) -> EqualIndexes:
    """The criterion that two sealed fields have an equal value, in rows of one owner.

    Args:
        op: the operator between them.
        left: a field and its entity.
        right: another one, or the same of another alias.

    Raises:
        SealedOperatorError: no declared indexes can answer it.
    """
    if op is operators.ne:
        _refuse_negation()
    names = f"{_name_of(left)!r} and {_name_of(right)!r}"
    if op is not operators.eq:
        raise SealedOperatorError(
            f"expected == between the sealed fields {names}, found "
            f"{getattr(op, '__name__', op)!r}, which no blind indexes can answer; load the rows "
            "and do it there"
        )
    reason = _why_not(left, right)
    if reason is not None:
        raise SealedOperatorError(
            f"expected two sealed fields whose blind indexes are made alike, found {names}, "
            f"{reason}, or search one by in_ with the values that were read of the other"
        )
    here, there = (getattr(entity, str(field.equality_column)) for field, entity in (left, right))
    return EqualIndexes(here.__clause_element__(), there.__clause_element__(), operators.eq)


def refuse_joins_in_other_places(element: Any, *, holds: bool = False) -> None:
    """Refuse comparisons of sealed fields with each other of which more than equality is asked.

    A WHERE, HAVING or ON keeps rows for which they hold. Anywhere else, under NOT, in a CASE, as a
    value, rows count for which they do not hold, among them those of two owners with equal values.

    Args:
        element: a statement, or part of one.
        holds: whether only rows count for which the element holds.

    Raises:
        SealedOperatorError: there is one.
    """
    if type(element) is EqualIndexes and not holds:
        _refuse_negation()
    parts: set[int] = set()
    if isinstance(element, BooleanClauseList | Grouping):
        parts = {id(each) for each in element.get_children()} if holds else parts
    elif isinstance(element, FunctionFilter):
        parts = {id(element.criterion)}
    elif isinstance(element, Join):
        parts = {id(element.onclause)}
    elif hasattr(element, "_where_criteria"):
        kept = (*element._where_criteria, *getattr(element, "_having_criteria", ()))  # noqa: SLF001 - there is no other way to see them
        joined = [on for _, on, _, _ in getattr(element, "_setup_joins", ())]
        parts = {id(each) for each in (*kept, *joined)}
    for each in element.get_children():
        refuse_joins_in_other_places(each, holds=id(each) in parts)


def _why_not(left: _Side, right: _Side) -> str | None:
    """Why two fields cannot be compared, and what to declare; None when they can."""
    for field, entity in (left, right):
        if field.equality is None:
            return (
                f"of which {_name_of((field, entity))!r} has no index of equality; declare "
                'sealed(index=Equality(…, name="…")) for both, with one name and one transform'
            )
        if field.plaintext is not None:
            return (
                f"of which {_name_of((field, entity))!r} still stands in the clear, so that not "
                "every row has an index; end its transition (assay seal contract) first"
            )
    here, there = _index_of(left), _index_of(right)
    if (here.table, here.field) != (there.table, there.field):
        return (
            'whose indexes do not share a name; declare Equality(…, name="…") for both, with '
            "one name, and recompute the indexes (assay rekey --rotate-indexes)"
        )
    if here != there or left[0].kind is not right[0].kind:
        return "of different types, transforms or bits; declare both alike"
    if here.bits < FEWEST_BITS_FOR_EQUALITY:
        return (
            f"whose index of {here.bits} bits finds candidates; declare "
            f"{FEWEST_BITS_FOR_EQUALITY} bits or more"
        )
    return None


def _index_of(side: _Side) -> BlindIndex:
    field, entity = side
    model: SealedModel = inspect(entity).mapper.class_.__sealed__
    return model.indexes[field.name][str(field.equality_column)]


def _name_of(side: _Side) -> str:
    field, entity = side
    return f"{inspect(entity).mapper.class_.__name__}.{field.name}"


def _refuse_negation() -> NoReturn:
    raise SealedOperatorError(
        "expected sealed fields that are equal to be looked for, found those that differ, which "
        "blind indexes cannot tell of rows of two owners; keep the comparison out of NOT, CASE and "
        "values, and look for rows without an equal one: ~exists().where(A.field == C.field), or "
        "load the rows and do it there"
    )
