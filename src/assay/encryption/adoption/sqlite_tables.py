"""What SQLite tells of a table only by its CREATE statement, and a rebuild would therefore lose.

Example:
    >>> lost_by_rebuild(part, connection)                          # doctest: +SKIP
    ['a check constraint without a name on visits']
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from sqlalchemy import Connection, inspect, text

from assay.encryption.adoption.names import schema_prefix
from assay.encryption.adoption.parts import Part

_TOKEN = re.compile(
    r"""(?:--[^\n]*|/\*.*?\*/|\s+)|('(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|\w+|.)""",
    re.DOTALL,
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
    """What a part's table would lose, apart from what its columns in the clear have."""
    master = f"{schema_prefix(part, 'sqlite')}sqlite_master"
    asked = f"SELECT type, name, sql FROM {master} WHERE tbl_name = :table AND sql IS NOT NULL"  # noqa: S608 - a quoted name
    clear = {name.casefold() for name in part.clear_columns}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of indexes that are not told: those are looked for here
        told = {str(i["name"]) for i in inspect(connection).get_indexes(*_place(part))}
    checks = {str(c["name"]) for c in inspect(connection).get_check_constraints(*_place(part))}
    found: list[str] = []
    for kind, name, sql in connection.execute(text(asked), {"table": part.table.name}):
        tokens = _tokens(str(sql))
        if kind == "table":
            for definition in _definitions(tokens):
                if _bare(definition[0]).casefold() not in clear:
                    found += _lost(definition, checks)
            continue
        goes = clear & {_bare(each).casefold() for each in tokens}  # with its column
        untold = name not in told or "COLLATE" in map(str.upper, tokens)
        if kind == "index" and untold and not goes:
            found.append(f"the index {name} over an expression or with a collation")
    return list(dict.fromkeys(found))


def _place(part: Part) -> tuple[str, str | None]:
    return part.table.name, part.table.schema


def _tokens(sql: str) -> list[str]:
    return [each for each in _TOKEN.findall(sql) if each]


def _bare(token: str) -> str:
    """A name without its quotes."""
    return token[1:-1] if token[0] in "\"'`[" else token


def _definitions(tokens: list[str]) -> Iterator[list[str]]:
    """The columns and constraints of a CREATE TABLE; what stands in brackets is left out."""
    depth, definition = 0, list[str]()
    for piece in tokens:
        depth -= piece == ")"
        if depth == 0 and piece == ")":
            break
        if depth == 1 and piece == ",":
            yield definition
            definition = []
        elif depth == 1:
            definition.append(piece)
        depth += piece == "("
    if definition:
        yield definition


def _lost(definition: list[str], checks: set[str]) -> Iterator[str]:
    upper = ["", "", *(each.upper() for each in definition)]
    for token in definition[1:]:
        what = _WORDS.get(token.upper())
        if what:
            yield f"{what} on {_bare(definition[0])}"
    for at, token in enumerate(definition):
        named = upper[at] == "CONSTRAINT" and _bare(definition[at - 1]) in checks
        if token.upper() == "CHECK" and not named:
            yield f"a check constraint without a name on {_bare(definition[0])}"
