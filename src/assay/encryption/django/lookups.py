"""Comparisons of sealed fields, answered by blind indexes.

Specification: ``spec/blind-index.md``, "Searching".

Example:
    >>> Customer.objects.filter(tenant_id="north", email="ada@example.com")    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NoReturn
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db.models.expressions import Col
from django.db.models.fields.related_lookups import RelatedExact, RelatedIn
from django.db.models.lookups import Exact, In, Lookup

from assay.core import DataKeyClass
from assay.encryption.concealment import concealed
from assay.encryption.django.binding import DatabaseKeys, keys_of
from assay.encryption.django.declared import SealedModel
from assay.encryption.django.errors import (
    ApproximateSearchError,
    SealedExpressionError,
    TooManyOwnersError,
    UnsealedPickleError,
)
from assay.encryption.index_kinds import Equality, Search
from assay.encryption.ngram_index import HEADER_BYTES

MOST_OWNERS = 1000
"""How many owners' keys are tried at most when a search does not say whose rows it means."""

MATCHING = "sealed_matching"
"""The attribute of a query that says which of its comparisons are made again on what is opened."""

_OPERATIONS = {
    "exact": "eq",
    "iexact": "eq",
    "in": "in",
    "startswith": "startswith",
    "istartswith": "startswith",
    "contains": "contains",
    "icontains": "contains",
    "lt": "lt",
    "lte": "le",
    "gt": "gt",
    "gte": "ge",
    "range": "between",
}
_ENDS = 2
"""How many a range has."""

_FOLDING = ("iexact", "istartswith", "icontains")


def lookup_of(field: Any, name: str) -> Any:
    """The comparison that an index of a sealed field answers.

    Raises:
        SealedExpressionError: none does.
    """
    if not field.sealed_indexes:
        raise SealedExpressionError(
            f"expected an index of the sealed field {field.name!r} to search by, found none; "
            "declare one, such as index=Equality(casefold), or select by other fields"
        )
    if name == "isnull":
        return SealedIsNull
    operation = _OPERATIONS.get(name)
    kinds = [each for each in field.sealed_indexes if operation in _answered(each)]
    if name in _FOLDING:
        kinds = [each for each in kinds if each.transform.name == "casefold"]
    if operation is None or not kinds:
        raise SealedExpressionError(
            f"expected a comparison that an index of the sealed field {field.name!r} answers, "
            f"found {name!r}; Equality answers exact and in, Prefix startswith, Ngram contains, "
            "Buckets lt, lte, gt, gte and range, and with the transform casefold those that ignore "
            "case"
        )
    return type(
        f"Sealed{name.capitalize()}",
        (SealedLookup,),
        {"lookup_name": name, "operation": operation, "kind": kinds[0]},
    )


def needs_matching(lookup: Any) -> bool:
    """Whether a comparison as `lookup_of` gives it finds candidates only."""
    kind = getattr(lookup, "kind", None)
    return kind is not None and not (type(kind) is Equality and kind.is_exact)


def _answered(kind: Any) -> tuple[str, ...]:
    if type(kind) is Equality:
        return ("eq", "in")
    names = {"Prefix": ("startswith",), "Ngram": ("contains",)}
    return names.get(type(kind).__name__, ("lt", "le", "gt", "ge", "between"))


class SealedCol(Col):
    """A sealed field within a query. It has lookups, and no SQL: there is no column."""

    def as_sql(self, compiler: Any, connection: Any) -> NoReturn:  # noqa: ARG002 - Django's signature
        """Refuse.

        Raises:
            SealedExpressionError: always.
        """
        raise SealedExpressionError(
            f"expected a comparison that the index of {self.target.name!r} answers, found the "
            "sealed field itself in values(), order_by(), annotate(), aggregate(), distinct(), F() "
            "or an expression; read it from instances (only() loads no more than it needs) and "
            "sort or count in Python"
        )


class _OfSealed(Lookup):
    """What the comparisons of sealed fields have in common: their values are not shown."""

    def __init__(self, lhs: Any, rhs: Any) -> None:
        if not isinstance(lhs, SealedCol):
            raise SealedExpressionError(
                f"expected the sealed field {lhs.output_field.name!r} itself to be compared, found "
                f"it within {type(lhs).__name__}, which the database cannot compute; compare the "
                "fields one by one, joined by Q, or compare in Python"
            )
        super().__init__(lhs, rhs)

    def get_prep_lookup(self) -> Any:
        """The operand as it was given; no conversion for a column."""
        return self.rhs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.lhs.target.name}>"

    def __copy__(self) -> Any:
        copied = self.__class__.__new__(self.__class__)
        copied.__dict__ = self.__dict__.copy()
        return copied

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UnsealedPickleError(
            "expected the result of a query to be pickled, found a query that compares sealed "
            "values, which are in the clear in it; pickle list(queryset)"
        )

    def _column(self, compiler: Any, column: str) -> str:
        field = self.lhs.target.model._meta.get_field(column)
        sql, _ = compiler.compile(field.get_col(self.lhs.alias))
        return str(sql)


class SealedIsNull(_OfSealed):
    """Whether a sealed field with an index is null: then its index is."""

    lookup_name = "isnull"

    def as_sql(self, compiler: Any, connection: Any) -> Any:  # noqa: ARG002 - Django's signature
        """IS NULL, of the index."""
        if not isinstance(self.rhs, bool):
            raise SealedExpressionError(
                f"expected True or False for isnull of {self.lhs.target.name!r}, found "
                f"{type(self.rhs).__name__}"
            )
        declared: SealedModel = self.lhs.target.model.__sealed__
        column = next(iter(declared.indexes[self.lhs.target.name]))
        return f"{self._column(compiler, column)} IS {'' if self.rhs else 'NOT '}NULL", ()


