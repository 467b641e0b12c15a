"""The columns of a sealed table: envelopes and blind indexes, and nothing else.

Their types let only sealed bytes through to the database, whichever way a statement takes.

Specification: ``spec/row-envelope.md`` and ``spec/blind-index.md`` for the bytes.

Example:
    >>> Contents({"text": "Dear Ada"}, None, None)
    <contents of a sealed column, 1 field, not sealed yet>
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, Dialect, LargeBinary, and_, bindparam, func, type_coerce
from sqlalchemy.dialects.mysql import LONGBLOB, VARBINARY
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.types import TypeDecorator, TypeEngine

from assay.encryption.blind_index import BlindIndexValue
from assay.encryption.ngram_index import HEADER_BYTES
from assay.encryption.sqlalchemy.errors import UnsealedPickleError, UnsealedWriteError

_WAY_OUT = (
    "assign the fields of an instance and flush its session, or pass rows to "
    "session.execute(insert(Model), rows)"
)

_TAKE_AND_GIVE_BYTES = frozenset(
    {"pysqlite", "aiosqlite", "psycopg", "psycopg_async", "asyncpg", "pymysql"}
)
"""Drivers that need no conversion of bytes, which would cost on every row."""


WHATEVER_STANDS = b""
"""Says that contents replace no envelope that somebody may have changed: the row had none."""


class Contents:
    """What an instance holds of a sealed column: values in the clear, and their envelope.

    As long as there is no envelope, the values are on their way into the database, and the column
    refuses them. Once there is one, nothing here changes any more; a field that is assigned makes
    new contents.

    Attributes:
        fields: name to value, known and unknown fields.
        envelope: the sealed bytes, or None when they are not sealed yet.
        place: the associated data under which the envelope was sealed or opened.
        home: the ``id`` of the instance's ``__dict__`` in which unsealed contents may be changed.
        replaces: the stored envelope from which these contents were made, as long as they have not
            taken its place, or `WHATEVER_STANDS`; see `assay.encryption.sqlalchemy.swapping`.
    """

    # Not a struct or a dataclass: what turns those into JSON must not find the fields.
    __slots__ = ("envelope", "fields", "home", "place", "replaces")

    def __init__(
        self,
        fields: dict[str, object],
        envelope: bytes | None,
        place: bytes | None,
        home: int | None = None,
        replaces: bytes | None = None,
    ) -> None:
        self.fields = fields
        self.envelope = envelope
        self.place = place
        self.home = home
        self.replaces = replaces

    def __repr__(self) -> str:
        count = f"{len(self.fields)} field{'' if len(self.fields) == 1 else 's'}"
        state = "not sealed yet" if self.envelope is None else f"{len(self.envelope)} bytes sealed"
        return f"<contents of a sealed column, {count}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """The envelope alone: values in the clear do not leave the process by pickle."""
        if self.envelope is None:
            raise UnsealedPickleError(
                "expected an instance whose sealed fields were flushed, found values that are not "
                "sealed yet; flush its session before pickling or copying it"
            )
        return bytes, (self.envelope,)


def envelope_of(value: object) -> bytes | None:
    """The sealed bytes of what an instance or a row holds for a sealed column."""
    if isinstance(value, Contents):
        return value.envelope
    return value if isinstance(value, bytes) else None


def refuse_default(_context: object = None) -> NoReturn:
    """The default of a sealed column: called when an INSERT has no envelope for it.

    Raises:
        UnsealedWriteError: always.
    """
    raise UnsealedWriteError(
        f"expected an envelope for a sealed column, found an INSERT without one; {_WAY_OUT}"
    )


class _SealedBytes(TypeDecorator[Any]):
    """A binary column that lets only what was sealed through."""

    impl = LargeBinary
    cache_ok = True

    def _admit(self, value: object) -> bytes | None:
        raise NotImplementedError

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Admit sealed bytes and refuse everything else."""
        admit = self._admit
        convert = (
            None
            if dialect.driver in _TAKE_AND_GIVE_BYTES
            else self.impl_instance.bind_processor(dialect)
        )
        if convert is None:
            return admit
        return lambda value: convert(admit(value))

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Bytes as they are stored."""
        if dialect.driver in _TAKE_AND_GIVE_BYTES:
            return None
        return self.impl_instance.result_processor(dialect, coltype)

    def literal_processor(self, dialect: Dialect) -> NoReturn:
        """Refuse to write the value into the text of a statement."""
        del dialect
        raise UnsealedWriteError(
            f"expected a bound parameter for a sealed column, found a literal; {_WAY_OUT}"
        )


class EnvelopeType(_SealedBytes):
    """The type of a column of row envelopes.

    It takes `Contents` that are sealed and gives the envelope's bytes.
    """

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """LONGBLOB where an ordinary binary column ends at 64 KiB."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(LONGBLOB())
        return dialect.type_descriptor(LargeBinary())

    def _admit(self, value: object) -> bytes | None:
        if type(value) is Contents and value.envelope is not None and not value.replaces:
            return value.envelope
        raise UnsealedWriteError(
            "expected an envelope that was sealed for its row on its way into a sealed column, "
            f"found {_describe(value)}; {_WAY_OUT}"
        )

    def compare_values(self, x: Any, y: Any) -> bool:
        """Whether two values of the column are the same envelope."""
        one, other = envelope_of(x), envelope_of(y)
        return one is not None and one == other


