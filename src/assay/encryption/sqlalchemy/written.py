"""What a statement writes, as far as it says so itself: tables, columns and values.

Example:
    >>> [*written_values(update(table).values(label="x"), table)]        # doctest: +SKIP
    [('label', 'x')]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import FromClause, Join, Table

from assay.encryption.sqlalchemy.errors import UnsealedWriteError

_UPDATES_OF_CLAUSE: Mapping[str, Callable[[Any], Iterable[Any]]] = {
    "on_conflict_do_nothing": lambda _: (),
    "on_conflict_do_update": lambda clause: clause.update_values_to_set,
    "on_duplicate_key_update": lambda clause: dict(clause.update),
}


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
            if _may_stand_in(column, table):
                yield str(getattr(column, "key", column)), value
    for column, value in getattr(statement, "_ordered_values", None) or ():
        if _may_stand_in(column, table):
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


def tables_written(statement: Any) -> set[Table]:
    """The tables into which a statement may write: through an alias, and several on MariaDB."""
    columns = [*(statement._values or {})]  # noqa: SLF001 - as above
    columns += [column for column, _ in getattr(statement, "_ordered_values", None) or ()]
    homes = [getattr(column, "table", None) for column in columns]
    return {table for home in (statement.table, *homes) for table in tables_of(home)}


def tables_of(source: Any) -> Iterator[Table]:
    """The tables of which a part of a FROM consists."""
    if isinstance(source, Table):
        yield source
    elif isinstance(source, Join):
        yield from tables_of(source.left)
        yield from tables_of(source.right)
    elif isinstance(source, FromClause):
        yield from tables_of(getattr(source, "element", None))


def _may_stand_in(column: object, table: Table) -> bool:
    home = getattr(column, "table", None)
    return home is None or table in set(tables_of(home))


def _multiple(statement: Any, table: Table) -> Iterator[Mapping[Any, Any]]:
    for rows in statement._multi_values or ():  # noqa: SLF001 - as above
        for row in rows:
            yield row if isinstance(row, Mapping) else dict(zip(table.c.keys(), row, strict=False))
