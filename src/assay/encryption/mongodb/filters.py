"""Filters in which comparisons of sealed fields are replaced by their blind indexes.

Specification: ``spec/blind-index.md``, "Searching".

Example:
    >>> Filters(documents).rewrite({"tenant_id": "north", "owner_email": "ada@example.com"}, {})  # doctest: +SKIP
    {'tenant_id': 'north', 'owner_email_index': {'$in': [b'...']}}
"""  # noqa: E501 - an example

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assay.core import DataKeyClass
from assay.encryption.errors import RowIdError
from assay.encryption.mongodb.declaration import index_field, top
from assay.encryption.mongodb.documents import Documents, refuse_raw
from assay.encryption.mongodb.errors import (
    OwnerMissingError,
    SealedExpressionError,
    TooManyOwnersError,
    UnsupportedOperationError,
)

MOST_OWNERS = 1000
"""Among how many owners a search tries all, when its filter does not say whose it means."""

_JOINING = frozenset({"$and", "$or", "$nor"})
_COMPARING: dict[str, tuple[str, bool]] = {
    "$eq": ("$in", False),
    "$in": ("$in", True),
    "$ne": ("$nin", False),
    "$nin": ("$nin", True),
}
"""Operator of a sealed field: operator of its blind index, and whether it takes a list."""

_Owners = Sequence[str] | None

_ANYBODY: Sequence[str] = ["anybody"]
"""Says that what stands in the filter does not tell whose documents can match."""


class Filters:
    """Rewrites filters.

    Args:
        documents: have the declaration and compute blind indexes.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._declared = documents.declared

    def rewrite(
        self, given: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The filter as it is sent: no sealed field and none of its values stands in it.

        A comparison beside one of the owner is searched under this owner's index keys. Otherwise
        all owners who have an index key are tried; also with a collation, by which the owner may
        equal others than the one that is named.

        Raises:
            SealedExpressionError: an operator that a sealed field does not have.
            RawFieldError: the filter names an envelope or a blind index.
            UnsupportedOperationError: an operator that could name sealed fields unseen.
            UnsupportedValueError: the transform of an index does not accept a value.
            TooManyOwnersError: the filter does not say whose documents it means.
        """
        return self._rewrite(given or {}, None if options.get("collation") is None else _ANYBODY)

    def _rewrite(self, given: Mapping[str, Any], owners: _Owners) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            raise UnsupportedOperationError(
                f"expected a filter that is a mapping, found {type(given).__name__}"
            )
        refuse_raw(self._declared, map(top, given))
        if owners is not _ANYBODY:
            known = self._owners_beside(given)
            owners = owners if known is None else known
        sent: dict[str, Any] = {}
        further: list[dict[str, Any]] = []
        for name, condition in given.items():
            if name in _JOINING:
                parts = [self._rewrite(part, owners) for part in condition]
                further.append({name: parts}) if name in sent else sent.update({name: parts})
            elif name.startswith("$"):
                self._refuse_operator(name, condition)
                sent[name] = condition
            elif top(name) in self._declared.fields:
                further += self._compare(name, condition, owners)
            else:
                sent[name] = condition
        return _joined(sent, further)

    def _refuse_operator(self, name: str, condition: object) -> None:
        if name == "$expr":
            refuse_named(self._declared.fields, self._declared.raw_names, condition, "$expr")
        elif name != "$comment":
            raise UnsupportedOperationError(
                f"expected a filter without {name}, which could name sealed fields unseen, found "
                "one with it; compare fields by name"
            )

    def _compare(self, name: str, condition: Any, owners: _Owners) -> Iterator[dict[str, Any]]:
        if name not in self._declared.indexes:
            raise SealedExpressionError(
                f"expected a filter without the sealed field {name!r}, for which there is no blind "
                "index, found it; declare index=Equality(…) for it, or find the documents by other "
                "fields and compare in the application"
            )
        if not _is_operators(condition):
            condition = {"$eq": condition}
        for operator, operand in condition.items():
            if operator == "$not" and _is_operators(operand):
                parts = list(self._compare(name, operand, owners))
                yield {"$nor": [_joined({}, parts)]}
                continue
            if operator not in _COMPARING:
                raise SealedExpressionError(
                    f"expected $eq, $ne, $in, $nin or $not for the sealed field {name!r}, found "
                    f"{operator}, which its blind index cannot answer; find the documents by "
                    "another field and compare in the application"
                )
            sent, is_list = _COMPARING[operator]
            values = list(operand) if is_list else [operand]
            yield {index_field(name): {sent: self._wanted(name, values, owners)}}

    def _wanted(self, name: str, values: Sequence[object], owners: _Owners) -> list[bytes | None]:
        wanted: list[bytes | None] = []
        sought = [value for value in values if value is not None]
        if len(sought) < len(values):
            wanted.append(None)
        if sought and (owners is None or owners is _ANYBODY):
            owners = self._all_owners(name)
        for value in sought:
            self._declared.indexes[name].transform(value)
            for owner in owners or ():
                wanted += self._documents.indexes_of(name, owner, value)
        return wanted

    def _all_owners(self, name: str) -> Sequence[str]:
        owners = self._documents.keyring.owners(DataKeyClass.INDEXES)
        if len(owners) > MOST_OWNERS:
            raise TooManyOwnersError(
                f"expected a search by {name!r} that says whose documents it means, found none "
                f"beside it and {len(owners)} owners to try; add {self._declared.owner!r} to the "
                "filter"
            )
        return owners

    def _owners_beside(self, given: Mapping[str, Any]) -> _Owners:
        """The owners whose documents alone can match, as far as the filter says it."""
        for part in _conjuncts(given):
            if self._declared.owner not in part:
                continue
            condition = part[self._declared.owner]
            if _is_operators(condition):
                condition = condition.get("$in", [condition["$eq"]] if "$eq" in condition else None)
            else:
                condition = [condition]
            if not isinstance(condition, list | tuple):
                continue
            try:
                return [self._documents.owner({self._declared.owner: each}) for each in condition]
            except (OwnerMissingError, RowIdError):
                continue  # a comparison with null or a pattern says nothing of whose they are
        return None