class BlindIndexType(_SealedBytes):
    """The type of a column of blind indexes: takes `BlindIndexValue` or None, gives bytes.

    Args:
        size_bytes: how long each value is.
    """

    cache_ok = True

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """VARBINARY where a column of unlimited length cannot be indexed."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(VARBINARY(self.size_bytes))
        return dialect.type_descriptor(LargeBinary(self.size_bytes))

    def _admit(self, value: object) -> bytes | None:
        if type(value) is BlindIndexValue:
            return bytes(value)
        if value is None:
            return None
        raise UnsealedWriteError(
            "expected a blind index that was computed from a sealed field, found "
            f"{_describe(value)}; {_WAY_OUT}"
        )


class NgramsType(BlindIndexType):
    """The type of a column of n-grams: takes `BlindIndexValue` or None, gives bytes.

    On PostgreSQL the column is an array, ``bytea[]``, of the header and the hashes, which GIN can
    index; elsewhere they stand one after the other.

    Args:
        size_bytes: how long each hash is.
    """

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An array on PostgreSQL, bytes elsewhere."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(ARRAY(BYTEA))
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(LONGBLOB())
        return dialect.type_descriptor(LargeBinary())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Admit n-grams and refuse everything else."""
        if dialect.name != "postgresql":
            return super().bind_processor(dialect)
        return lambda value: self._split(self._admit(value))

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Header and hashes, one after the other."""
        if dialect.name != "postgresql":
            return super().result_processor(dialect, coltype)
        return lambda value: None if value is None else b"".join(value)

    def _split(self, value: bytes | None) -> list[bytes] | None:
        if value is None:
            return None
        hashes = value[HEADER_BYTES:]
        size = self.size_bytes
        return [value[:HEADER_BYTES]] + [
            hashes[at : at + size] for at in range(0, len(hashes), size)
        ]


def has_all_ngrams(column: Any, hashes: Sequence[bytes], dialect: str) -> ColumnElement[bool]:
    """Whether a column of `NgramsType` holds all of these hashes.

    Args:
        column: the column.
        hashes: without header.
        dialect: the name of the database's dialect.
    """
    if dialect == "postgresql":
        wanted = bindparam(None, list(hashes), type_=ARRAY(BYTEA), unique=True)
        return type_coerce(column, ARRAY(BYTEA)).contains(wanted)
    return and_(
        *(
            func.instr(column, bindparam(None, each, type_=LargeBinary(), unique=True)) > 0
            for each in hashes
        )
    )


def _describe(value: object) -> str:
    if type(value) is Contents:
        if value.envelope is None:
            return "values that are not sealed yet (bulk operations do not seal)"
        return "one that does not say which envelope it replaces"
    return "None" if value is None else f"a value of type {type(value).__name__}"
