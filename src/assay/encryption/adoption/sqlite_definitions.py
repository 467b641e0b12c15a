"""The text of a table's or an index's definition, which is all that SQLite tells of some of it.

Example:
    >>> [d.name for d in definitions(tokens("CREATE TABLE t (id INT, n TEXT CHECK (n != ','))"))]
    ['id', 'n']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from assay.encryption.adoption.names import schema_prefix
from assay.encryption.adoption.parts import Part

_TOKEN = re.compile(
    r"""(?:--[^\n]*|/\*.*?\*/|\s+)|('(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|\w+|.)""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a name in quotes, a string or a sign.

    Attributes:
        text: as it stands there.
        start: where it begins in the whole text.
        end: where it ends.
        depth: how many brackets are open around it.
    """

    text: str
    start: int
    end: int
    depth: int

    @property
    def word(self) -> str:
        """It in capitals, as a keyword is compared."""
        return self.text.upper()

    @property
    def name(self) -> str:
        """It without its quotes."""
        if self.text[0] not in "\"'`[":
            return self.text
        return self.text[1:-1].replace(self.text[0] * 2, self.text[0])


@dataclass(frozen=True, slots=True)
class Definition:
    """A column or a constraint of a table.

    Attributes:
        tokens: all of it.
        begin: where the bracket or comma before it stands in the whole text.
    """

    tokens: tuple[Token, ...]
    begin: int

    @property
    def name(self) -> str:
        """Its first word: a column's name, or which kind of constraint it is."""
        return self.tokens[0].name

    @property
    def outside(self) -> list[Token]:
        """Its tokens without those in brackets."""
        return [each for each in self.tokens if each.depth == 1]

    def checks(self) -> Iterator[tuple[str, set[str]]]:
        """Its check constraints: the name, or nothing, and the names that each one names."""
        for at, token in enumerate(self.tokens):
            if token.word != "CHECK" or token.depth != 1:
                continue
            named = at > 1 and self.tokens[at - 2].word == "CONSTRAINT"
            inside: list[Token] = []
            for each in self.tokens[at + 1 :]:
                if each.depth == 1 and inside and each.text != ")":
                    break
                inside.append(each)
            yield self.tokens[at - 1].name if named else "", names_in(inside)


def tokens(sql: str) -> list[Token]:
    """The tokens of a statement, without spaces and comments."""
    found: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(sql):
        piece = match[1]
        if piece:
            depth -= piece == ")"
            found.append(Token(piece, match.start(1), match.end(1), depth))
            depth += piece == "("
    return found


def definitions(found: Sequence[Token]) -> Iterator[Definition]:
    """The columns and constraints of a CREATE TABLE."""
    held: list[Token] = []
    begin: int | None = None
    for token in found:
        ends = begin is not None and (
            (token.depth == 0 and token.text == ")") or (token.depth == 1 and token.text == ",")
        )
        if ends and begin is not None and held:
            yield Definition(tuple(held), begin)
            held = []
        if begin is None:
            begin = token.start if token.text == "(" else None
        elif token.depth == 0:
            return
        elif ends:
            begin = token.start
        else:
            held.append(token)


def names_in(found: Sequence[Token]) -> set[str]:
    """What may be a name among tokens, in small letters; strings are not."""
    return {each.name.casefold() for each in found if each.text[0] != "'"}


def told(part: Part, connection: Connection, kind: str) -> list[tuple[str, str]]:
    """Name and definition of everything of a kind that belongs to a part's table.

    Args:
        part: whose table.
        connection: to the database.
        kind: "table" or "index".
    """
    asked = (
        f"SELECT name, sql FROM {schema_prefix(part, 'sqlite')}sqlite_master "  # noqa: S608 - a quoted name
        "WHERE type = :kind AND tbl_name = :table COLLATE NOCASE AND sql IS NOT NULL ORDER BY 1"
    )
    given = {"kind": kind, "table": part.table.name}
    return [(str(name), str(sql)) for name, sql in connection.execute(text(asked), given)]
