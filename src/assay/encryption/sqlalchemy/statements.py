"""Statements of a session before they run: comparisons are resolved, rows to insert are sealed.

Example:
    >>> rows = [{"tenant_id": "tenant-1", "text": "…"}]
    >>> session.execute(insert(Document), rows)                      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, event
from sqlalchemy.orm import FromStatement, ORMExecuteState, Session
from sqlalchemy.sql import visitors

from assay.encryption.blind_index import BlindIndex, BlindIndexer, BlindIndexValue
from assay.encryption.concealment import concealed
from assay.encryption.row_version import FIRST_VERSION
from assay.encryption.sqlalchemy.columns import BlindIndexType, Contents
from assay.encryption.sqlalchemy.errors import UnsealedWriteError
from assay.encryption.sqlalchemy.hierarchies import refuse_rows_of_other_classes
from assay.encryption.sqlalchemy.joining import EqualIndexes, refuse_joins_in_other_places
from assay.encryption.sqlalchemy.matching import is_matching
from assay.encryption.sqlalchemy.model import UNSET, SealedGroup, SealedModel
from assay.encryption.sqlalchemy.rows import OwnerRows
from assay.encryption.sqlalchemy.searching import (
    criteria_of,
    refuse_approximate,
    refuse_fields_by_name,
    resolve,
)
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.encryption.sqlalchemy.transition import refuse_named_plaintext
from assay.encryption.sqlalchemy.uniqueness import refuse_duplicate
from assay.encryption.sqlalchemy.written import updated_on_conflict
from assay.keys import DataKey


@event.listens_for(Session, "do_orm_execute")
@concealed
def prepare(execution: ORMExecuteState) -> None:
    """Resolve and seal what a statement says about sealed models.

    Raises:
        MappingError: see its leaves.
        assay.keys.KeysError: a key is not to be had.
    """
    statement: Any = execution.statement
    refuse_fields_by_name(execution)
    joins: list[EqualIndexes] = []
    criteria = criteria_of(statement, joins)
    if joins:
        refuse_joins_in_other_places(statement)
    if criteria:
        if not is_matching(execution.execution_options):
            refuse_approximate(criteria)
        _autoflush(execution)
        keys = SessionKeys.of(execution.session)
        execution.statement = resolve(
            statement, keys, execution.parameters, lambda: _dialect(execution)
        )
    if execution.is_select and execution.lazy_loaded_from is not None:
        _admit_loaded_indexes(execution)
    if execution.is_update or execution.is_delete:
        _synchronise_by_fetching(execution)
    if not statement.is_dml or statement.is_delete:
        return
    if isinstance(statement, FromStatement):
        statement = _written_by(statement)
    if execution.is_insert and execution.bind_mapper is not None:
        refuse_rows_of_other_classes(execution.bind_mapper, statement, _rows(execution))
    model = getattr(getattr(execution.bind_mapper, "class_", None), "__sealed__", None)
    if model is None:
        return
    if execution.is_insert:
        _seal_rows(execution, model, statement)
    elif execution.is_update:
        _refuse_update(model, statement, execution.parameters)


def _admit_loaded_indexes(execution: ORMExecuteState) -> None:
    """Let a relationship that compares blind indexes be loaded for the one that its row has."""
    given = execution.parameters
    if not isinstance(given, Mapping):
        return
    statement: Any = execution.statement
    for each in visitors.iterate(statement):
        if isinstance(each, BindParameter) and isinstance(each.type, BlindIndexType):
            value = given.get(each.key)
            if type(value) is bytes:
                given = {**given, each.key: BlindIndexValue(value)}
    execution.parameters = given


def _autoflush(execution: ORMExecuteState) -> None:
    """Flush before a search is resolved: a new owner gets an index key when a first row is sealed.

    SQLAlchemy would flush afterwards, and the statement would look for nothing of this owner.
    """
    options = execution.execution_options
    given = [options.get(name) for name in ("_sa_orm_load_options", "_sa_orm_update_options")]
    if all(getattr(each, "_autoflush", True) for each in given):
        execution.session._autoflush()  # noqa: SLF001 - as SQLAlchemy does it, with its hint


def _written_by(statement: Any) -> Any:
    """The statement within ``select(Model).from_statement(…)``."""
    if statement.element.is_insert:
        raise UnsealedWriteError(
            "expected an INSERT that is executed itself, so that its rows are sealed, found one "
            "within from_statement; run session.scalars(insert(Model).returning(Model), rows)"
        )
    return statement.element


def _synchronise_by_fetching(execution: ORMExecuteState) -> None:
    """Let the database say which rows a statement has changed that compares blind indexes.

    Instances have none of them in memory, and SQLAlchemy would take each for one that matches.
    """
    statement: Any = execution.statement
    if isinstance(statement, FromStatement):
        return  # nothing is changed in memory
    in_memory = getattr(execution.update_delete_options, "_synchronize_session", None)
    if in_memory not in ("auto", "evaluate") or isinstance(execution.parameters, list):
        return
    elements = (e for each in statement._where_criteria for e in visitors.iterate(each))  # noqa: SLF001 - there is no other way to see them
    if any(isinstance(getattr(each, "type", None), BlindIndexType) for each in elements):
        execution.update_execution_options(synchronize_session="fetch")


def _seal_rows(execution: ORMExecuteState, model: SealedModel, statement: Any) -> None:
    way_out = f"pass rows: session.execute(insert({model.model.__name__}), rows)"
    if statement.select is not None:
        raise UnsealedWriteError(
            f"expected rows to insert into {model.name}, found a SELECT of which the database "
            f"would make rows that nobody seals; {way_out}"
        )
    _refuse_conflict(model, updated_on_conflict(statement))
    if execution.session.connection_callable is not None:
        raise UnsealedWriteError(
            f"expected instances of {model.model.__name__} that a ShardedSession puts into their "
            "shards, found rows in bulk, which it cannot; add instances, or pass the rows to an "
            "ordinary session of their shard"
        )
    rows = _rows(execution)
    if not rows:
        return  # then the sealed column has no value, and its default refuses
    keys = SessionKeys.of(execution.session)
    seal = _RowSealer(keys, model, _connection(execution, model))
    known = _known_names(execution.bind_mapper, statement)
    for row in rows:
        if not row.keys() <= known:
            _refuse_unknown(model, sorted(map(str, row.keys() - known)))
    fixed = _fixed_values(execution.bind_mapper, model, statement)
    if fixed:
        rows = [
            {**{name: row.get(each.key, each.effective_value) for name, each in fixed}, **row}
            for row in rows
        ]
    execution.parameters = [seal(row) for row in rows]


def _fixed_values(
    mapper: Any, model: SealedModel, statement: Any
) -> list[tuple[str, BindParameter[Any]]]:
    """Owner and key as the statement gives them to its rows: ``insert(Model).values(owner=…)``."""
    names = {model.owner, *model.key}
    attributes = {str(mapper.columns[name].key): name for name in names}
    found = []
    for column, value in (statement._values or {}).items():  # noqa: SLF001 - there is no other way to see them
        key = str(getattr(column, "key", column))
        name = key if key in names else attributes.get(key)
        if name is not None and not isinstance(value, BindParameter):
            raise UnsealedWriteError(
                f"expected a value for {model.model.__name__}.{name}, for which new rows are "
                f"sealed, found {type(value).__name__}, which the database would compute; compute "
                "it first, and put it in the rows of session.execute(insert(Model), rows)"
            )
        if name is not None:
            found.append((name, value))
    return found


def _known_names(mapper: Any, statement: Any) -> set[str]:
    """What the rows of an INSERT may name: attributes, columns, parameters of the statement."""
    columns = (column.key for table in mapper.tables for column in table.c)
    parameters = (
        each.key for each in visitors.iterate(statement) if isinstance(each, BindParameter)
    )
    return {*mapper.all_orm_descriptors.keys(), *mapper.attrs.keys(), *columns, *parameters}


def _refuse_unknown(model: SealedModel, names: Sequence[str]) -> None:
    """SQLAlchemy skips what it does not know; of a sealed field, None would be sealed instead."""
    raise UnsealedWriteError(
        f"expected rows that name attributes of {model.model.__name__}, found "
        f"{', '.join(map(repr, names))}, which it has not; correct the spelling, or leave it out"
    )


def _rows(execution: ORMExecuteState) -> Sequence[Mapping[str, Any]]:
    """What is passed beside a statement."""
    given = execution.parameters or ()
    return [given] if isinstance(given, Mapping) else given


def _refuse_conflict(model: SealedModel, names: Sequence[str]) -> None:
    """A row that is there already keeps its envelopes, and what they are bound to."""
    sealed = {
        *model.fields,
        *(name for field in model.fields.values() for name in field.index_columns),
        *(group.column for group in model.groups.values()),
        *(group.version_column for group in model.groups.values()),
        *(model.owner, *model.key),
    }
    refuse_named_plaintext(model, set(names))
    if found := sorted(sealed.intersection(names)):
        raise UnsealedWriteError(
            f"expected an INSERT into {model.name} that updates on conflict only what is not "
            f"sealed, found {', '.join(found)}, of which the row that is there already has its "
            "own envelope; load the row and assign its fields"
        )


def _dialect(execution: ORMExecuteState) -> str:
    return execution.session.get_bind(**execution.bind_arguments).dialect.name


def _connection(execution: ORMExecuteState, model: SealedModel) -> Connection | None:
    """The connection of an INSERT, when the values of its rows must be looked for before."""
    if not model.unique:
        return None
    return execution.session.connection(bind_arguments=execution.bind_arguments)


_NO_FIELDS: dict[str, object] = {}


class _RowSealer:
    """Seals the rows of one INSERT; a key is asked for once for each owner."""

    def __init__(
        self, keys: SessionKeys, model: SealedModel, connection: Connection | None
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._model = model
        self._groups = [_RowGroup(group, model) for group in model.groups.values()]
        self._owner_of = model.owner_of
        self._row_id_of = model.row_id_of
        self._key = model.key
        self._owners: dict[str, list[tuple[_RowGroup, OwnerRows, DataKey]]] = {}
        self._indexers: dict[tuple[str, str], BlindIndexer] = {}

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with envelopes and blind indexes instead of sealed fields."""
        model, plain = self._model, dict(row)
        for attribute, make in model.defaults.items():
            if plain.get(attribute) is None:
                plain[attribute] = make()
        owner = plain.get(model.owner)
        if type(owner) is not str or not owner:
            owner = self._owner_of(owner)
        row_id = self._row_id_of([*map(plain.get, self._key)])
        for group, rows, key in self._owners.get(owner) or self._begin_owner(owner):
            fields = group.take(plain)
            # Nobody reads the fields again: rows wait in memory as envelopes alone.
            envelope = rows.envelope(fields, row_id, key, FIRST_VERSION)
            plain[group.column] = Contents(_NO_FIELDS, envelope, None)
            if group.version_column is not None:
                plain[group.version_column] = FIRST_VERSION
            if self._connection is not None:
                refuse_duplicate(self._connection, model, self._keys, owner, fields)
            for name, attribute in group.plaintext:
                plain[attribute] = fields[name]
            for name, column, index in group.indexed:
                plain[column] = self._index(owner, column, index, fields[name])
        return plain

    def _index(
        self, owner: str, column: str, index: BlindIndex, value: object
    ) -> BlindIndexValue | None:
        if value is None:
            return None
        indexer = self._indexers.get((owner, column))
        if indexer is None:
            indexer = self._indexers[owner, column] = self._keys.indexes.newest(index, owner)
        return indexer.compute(value)

    def _begin_owner(self, owner: str) -> list[tuple[_RowGroup, OwnerRows, DataKey]]:
        sealers = []
        for group in self._groups:
            rows = self._keys.rows(group.group, owner)
            sealers.append((group, rows, rows.current_key()))
        self._owners[owner] = sealers
        return sealers


