"""What a statement of SQLAlchemy Core may write into a sealed table: whole sealed rows, or nothing.

The types of the sealed columns refuse values that are not sealed. But an expression, such as
``func.upper("…")`` or a literal with a type of its own, never meets the type of the column that it
is assigned to. So every INSERT and UPDATE is looked at before a connection runs it, whoever made
it: the ORM, `update(table)`, a CTE.

============================ =================================================================
column                       what may be assigned
============================ =================================================================
envelope, blind index        a value, or a parameter of the column's own type; both are looked at
                             by that type. No expression, no SELECT, no update on conflict
blind index (UPDATE)         only together with an envelope
owner (UPDATE)               only together with an envelope: the old one is another owner's
version (UPDATE)             only together with its envelope
primary key (UPDATE)         nothing: the envelope is bound to it
sealed field                 nothing: it is no column, and the database would leave it out
these three (INSERT)         values: what the database computes is not what was sealed for
class (``polymorphic_on``)   the value of a class whose envelopes are written too; no expression
============================ =================================================================

Owner, primary key and class may also stand in the table of a parent that has no envelopes. What a
flush writes there was looked at before, by `hierarchies`, which permits the row.
A class's other envelopes may stand in another table: then only the ORM inserts, which fills both.

SQL as text, and tables that are only named (``sqlalchemy.table("…")``) or reflected, say nothing of
these columns; nobody but the database sees what they write. Reading refuses it.

Example:
    >>> connection.execute(update(Document.__table__).values(sealed=func.upper("x")))
    ... # doctest: +SKIP
    UnsealedWriteError
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    DefaultClause,
    Engine,
    Insert,
    Table,
    Update,
    event,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement

from assay.encryption.sqlalchemy.columns import BlindIndexType, EnvelopeType
from assay.encryption.sqlalchemy.errors import UnsealedWriteError
from assay.encryption.sqlalchemy.permissions import are_permitted
from assay.encryption.sqlalchemy.written import tables_of, tables_written, written_values

ALREADY_SEALED = {"assay_already_sealed": True}
"""Execution options of the backfill's own statement, whose document holds envelopes only."""

_INFO_KEY = "assay.encryption.bound"
_WAY_OUT = (
    "assign the fields of instances and flush their session, or pass rows to "
    "session.execute(insert(Model), rows)"
)

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Needs:
    """The envelopes that rows of a class have beyond those of every row of its hierarchy.

    Attributes:
        class_name: which class.
        here: the keys of their columns that stand in the table of the class's value.
        elsewhere: whether others stand in the table of a subclass.
    """

    class_name: str
    here: frozenset[str] = frozenset()
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class _Bound:
    """The columns of a table to which envelopes are bound, by their keys.

    Attributes:
        key: the primary key.
        owners: say whose a row is; none when another table does.
        fields: the names of the sealed fields whose envelopes the table has.
        versions: for the column of each version its envelope's.
        classes: for the column that tells classes apart, what each of its values needs.
    """

    key: frozenset[str]
    owners: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, Mapping[object, Needs]] = field(default_factory=dict)


def _bound(table: Table) -> _Bound:
    found = table.info.get(_INFO_KEY)
    return found or _Bound(frozenset(str(each.key) for each in table.primary_key))


def watch_table(
    table: Table,
    owner: Column[Any],
    key: Iterable[Any],
    versions: Mapping[str, str] = _NOTHING,
    fields: Iterable[str] = (),
) -> None:
    """Let the statements that write into a table be looked at.

    Args:
        table: has envelopes, or what these are bound to.
        owner: the column that says whose a row is; of this table or another one.
        key: the mapper's primary key, which need not be that of the table.
        versions: the keys of the columns of versions, and of the envelopes that they belong to.
        fields: the names of the sealed fields in these envelopes.
    """
    known = _bound(table)
    table.info[_INFO_KEY] = replace(
        known,
        key=known.key.union(str(each.key) for each in key if each.table is table),
        owners=known.owners | ({str(owner.key)} if owner.table is table else set()),
        fields=known.fields.union(fields),
        versions={**known.versions, **versions},
    )


def watch_classes(column: Column[Any], classes: Mapping[object, Needs]) -> None:
    """Let the statements be looked at that say which class rows are of.

    Args:
        column: tells the classes apart.
        classes: what rows of a class need, for each value of the column.
    """
    known, name = _bound(column.table), str(column.key)
    every = {**known.classes.get(name, {}), **classes}
    column.table.info[_INFO_KEY] = replace(known, classes={**known.classes, name: every})


def bound_columns(table: Table) -> list[Column[Any]]:
    """The columns of a table to which envelopes are bound, or by which they are needed."""
    found = _bound(table)
    return [table.c[name] for name in {*found.key, *found.owners, *found.classes}]


