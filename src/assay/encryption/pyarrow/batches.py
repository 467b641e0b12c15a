"""Record batches whose declared columns are sealed row by row, as a database's rows are.

Specification: ``spec/row-envelope.md``.

Example:
    >>> stored = seal_batch(batch, declared, keyring)     # doctest: +SKIP
    >>> open_batch(stored, declared, keyring)             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from assay.encryption.blind_index import BlindIndex
from assay.encryption.bucket_index import Buckets
from assay.encryption.columnar import ColumnarRows, Place
from assay.encryption.concealment import concealed
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer
from assay.encryption.errors import (
    ColumnValueError,
    UnknownFieldError,
    UnsupportedColumnError,
)
from assay.encryption.index_kinds import Equality, Prefix
from assay.encryption.ngram_index import Ngram
from assay.encryption.owner_keys import OwnerKeys
from assay.encryption.pyarrow.values import array_of, column_of, envelopes_of, kind_of, values_of
from assay.encryption.row_address import DEFAULT_GROUP, RowIdKind

IndexKind = Equality | Prefix | Ngram | Buckets


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """What `sealed` declares of a column.

    Attributes:
        type: the Arrow type of its values.
        group: the group in whose envelope it stands.
        indexes: its blind indexes.
        nullable: whether a row may have no value.
    """

    type: pa.DataType
    group: str
    indexes: tuple[IndexKind, ...]
    nullable: bool


def sealed(
    type_: pa.DataType,
    *,
    group: str = DEFAULT_GROUP,
    index: IndexKind | Sequence[IndexKind] = (),
    nullable: bool = True,
) -> SealedColumn:
    """Declare a sealed column.

    Args:
        type_: of its values: integers, floating point numbers, truth values, text, bytes,
            decimals, ``date32``, times and timestamps of milli- or microseconds, ``pa.uuid()``,
            lists and structs of such but of UUID, and dictionaries of values of these.
        group: as in a sealed model.
        index: how rows can be found by it.
        nullable: False when each row has a value.

    Raises:
        UnsupportedColumnError: values of this type cannot be sealed, or not be indexed like this.
    """
    kind = kind_of(type_)
    if kind is None:
        raise UnsupportedColumnError(
            f"expected a type that can be sealed without loss, found {type_}; cast nanoseconds to "
            "microseconds, date64 to date32, maps to lists of structs, UUID in lists to text"
        )
    indexes = tuple(index) if isinstance(index, Sequence) else (index,)
    for each in indexes:
        reason = each.refusal_of(kind)
        if reason is not None:
            raise UnsupportedColumnError(reason)
    return SealedColumn(type_, group, indexes, nullable)


@dataclass(frozen=True)
class SealedColumns:
    """What is sealed of a table's record batches, and where its rows stand. Can be pickled.

    Attributes:
        table: the stable name of the table.
        key: the columns of the primary key, in their order, and their kinds.
        owner: the column that says whose each row is: text, integers or ``pa.uuid()``.
        fields: name to `sealed`.
        padded: hide the exact lengths (Padmé).
        versioned: the table gives its rows versions; then its batches can be opened only, because
            a version is given by the statement that writes it.

    Raises:
        UnsupportedColumnError: columns that overlap, or none.
    """

    table: str
    key: Mapping[str, RowIdKind]
    owner: str
    fields: Mapping[str, SealedColumn]
    padded: bool = False
    versioned: bool = False

    def __post_init__(self) -> None:
        names = [*self.fields, *self.envelopes.values(), *self.indexes]
        if not (self.table and self.key and self.fields) or "" in names:
            raise UnsupportedColumnError(
                "expected the stable name of a table, a primary key and sealed columns, found none"
            )
        if len(set(names)) != len(names) or {self.owner, *self.key} & set(names):
            raise UnsupportedColumnError(
                "expected different names for sealed columns, envelopes, indexes, key and owner, "
                "found one twice; who owns a row and which it is cannot be sealed in it"
            )

    @property
    def envelopes(self) -> dict[str, str]:
        """The column of each group's envelopes."""
        groups = dict.fromkeys(each.group for each in self.fields.values())
        return {each: "sealed" if each == DEFAULT_GROUP else f"sealed_{each}" for each in groups}

    @property
    def indexes(self) -> dict[str, tuple[str, BlindIndex]]:
        """The columns of blind indexes: of which field, and what stands there."""
        return {
            column: (name, index)
            for name, field in self.fields.items()
            for kind in field.indexes
            for column, index in kind.columns(self.table, name).items()
        }

    def names(self, group: str) -> list[str]:
        """The fields of a group."""
        return [name for name, field in self.fields.items() if field.group == group]


