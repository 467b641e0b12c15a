"""Compare-and-swap: an envelope replaces only the envelope from which it was made.

All fields of a group share one envelope. So of two sessions that change different fields of one
row, each writes all of them, and the later one would undo what the earlier one did. Therefore the
UPDATE that writes an envelope has ``AND sealed = :the envelope that was read`` in its WHERE, one
for each group that it writes. A row that another session changed meanwhile is not matched, nothing
of it is written, and the flush fails.

Contents that stand in an UPDATE without having been sealed for it replace only themselves: those of
an instance of which ``bulk_save_objects(…, update_changed_only=False)`` writes all columns.

It costs nothing on reads, and on writes no statement more. An UPDATE without an envelope, and a
DELETE, are left as they are: they lose no sealed field that somebody wanted to keep. A model's own
``version_id_col`` is checked in the same WHERE.

SQLAlchemy asks a table for the statement of its UPDATEs, so `guard_table` gives the table one that
looks at its parameters. Should it ever be passed by, `EnvelopeType` refuses the envelope.

Example:
    >>> with pytest.raises(StaleDataError):                  # doctest: +SKIP
    ...     session.flush()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, Update, bindparam

from assay.encryption.sqlalchemy.columns import Contents, EnvelopeType
from assay.encryption.sqlalchemy.errors import StaleEnvelopeError, UnsealedWriteError

_INFO_KEY = "assay.encryption.envelopes"
_NO_FIELDS: dict[str, object] = {}

_Row = Mapping[str, Any]


def guard_table(table: Table) -> None:
    """Let the UPDATEs of a table replace only the envelopes that were read."""
    keys = tuple(each.key for each in table.columns if isinstance(each.type, EnvelopeType))
    table.info[_INFO_KEY] = keys
    table.update = partial(CompareAndSwap, table)  # type: ignore[method-assign]  # of this table


class CompareAndSwap(Update):
    """An UPDATE that names, for each envelope among its values, the one that it replaces."""

    inherit_cache = True

    def _execute_on_connection(
        self, connection: Connection, distilled_params: Sequence[_Row], execution_options: Any
    ) -> Any:
        table: Any = self.table
        keys: tuple[str, ...] = table.info[_INFO_KEY]

        def replacing(row: _Row) -> tuple[str, ...]:
            return tuple(key for key in keys if _replaced(row.get(key)))

        if not any(replacing(row) for row in distilled_params):
            result = self.run(connection, distilled_params, execution_options)
            _settle(keys, distilled_params)
            return result
        if not connection.dialect.supports_sane_rowcount:
            raise UnsealedWriteError(
                "expected a driver that says how many rows an UPDATE has matched, so that no other "
                f"session's change is lost, found {connection.dialect.dialect_description}; use "
                "another driver"
            )
        results = []
        for columns, rows in groupby(distilled_params, replacing):
            statement = self._comparing(columns)
            for batch in _batches(connection, [_bound(row, columns) for row in rows]):
                result = statement.run(connection, batch, execution_options)
                self._verify(result.rowcount, len(batch))
                results.append(result)
        _settle(keys, distilled_params)
        return results[0] if len(results) == 1 else _Results(results)

    def run(self, connection: Connection, rows: Sequence[_Row], execution_options: Any) -> Any:
        """Execute it as it is."""
        return super()._execute_on_connection(connection, rows, execution_options)

    def _comparing(self, columns: tuple[str, ...]) -> CompareAndSwap:
        table: Any = self.table
        return self.where(
            *(
                table.columns[key] == bindparam(_parameter(key), type_=LargeBinary())
                for key in columns
            )
        )

    def _verify(self, matched: int, expected: int) -> None:
        if matched != expected:
            raise StaleEnvelopeError(
                f"expected {expected} row(s) of {self.table.description} as they were read, found "
                f"{matched}: another session has changed or deleted the rest since; roll back, "
                "load the rows again and assign their fields anew"
            )


class _Results:
    """The results of an UPDATE that took several executions, as one.

    Args:
        results: at least one.
    """

    def __init__(self, results: Sequence[Any]) -> None:
        self._first = results[0]
        self.rowcount = sum(result.rowcount for result in results)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)


def _replaced(value: object) -> bytes | None:
    """The envelope that must stand in the row; none or `WHATEVER_STANDS` when any may."""
    if type(value) is not Contents or value.envelope is None:
        return None
    return value.envelope if value.replaces is None else value.replaces


def _settle(keys: tuple[str, ...], rows: Sequence[_Row]) -> None:
    """From here on the envelopes of these rows are what stands in them."""
    for row in rows:
        for key in keys:
            value = row.get(key)
            if type(value) is Contents and value.envelope is not None:
                value.replaces = None


def _parameter(key: str) -> str:
    return f"assay_replaced_{key}"


def _bound(row: _Row, columns: tuple[str, ...]) -> _Row:
    """A row's parameters, with the envelopes that are replaced."""
    bound = dict(row)
    for key in columns:
        contents: Contents = row[key]
        bound[_parameter(key)] = _replaced(contents)
        bound[key] = Contents(_NO_FIELDS, contents.envelope, None)
    return bound


def _batches(connection: Connection, rows: list[_Row]) -> Iterator[list[_Row]]:
    """All rows at once where the driver counts them together, else one by one."""
    if connection.dialect.supports_sane_multi_rowcount:
        yield rows
    else:
        yield from ([row] for row in rows)
