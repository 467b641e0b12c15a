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
these three (INSERT)         values: what the database computes is not what was sealed for
============================ =================================================================

SQL as text, and tables that are only named (``sqlalchemy.table("…")``), say nothing of their
columns; nobody but the database sees what they write. Reading refuses it.

Example:
    >>> connection.execute(update(Document.__table__).values(sealed=func.upper("x")))
    ... # doctest: +SKIP
    UnsealedWriteError
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, BindParameter, Column, Connection, Engine, Insert, Table, Update, event
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement

from assay.encryption.sqlalchemy.columns import BlindIndexType, EnvelopeType
from assay.encryption.sqlalchemy.errors import UnsealedWriteError

ALREADY_SEALED = {"assay_already_sealed": True}
"""Execution options of the backfill's own statement, whose document holds envelopes only."""

_INFO_KEY = "assay.encryption.bound"
_WAY_OUT = (
    "assign the fields of instances and flush their session, or pass rows to "
    "session.execute(insert(Model), rows)"
)

_UPDATES_OF_CLAUSE: Mapping[str, Callable[[Any], Iterable[Any]]] = {
    "on_conflict_do_nothing": lambda _: (),
    "on_conflict_do_update": lambda clause: clause.update_values_to_set,
    "on_duplicate_key_update": lambda clause: dict(clause.update),
}


@dataclass(frozen=True, slots=True)
class _Bound:
    """The columns of a table to which its envelopes are bound, by their keys.

    Attributes:
        owner: says whose a row is; None when another table does.
        key: the primary key.
        versions: for the column of each version its envelope's.
    """

    owner: str | None
    key: frozenset[str]
    versions: Mapping[str, str]


def watch_table(table: Table, owner: Column[Any], versions: Mapping[str, str]) -> None:
    """Let the statements that write into a table be looked at.

    Args:
        table: has envelopes.
        owner: the column that says whose a row is; of this table or another one.
        versions: the keys of the columns of versions, and of the envelopes that they belong to.
    """
    known = table.info.get(_INFO_KEY)
    table.info[_INFO_KEY] = _Bound(
        str(owner.key) if owner.table is table else None,
        frozenset(str(each.key) for each in table.primary_key),
        {**(known.versions if known else {}), **versions},
    )


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
    del connection
    if ALREADY_SEALED.items() <= options.items():
        return
    if getattr(statement, "is_dml", False):
        for each in visitors.iterate(statement):
            if isinstance(each, Insert | Update):
                given = (rows[0] if rows else row) if each is statement else {}
                _look_at(each, given)
    elif getattr(statement, "is_select", False):
        for source in getattr(statement, "columns_clause_froms", ()):
            if isinstance(source, CTE) and isinstance(source.element, Insert | Update):
                _look_at(source.element, {})


def written_values(statement: Any, table: Table) -> Iterator[tuple[str, object]]:
    """What a statement gives to which column, as far as the statement itself says it.

    Args:
        statement: an INSERT or UPDATE.
        table: the table it writes into.

    Yields:
        The key of a column, and a value or an expression.
    """
    for row in (statement._values or {}, *_multiple(statement, table)):  # noqa: SLF001 - there is no other way to see them
        for column, value in row.items():
            yield str(getattr(column, "key", column)), value
    for column, value in getattr(statement, "_ordered_values", None) or ():
        yield str(getattr(column, "key", column)), value
    for name in getattr(statement, "_select_names", None) or ():
        yield str(getattr(name, "key", name)), statement.select
    for name in updated_on_conflict(statement):
        yield name, statement._post_values_clause  # noqa: SLF001 - as above


def updated_on_conflict(statement: Any) -> list[str]:
    """The keys of the columns that an INSERT updates in a row that is there already.

    Raises:
        UnsealedWriteError: the INSERT has a clause of which nobody knows what it writes.
    """
    found: Any = getattr(statement, "_post_values_clause", None)
    names: list[str] = []
    for clause in getattr(found, "clauses", () if found is None else (found,)):
        updates = _UPDATES_OF_CLAUSE.get(clause.__visit_name__)
        if updates is None:
            raise UnsealedWriteError(
                "expected an INSERT into a sealed table with ON CONFLICT or ON DUPLICATE KEY, or "
                f"without, found {type(clause).__name__}, which may write anything; leave it out"
            )
        names += [str(getattr(column, "key", column)) for column in updates(clause)]
    return names


def _multiple(statement: Any, table: Table) -> Iterator[Mapping[Any, Any]]:
    for rows in statement._multi_values or ():  # noqa: SLF001 - as above
        for row in rows:
            yield row if isinstance(row, Mapping) else dict(zip(table.c.keys(), row, strict=False))


def _look_at(statement: Any, given: Mapping[str, Any]) -> None:
    table = statement.table
    if not isinstance(table, Table) or _INFO_KEY not in table.info:
        return
    types, bound = {column.key: column.type for column in table.c}, table.info[_INFO_KEY]
    values = list(written_values(statement, table))
    for name, value in values:
        sealed_type = types.get(name)
        if isinstance(sealed_type, EnvelopeType | BlindIndexType) and not _is_checked(value):
            raise UnsealedWriteError(
                f"expected values that were sealed for {table.fullname}.{name}, found "
                f"{type(value).__name__}, which the database would compute and nobody seals; "
                f"{_WAY_OUT}"
            )
    if isinstance(statement, Insert):
        _refuse_computed(bound, table, values)
        return
    # What is assigned to itself is not changed.
    changed = {name for name, value in values if value is not table.c.get(name)}
    _refuse_apart(bound, table, types, changed | (given.keys() & types.keys()))


def _refuse_computed(bound: _Bound, table: Table, values: Sequence[tuple[str, object]]) -> None:
    """Refuse to let the database compute what a new row was sealed for."""
    for name, value in values:
        if name in {bound.owner, *bound.key, *bound.versions} and _is_expression(value):
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
        if name == bound.owner:
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
