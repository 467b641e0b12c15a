"""Keyed hashes by which rows with an equal sealed value can be found.

Specification: ``spec/blind-index.md``, which also says what an index tells whoever reads it.

Example:
    >>> index = BlindIndex("documents", "owner_email", casefold)
    >>> one, other = "Ada@Example.com", "ada@example.com"
    >>> index.compute(key, one) == index.compute(key, other)     # doctest: +SKIP
    True
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from assay.core import DataKeyClass, pae
from assay.encryption.concealment import concealed
from assay.encryption.errors import BlindIndexError, KeyClassError, UnsupportedValueError
from assay.encryption.row_address import encode_row_id
from assay.keys import DataKey

_LE64 = struct.Struct("<Q").pack

LABEL = b"assay index v1"
VERSION = 0x01
DEFAULT_BITS = 128
FEWEST_BITS_FOR_EQUALITY = 64
"""With fewer bits unrelated values collide, and a search finds candidates."""


@dataclass(frozen=True, slots=True)
class Transform:
    """How values are normalised before they are hashed; values that become equal find each other.

    Attributes:
        name: stands in the hash; never changed while an index is in use.
        accepts: the types of values.
        normalise: value to bytes.
        enums: whether members of enumerations are accepted too.
    """

    name: str
    accepts: tuple[type, ...]
    normalise: Callable[[object], bytes]
    enums: bool = False

    def takes(self, kind: type) -> bool:
        """Whether values of exactly this type are accepted."""
        return kind in self.accepts or (self.enums and issubclass(kind, Enum))

    def __call__(self, value: object) -> bytes:
        """The normalised value.

        Raises:
            UnsupportedValueError: another type, or text that is not valid Unicode.
        """
        if type(value) not in self.accepts and not self.takes(type(value)):
            raise UnsupportedValueError(
                f"expected a value of {', '.join(kind.__name__ for kind in self.accepts)} for the "
                f"blind index {self.name!r}, found {type(value).__name__}"
            )
        try:
            return self.normalise(value)
        except UnicodeEncodeError:
            pass
        raise UnsupportedValueError("expected valid Unicode text, found a lone surrogate")


def _normalise_exactly(value: object) -> bytes:
    match value:
        case Enum():
            return value.name.encode()
        case bool():
            return b"true" if value else b"false"
        case str():
            return value.encode()
        case bytes():
            return value
        case date():
            return value.isoformat().encode()
        case _:
            return encode_row_id(value)  # type: ignore[arg-type]  # UUID and int are left


def _fold_case(value: object) -> bytes:
    text = str(value)
    if text.isascii():
        return text.lower().encode()  # the same, without the tables of Unicode
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", folded).encode()


def _keep_digits(value: object) -> bytes:
    digits = (unicodedata.decimal(char, None) for char in str(value))
    return "".join(str(digit) for digit in digits if digit is not None).encode()


exact = Transform("exact", (str, bytes, bool, int, UUID, date), _normalise_exactly, enums=True)
"""Values are equal when nothing differs; text is compared code point by code point."""

casefold = Transform("casefold", (str,), _fold_case)
"""Texts are equal but for case and for how accents are composed; white space counts."""

digits = Transform("digits", (str,), _keep_digits)
"""Texts are equal when their decimal digits are, for telephone and account numbers."""


class BlindIndexValue(bytes):
    """A computed blind index: version, key version, truncated hash. Only made by `BlindIndex`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class BlindIndex:
    """The blind index of one field of one table.

    Attributes:
        table: the stable name of the table; empty for an index that fields of several tables
            share.
        field: the stable name of the field, or the name of the shared index.
        transform: see `Transform`.
        bits: how much of the hash is kept, 1 to 256.
    """

    table: str
    field: str
    transform: Transform
    bits: int = DEFAULT_BITS

    def __post_init__(self) -> None:
        """Refuse a length that HMAC-SHA-256 cannot give."""
        index_size_bytes(self.bits)

    @concealed
    def compute(self, key: DataKey, value: object) -> BlindIndexValue | None:
        """The blind index of a value; of None there is none.

        Args:
            key: a data key of class ``indexes``; its owner is the tenant.
            value: of a type that the transform accepts, or None.

        Raises:
            KeyClassError: the data key is of another class.
            BlindIndexError: the data key has a version above 65535.
            UnsupportedValueError: the transform does not accept the value.
        """
        return self.indexer(key).compute(value)

    def indexer(self, key: DataKey) -> BlindIndexer:
        """What computes it under one data key.

        Raises:
            KeyClassError: the data key is of another class.
            BlindIndexError: the data key has a version above 65535.
        """
        return BlindIndexer(self, key)


class BlindIndexer:
    """A blind index under one data key, with everything hashed that comes before the value.

    Args:
        index: what is indexed.
        key: a data key of class ``indexes``; its owner is the tenant.

    Raises:
        KeyClassError: the data key is of another class.
        BlindIndexError: the data key has a version above 65535.
    """

    __slots__ = ("_hash", "_header", "_last_byte", "_size_bytes", "_transform", "index", "key")

    def __init__(self, index: BlindIndex, key: DataKey) -> None:
        if key.key_class is not DataKeyClass.INDEXES:  # step 1
            raise KeyClassError(
                f"expected a data key of class indexes, found one of class {key.key_class.value}"
            )
        if not 1 <= key.version <= 0xFFFF:
            raise BlindIndexError(f"expected an index key version to 65535, found {key.version}")
        self.index = index
        self.key = key
        self._transform = index.transform
        self._size_bytes = (index.bits + 7) // 8
        self._last_byte = (0xFF << (-index.bits % 8)) & 0xFF
        self._header = bytes([VERSION]) + key.version.to_bytes(2, "big")
        names = (key.owner, index.table, index.field, index.transform.name)
        # The encoding of six pieces, the last of them empty, ends with its length: eight bytes.
        before = pae([LABEL, *(name.encode() for name in names), b""])[:-8]
        self._hash = HMAC(key.material, SHA256())
        self._hash.update(before)

    def compute(self, value: object) -> BlindIndexValue | None:
        """The blind index of a value; of None there is none.

        Raises:
            UnsupportedValueError: the transform does not accept the value.
        """
        if value is None:  # 2
            return None
        return self.compute_normalised(self._transform(value))  # 3

    def compute_normalised(self, normalised: bytes) -> BlindIndexValue:
        """The blind index of a value that is normalised already: steps 4 to 6."""
        hashed = self._hash.copy()  # 4
        hashed.update(_LE64(len(normalised)) + normalised)
        kept = hashed.finalize()[: self._size_bytes]  # 5
        if self._last_byte != 0xFF:
            kept = kept[:-1] + bytes([kept[-1] & self._last_byte])
        return BlindIndexValue(self._header + kept)  # 6


def index_size_bytes(bits: int) -> int:
    """How long a blind index is, with version and key version.

    Args:
        bits: how much of the hash is kept, 1 to 256.

    Raises:
        BlindIndexError: HMAC-SHA-256 cannot give that many bits.
    """
    if not 1 <= bits <= 256:
        raise BlindIndexError(f"expected 1 to 256 bits of blind index, found {bits}")
    return 3 + (bits + 7) // 8