@concealed
def seal_batch(
    batch: pa.RecordBatch,
    declared: SealedColumns,
    keyring: OwnerKeys,
    *,
    sealer: EnvelopeSealer | None = None,
) -> pa.RecordBatch:
    """Put the sealed columns of a batch into one column of envelopes for each group.

    Args:
        batch: has the declared columns with exactly their types; all others stay in the clear.
        declared: what is sealed.
        keyring: has or makes the owners' data keys.
        sealer: one for a process is best.

    Returns:
        The other columns in their order, then the envelopes, then the blind indexes.

    Raises:
        UnsupportedColumnError: a column is missing, has another type, or is sealed already.
        ColumnValueError: a null where none may be, or a row without owner.
        RowIdError: a row without primary key, or with one of another kind.
        UnsupportedValueError: a value cannot be indexed.
        assay.keys.KeysError: a data key is not to be had.
    """
    taken = {*declared.envelopes.values(), *declared.indexes} & set(batch.schema.names)
    if taken or declared.versioned:
        raise UnsupportedColumnError(
            f"expected columns in the clear of a table without versions, found "
            f"{sorted(taken) or 'versions'}; a batch is sealed once, and rows with versions are "
            "sealed through the database"
        )
    columns = {name: _sealed_values(batch, name, each) for name, each in declared.fields.items()}
    rows, places = _rows(batch, declared, keyring, sealer=sealer)
    result = batch.select([name for name in batch.schema.names if name not in declared.fields])
    for group, column in declared.envelopes.items():
        names = declared.names(group)
        envelopes = rows.seal(
            group, places, names, [columns[name] for name in names], padded=declared.padded
        )
        field = pa.field(column, pa.binary(), nullable=False)
        result = result.append_column(field, pa.array(envelopes, pa.binary()))
    for column, (name, index) in declared.indexes.items():
        values = rows.index(index, places, columns[name])
        result = result.append_column(column, pa.array(values, pa.binary()))
    return result


@concealed
def open_batch(
    batch: pa.RecordBatch,
    declared: SealedColumns,
    keyring: OwnerKeys,
    *,
    columns: Sequence[str] | None = None,
    opener: EnvelopeOpener | None = None,
) -> pa.RecordBatch:
    """Bring the sealed columns of a batch back, all rows or none.

    Args:
        batch: as `seal_batch` returned it, or as it was exported from a database.
        declared: what is sealed.
        keyring: has the owners' data keys.
        columns: which sealed columns; all when None. Groups of others are not opened.
        opener: one for a process is best.

    Returns:
        The columns in the clear in their order, then the sealed ones with their declared types.

    Raises:
        EnvelopeError: an envelope is missing, was altered, or is another row's.
        UnsupportedColumnError: a column is missing, or stands in the clear beside its envelope.
        ColumnValueError: a value does not fit the declared type without loss.
        UnknownFieldError: an envelope holds fields that are not declared.
        assay.keys.KeysError: a data key is not to be had.
    """
    wanted = list(declared.fields) if columns is None else list(columns)
    strange = [name for name in wanted if name not in declared.fields]
    clear = [name for name in batch.schema.names if name in declared.fields]
    if strange or clear or len(set(wanted)) != len(wanted):
        raise UnsupportedColumnError(
            f"expected declared columns, sealed only, found {strange or clear or 'one twice'}; a "
            "value in the clear beside its envelope was written by somebody else"
        )
    rows, places = _rows(batch, declared, keyring, opener=opener)
    values: dict[str, list[object]] = {}
    for group, column in declared.envelopes.items():
        names = declared.names(group)
        if set(names) & set(wanted):
            versions = values_of(batch, f"{column}_version") if declared.versioned else None
            opened = rows.open(group, places, envelopes_of(batch, column), versions)
            _refuse_unknown(set().union(*opened) - set(names), group)
            values |= {name: [row.get(name) for row in opened] for name in names}
    ours = {*declared.envelopes.values(), *declared.indexes}
    ours |= {f"{column}_version" for column in ours if declared.versioned}
    result = batch.select([name for name in batch.schema.names if name not in ours])
    for name in wanted:
        field = declared.fields[name]
        declared_field = pa.field(name, field.type, field.nullable)
        result = result.append_column(declared_field, array_of(declared_field, values[name]))
    return result