class SealedLookup(_OfSealed):
    """A comparison that a blind index answers.

    Attributes:
        operation: its name among the kinds of indexes.
        kind: the index.
        search: what to look for.
    """

    operation: ClassVar[str]
    kind: ClassVar[Any]
    search: Search

    @concealed
    def get_prep_lookup(self) -> Any:
        """Work out what to look for.

        Raises:
            SealedExpressionError: it is compared with an expression or a query.
            SealedValueError: a value that the field does not take.
            UnsupportedValueError: a value that the index does not take.
            BlindIndexError: the index cannot answer it.
        """
        field, given = self.lhs.target, self.rhs
        several = self.operation in ("in", "between")
        listed = type(given) in (list, tuple, set, frozenset)
        operands = list(given) if listed and several else [given]
        if several is not listed or any(
            hasattr(each, "resolve_expression") or hasattr(each, "query") for each in operands
        ):
            raise SealedExpressionError(
                f"expected the sealed field {field.name!r} to be compared with a value, or "
                "with a list of them for in and range, found an expression, a query or something "
                "else; fetch the values first"
            )
        if self.operation == "between" and len(operands) != _ENDS:
            raise SealedExpressionError(
                f"expected two values for the range of {field.name!r}, found {len(operands)}"
            )
        values = tuple(field.accept(each) for each in operands if each is not None)
        columns = self.kind.columns("", field.name)
        if not values or (self.operation == "between" and len(values) < _ENDS):
            self.search = Search(next(iter(columns)), ())
            return given
        found = self.kind.search(field.name, self.operation, values)
        if found is None:
            raise SealedExpressionError(
                f"expected an index of {field.name!r} that answers {self.lookup_name!r}, found "
                f"{type(self.kind).__name__}"
            )
        self.search = found
        return given

    @concealed
    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """The comparison of the index's column with what is computed under each index key.

        Raises:
            ApproximateSearchError: it finds candidates, and nobody compares them.
            TooManyOwnersError: it does not say whose rows it means.
            assay.keys.KeysError: an index key is not to be had.
        """
        field, search = self.lhs.target, self.search
        if search.accepts is not None and id(self) not in getattr(compiler.query, MATCHING, ()):
            raise ApproximateSearchError(
                f"expected a search by {field.name!r} whose candidates are compared, found one "
                "whose index finds more rows than are meant; call matching(queryset)"
            )
        declared: SealedModel = field.model.__sealed__
        index = declared.indexes[field.name][search.column]
        keys = keys_of(connection.alias)
        owners = _owners_of(compiler.query, self.lhs.alias, declared)
        if owners is None:
            owners = _all_owners(keys, field.name)
        wanted = [
            [bytes(indexer.compute_normalised(term)) for term in search.terms]
            for owner in owners
            for indexer in keys.indexes.all(index, owner)
        ]
        if not any(wanted):
            raise EmptyResultSet
        column = self._column(compiler, search.column)
        if search.every:
            return _has_all(
                column, [[w[HEADER_BYTES:] for w in each] for each in wanted], connection
            )
        values = [connection.Database.Binary(each) for under in wanted for each in under]
        return f"{column} IN ({', '.join(['%s'] * len(values))})", values


def _has_all(column: str, wanted: list[list[bytes]], connection: Any) -> Any:
    """Whether a column of n-grams holds all hashes under one of the keys."""
    if connection.vendor == "postgresql":
        sql, values = f"{column} @> %s::bytea[]", [list(each) for each in wanted]
        return "(" + " OR ".join([sql] * len(wanted)) + ")", values
    each_key = [" AND ".join([f"INSTR({column}, %s) > 0"] * len(each)) for each in wanted]
    binary = [connection.Database.Binary(each) for under in wanted for each in under]
    return "(" + " OR ".join(f"({each})" for each in each_key) + ")", binary


def _all_owners(keys: DatabaseKeys, name: str) -> Sequence[str]:
    owners = keys.keyring.owners(DataKeyClass.INDEXES)
    if len(owners) > MOST_OWNERS:
        raise TooManyOwnersError(
            f"expected a search by {name!r} that says whose rows it means, found none beside it "
            f"and {len(owners)} owners to try; filter by the owner as well"
        )
    return owners


def conjuncts(where: Any) -> Iterator[Any]:
    """The conditions that hold for every row that comes through."""
    if where.connector != "AND" or where.negated:
        return
    for child in where.children:
        if hasattr(child, "children"):
            yield from conjuncts(child)
        else:
            yield child


def _owners_of(query: Any, alias: str, declared: SealedModel) -> Sequence[str] | None:
    """The owners that a query compares the rows of an alias with, or None when it does not."""
    for each in conjuncts(query.where):
        if type(each) not in (Exact, In, RelatedExact, RelatedIn):
            continue
        target: Any = getattr(each.lhs, "target", None)
        if getattr(each.lhs, "alias", None) != alias or target.attname != declared.owner:
            continue
        given = [each.rhs] if type(each) in (Exact, RelatedExact) else each.rhs
        if isinstance(given, list | tuple | set) and all(
            type(value) in (str, UUID, int) for value in given
        ):
            return [declared.owner_of(value) for value in given if value != ""]
    return None
