"""Comparisons of sealed fields in a statement, replaced by blind indexes.

Specification: ``spec/blind-index.md``, "Searching".

Example:
    >>> resolve(statement, keys, {}, lambda: "sqlite")              # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, false, or_, true
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BooleanClauseList,
    _textual_label_reference,
)

from assay.core import DataKeyClass
from assay.encryption.blind_index import BlindIndexValue
from assay.encryption.ngram_index import HEADER_BYTES
from assay.encryption.sqlalchemy.columns import has_all_ngrams
from assay.encryption.sqlalchemy.errors import (
    ApproximateSearchError,
    SealedExpressionError,
    TooManyOwnersError,
)
from assay.encryption.sqlalchemy.expressions import BlindCriterion
from assay.encryption.sqlalchemy.joining import EqualIndexes
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.encryption.sqlalchemy.transition import with_unsealed_rows

MOST_OWNERS = 1000
"""Among how many owners a search tries all, when its statement does not say whose rows it means."""

_NO_MODEL = SimpleNamespace(fields=())
_FIRST_NAME = re.compile(r"(?:\w+\.)?(\w+)")
_NO_VALUE = BlindIndexValue()
"""What no row has, and what null is not known to be equal to or to differ from."""
_WITHOUT_CRITERIA = frozenset({"table", "column", "bindparam"})

_Known = Mapping[tuple[object, str], Sequence[str]]
"""For the owner attribute of an entity, the owners that can be meant."""


def criteria_of(statement: Any, joins: list[EqualIndexes] | None = None) -> list[BlindCriterion]:
    """The comparisons of sealed fields in a statement that were not resolved yet.

    Args:
        statement: any statement, or part of one.
        joins: gets its comparisons of sealed fields with each other.
    """
    found, waiting = [], [statement]
    while waiting:
        each = waiting.pop()
        if type(each) is BlindCriterion:
            found.append(each)
        elif type(each) is EqualIndexes:
            if joins is not None:
                joins.append(each)
        elif each.__visit_name__ not in _WITHOUT_CRITERIA:
            waiting.extend(each.get_children())
    return found


def refuse_approximate(criteria: Sequence[BlindCriterion]) -> None:
    """Refuse comparisons whose index finds candidates.

    Raises:
        ApproximateSearchError: there is one.
    """
    for each in criteria:
        if each.search.accepts is not None:
            raise ApproximateSearchError(
                f"expected somebody to open and compare the rows that the index of "
                f"{each.field.name!r} finds, among which are others than wanted, found a "
                "statement that would return them all; run it with "
                "assay.encryption.sqlalchemy.matching(session, select(Model).where(...))"
            )


def refuse_fields_by_name(execution: ORMExecuteState) -> None:
    """Refuse a statement that is sorted or grouped by the name of a sealed field, as text.

    Raises:
        SealedExpressionError: it is, and no column of it has that name.
    """
    statement: Any = execution.statement
    clauses = [
        clause
        for name in ("_order_by_clauses", "_group_by_clauses", "_distinct_on")
        for clause in getattr(statement, name, ())
    ]
    for each in (element for clause in clauses for element in visitors.iterate(clause)):
        if type(each) is not _textual_label_reference:
            continue
        found = _FIRST_NAME.match(each.element)
        name = "" if found is None else found[1]
        models = (
            getattr(m, "class_", None) for m in (execution.bind_mapper, *execution.all_mappers)
        )
        if not any(name in getattr(model, "__sealed__", _NO_MODEL).fields for model in models):
            continue
        if name not in {column.key for column in statement.selected_columns}:
            raise SealedExpressionError(
                f"expected a statement that is sorted and grouped by columns, found the name of "
                f"the sealed field {name!r}, which the database cannot read; load the rows and "
                "sort these"
            )


def conjuncts(element: Any) -> Iterator[Any]:
    """The parts of an element that all hold for what comes through it."""
    if isinstance(element, BooleanClauseList):
        parts = element.clauses if element.operator is operators.and_ else ()
    else:
        parts = getattr(element, "_where_criteria", ())
    for part in parts:
        yield part
        if isinstance(part, BooleanClauseList):
            yield from conjuncts(part)


def resolve(
    statement: Any, keys: SessionKeys, parameters: object, dialect: Callable[[], str]
) -> Any:
    """The statement with every comparison of a sealed field replaced by one of blind indexes.

    A comparison beside one of the owner is searched under this owner's key. Otherwise all owners
    who have an index key are tried.

    Args:
        statement: a SELECT, UPDATE or DELETE.
        keys: have the index keys.
        parameters: what was passed beside the statement.
        dialect: gives the name of the database's dialect, for indexes that need it.

    Raises:
        TooManyOwnersError: there are more than 1000 owners to try.
        assay.keys.KeysError: a key is not to be had.
    """
    given = parameters if isinstance(parameters, Mapping) else {}
    owners = dict(_owners_by_criterion(statement, {}, given))

    def replace(element: Any) -> Any:
        if type(element) is not BlindCriterion:
            return None
        meant = owners.get(id(element))
        return _blind(
            element, keys, _all_owners(element, keys) if meant is None else meant, dialect
        )

    return _replaced(statement, replace)


def _replaced(statement: Any, replace: Callable[[Any], Any]) -> Any:
    """A copy of a statement in which elements are replaced, wherever they stand.

    As `sqlalchemy.sql.visitors.replacement_traverse`, but also in what is marked as not to be
    changed when an alias takes the place of an entity: the criteria of ``any`` and ``has``.
    """
    copied: dict[int, Any] = {}
    alive: list[Any] = []  # an id is that of one element only as long as this lives

    def copy(element: Any, **options: Any) -> Any:
        known = copied.get(id(element))
        if known is not None:
            return known
        found = replace(element)
        if found is not None:
            copied[id(found)] = found  # nothing in it is replaced again
        elif "replace" in options:  # a SELECT has copied its FROM, and gives the new one's columns
            found = options["replace"](element)
        if found is None:
            found = copied[id(element)] = element._clone(**options)  # noqa: SLF001 - as SQLAlchemy
            found._copy_internals(clone=copy, **options)  # noqa: SLF001 - as above
        copied[id(element)] = found
        alive.extend((element, found))
        return found

    return copy(statement, deferred_copy_internals=lambda within: _replaced(within, replace))


def _blind(
    element: BlindCriterion, keys: SessionKeys, owners: Sequence[str], dialect: Callable[[], str]
) -> Any:
    column = element.index_column
    under_each_key = [
        [indexer.compute_normalised(term) for term in element.search.terms]
        for owner in owners
        for indexer in keys.indexes.all(element.index, owner)
    ]
    if element.search.every:
        found = or_(
            false(),
            *(
                has_all_ngrams(column, [each[HEADER_BYTES:] for each in wanted], dialect())
                for wanted in under_each_key
            ),
        )
    else:
        wanted = [each for under_one in under_each_key for each in under_one]
        if element.search.terms and not wanted:
            wanted = [
                _NO_VALUE
            ]  # the owner has no rows with values; of those without, nobody knows
        found = column.not_in(wanted) if element.negated else column.in_(wanted)
    return with_unsealed_rows(element.columns[1:], found, lambda plain: _unsealed(element, plain))


def _unsealed(element: BlindCriterion, plain: Any) -> Any:
    if element.search.accepts is not None:
        return true()  # every row without an envelope is a candidate
    return plain.not_in(element.values) if element.negated else plain.in_(element.values)


def _all_owners(element: BlindCriterion, keys: SessionKeys) -> Sequence[str]:
    owners = keys.keyring.owners(DataKeyClass.INDEXES)
    if len(owners) > MOST_OWNERS:
        raise TooManyOwnersError(
            f"expected a search by {element.field.name!r} that says whose rows it means, found "
            f"none beside it and {len(owners)} owners to try; add a comparison of the owner: "
            ".where(Model.owner == …)"
        )
    return owners


def _owners_by_criterion(
    element: Any, known: _Known, parameters: Mapping[str, object]
) -> Iterator[tuple[int, Sequence[str]]]:
    """For each comparison the owners that can be meant where it stands, as far as is known.

    What stands beside it under AND holds for every row that comes through, so rows of other
    owners do not count, whatever the comparison says of them. A SELECT within has rows of its
    own, for which nothing is known yet.
    """
    if type(element) is BlindCriterion:
        owners = known.get((element.entity_key, element.owner))
        if owners is not None:
            yield id(element), owners
        return
    if element.__visit_name__ in _WITHOUT_CRITERIA:
        return
    if hasattr(element, "_where_criteria"):
        known = {}
    beside = [_owner_comparison(each, parameters) for each in conjuncts(element)]
    known = {**known, **dict(filter(None, beside))}
    for child in element.get_children():
        yield from _owners_by_criterion(child, known, parameters)


def _owner_comparison(
    element: Any, parameters: Mapping[str, object]
) -> tuple[tuple[object, str], Sequence[str]] | None:
    """The entity and owner attribute that an element compares with values, and these."""
    if not isinstance(element, BinaryExpression) or not isinstance(element.right, BindParameter):
        return None
    notes = element.left._annotations  # noqa: SLF001 - how the ORM says whose column it is
    entity, attribute = notes.get("parententity"), notes.get("proxy_key")
    model = None if entity is None else getattr(entity.mapper.class_, "__sealed__", None)
    if model is None or model.owner != attribute:
        return None
    given = parameters.get(element.right.key, element.right.effective_value)
    if element.operator is operators.eq:
        given = [given]
    elif element.operator is not operators.in_op:
        return None
    if not isinstance(given, list | tuple):
        return None
    if not all(isinstance(each, UUID) or type(each) in (str, int) for each in given):
        return None
    return (entity, attribute), [model.owner_of(each) for each in given]
