"""Rows of a hierarchy: which class they are of, and what may change in the tables of its parents.

Which envelopes a row must have follows from its class, and the class from a column
(``polymorphic_on``) to which anybody can assign the value of another class. So what is flushed or
inserted by the ORM must be of the class that it says it is, or of one with the same envelopes.

Owner and primary key may stand in the table of a parent that is not sealed. An UPDATE of them is
refused by `core_writes`, unless it is the flush of an instance whose row has no envelopes that
would stay behind: one of a class that is not sealed, a move to another owner, a replaced row.

Example:
    >>> Person(kind="patient")                      # doctest: +SKIP
    >>> session.flush()                             # doctest: +SKIP
    UnsealedWriteError
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import BindParameter, Column, Connection, Insert, Table, Update, event
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.sql.elements import ClauseElement

from assay.encryption.sqlalchemy.core_writes import (
    Needs,
    bound_columns,
    watch_classes,
    watch_table,
)
from assay.encryption.sqlalchemy.errors import DeclarationError, UnsealedWriteError
from assay.encryption.sqlalchemy.model import SealedGroup, SealedModel
from assay.encryption.sqlalchemy.permissions import permit
from assay.encryption.sqlalchemy.written import written_values

_NO_GROUPS: Mapping[str, SealedGroup] = {}
_WATCHED: WeakSet[Mapper[Any]] = WeakSet()


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is worked out once for all rows of a class.

    Attributes:
        class_attribute: says which class a row is of; None when nothing does, or all have the
            same envelopes.
        bound: for each of its tables the attributes to which envelopes are bound.
        apart: the table whose rows need envelopes in other tables, if there are such.
    """

    class_attribute: str | None
    bound: tuple[tuple[Table, frozenset[str]], ...]
    apart: Table | None


_ROWS: WeakKeyDictionary[Mapper[Any], _Rows] = WeakKeyDictionary()


def watch_hierarchy(mapper: Mapper[Any]) -> None:
    """Let the rows of a sealed subclass, and of its parents, be looked at when they are written.

    Args:
        mapper: of a class that has sealed fields, of its own or inherited ones.

    Raises:
        DeclarationError: see `_class_column`.
    """
    if mapper.inherits is None:
        return
    _ROWS.clear()  # a new class may be bound to more
    for table in mapper.tables:
        if isinstance(table, Table):
            watch_table(table, mapper.columns[_model(mapper).owner], mapper.primary_key)
    column = _class_column(mapper)
    if column is not None and mapper.polymorphic_identity is not None:
        needs = _needs(mapper, column)
        watch_classes(column, dict.fromkeys(spellings(mapper.polymorphic_identity), needs))
    base = mapper.base_mapper
    if base not in _WATCHED:
        _WATCHED.add(base)
        for moment, look_at in _MOMENTS.items():
            event.listen(base, moment, look_at, raw=True, propagate=True)


def spellings(identity: object) -> tuple[object, ...]:
    """The values by which a class may be named, as models, statements and drivers give them."""
    if isinstance(identity, Enum):
        return (identity.name, identity.value, identity)
    return (identity,)


