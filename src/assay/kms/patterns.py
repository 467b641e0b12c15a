"""Texts of a policy that a request's values are compared with: wildcards and policy variables.

``*`` stands for any characters and ``?`` for any one. In a document of version 2012-10-17
``${aws:username}`` stands for what the request has, ``${aws:username, 'nobody'}`` has a default,
and ``${*}``, ``${?}``, ``${$}`` stand for the character itself. What a variable stands for is
compared character by character: no wildcard is read out of a request.

A pattern takes time proportional to the length of the text times its own, whatever both are: each
piece between two ``*`` is looked for once, from where the one before it ended.

Source: IAM user guide, "IAM policy elements: Variables and tags".

Example:
    >>> query = Query("arn:aws:iam::111122223333:user/ada", "kms:Decrypt", "*",
    ...               {"aws:username": "ada"})
    >>> read_pattern("alias/${aws:username}-*", "Resource").matches("alias/ada-books", query)
    True
    >>> read_pattern("${aws:userid}", "Resource").matches("ada", query) is None
    True
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from assay.kms.condition_keys import find_key
from assay.kms.documents import shown
from assay.kms.errors import DocumentError
from assay.kms.query import Query, Value

_VARIABLE = re.compile(r"([^{}',]+)(?:, ?'([^']*)')?")
_ESCAPED = frozenset("*?$")


@dataclass(frozen=True, slots=True)
class Variable:
    """A policy variable.

    Attributes:
        key: the condition key whose value it stands for, in lower case.
        default: what it stands for when the request has none; None: then nothing matches.
    """

    key: str
    default: str | None

    def text(self, query: Query) -> str | None:
        """What it stands for; None when that cannot be told."""
        values = query.values(self.key)
        return text_of(values[0]) if len(values) == 1 else self.default if not values else None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``*`` or ``?``."""

    sign: str


Piece = str | Variable | Wildcard


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text of a policy, read.

    Attributes:
        fixed: the text, when nothing stands for something else in it.
        regex: what it matches, when it has wildcards and no variables.
        pieces: all of it, when it has variables.
        folded: whether it is compared without case.
    """

    fixed: str | None
    regex: re.Pattern[str] | None
    pieces: tuple[Piece, ...]
    folded: bool = False

    def matches(self, text: str, query: Query) -> bool | None:
        """Whether a text is what the policy says; None when a variable stands for nothing."""
        if self.folded:
            text = text.lower()
        if self.fixed is not None:
            return text == self.fixed
        if self.regex is not None:
            return self.regex.fullmatch(text) is not None
        complete: list[str | Wildcard] = []
        for piece in self.pieces:
            if isinstance(piece, Variable):
                value = piece.text(query)
                if value is None:
                    return None
                complete.append(value.lower() if self.folded else value)
            else:
                complete.append(piece)
        return _regex(tuple(complete)).fullmatch(text) is not None


def read_pattern(
    text: str, place: str, *, variables: bool = True, wildcards: bool = True, folded: bool = False
) -> Pattern:
    """Read one text of a policy.

    Args:
        text: as it stands in the document.
        place: where, for the error.
        variables: whether the version of the document has variables.
        wildcards: whether ``*`` and ``?`` stand for other characters.
        folded: whether it is compared without case.

    Raises:
        DocumentError: a variable that is not closed, or that is not known.
    """
    pieces = _pieces(text, place, variables=variables, wildcards=wildcards, folded=folded)
    if any(isinstance(each, Variable) for each in pieces):
        return Pattern(None, None, pieces, folded)
    plain = tuple(each for each in pieces if not isinstance(each, Variable))
    if all(isinstance(each, str) for each in plain):
        return Pattern("".join(str(each) for each in plain), None, (), folded)
    return Pattern(None, _compile(plain), (), folded)


def text_of(value: Value) -> str:
    """A value as a policy writes it: ``true``, ``365``, ``2026-11-26T15:00:00Z``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)


def _pieces(
    text: str, place: str, *, variables: bool, wildcards: bool, folded: bool
) -> tuple[Piece, ...]:
    found: list[Piece] = []
    at = 0
    while at < len(text):
        piece: Piece
        if variables and text.startswith("${", at):
            piece, at = _variable(text, at, place)
        else:
            sign, at = text[at], at + 1
            piece = Wildcard(sign) if wildcards and sign in "*?" else sign
        if isinstance(piece, str):
            piece = piece.lower() if folded else piece
            if found and isinstance(found[-1], str):
                found[-1] += piece
                continue
        found.append(piece)
    return tuple(found)


def _variable(text: str, at: int, place: str) -> tuple[str | Variable, int]:
    """The variable that begins at ``${``, or the character that it escapes, and where it ends."""
    end = text.find("}", at)
    inside = text[at + 2 : end]
    if end < 0:
        raise DocumentError(f"{place}: expected a brace that closes {shown(text[at:])}")
    if inside in _ESCAPED:
        return inside, end + 1
    parts = _VARIABLE.fullmatch(inside)
    key = find_key(parts[1]) if parts else None
    if parts is None or key is None:
        raise DocumentError(
            f"{place}: expected a variable that is known, found {shown(text[at : end + 1])}"
        )
    if key.many:
        raise DocumentError(f"{place}: {key.name} has many values, so that no variable can be it")
    return Variable(key.fact, parts[2]), end + 1


def _compile(pieces: tuple[str | Wildcard, ...]) -> re.Pattern[str]:
    """A regular expression that never looks for one piece twice: all but the last are atomic."""
    runs: list[str] = [""]
    for piece in pieces:
        if isinstance(piece, str):
            runs[-1] += re.escape(piece)
        elif piece.sign == "?":
            runs[-1] += "."
        else:
            runs.append("")
    first, *rest = runs
    middle = "".join(f"(?>.*?{run})" for run in rest[:-1] if run)
    last = f".*{rest[-1]}" if rest else ""
    return re.compile(first + middle + last, re.DOTALL)


_regex = lru_cache(maxsize=256)(_compile)
"""For patterns with variables, which are complete only when a request comes."""
