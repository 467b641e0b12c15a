"""Arrow record batches: what is sealed in them, and that rows travel between the adapters."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import cloudpickle
import pyarrow as pa
import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st
from sqlalchemy import StaticPool, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from tests.tamper_matrix import CANARY, Attack, Target

from assay.core import DataKeyClass
from assay.encryption import (
    BlindIndex,
    ColumnValueError,
    EnvelopeSealer,
    RolledBackEnvelopeError,
    RowAddress,
    RowIdError,
    RowIdKind,
    UnknownFieldError,
    UnsupportedColumnError,
    WrongKeyError,
    casefold,
    encode_row_id,
)
from assay.encryption.bucket_index import Buckets
from assay.encryption.index_kinds import Equality, Prefix
from assay.encryption.ngram_index import Ngram
from assay.encryption.pyarrow import (
    BatchOpener,
    BatchSealer,
    SealedColumns,
    open_batch,
    seal_batch,
    sealed,
)
from assay.encryption.sqlalchemy import Sealed, bind
from assay.encryption.sqlalchemy import sealed as sealed_attribute
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

KEYRING = Keyring(MemoryKeyService(), MemoryDataKeyTable())

TYPES: dict[str, tuple[pa.DataType, Any]] = {
    "text": (pa.string(), CANARY),
    "large": (pa.large_string(), ""),
    "bytes": (pa.binary(), b"\0\xff"),
    "fixed": (pa.binary(3), b"abc"),
    "truth": (pa.bool_(), False),
    "small": (pa.int8(), -128),
    "number": (pa.uint64(), 2**64 - 1),
    "double": (pa.float64(), 0.1),
    "single": (pa.float32(), 0.5),
    "price": (pa.decimal128(12, 2), Decimal("-12.50")),
    "born": (pa.date32(), date(1815, 12, 10)),
    "clock": (pa.time64("us"), time(23, 59, 59, 999_999)),
    "local": (pa.timestamp("us"), datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001 - without zone
    "moment": (
        pa.timestamp("us", tz="Europe/Berlin"),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    ),
    "kind": (pa.dictionary(pa.int8(), pa.string()), "letter"),
    "tags": (pa.list_(pa.string()), ["a", None]),
    "address": (pa.struct([("street", pa.string()), ("number", pa.int32())]), {"street": "x", "number": 7}),
    "uuid": (pa.uuid(), UUID(int=7)),
}  # fmt: skip
EVERYTHING = SealedColumns(
    table="documents",
    key={"id": RowIdKind.INTEGER},
    owner="tenant",
    fields={
        name: sealed(type_, group="content" if name == "bytes" else "default")
        for name, (type_, _) in TYPES.items()
    },
)
SMALL = SealedColumns(
    table="documents",
    key={"id": RowIdKind.INTEGER},
    owner="tenant",
    fields={
        "text": sealed(pa.string(), index=Equality(casefold), nullable=False),
        "body": sealed(pa.string(), group="content"),
    },
)


def small(ids: list[int] | None = None, **columns: Any) -> pa.RecordBatch:
    count = len(ids or [7, 8])
    return pa.record_batch(
        {
            "id": pa.array(ids or [7, 8], pa.int64()),
            "tenant": ["north"] * count,
            "note": ["clear"] * count,
            "text": [CANARY] * count,
            "body": pa.array([CANARY, *[None] * (count - 1)], pa.string()),
            **columns,
        }
    )


def test_every_type_comes_back_as_it_was() -> None:
    batch = pa.record_batch(
        {
            "id": [1, 2],
            "tenant": ["north", "south"],
            **{name: pa.array([value, None], type_) for name, (type_, value) in TYPES.items()},
        }
    )
    stored = seal_batch(batch, EVERYTHING, KEYRING)
    assert stored.schema.names == ["id", "tenant", "sealed", "sealed_content"]
    assert CANARY.encode() not in stored.serialize().to_pybytes()
    assert open_batch(stored, EVERYTHING, KEYRING).equals(batch)


@settings(max_examples=60, deadline=None)
@given_any(
    st.lists(
        st.tuples(
            st.sampled_from(["north", "south"]),
            st.text(st.characters(codec="utf-8"), max_size=9),
            st.none() | st.text(st.characters(codec="utf-8"), max_size=9),
        ),
        max_size=20,
    )
)
def test_any_rows_come_back(rows: list[tuple[str, str, str | None]]) -> None:
    batch = pa.record_batch(
        {
            "id": pa.array(range(len(rows)), pa.int64()),
            "tenant": pa.array([row[0] for row in rows], pa.string()),
            "text": pa.array([row[1] for row in rows], pa.string()),
            "body": pa.array([row[2] for row in rows], pa.string()),
        }
    )
    stored = seal_batch(batch, SMALL, KEYRING)
    back = open_batch(stored, SMALL, KEYRING)
    assert back.to_pydict() == batch.to_pydict()
    assert seal_batch(back, SMALL, KEYRING).schema.equals(stored.schema)


def test_indexes_are_those_of_the_other_adapters() -> None:
    kinds = [
        Equality(casefold),
        Prefix(casefold, (3,)),
        Ngram(casefold, 3),
    ]
    declared = SealedColumns(
        "documents",
        {"id": RowIdKind.INTEGER},
        "tenant",
        {
            "text": sealed(pa.string(), index=kinds),
            "year": sealed(pa.int64(), index=Buckets(width=10)),
        },
    )
    batch = pa.record_batch(
        {
            "id": [7, 8],
            "tenant": ["north"] * 2,
            "text": ["Ada Lovelace", None],
            "year": [1815, None],
        }
    )
    stored = seal_batch(batch, declared, KEYRING)
    key = KEYRING.current("north", DataKeyClass.INDEXES)
    found = stored.column("text_index").to_pylist()
    wanted = BlindIndex("documents", "text", casefold).compute(key, "ada lovelace")
    assert found == [bytes(wanted or b""), None]
    assert len(declared.indexes) == 4
    for column, (name, index) in declared.indexes.items():
        value = batch.column(name)[0].as_py()
        assert stored.column(column)[0].as_py() == bytes(index.compute(key, value) or b"")
        assert stored.column(column)[1].as_py() is None
    assert open_batch(stored, pickle.loads(pickle.dumps(declared)), KEYRING).equals(batch)  # noqa: S301 - our own


def test_some_columns_are_opened_and_their_groups_only() -> None:
    stored = seal_batch(small(), SMALL, KEYRING)
    without = stored.drop_columns(["sealed_content"])
    assert open_batch(without, SMALL, KEYRING, columns=["text"]).schema.names == [
        "id", "tenant", "note", "text",
    ]  # fmt: skip
    with pytest.raises(UnsupportedColumnError, match="sealed_content"):
        open_batch(without, SMALL, KEYRING)
    for columns in (["note"], ["text", "text"]):
        with pytest.raises(UnsupportedColumnError):
            open_batch(stored, SMALL, KEYRING, columns=columns)


def test_what_is_not_as_declared_is_refused() -> None:
    stored = seal_batch(small(), SMALL, KEYRING)
    in_clear = stored.append_column("text", pa.array(["a", "b"]))
    twice = pa.RecordBatch.from_arrays([*small().columns, small().column(0)], names=[*small().schema.names, "id"])  # fmt: skip
    for call, batch, error in [
        (seal_batch, stored, UnsupportedColumnError),
        (seal_batch, small(sealed=[b"", b""]), UnsupportedColumnError),
        (seal_batch, small(text_index=[b"", b""]), UnsupportedColumnError),
        (seal_batch, small().drop_columns(["body"]), UnsupportedColumnError),
        (seal_batch, small(text=pa.array([CANARY] * 2, pa.large_string())), UnsupportedColumnError),
        (seal_batch, small(text=pa.array([CANARY, None])), ColumnValueError),
        (seal_batch, small(tenant=["north", None]), ColumnValueError),
        (seal_batch, small(tenant=["north", ""]), ColumnValueError),
        (seal_batch, small(tenant=[1.5, 2.5]), ColumnValueError),
        (seal_batch, small(id=pa.array([7, None])), RowIdError),
        (seal_batch, small(id=["7", "8"]), RowIdError),
        (seal_batch, twice, UnsupportedColumnError),
        (open_batch, small(), UnsupportedColumnError),
        (open_batch, in_clear, UnsupportedColumnError),
        (open_batch, stored.drop_columns(["sealed"]), UnsupportedColumnError),
    ]:
        with pytest.raises(error) as raised:
            call(batch, SMALL, KEYRING)
        assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    "type_",
    [
        pa.timestamp("ns"), pa.date64(), pa.duration("us"), pa.null(), pa.map_(pa.string(), pa.int8()),
        pa.list_(pa.uuid()), pa.struct([("a", pa.int8()), ("a", pa.int8())]), pa.time64("ns"),
        pa.month_day_nano_interval(), pa.list_(pa.timestamp("ns")),
    ],
)  # fmt: skip
def test_types_that_would_lose_something_cannot_be_declared(type_: pa.DataType) -> None:
    with pytest.raises(UnsupportedColumnError, match="without loss"):
        sealed(type_)


def test_declarations_that_cannot_be_kept_are_refused() -> None:
    fields = {"text": sealed(pa.string())}
    key = {"id": RowIdKind.INTEGER}
    for broken in (
        {"table": "", "key": key, "owner": "o", "fields": fields},
        {"table": "t", "key": {}, "owner": "o", "fields": fields},
        {"table": "t", "key": key, "owner": "o", "fields": {}},
        {"table": "t", "key": key, "owner": "text", "fields": fields},
        {"table": "t", "key": {"text": RowIdKind.TEXT}, "owner": "o", "fields": fields},
        {"table": "t", "key": key, "owner": "o", "fields": {"sealed": sealed(pa.string())}},
    ):
        with pytest.raises(UnsupportedColumnError):
            SealedColumns(**broken)
    with pytest.raises(UnsupportedColumnError, match="bool"):
        sealed(pa.bool_(), index=Equality(casefold))


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (1.5, pa.int64()), (300, pa.int8()), (0.1, pa.float32()), (Decimal("1.005"), pa.decimal128(9, 2)),
        ("text", pa.binary()), (datetime(2026, 1, 1, tzinfo=UTC), pa.timestamp("us")),
        (datetime(2026, 1, 1), pa.timestamp("us", tz="UTC")),  # noqa: DTZ001 - without zone
        (datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC), pa.timestamp("ms", tz="UTC")),
        (None, None), ([1.5], pa.list_(pa.int64())), ({"a": 1, "b": 2}, pa.struct([("a", pa.int64())])),
        (b"four", pa.binary(3)), (True, pa.int64()),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_and_not_shown(value: Any, type_: Any) -> None:
    declared = SealedColumns(
        "documents",
        {"id": RowIdKind.INTEGER},
        "tenant",
        {"a": sealed(type_ or pa.string(), nullable=type_ is not None)},
    )
    key = KEYRING.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "documents", "default", encode_row_id(7))
    envelope = EnvelopeSealer().seal(key, address, {"a": value})
    batch = pa.record_batch({"id": [7], "tenant": ["north"], "sealed": [envelope]})
    with pytest.raises(ColumnValueError) as raised:
        open_batch(batch, declared, KEYRING)
    assert raised.value.__cause__ is None
    assert value is None or str(value) not in str(raised.value).replace(str(type_), "")


def test_a_row_that_is_given_away_is_named_for_its_key_wherever_it_stands() -> None:
    KEYRING.current("south", DataKeyClass.ROWS)
    stored = seal_batch(small(), SMALL, KEYRING)
    place = stored.schema.names.index("tenant")
    with pytest.raises(WrongKeyError):
        open_batch(stored.set_column(place, "tenant", pa.array(["north", "south"])), SMALL, KEYRING)


def test_padded_rows_hide_exact_lengths() -> None:
    def lengths(declared: SealedColumns) -> set[int]:
        texts = ["x" * n for n in range(100, 140)]
        stored = seal_batch(small(list(range(40)), text=texts), declared, KEYRING)
        return {len(each) for each in stored.column("sealed").to_pylist()}

    assert len(lengths(SMALL)) == 40
    assert len(lengths(replace(SMALL, padded=True))) < 8


def test_unknown_fields_are_not_lost_silently() -> None:
    key = KEYRING.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "documents", "default", encode_row_id(7))
    envelope = EnvelopeSealer().seal(key, address, {"text": "a", "newer": 1})
    batch = pa.record_batch({"id": [7], "tenant": ["north"], "sealed": [envelope]})
    with pytest.raises(UnknownFieldError, match="newer"):
        open_batch(batch, SMALL, KEYRING, columns=["text"])


# Rows travel between the adapters.


class Base(DeclarativeBase):
    pass


class Document(Sealed, Base):
    __tablename__ = "documents"
    __owner__ = "tenant_id"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    email: Mapped[str] = sealed_attribute(index=Equality(casefold))
    born: Mapped[date | None] = sealed_attribute()
    price: Mapped[Decimal] = sealed_attribute(group="content")


DOCUMENTS = SealedColumns(
    table="documents",
    key={"id": RowIdKind.UUID},
    owner="tenant_id",
    fields={
        "email": sealed(pa.string(), index=Equality(casefold)),
        "born": sealed(pa.date32()),
        "price": sealed(pa.decimal128(12, 2), group="content"),
    },
)
STORED = ("id", "tenant_id", "sealed", "sealed_content", "email_index")


@pytest.fixture
def sessions() -> Iterator[sessionmaker[Any]]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    yield bind(sessionmaker(engine), KEYRING)
    engine.dispose()


@pytest.mark.parametrize("as_", ["uuid", "text", "bytes"])
def test_what_a_model_sealed_is_opened_from_an_export(sessions: Any, as_: str) -> None:
    row, tenant = uuid4(), uuid4()
    with sessions.begin() as session:
        session.add(Document(id=row, tenant_id=tenant, email="Ada@Example.com", price=Decimal("1.50")))  # fmt: skip
    with sessions() as session:
        table = Document.__table__
        stored = session.connection().execute(select(*(table.c[name] for name in STORED))).one()
    form = {"uuid": pa.array([row], pa.uuid()), "text": [str(row)], "bytes": [row.bytes]}[as_]
    batch = pa.record_batch(
        {
            "id": form,
            "tenant_id": [str(tenant)],
            **{name: [bytes(value)] for name, value in zip(STORED[2:], stored[2:], strict=True)},
        }
    )
    opened = open_batch(batch, DOCUMENTS, KEYRING)
    (found,) = opened.to_pylist()
    assert (found["email"], found["born"], found["price"]) == ("Ada@Example.com", None, Decimal("1.50"))  # fmt: skip
    again = seal_batch(opened, DOCUMENTS, KEYRING)
    assert again.column("email_index").equals(batch.column("email_index"))


def test_what_a_batch_sealed_is_loaded_by_a_model(sessions: Any) -> None:
    row, tenant = uuid4(), uuid4()
    batch = pa.record_batch(
        {
            "id": pa.array([row], pa.uuid()),
            "tenant_id": pa.array([tenant], pa.uuid()),
            "email": ["Ada@Example.com"],
            "born": pa.array([date(1815, 12, 10)], pa.date32()),
            "price": pa.array([Decimal("1.50")], pa.decimal128(12, 2)),
        }
    )
    stored = seal_batch(batch, DOCUMENTS, KEYRING).to_pylist()[0]
    with sessions.begin() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO documents (id, tenant_id, sealed, sealed_content, email_index)"
            " VALUES (?, ?, ?, ?, ?)",
            (row.hex, tenant.hex, *(stored[name] for name in STORED[2:])),
        )
    with sessions() as session:
        found = session.scalars(select(Document).where(Document.email == "ada@example.com")).one()
        assert (found.id, found.born, found.price) == (row, date(1815, 12, 10), Decimal("1.50"))


@pytest.mark.parametrize("value", ["", "x" * 36, "7", b"short", 7, None])
def test_a_key_that_is_no_uuid_is_refused(value: Any) -> None:
    batch = pa.record_batch(
        {"id": [value], "tenant_id": ["t"], "sealed": [b"x"], "sealed_content": [b"x"]}
    )
    with pytest.raises(RowIdError):
        open_batch(batch, DOCUMENTS, KEYRING)


# Mapping over workers.


def open_keyring() -> Keyring:
    """What a worker opens for itself."""
    return KEYRING


def given(keyring: Keyring) -> Keyring:
    return keyring


def test_no_key_travels_to_a_worker() -> None:
    """Mapping in other processes: tests/integration/test_batches_dask.py."""
    sealer, opener = BatchSealer(SMALL, open_keyring), BatchOpener(SMALL, open_keyring, ("text",))
    stored = sealer(small())
    assert opener(stored).column("text").to_pylist() == [CANARY] * 2
    secrets = [KEYRING.current("north", each).material for each in DataKeyClass]
    for each in (sealer, opener):
        assert not any(secret in cloudpickle.dumps(each) for secret in secrets)
    for carried in (partial(given, KEYRING), lambda keyring=KEYRING: keyring):
        with pytest.raises(TypeError):
            cloudpickle.dumps(BatchSealer(SMALL, carried))


# The tamper matrix.


class BatchVault:
    """One envelope in a batch of two rows, of a table with or without versions."""

    def __init__(self, *, versioned: bool) -> None:
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.keyring.current("south", DataKeyClass.ROWS)
        self.declared = replace(SMALL, versioned=versioned)
        self.batch = seal_batch(small(), SMALL, self.keyring)
        if versioned:  # such rows are sealed by the database's side
            for column, group, fields in (
                ("sealed", "default", [{"text": CANARY}] * 2),
                ("sealed_content", "content", [{"body": CANARY}, {"body": None}]),
            ):
                envelopes = [self.envelope(row, group, row - 5, each) for row, each in zip((7, 8), fields, strict=True)]  # fmt: skip
                self.batch = self.with_column(column, pa.array(envelopes, pa.binary()))
                self.batch = self.batch.append_column(f"{column}_version", pa.array([2, 3]))
        self.reading = self.keyring

    def envelope(
        self,
        row: int,
        group: str,
        version: int | None,
        fields: Any,
        *,
        owner: str = "north",
        table: str = "documents",
    ) -> bytes:
        key = self.keyring.current(owner, DataKeyClass.ROWS)
        address = RowAddress(owner, table, group, encode_row_id(row), version)
        return EnvelopeSealer().seal(key, address, fields)

    def with_column(self, name: str, values: pa.Array) -> pa.RecordBatch:
        return self.batch.set_column(self.batch.schema.names.index(name), name, values)

    def put(self, value: bytes | None) -> None:
        envelopes = [value, self.batch.column("sealed")[1].as_py()]
        self.batch = self.with_column("sealed", pa.array(envelopes, pa.binary()))

    def read(self) -> object:
        return open_batch(self.batch, self.declared, self.reading).to_pylist()

    def give_away(self) -> Any:
        before = self.batch
        self.batch = self.with_column("tenant", pa.array(["south", "north"]))
        return lambda: setattr(self, "batch", before)

    def use_other_keys(self) -> Any:
        self.reading = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        return lambda: setattr(self, "reading", self.keyring)

    def target(self) -> Target:
        version = 2 if self.declared.versioned else None
        fields = {"text": CANARY}
        return Target(
            adapter="Arrow, versioned" if version else "Arrow",
            own=self.batch.column("sealed")[0].as_py(),
            put=self.put,
            read=self.read,
            plain=small().select(["id", "tenant", "note", "text", "body"]).to_pylist(),
            others={
                "row": self.batch.column("sealed")[1].as_py(),
                "table": self.envelope(7, "default", version, fields, table="papers"),
                "group": self.batch.column("sealed_content")[0].as_py(),
                "owner": self.envelope(7, "default", version, fields, owner="south"),
                "everything": self.envelope(
                    9, "content", version, fields, owner="south", table="papers"
                ),
                "older": self.envelope(7, "default", version and version - 1, fields),
            },
            acts={"give away": self.give_away, "other keys": self.use_other_keys},
        )


@pytest.mark.parametrize("versioned", [False, True])
def test_every_attack_is_refused(attack: Attack, versioned: bool) -> None:
    attack.run(BatchVault(versioned=versioned).target())


def test_rows_with_versions_are_opened_and_an_older_envelope_is_noticed() -> None:
    declared = SealedColumns("t", SMALL.key, "tenant", {"a": sealed(pa.string())}, versioned=True)
    key = KEYRING.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "t", "default", encode_row_id(7), 3)
    envelope = EnvelopeSealer().seal(key, address, {"a": "x"})
    batch = pa.record_batch(
        {"id": [7], "tenant": ["north"], "sealed": [envelope], "sealed_version": [3]}
    )
    opened = open_batch(batch, declared, KEYRING)
    assert opened.to_pylist() == [{"id": 7, "tenant": "north", "a": "x"}]
    with pytest.raises(RolledBackEnvelopeError):
        open_batch(batch.set_column(3, "sealed_version", pa.array([4])), declared, KEYRING)
    with pytest.raises(UnsupportedColumnError, match="versions"):
        seal_batch(opened, declared, KEYRING)
