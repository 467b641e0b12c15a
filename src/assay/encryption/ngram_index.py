"""A blind index of all short pieces of a text, for finding texts that contain another.

Specification: ``spec/blind-index.md``, "N-grams".

Example:
    >>> index = NgramIndex("documents", "title", ngram_of(casefold, 3), 16, 3)
    >>> len(index.indexer(key).compute("report"))            # doctest: +SKIP
    11
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.encryption.blind_index import BlindIndex, BlindIndexer, BlindIndexValue, Transform
from assay.encryption.errors import BlindIndexError
from assay.encryption.index_kinds import Search, normalised_text, refusal_of_text
from assay.keys import DataKey

DEFAULT_NGRAM_BITS = 16
DEFAULT_NGRAM_SIZE = 3
HEADER_BYTES = 3


@dataclass(frozen=True, slots=True)
class NgramIndex(BlindIndex):
    """The n-grams of one field of one table.

    Attributes:
        size: how many characters make an n-gram.
    """

    size: int = DEFAULT_NGRAM_SIZE

    def indexer(self, key: DataKey) -> NgramIndexer:
        """What computes it under one data key; for errors see `BlindIndexer`."""
        return NgramIndexer(self, key, self.size)


class NgramIndexer(BlindIndexer):
    """All n-grams of a text under one data key; for arguments and errors see `BlindIndexer`."""

    __slots__ = ("_size",)

    def __init__(self, index: BlindIndex, key: DataKey, size: int) -> None:
        super().__init__(index, key)
        self._size = size

    def compute(self, value: object) -> BlindIndexValue | None:
        """Version, key version, then the truncated hash of each different n-gram, sorted.

        Raises:
            UnsupportedValueError: the transform does not accept the value.
        """
        if value is None:  # step 1
            return None
        text = self._transform(value).decode()  # 2
        hashes = {self.compute_normalised(gram)[HEADER_BYTES:] for gram in ngrams(text, self._size)}
        return BlindIndexValue(self._header + b"".join(sorted(hashes)))  # 3 to 5


def ngrams(text: str, size: int) -> tuple[bytes, ...]:
    """The different n-grams of a text as UTF-8, in the order of their first places.

    Args:
        text: normalised.
        size: how many characters make one.
    """
    places = range(len(text) - size + 1)
    return tuple(dict.fromkeys(text[at : at + size].encode() for at in places))


def ngram_of(transform: Transform, size: int) -> Transform:
    """A normalised text, named for n-grams of a size."""

    def normalise(value: object) -> bytes:
        return normalised_text(transform, value).encode()

    return Transform(f"ngram/{size}/{transform.name}", (str,), normalise)


@dataclass(frozen=True, slots=True)
class Ngram:
    """A blind index by which rows whose text contains another are found: ``contains``.

    A search finds the rows that have all n-grams of what is looked for, in any order; ``matching``
    opens and compares them. What is shorter than one n-gram cannot be searched for. PostgreSQL has
    an index over the n-grams (GIN); SQLite and MariaDB read them of all rows that the rest of the
    statement leaves, so compare the owner as well.

    What it tells whoever reads the table: for every row how many different n-grams its text has,
    which is nearly its length, and which of them it shares with which other rows of the owner.
    Pieces of words have well-known frequencies and stand together in well-known ways, so with
    enough rows much of the text can be recovered. It tells the most of all kinds: use it for
    titles and names that may become known, and never for the text that sealing is about. Fewer
    bits make different n-grams look the same, which tells less and finds more candidates. See
    ``spec/blind-index.md``.

    Attributes:
        transform: how the text is normalised before it is taken apart.
        size: how many characters make an n-gram, at least 2.
        bits: how much of each hash is kept; whole bytes.
        acknowledged: as in `Equality`.

    Raises:
        BlindIndexError: it cannot be declared like this.
    """

    transform: Transform
    size: int = DEFAULT_NGRAM_SIZE
    bits: int = DEFAULT_NGRAM_BITS
    acknowledged: str | None = None

    def __post_init__(self) -> None:
        """Refuse n-grams and hashes that do not exist."""
        if type(self.size) is not int or self.size < 2:
            raise BlindIndexError(
                f"expected n-grams of at least 2 characters, found {self.size!r}: single "
                "characters have frequencies that everybody knows"
            )
        if self.bits % 8 or not 8 <= self.bits <= 256:
            raise BlindIndexError(
                f"expected 8, 16, 24 … bits for the hash of an n-gram, found {self.bits}"
            )

    def refusal_of(self, kind: type) -> str | None:
        """Why a field of this type cannot have the index, or None when it can."""
        return refusal_of_text(self.transform, kind)

    def columns(self, table: str, field: str) -> Mapping[str, BlindIndex]:
        """The index of the column that the field gets: ``<field>_ngrams``."""
        transform = ngram_of(self.transform, self.size)
        return {f"{field}_ngrams": NgramIndex(table, field, transform, self.bits, self.size)}

    def search(self, field: str, operation: str, operands: tuple[object, ...]) -> Search | None:
        """What to look for, or None when this kind cannot answer the operation.

        Args:
            field: the name of the field.
            operation: ``contains``.
            operands: the one text that is wanted.

        Raises:
            UnsupportedValueError: a value of a type that the transform does not accept.
            BlindIndexError: the text is shorter than one n-gram.
        """
        if operation != "contains":
            return None
        transform = self.transform
        wanted = normalised_text(transform, operands[0])
        terms = ngrams(wanted, self.size)
        if not terms:
            raise BlindIndexError(
                f"expected a text of at least {self.size} characters to look for in {field!r}, "
                "found a shorter one"
            )

        def accepts(value: object) -> bool:
            return value is not None and wanted in normalised_text(transform, value)

        return Search(f"{field}_ngrams", terms, accepts, every=True)
