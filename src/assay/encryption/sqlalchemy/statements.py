"""Statements of a session before they run: comparisons are resolved, rows to insert are sealed.

Example:
    >>> rows = [{"tenant_id": "tenant-1", "text": "…"}]
    >>> session.execute(insert(Document), rows)                      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session

from assay.encryption.sqlalchemy.errors import UnsealedWriteError
from assay.encryption.sqlalchemy.model import SealedModel
from assay.encryption.sqlalchemy.searching import has_criteria, resolve
from assay.encryption.sqlalchemy.session_keys import SessionKeys


@event.listens_for(Session, "do_orm_execute")
def prepare(execution: ORMExecuteState) -> None:
    """Resolve and seal what a statement says about sealed models.

    Raises:
        MappingError: see its leaves.
        assay.keys.KeysError: a key is not to be had.
    """
    statement: Any = execution.statement
    if has_criteria(statement):
        keys = SessionKeys.of(execution.session)
        execution.statement = resolve(statement, keys, execution.parameters)
    if not statement.is_dml or statement.is_delete:
        return
    model = getattr(getattr(execution.bind_mapper, "class_", None), "__sealed__", None)
    if model is None:
        return
    if execution.is_insert:
        _seal_rows(execution, model, statement)
    elif execution.is_update:
        _refuse_update(model, statement, execution.parameters)


def _seal_rows(execution: ORMExecuteState, model: SealedModel, statement: Any) -> None:
    way_out = f"pass rows: session.execute(insert({model.model.__name__}), rows)"
    if statement.select is not None:
        raise UnsealedWriteError(
            f"expected rows to insert into {model.name}, found a SELECT of which the database "
            f"would make rows that nobody seals; {way_out}"
        )
    named = _names(statement) & model.fields.keys()
    if named:
        raise UnsealedWriteError(
            f"expected the sealed fields of {model.name} in rows beside the statement, found "
            f"{', '.join(sorted(named))} among its own values; {way_out}"
        )
    conflict = statement._post_values_clause  # noqa: SLF001 - there is no other way to see it
    if conflict is not None and "nothing" not in conflict.__visit_name__:
        raise UnsealedWriteError(
            f"expected an INSERT into {model.name} without an update on conflict, found one, which "
            "would put this row's envelope into another row; load the row and assign its fields"
        )
    parameters = execution.parameters
    if not parameters:
        return  # then the sealed column has no value, and its default refuses
    keys = SessionKeys.of(execution.session)
    rows = [parameters] if isinstance(parameters, Mapping) else parameters
    execution.parameters = [seal_row(keys, model, row) for row in rows]


def seal_row(keys: SessionKeys, model: SealedModel, row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of an INSERT: its sealed fields become envelopes and blind indexes.

    Args:
        keys: seal it.
        model: what it is a row of.
        row: attribute to value.

    Raises:
        MappingError: see its leaves.
        assay.keys.KeysError: there is no data key to be had.
    """
    plain = {name: value for name, value in row.items() if name not in model.fields}
    for attribute, make in model.defaults.items():
        if plain.get(attribute) is None:
            plain[attribute] = make()
    owner = model.owner_of(plain.get(model.owner))
    row_id = model.row_id_of([plain.get(attribute) for attribute in model.key])
    for group in model.groups.values():
        fields = {
            field.name: field.accept(row[field.name]) for field in group.fields if field.name in row
        }
        contents = group.seal(keys, owner, group.place(owner, row_id), fields)
        plain[group.column] = contents
        for field in group.fields:
            if field.index is not None:
                index = model.index_of(keys, owner, field.name, contents.fields[field.name])
                plain[field.index_column] = index
    return plain


def _refuse_update(model: SealedModel, statement: Any, parameters: object) -> None:
    rows = parameters if isinstance(parameters, list) else []
    named = _names(statement).union(*rows)
    bound = {model.owner, *model.key} & _names(statement)
    bound |= {model.owner} & named
    sealed = named & model.fields.keys()
    if sealed:
        raise UnsealedWriteError(
            f"expected an UPDATE of unsealed columns of {model.name}, found {_list(sealed)}, which "
            "the database cannot seal; load the rows, assign the fields, and flush"
        )
    if bound:
        raise UnsealedWriteError(
            f"expected an UPDATE that leaves the owner and the primary key of {model.name} alone, "
            f"found {_list(bound)}; the envelopes are bound to them"
        )


def _names(statement: Any) -> set[str]:
    """The columns that a statement gives values to."""
    names: set[str] = set()
    for values in (statement._values, *(statement._multi_values or ())):  # noqa: SLF001 - there is no other way to see them
        for row in values if isinstance(values, list) else [values or {}]:
            names |= {str(getattr(column, "key", column)) for column in row}
    ordered = getattr(statement, "_ordered_values", None) or ()
    return names | {str(getattr(column, "key", column)) for column, _ in ordered}


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
