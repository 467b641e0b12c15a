"""What can be said about a sealed field in a statement.

A comparison becomes a `BlindCriterion`. It holds the value only until a session with a keyring
replaces it by the blind indexes; the database layer refuses one that was never replaced.
Everything that no declared index can answer is refused when the statement is built. What an index
answers only with candidates is refused when a session runs it, except through `matching`.

Example:
    >>> select(Document).where(Document.owner_email == "ada@example.com")   # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from sqlalchemy import Boolean, inspect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import PropComparator
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler, StrSQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.visitors import InternalTraversal

from assay.encryption.blind_index import BlindIndex
from assay.encryption.concealment import concealed
from assay.encryption.errors import BlindIndexError, UnsupportedValueError
from assay.encryption.index_kinds import Search
from assay.encryption.row_address import standard_uuid
from assay.encryption.sqlalchemy.errors import (
    SealedExpressionError,
    SealedOperatorError,
    UnresolvedCriterionError,
    UnsealedPickleError,
    UnsealedWriteError,
)
from assay.encryption.sqlalchemy.joining import equal_indexes
from assay.encryption.sqlalchemy.model import SealedField, SealedModel, envelope_column
from assay.encryption.sqlalchemy.transition import unsealed_columns, with_unsealed_rows

_NULL = {operators.is_: False, operators.is_not: True, operators.eq: False, operators.ne: True}
_AMONG = {operators.in_op: False, operators.not_in_op: True}
_OPERATIONS = {
    operators.eq: "eq",
    operators.ne: "eq",
    operators.in_op: "in",
    operators.not_in_op: "in",
    operators.startswith_op: "startswith",
    operators.contains_op: "contains",
    operators.lt: "lt",
    operators.le: "le",
    operators.gt: "gt",
    operators.ge: "ge",
    operators.between_op: "between",
}
_RANGES = frozenset({"lt", "le", "gt", "ge", "between"})
_NEGATED = frozenset({operators.ne, operators.not_in_op})
_OTHER_PATTERNS = ("escape", "autoescape", "symmetric")
"""Options that give an operator another meaning than the one an index can answer."""
_WAYS_OUT = {
    "eq": "sealed(index=Equality(...))",
    "in": "sealed(index=Equality(...))",
    "startswith": "sealed(index=Prefix(..., lengths=(3, 5)))",
    "contains": "sealed(index=Ngram(...))",
    **dict.fromkeys(_RANGES, "sealed(index=Buckets(boundaries=(...)))"),
}


class SealedExpression(PropComparator[Any]):
    """A sealed field of a model or of an alias, as part of a statement.

    Args:
        field: the field.
        entity: the model, or an alias of it.
    """

    # So an association proxy takes the field for a column, and compares it within its EXISTS.
    _is_internal_proxy = False
    _impl_uses_objects = False

    def __init__(self, field: SealedField, entity: Any) -> None:
        self.field = field
        self.entity = entity

    def adapt_to_entity(self, adapt_to_entity: Any) -> SealedExpression:
        """The same field of an alias."""
        return SealedExpression(self.field, adapt_to_entity.entity)

    @property
    def info(self) -> Any:
        """Nothing is kept about a sealed field but its declaration."""
        return {}

    @property
    def impl(self) -> Any:
        """What keeps the history of the field: its group's envelope does."""
        return getattr(self.entity, envelope_column(self.field.group)).impl

    @property
    def is_property(self) -> NoReturn:
        """Refuse to stand in ``load_only``, ``defer`` and their like.

        Raises:
            SealedExpressionError: always.
        """
        column = envelope_column(self.field.group)
        raise SealedExpressionError(
            f"expected a column to be loaded or deferred, found the sealed field "
            f"{self.field.name!r}, which is loaded with its group; name the column of the "
            f"envelope, {inspect(self.entity).mapper.class_.__name__}.{column}"
        )

    @property
    def dispatch(self) -> NoReturn:
        """Refuse to be listened to.

        Raises:
            SealedExpressionError: always.
        """
        raise SealedExpressionError(
            f"expected an attribute whose events can be listened to, found the sealed field "
            f"{self.field.name!r}; use @validates, or events of the instance or of the session"
        )

    def __clause_element__(self) -> NoReturn:
        """Refuse to stand where a column must stand.

        Raises:
            SealedOperatorError: always.
        """
        raise SealedOperatorError(
            f"expected a column of the table, found the sealed field {self.field.name!r}, which "
            "the database cannot read; select the model and read or assign it on instances "
            "(to sort, sort these), or name the column of its envelope"
        )

    def label(self, name: str | None) -> NoReturn:
        """Refuse: only a column can have another name.

        Raises:
            SealedOperatorError: always.
        """
        del name
        self.__clause_element__()

    @concealed
    def operate(self, op: Any, *other: Any, **options: Any) -> ColumnElement[Any]:
        """The criterion for an operator.

        Raises:
            SealedOperatorError: no declared index can answer it.
        """
        beside = _sealed_operand(other)
        if beside is not None:
            return equal_indexes(op, (self.field, self.entity), (beside.field, beside.entity))
        if not self.field.indexes:
            raise SealedOperatorError(
                f"expected a field with a blind index, found {self.field.name!r} without; declare "
                "sealed(index=Equality(...)), or load the rows and compare them there"
            )
        if op in _NULL and len(other) == 1 and other[0] is None:
            negated = _NULL[op]
            result: ColumnElement[Any] = with_unsealed_rows(
                unsealed_columns(self.field, self.entity),
                _is_null(self._index_column, negated=negated),
                lambda plain: _is_null(plain, negated=negated),
            )
            return result
        operation = _OPERATIONS.get(op)
        if op in _AMONG and not isinstance(other[0], list | tuple | set | frozenset):
            operation = None
        if operation is None or any(options.get(each) for each in _OTHER_PATTERNS):
            raise SealedOperatorError(
                f"expected ==, !=, in_, is_(None), startswith, contains, <, <=, >, >= or between "
                f"for the sealed field {self.field.name!r}, found {getattr(op, '__name__', op)!r}, "
                "which no blind index can answer; load the rows and do it there"
            )
        values = tuple(map(standard_uuid, other[0] if op in _AMONG else other))
        return self._criterion(operation, values, negated=op in _NEGATED)

    def reverse_operate(self, op: Any, other: Any, **options: Any) -> NoReturn:
        """Refuse: no operator of sealed fields has one on its right.

        Raises:
            SealedOperatorError: always.
        """
        del other, options
        raise SealedOperatorError(
            f"expected the sealed field {self.field.name!r} on the left of a comparison, found it "
            f"on the right of {getattr(op, '__name__', op)!r}"
        )

    @property
    def _index_column(self) -> Any:
        return getattr(self.entity, self.field.index_columns[0])

    def _criterion(
        self, operation: str, values: tuple[object, ...], *, negated: bool
    ) -> BlindCriterion:
        search = self._search(operation, values)
        criterion = BlindCriterion(self.field, self.entity, values, search, negated=False)
        return criterion.negate() if negated else criterion

    def _search(self, operation: str, values: tuple[object, ...]) -> Search:
        """What the first index that can answer looks for."""
        name, reason = self.field.name, ""
        if operation in _RANGES and any(type(value) is not self.field.kind for value in values):
            raise SealedOperatorError(
                f"expected a range of {self.field.kind.__name__} for the sealed field {name!r}, "
                f"found {' and '.join(type(value).__name__ for value in values)}; ranges are of "
                "values, not of columns or parameters that come later"
            )
        try:
            for index in self.field.indexes:
                found = index.search(name, operation, values)
                if found is not None:
                    return found
        except UnsupportedValueError as exc:
            reason = (
                f"{exc}; {name!r} can be compared with such values only, not with columns or "
                "parameters that come later"
            )
        except BlindIndexError as exc:
            reason = str(exc)
        # Raised out here, so that no chained error carries a value.
        raise SealedOperatorError(
            reason
            or f"expected an index that can answer {operation!r} for the sealed field {name!r}, "
            f"found none; declare {_WAYS_OUT[operation]}, or load the rows and do it there"
        )

    def _bulk_update_tuples(self, value: object) -> NoReturn:
        del value
        raise UnsealedWriteError(
            f"expected an assignment to {self.field.name!r} of an instance, found it among the "
            "values of a statement, which the database would have to seal; load the rows, assign "
            "the field, and flush"
        )

    def _bulk_dml_setter(self, key: str) -> Callable[..., NoReturn]:
        def refuse(_mapping: object) -> NoReturn:
            raise UnsealedWriteError(
                f"expected rows or instances that can be sealed, found an older bulk operation "
                f"with the sealed field {key!r}; use session.execute(insert(Model), rows), or "
                "assign the field of instances and flush"
            )

        return refuse