@event.listens_for(Engine, "before_execute")
def refuse_unsealed(
    connection: Connection,
    statement: Any,
    rows: Sequence[Mapping[str, Any]],
    row: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Look at a statement that is about to run.

    Raises:
        UnsealedWriteError: it would write something else than envelopes into a sealed table.
    """
    if ALREADY_SEALED.items() <= options.items():
        return
    if getattr(statement, "is_dml", False):
        for each in visitors.iterate(statement):  # a lambda and FromStatement hold it
            if isinstance(each, Insert | Update):
                given = (rows or [row]) if each is statement else [_NOTHING]
                _look_at(each, given, connection, options)


@event.listens_for(Engine, "before_cursor_execute")
def refuse_unsealed_within(
    connection: Connection,
    _cursor: object,
    _text: str,
    _parameters: object,
    context: Any,
    _many: bool,
) -> None:
    """Look at what a statement writes in a CTE, wherever in it that stands: it was compiled.

    Raises:
        UnsealedWriteError: it would write something else than envelopes into a sealed table.
    """
    for each in getattr(context.compiled, "ctes", None) or ():
        if isinstance(each.element, Insert | Update):
            _look_at(each.element, [_NOTHING], connection, _NOTHING)


@dataclass(frozen=True, slots=True)
class _Write:
    """What a statement writes into one table.

    Attributes:
        statement: an INSERT or UPDATE.
        table: one that it writes into.
        rows: the parameters that it is executed with, for this table.
        connection: the one that executes it.
        options: with which it does.
    """

    statement: Any
    table: Table
    rows: Sequence[Mapping[str, Any]]
    connection: Connection
    options: Mapping[str, Any]

    def is_new(self) -> bool:
        """Whether it makes rows."""
        return isinstance(self.statement, Insert)

    def is_permitted(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether these rows were permitted, of a statement as a flush executes it."""
        kind, name = (Insert, "key") if self.is_new() else (Update, "_label")  # of its parameters
        names = [str(getattr(column, name)) for column in self.table.primary_key]
        keys = [tuple(map(row.get, names)) for row in rows]
        return are_permitted(kind, self.connection, self.options, self.table, keys)

    def comes_whole(self, name: str, values: set[object]) -> bool:
        """Whether rows with these values in a column are inserted into other tables as well."""
        if not self.is_new():
            return False
        if "_emit_insert_table" in self.statement._annotations:  # noqa: SLF001 - the ORM's, in a session
            return True  # which has looked at the rows
        rows = [row for row in self.rows if row.get(name) in values]
        return bool(rows) and self.is_permitted(rows)


def _look_at(
    statement: Any,
    rows: Sequence[Mapping[str, Any]],
    connection: Connection,
    options: Mapping[str, Any],
) -> None:
    for table in tables_written(statement):
        if _INFO_KEY in table.info:
            given = rows if table in set(tables_of(statement.table)) else [_NOTHING]
            _look_at_table(_Write(statement, table, given, connection, options))


def _look_at_table(write: _Write) -> None:
    table, rows = write.table, write.rows
    types, bound = {column.key: column.type for column in table.c}, table.info[_INFO_KEY]
    values = list(written_values(write.statement, table))
    _refuse_fields(write, bound.fields - types.keys(), {name for name, _ in values})
    for name, value in values:
        sealed_type = types.get(name)
        if isinstance(sealed_type, EnvelopeType | BlindIndexType) and not _is_checked(value):
            raise UnsealedWriteError(
                f"expected values that were sealed for {table.fullname}.{name}, found "
                f"{type(value).__name__}, which the database would compute and nobody seals; "
                f"{_WAY_OUT}"
            )
    # What is assigned to itself is not changed.
    changed = [(name, value) for name, value in values if value is not table.c.get(name)]
    written = {name for name, _ in changed} | (rows[0].keys() & types.keys())
    if write.is_new():
        if any(isinstance(each, EnvelopeType) for each in types.values()):
            _refuse_computed(bound, table, values)
    elif write.is_permitted(rows):
        return
    else:
        _refuse_apart(bound, table, types, written)
    for name in bound.classes if write.is_new() else bound.classes.keys() & written:
        assigned = [value for column, value in changed if column == name]
        if name in written:
            given = _given_values(f"{table.fullname}.{name}", assigned, rows, name)
        else:
            given = set(_made_by_default(table.c[name]))
        _refuse_class(write, name, given, written)


def _refuse_fields(write: _Write, fields: frozenset[str], named: set[str]) -> None:
    """Refuse values for what is no column, of which SQLAlchemy skips some and runs the rest."""
    is_of_orm = "_emit_insert_table" in write.statement._annotations  # noqa: SLF001 - the ORM's
    found = sorted(fields & named.union(*(write.rows[:1] if is_of_orm else write.rows)))
    if found:
        parts = visitors.iterate(write.statement)
        parameters = {each.key for each in parts if isinstance(each, BindParameter)}
        if named.isdisjoint(found) and parameters.issuperset(found):
            return  # the names of the statement's own parameters
        raise UnsealedWriteError(
            f"expected columns of {write.table.fullname}, found the sealed field {found[0]!r}, "
            f"which is none, among the values; {_WAY_OUT}"
        )


def _refuse_class(write: _Write, name: str, values: set[object], written: set[str]) -> None:
    """Refuse to make rows those of a class without the envelopes that it needs."""
    classes: Mapping[object, Needs] = write.table.info[_INFO_KEY].classes[name]
    found = {value: needs for value in values if (needs := classes.get(value)) is not None}
    apart = {value for value, needs in found.items() if needs.elsewhere}
    comes_whole = not apart or write.comes_whole(name, apart)
    for needs in found.values():
        if needs.here <= written and (comes_whole or not needs.elsewhere):
            continue
        table = write.table.fullname
        raise UnsealedWriteError(
            f"expected rows of {table} with the envelopes of their class, found {table}.{name} "
            f"with the value of {needs.class_name} without its envelopes; add instances of "
            f"{needs.class_name}, or pass rows to session.execute(insert({needs.class_name}), rows)"
        )


def _made_by_default(column: Column[Any]) -> Iterator[object]:
    """The value that a column gets when an INSERT names none, as far as it can be known."""
    default: Any = column.default or column.server_default
    if getattr(default, "is_scalar", False):
        yield default.arg
    elif isinstance(default, DefaultClause):
        yield str(default.arg).strip("'")


def _given_values(
    place: str, values: Sequence[object], rows: Sequence[Mapping[str, Any]], name: str
) -> set[object]:
    """The values that a column gets which says of which class rows are."""
    given: set[object] = {row.get(name) for row in rows}
    for value in values:
        if isinstance(value, BindParameter):
            given.update(row.get(value.key, value.effective_value) for row in rows)
        elif _is_expression(value):
            raise UnsealedWriteError(
                f"expected a value for {place}, which says which class a row is of, found "
                f"{type(value).__name__}, which the database would compute; compute it first: the "
                "rows of some classes need an envelope"
            )
        else:
            given.add(value)
    return given


def _refuse_computed(bound: _Bound, table: Table, values: Sequence[tuple[str, object]]) -> None:
    """Refuse to let the database compute what a new row was sealed for."""
    for name, value in values:
        if name in {*bound.owners, *bound.key, *bound.versions} and _is_expression(value):
            raise UnsealedWriteError(
                f"expected a value for {table.fullname}.{name}, to which the envelopes of a new "
                f"row are bound, found {type(value).__name__}, which the database would compute; "
                "compute it first, and give it to the instance, or in the rows of "
                "session.execute(insert(Model), rows)"
            )


def _refuse_apart(bound: _Bound, table: Table, types: Mapping[str, Any], written: set[str]) -> None:
    """Refuse to change what envelopes are bound to without them."""
    for name in sorted(written & bound.key):
        raise UnsealedWriteError(
            f"expected an UPDATE that leaves the primary key {table.fullname}.{name} alone, to "
            "which envelopes are bound, found it among the values; make new rows and delete these"
        )
    for name in sorted(written & bound.versions.keys()):
        if bound.versions[name] not in written:
            raise UnsealedWriteError(
                f"expected the version {table.fullname}.{name} to change together with its "
                f"envelope, found it alone; {_WAY_OUT}"
            )
    if any(isinstance(types.get(name), EnvelopeType) for name in written):
        return
    for name in sorted(written):
        if isinstance(types.get(name), BlindIndexType):
            raise UnsealedWriteError(
                f"expected the blind index {table.fullname}.{name} to change together with the "
                f"envelope, found it alone; {_WAY_OUT}"
            )
        if name in bound.owners:
            raise UnsealedWriteError(
                f"expected an UPDATE that leaves the owner {table.fullname}.{name} alone, found "
                "it without envelopes, which the old owner's would be; call "
                "move_to_owner(instance, owner)"
            )


def _is_checked(value: object) -> bool:
    """Whether the type of the column, or one like it, gets to see a value."""
    if isinstance(value, BindParameter):
        sealed = isinstance(value.type, EnvelopeType | BlindIndexType)
        return sealed or bool(value.type._isnull)  # noqa: SLF001 - then it takes the column's type
    return not _is_expression(value)


def _is_expression(value: object) -> bool:
    """Whether the database would compute a value."""
    if isinstance(value, BindParameter):
        return False
    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