def refuse_rows_of_other_classes(
    mapper: Mapper[Any], statement: Any, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse an INSERT for a class of which some rows say that they are of another one.

    Args:
        mapper: of the class.
        statement: the INSERT.
        rows: what is passed beside it.

    Raises:
        UnsealedWriteError: the other class has other envelopes.
    """
    column = _class_column(mapper)
    if column is None or mapper.base_mapper not in _WATCHED:
        return
    name = mapper.get_property_by_column(column).key
    for key, value in written_values(statement, column.table):
        if key in (name, column.key) and isinstance(value, BindParameter):
            _refuse_value(mapper, value.effective_value)
    for row in rows:
        if name in row:
            _refuse_value(mapper, row[name])


def permit_new_row(connection: Connection, state: InstanceState[Any]) -> None:
    """Let the flush insert a row that was sealed, whose envelopes stand in other tables as well."""
    if state.mapper.inherits is None:
        return
    table = _rows_of(state.mapper).apart
    if table is not None:
        identity = map(state.dict.get, _model(state.mapper).key)
        known = dict(zip(state.mapper.primary_key, identity, strict=True))
        permit(Insert, connection, state, table, tuple(_key_values(state, table, known)))


def _model(mapper: Mapper[Any]) -> Any:
    model: SealedModel | None = getattr(mapper.class_, "__sealed__", None)
    return model


def _groups(mapper: Mapper[Any]) -> Mapping[str, SealedGroup]:
    model = _model(mapper)
    return _NO_GROUPS if model is None else model.groups


def _class_column(mapper: Mapper[Any]) -> Column[Any] | None:
    """The column that says which class a row is of, if anything does.

    Raises:
        DeclarationError: it is computed from others, and decides which envelopes a row must have.
    """
    named: Iterator[Any] = (each.polymorphic_on for each in mapper.iterate_to_root())
    found = next((each for each in named if each is not None), None)
    if found is None:
        return None
    if isinstance(found, Column) and found.computed is None and isinstance(found.table, Table):
        return found
    if _groups(mapper).keys() == _groups(mapper.base_mapper).keys():
        return None
    raise DeclarationError(
        f"expected a column to say which rows are those of {mapper.class_.__name__}, which have "
        "envelopes that others have not, found an expression, whose value changes with any of its "
        "columns; declare polymorphic_on as a column that is written, or the sealed fields on "
        f"{mapper.base_mapper.class_.__name__}"
    )


def _needs(mapper: Mapper[Any], column: Column[Any]) -> Needs:
    of_every_row = _groups(mapper.base_mapper)
    columns = [
        mapper.columns[group.column]
        for name, group in _groups(mapper).items()
        if name not in of_every_row
    ]
    here = frozenset(str(each.key) for each in columns if each.table is column.table)
    return Needs(mapper.class_.__name__, here, elsewhere=len(here) < len(columns))


def _look_at_new(_mapper: object, connection: Connection, state: InstanceState[Any]) -> None:
    _refuse_other_class(state)
    session = state.session
    if session is not None and session._deleted:  # noqa: SLF001 - the public one copies all
        # Should this very row be among them, the two become one UPDATE of all of it.
        _permit(connection, state, state.mapper._identity_key_from_state(state)[1])  # noqa: SLF001 - as SQLAlchemy looks for it


def _look_at_changed(_mapper: object, connection: Connection, state: InstanceState[Any]) -> None:
    _refuse_other_class(state)
    # Sealing refuses an owner that changes without the envelopes. A row that is loaded as one of a
    # class that is not sealed is none of a subclass, if anything says which class it is of.
    known = _model(state.mapper) is not None or state.mapper.polymorphic_on is not None
    if known and state.key is not None:
        _permit(connection, state, state.key[1])


def _rows_of(mapper: Mapper[Any]) -> _Rows:
    known = _ROWS.get(mapper)
    if known is None:
        column = _class_column(mapper)
        known = _ROWS[mapper] = _Rows(
            None if column is None else mapper.get_property_by_column(column).key,
            tuple(
                (table, frozenset(_attributes(mapper, bound_columns(table))))
                for table in mapper.tables
                if isinstance(table, Table)
            ),
            None if column is None or not _needs(mapper, column).elsewhere else column.table,
        )
    return known


def _attributes(mapper: Mapper[Any], columns: Sequence[Column[Any]]) -> Iterator[str]:
    for column in columns:
        if mapper.columns.contains_column(column):  # else another class's alone
            yield mapper.get_property_by_column(column).key


def _refuse_other_class(state: InstanceState[Any]) -> None:
    name = _rows_of(state.mapper).class_attribute
    if name is not None and name in state.committed_state:
        _refuse_value(state.mapper, state.dict.get(name))


def _refuse_value(mapper: Mapper[Any], value: object) -> None:
    """Refuse the value of a class that has other envelopes, and what may become one.

    Raises:
        UnsealedWriteError: it is one.
    """
    name = mapper.class_.__name__
    for identity, other in mapper.polymorphic_map.items():
        if _groups(other).keys() == _groups(mapper).keys():
            continue
        if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
            raise UnsealedWriteError(
                f"expected a value that says which class a row of {name} is of, found "
                f"{type(value).__name__}, which the database would compute; compute it first: the "
                "rows of some classes need other envelopes"
            )
        if value in spellings(identity):
            raise UnsealedWriteError(
                f"expected rows of the class {name}, found one that says it is "
                f"of the class {other.class_.__name__}, which has other envelopes; make an "
                f"instance of {other.class_.__name__}, or pass its rows to "
                f"session.execute(insert({other.class_.__name__}), rows)"
            )


def _permit(connection: Connection, state: InstanceState[Any], identity: Sequence[object]) -> None:
    changed = state.committed_state
    for table, bound in _rows_of(state.mapper).bound:
        if not bound.isdisjoint(changed):
            known = dict(zip(state.mapper.primary_key, identity, strict=True))
            permit(Update, connection, state, table, tuple(_key_values(state, table, known)))


def _key_values(
    state: InstanceState[Any], table: Table, known: Mapping[Any, object]
) -> Iterator[object]:
    """The primary key of a row in one of the tables that it stands in."""
    for column in table.primary_key:
        prop: Any = state.mapper.get_property_by_column(column)
        found = [known[each] for each in prop.columns if each in known]
        yield found[0] if found else getattr(state.obj(), prop.key)


_MOMENTS = {"before_insert": _look_at_new, "before_update": _look_at_changed}