def refuse_named(
    fields: Mapping[str, object], raw_names: frozenset[str], expression: object, where: str
) -> None:
    """Refuse an aggregation expression or stage that names a sealed field or all fields.

    Raises:
        SealedExpressionError: it does.
    """
    for name in _names(expression):
        first = top(name)
        if first in fields or first in raw_names or name in _WHOLE or name.startswith(_PATHS):
            raise SealedExpressionError(
                f"expected {where} without sealed fields and without operators that can name them "
                f"unseen, found {name!r}; open the documents and compute in the application"
            )


_WHOLE = frozenset(
    {"$ROOT", "$CURRENT", "$getField", "$setField", "$unsetField", "$function", "$accumulator",
     "$where"}
)  # fmt: skip
_PATHS = ("$ROOT.", "$CURRENT.")


def _names(expression: object) -> Iterator[str]:
    """Names of fields (bare), variables and operators (with one $) in an expression."""
    if isinstance(expression, str):
        if expression.startswith("$"):
            yield expression[1:]
    elif isinstance(expression, Mapping):
        for name, inner in expression.items():
            yield name
            yield from _names(inner)
    elif isinstance(expression, list | tuple):
        for inner in expression:
            yield from _names(inner)


def _conjuncts(given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a filter that all hold for what it matches."""
    yield given
    for part in given.get("$and", ()):
        if isinstance(part, Mapping):
            yield from _conjuncts(part)


def _joined(sent: dict[str, Any], further: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not sent and len(further) == 1:
        return further[0]
    for part in further:
        if sent.keys() & part.keys():
            sent["$and"] = [*sent.get("$and", []), part]
        else:
            sent |= part
    return sent


def _is_operators(condition: object) -> bool:
    return (
        isinstance(condition, Mapping)
        and bool(condition)
        and all(isinstance(name, str) and name.startswith("$") for name in condition)
    )