def _sealed_operand(operands: tuple[Any, ...]) -> SealedExpression | None:
    """The sealed field that another one is compared with, when it is."""
    if len(operands) != 1:
        return None
    operand = operands[0]
    if type(operand) is not SealedExpression:
        operand = getattr(operand, "comparator", None)  # a synonym has the field's
    return operand if isinstance(operand, SealedExpression) else None


def _is_null(column: Any, *, negated: bool) -> Any:
    return column.is_not(None) if negated else column.is_(None)


class BlindCriterion(ColumnElement[bool]):
    """A comparison that waits for the index keys of a session.

    Attributes:
        field: what is compared.
        entity: the model, or an alias of it.
        values: with what; dropped when the criterion is resolved.
        search: what to look for in which index.
        negated: whether rows with none of the values are wanted.
        columns: the column of the index, and `unsealed_columns`. When a relationship's ``any`` or
            ``has`` puts another alias in the entity's place, they become columns of this alias.
    """

    __visit_name__ = "blind_criterion"
    inherit_cache = False
    type = Boolean()
    _traverse_internals = [("columns", InternalTraversal.dp_clauseelement_tuple)]  # noqa: RUF012 - SQLAlchemy's own

    def __init__(
        self,
        field: SealedField,
        entity: Any,
        values: tuple[object, ...],
        search: Search,
        *,
        negated: bool,
    ) -> None:
        self.field = field
        self.entity = entity
        self.values = values
        self.search = search
        self.negated = negated
        index = getattr(entity, search.column).expression
        self.columns: tuple[Any, ...] = (index, *unsealed_columns(field, entity))

    @property
    def entity_key(self) -> Any:
        """What the entity's own columns are annotated with."""
        return inspect(self.entity)

    @property
    def owner(self) -> str:
        """The attribute of the entity that says whose a row is."""
        return str(self.entity_key.mapper.class_.__sealed__.owner)

    @property
    def index_column(self) -> Any:
        """The column of the blind index."""
        return self.columns[0]

    @property
    def index(self) -> BlindIndex:
        """The index that stands in the column."""
        model: SealedModel = self.entity_key.mapper.class_.__sealed__
        return model.indexes[self.field.name][self.search.column]

    @property
    def _from_objects(self) -> Any:
        # The table must stand in FROM, even when the criterion is the only thing that names it.
        return self.index_column._from_objects  # noqa: SLF001 - a criterion stands for its column

    def _annotate(self, values: object) -> BlindCriterion:
        """A copy without them: what they say of it would hold only until it is replaced.

        SQLAlchemy annotates the columns of what it gets, which must not be those of an element
        that other statements share.
        """
        del values
        copied: BlindCriterion = self._clone()
        return copied

    _with_annotations = _annotate

    def self_group(self, against: Any = None) -> BlindCriterion:
        """No parentheses are needed."""
        del against
        return self

    def negate(self) -> BlindCriterion:
        """The rows that do not match; only an index that finds no others can tell them.

        Raises:
            SealedOperatorError: the index finds candidates.
        """
        if self.search.accepts is not None:
            raise SealedOperatorError(
                f"expected rows that match the sealed field {self.field.name!r} to be looked for, "
                "found those that do not, of which its index of candidates would miss some; load "
                "the rows and do it there"
            )
        other: BlindCriterion = self._clone()
        other.negated = not self.negated
        return other

    def _negate(self) -> BlindCriterion:
        return self.negate()

    def __reduce__(self) -> NoReturn:
        """Refuse: what a field is compared with does not leave the process by pickle.

        Raises:
            UnsealedPickleError: always.
        """
        raise UnsealedPickleError(
            f"expected a statement without comparisons of sealed fields, found one of "
            f"{self.field.name!r}, whose value a pickle would show; build the statement where it "
            "is executed"
        )

    def __repr__(self) -> str:
        return f"<comparison of the sealed field {self.field.name!r}>"


@compiles(BlindCriterion)
def _refuse_unresolved(element: BlindCriterion, compiler: SQLCompiler, **options: Any) -> str:
    if isinstance(compiler, StrSQLCompiler):  # str(statement): its shape, and never a value
        column = compiler.process(element.index_column, **options)
        return f"{column} {'NOT IN' if element.negated else 'IN'} (<blind index>)"
    raise UnresolvedCriterionError(
        f"expected the comparison of the sealed field {element.field.name!r} to be resolved by a "
        "session with a keyring, found it at the database layer; execute the statement through a "
        "session of a factory that assay.encryption.sqlalchemy.bind was called for; a loader "
        "option is not reached, nor an alias of a subquery or CTE in which a sealed field is "
        "compared: write the comparison into the statement itself, with Model.id.in_(subquery), or "
        "join the subquery by its columns"
    )