class _RowGroup:
    """Takes the fields of one group out of rows."""

    def __init__(self, group: SealedGroup, model: SealedModel) -> None:
        self.group = group
        self.column = group.column
        self.version_column = group.version_column if group.versioned else None
        self.indexed = [
            (name, column, index)
            for name in group.indexed
            for column, index in model.indexes[name].items()
        ]
        self.plaintext = [
            (each.name, each.plaintext_attribute) for each in group.fields if group.in_transition
        ]

    def take(self, row: dict[str, Any]) -> dict[str, object]:
        """The fields as they are sealed; the row has them no longer.

        Raises:
            SealedValueError: a value of another type than declared, or none where one must be.
        """
        given: dict[str, object] = {}
        for name in self.group.names:
            given[name] = row.pop(name, UNSET)
        return self.group.accept(given)


def _refuse_update(model: SealedModel, statement: Any, parameters: object) -> None:
    # Sealed fields among the values are refused by `SealedExpression`, before it comes to this.
    named = _names(statement)
    rows = parameters if isinstance(parameters, list) else []
    refuse_named_plaintext(model, named.union(*rows))
    values = [getattr(value, "value", None) for value in (statement._values or {}).values()]  # noqa: SLF001 - there is no other way to see them
    if any(
        type(value) is Contents
        for each in (values, *(row.values() for row in rows))
        for value in each
    ):
        raise UnsealedWriteError(
            f"expected an UPDATE that leaves the envelopes of {model.name} alone, found that of an "
            "instance among the values, which belongs to its own row; assign the fields and flush"
        )
    versions = {group.version_column for group in model.groups.values() if group.versioned}
    bound = ({model.owner, *model.key, *versions} & named) | (
        {model.owner, *versions} & set().union(*rows)
    )
    if bound:
        raise UnsealedWriteError(
            f"expected an UPDATE that leaves the owner and the primary key of {model.name} and the "
            f"versions of its envelopes alone, found {', '.join(sorted(bound))}; the envelopes are "
            "bound to them"
        )


def _names(statement: Any) -> set[str]:
    """The columns that a statement gives values to."""
    names: set[str] = set()
    for values in (statement._values, *(statement._multi_values or ())):  # noqa: SLF001 - there is no other way to see them
        for row in values if isinstance(values, list) else [values or {}]:
            names |= {str(getattr(column, "key", column)) for column in row}
    ordered = getattr(statement, "_ordered_values", None) or ()
    return names | {str(getattr(column, "key", column)) for column, _ in ordered}