@dataclass(frozen=True)
class BatchSealer:
    """`seal_batch` as something that Dask, Ray, Spark or a process pool can map over batches.

    It can be pickled and holds no key: the keyring is opened where it runs, once for a process.

    Attributes:
        declared: what is sealed.
        open_keyring: a function of a module, which opens the key service and the key table in the
            worker.

    Example:
        >>> list(pool.map(BatchSealer(declared, open_keyring), batches))   # doctest: +SKIP
    """

    declared: SealedColumns
    open_keyring: Callable[[], OwnerKeys]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Seal a batch; raises as `seal_batch` does."""
        keyring, sealer, _ = _worker(self.open_keyring)
        return seal_batch(batch, self.declared, keyring, sealer=sealer)


@dataclass(frozen=True)
class BatchOpener:
    """`open_batch` as something that can be mapped over batches, as `BatchSealer`.

    Attributes:
        declared: what is sealed.
        open_keyring: opens the keyring in the worker.
        columns: which sealed columns; all when None.
    """

    declared: SealedColumns
    open_keyring: Callable[[], OwnerKeys]
    columns: tuple[str, ...] | None = None

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Open a batch; raises as `open_batch` does."""
        keyring, _, opener = _worker(self.open_keyring)
        return open_batch(batch, self.declared, keyring, columns=self.columns, opener=opener)


@lru_cache(maxsize=16)
def _worker(
    open_keyring: Callable[[], OwnerKeys],
) -> tuple[OwnerKeys, EnvelopeSealer, EnvelopeOpener]:
    """What one process keeps between batches: each task brings a new copy of its function."""
    return open_keyring(), EnvelopeSealer(), EnvelopeOpener()


def _rows(
    batch: pa.RecordBatch,
    declared: SealedColumns,
    keyring: OwnerKeys,
    *,
    sealer: EnvelopeSealer | None = None,
    opener: EnvelopeOpener | None = None,
) -> tuple[ColumnarRows, list[Place]]:
    rows = ColumnarRows(keyring, declared.table, declared.key, sealer=sealer, opener=opener)
    keys = [values_of(batch, name) for name in declared.key]
    return rows, rows.places(values_of(batch, declared.owner), keys)


def _sealed_values(batch: pa.RecordBatch, name: str, field: SealedColumn) -> list[object]:
    column = column_of(batch, name)
    if column.type != field.type:
        raise UnsupportedColumnError(
            f"expected {field.type} in {name!r} as declared, found {column.type}; cast it"
        )
    values = values_of(batch, name)
    if not field.nullable and None in values:
        raise ColumnValueError(f"expected no nulls in {name!r} as declared, found some")
    return values


def _refuse_unknown(names: set[str], group: str) -> None:
    if names:
        raise UnknownFieldError(
            f"expected the declared fields of the group {group!r}, found {sorted(names)} as well; "
            "declare them, or they would be lost when the rows are sealed again"
        )
