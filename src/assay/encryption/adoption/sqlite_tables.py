"""What SQLite tells of a table only by its CREATE statements: checks, expressions, collations.

Example:
    >>> lost_by_rebuild(part, connection)                          # doctest: +SKIP
    ['a check constraint without a name on visits']
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from sqlalchemy import Connection, inspect

from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.sqlite_definitions import (
    Definition,
    definitions,
    names_in,
    tokens,
    told,
)

_WORDS = {
    "COLLATE": "a collation",
    "AUTOINCREMENT": "AUTOINCREMENT",
    "CONFLICT": "ON CONFLICT",
    "GENERATED": "a generated column",
    "AS": "a generated column",
}
"""Words of a definition that the rebuild does not know, and what they make."""


def lost_by_rebuild(part: Part, connection: Connection) -> list[str]:
    """What a table would lose when SQLAlchemy rebuilds it, apart from what goes anyway."""
    place = part.table.name, part.table.schema
    # The columns of the model's other groups go as well, if not in the same step.
    fields = [field for group in part.model.own_groups.values() for field in group.fields]
    going = [name for field in fields for name in (field.plaintext, field.retired) if name]
    clear = {name.casefold() for name in (*part.clear_columns, *going)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of indexes that are not told: those are looked for here
        known = {str(i["name"]) for i in inspect(connection).get_indexes(*place)}
    checks = {str(c["name"]) for c in inspect(connection).get_check_constraints(*place)}
    found: list[str] = []
    for _, sql in told(part, connection, "table"):
        for definition in definitions(tokens(sql)):
            if definition.name.casefold() not in clear:
                found += _lost(definition, checks)
    for name, sql in told(part, connection, "index"):
        pieces = tokens(sql)
        untold = name not in known or "COLLATE" in (each.word for each in pieces)
        if untold and not clear & names_in(pieces):  # with its column it goes
            found.append(f"the index {name} over an expression or with a collation")
    return list(dict.fromkeys(found))


def indexes_over(part: Part, connection: Connection) -> Iterator[tuple[str, set[str], bool]]:
    """The indexes that name a part's columns in the clear, be it in an expression or a condition.

    Yields:
        name, which of those columns, and whether it is unique; indexes of constraints are left out.
    """
    clear = {name.casefold(): name for name in part.clear_columns}
    for name, sql in told(part, connection, "index"):
        pieces = tokens(sql)
        covers = next(at for at, each in enumerate(pieces) if each.text == "(")
        named = {clear[each] for each in names_in(pieces[covers:]) & clear.keys()}
        if named:
            yield name, named, pieces[1].word == "UNIQUE"


def checks_over(part: Part, connection: Connection) -> Iterator[str]:
    """The names of the check constraints that name a part's columns in the clear."""
    clear = {name.casefold() for name in part.clear_columns}
    for _, sql in told(part, connection, "table"):
        for definition in definitions(tokens(sql)):
            for name, names in definition.checks():
                if names & clear:
                    yield name or f"on {definition.name}"


def _lost(definition: Definition, checks: set[str]) -> Iterator[str]:
    for token in definition.outside[1:]:
        what = _WORDS.get(token.word)
        if what:
            yield f"{what} on {definition.name}"
    for name, _ in definition.checks():
        if name not in checks:
            yield f"a check constraint without a name on {definition.name}"
