"""Canaries: values that nobody could have written by chance, to be planted and searched for.

A canary is made of several *shards*. Compression, page borders and line breaks tear a long value
apart, but they rarely tear all of its pieces, so each shard is searched for on its own.

Shards are lower-case letters and digits, so that case folding (e-mail normalisation, full-text
indexes) does not change them; they begin with a letter and end with a digit, so that neither a
number parser nor a stemmer touches them.

Specification: ``spec/leak-test.md``, "Canaries".

Example:
    >>> import secrets
    >>> canary, = make_canaries({"owner_email": CanaryKind.EMAIL}, secrets.SystemRandom())
    >>> len(canary.shards), canary.value.endswith(".example")
    (3, True)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from assay.leakage.errors import CanaryError

SHORTEST_SHARD = 8
"""Fewest characters of a shard: below this, chance matches in a large medium become likely."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_SHARD_LENGTH = 10
_TEXT_SHARDS = 4


class CanaryKind(StrEnum):
    """What type of value a field takes."""

    TEXT = "text"
    EMAIL = "email"
    NUMBER = "number"


class RandomSource(Protocol):
    """Where randomness comes from: ``secrets.SystemRandom()``, or a seeded one in tests."""

    def choice(self, seq: str, /) -> str:
        """One character of the text, each as likely as the others."""
        ...


@dataclass(frozen=True, slots=True)
class Canary:
    """One planted value.

    Attributes:
        field: the name of the field that it was planted in.
        kind: what type of value the field takes.
        value: the whole value, as the application is given it.
        shards: distinct pieces of the value, each of at least `SHORTEST_SHARD` characters.

    Raises:
        CanaryError: the shards are missing, too short, repeated, or not part of the value.
    """

    field: str
    kind: CanaryKind
    value: str
    shards: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a canary that could not be found again."""
        if not self.shards or len(set(self.shards)) != len(self.shards):
            raise CanaryError(
                f"expected distinct shards of the canary for {self.field}, "
                f"found {len(self.shards)} of which {len(set(self.shards))} are distinct"
            )
        if any(len(shard) < SHORTEST_SHARD or shard not in self.value for shard in self.shards):
            raise CanaryError(
                f"expected shards of at least {SHORTEST_SHARD} characters that are part of the "
                f"canary for {self.field}, found another one"
            )
        if self.kind is CanaryKind.NUMBER and not (
            self.value.isascii() and self.value.isdigit() and 0 < int(self.value) < 2**63
        ):
            raise CanaryError(
                f"expected a positive 64-bit integer as the number canary for {self.field}, "
                "found something else"
            )


def make_canaries(fields: Mapping[str, CanaryKind], source: RandomSource) -> tuple[Canary, ...]:
    """A fresh canary for each field, in the order of the mapping.

    Args:
        fields: field names and what they take.
        source: the randomness; about 49 bits per shard of ten characters, 60 bits per number.

    Raises:
        CanaryError: the source repeats itself, so that two canaries could not be told apart.
    """
    made = tuple(_MAKERS[kind](field, source) for field, kind in fields.items())
    shards = [shard for canary in made for shard in canary.shards]
    if len(set(shards)) != len(shards):
        raise CanaryError(
            f"expected {len(shards)} different shards from the random source, "
            f"found {len(set(shards))}; use secrets.SystemRandom()"
        )
    return made


def _text(field: str, source: RandomSource) -> Canary:
    shards = _shards(source, _TEXT_SHARDS)
    return Canary(field, CanaryKind.TEXT, " ".join(shards), shards)


def _email(field: str, source: RandomSource) -> Canary:
    first, second, host = _shards(source, 3)
    # RFC 2606 reserves .example: mail to a canary can never reach anyone.
    value = f"{first}.{second}@{host}.example"
    return Canary(field, CanaryKind.EMAIL, value, (first, second, host))


def _number(field: str, source: RandomSource) -> Canary:
    # 18 digits fill a 64-bit integer without overflow; no zero at either end, so that no
    # encoding (PostgreSQL's numeric drops trailing zero groups) shortens it.
    ends = _DIGITS[1:]
    middle = "".join(source.choice(_DIGITS) for _ in range(16))
    value = f"{source.choice(ends)}{middle}{source.choice(ends)}"
    return Canary(field, CanaryKind.NUMBER, value, (value[:12], value[6:]))


_MAKERS = {
    CanaryKind.TEXT: _text,
    CanaryKind.EMAIL: _email,
    CanaryKind.NUMBER: _number,
}


def _shards(source: RandomSource, count: int) -> tuple[str, ...]:
    return tuple(_shard(source) for _ in range(count))


def _shard(source: RandomSource) -> str:
    middle = "".join(source.choice(_LETTERS + _DIGITS) for _ in range(_SHARD_LENGTH - 2))
    return f"{source.choice(_LETTERS)}{middle}{source.choice(_DIGITS)}"
