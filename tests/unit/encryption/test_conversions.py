"""Enumerations and records: sealed as simpler values, and read back as they were."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NewType
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeOpener,
    EnvelopeSealer,
    RecordShapeError,
    RowAddress,
    UnknownMemberError,
    UnsupportedTypeError,
    UnsupportedValueError,
    decode_payload,
    encode_payload,
    encode_row_id,
)
from assay.encryption.conversions import Conversion, conversion_for
from assay.encryption.sqlalchemy import Sealed, SealedValueError, bind, open_row, sealed

SECRET = "Quartz & Obsidian"


class State(enum.StrEnum):
    OPEN = "open"
    PAID = "paid"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**70


class Plain(enum.Enum):
    ONE = "1"
    ALSO_ONE = "1"  # noqa: PIE796 - an alias


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


Name = NewType("Name", str)


class Place(msgspec.Struct, frozen=True):
    street: str
    number: Annotated[int, msgspec.Meta(ge=0)] = 1


@dataclass(frozen=True)
class Person:
    kinds: ClassVar[list[str]] = []
    name: Name
    home: Place | None = None
    others: tuple[Place, ...] = ()
    born: date | None = None
    seen: datetime | None = None
    key: UUID | None = None
    worth: Decimal = Decimal(0)
    token: bytes = b""
    state: State = State.OPEN
    size: Literal["s", "m"] = "s"
    ratio: float = 0.0
    boss: Person | None = None


FULL = Person(
    name=Name("Ada"), home=Place(SECRET), others=(Place("a", 2), Place("b", 3)),
    born=date(1815, 12, 10), seen=datetime(2026, 1, 1, tzinfo=UTC), key=UUID(int=7),
    worth=Decimal("1.10"), token=b"\0\xff", state=State.PAID, size="m", ratio=float("inf"),
    boss=Person(Name("Grace")),
)  # fmt: skip


def conversion(kind: Any) -> Conversion:
    found = conversion_for(kind, "table.field")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (State.PAID, "paid"),
        (Level.HIGH, 2**70),
        (Plain.ONE, "1"),
        (Rights.READ | Rights.WRITE, 3),
        (Rights(0), 0),
        (Place("a", 5), {"street": "a", "number": 5}),
    ],
)
def test_values_stand_in_the_payload_as_specified(value: Any, payload: object) -> None:
    found = conversion(type(value)).to_payload(value)
    assert found == payload
    assert type(found) is conversion(type(value)).kind is type(payload)


@pytest.mark.parametrize(
    "value", [*State, *Level, *Plain, Rights(3), Place("a"), Person(Name("")), FULL], ids=repr
)
def test_values_come_back_as_they_were(value: Any) -> None:
    found = conversion(type(value))
    payload = decode_payload(encode_payload({"f": found.to_payload(value)}))
    back = found.from_payload(payload["f"])
    assert back == value
    assert type(back) is type(value)


@given(st.text(), st.integers(0), st.decimals(allow_nan=False), st.binary(), st.sampled_from(State))
def test_every_record_comes_back(
    text: str, number: int, worth: Decimal, token: bytes, state: State
) -> None:
    found = conversion(Person)
    value = Person(Name("x"), Place(text, number), worth=worth, token=token, state=state)
    try:
        payload = encode_payload({"f": found.to_payload(value)})
    except UnsupportedValueError:
        assert not text.isprintable()  # a lone surrogate
        return
    assert found.from_payload(decode_payload(payload)["f"]) == value


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.uuids() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(list(Person.__annotations__)), _ANYTHING))
def test_every_map_is_a_record_or_refused_by_name(fields: dict[str, object]) -> None:
    with suppress(RecordShapeError):
        assert type(conversion(Person).from_payload(fields)) is Person


def test_unknown_members_and_other_fields_are_refused_without_the_value() -> None:
    for kind, payload, error in (
        (State, SECRET, UnknownMemberError),
        (Level, 3, UnknownMemberError),
        (Rights, 8, UnknownMemberError),
        (Place, {}, RecordShapeError),
        (Place, {"street": 5}, RecordShapeError),
        (Place, {"street": SECRET, "number": SECRET}, RecordShapeError),
        (Place, {"street": "a", "number": -1}, RecordShapeError),
        (Person, {"name": "a", "state": SECRET}, RecordShapeError),
    ):
        with pytest.raises(error, match=r"table\.field") as raised:
            conversion(kind).from_payload(payload)
        assert SECRET not in str(raised.value)
        assert raised.value.__context__ is None


@dataclass(frozen=True)
class Strict:
    text: str

    def __post_init__(self) -> None:
        if self.text == SECRET:
            raise RuntimeError(f"found {self.text}")


@dataclass(frozen=True)
class Child(Strict):
    more: int = 0


@dataclass(frozen=True)
class Parent:
    child: Strict


@dataclass(frozen=True)
class Hidden:
    shown: int
    hidden: int = field(default=0, init=False)


@pytest.mark.parametrize(
    "value",
    [
        Person(Name("x"), others=[Place("a")]),  # type: ignore[arg-type]  # the point
        Person(5),  # type: ignore[arg-type]  # the point
        Place("a", -1),
        Place("a", True),
        Parent(Child("a", 1)),
        Parent("a"),  # type: ignore[arg-type]  # the point
    ],
    ids=repr,
)
def test_a_record_that_would_lose_something_is_refused(value: Any) -> None:
    with pytest.raises(UnsupportedValueError, match=r"table\.field") as raised:
        conversion(type(value)).to_payload(value)
    assert raised.value.__context__ is None


def test_what_a_record_says_of_its_values_is_not_repeated() -> None:
    with pytest.raises(RecordShapeError) as raised:
        conversion(Strict).from_payload({"text": SECRET})
    assert SECRET not in str(raised.value)
    assert raised.value.__context__ is None


@dataclass
class Changeable:
    x: int


@dataclass(frozen=True, eq=False)
class Incomparable:
    x: int


class Open(msgspec.Struct):
    x: int


class Positional(msgspec.Struct, frozen=True, array_like=True):
    x: int


@dataclass(frozen=True)
class Missing:
    x: Nowhere  # type: ignore[name-defined]  # noqa: F821 - the point


def record(kind: Any) -> Any:
    return dataclass(frozen=True)(type("Made", (), {"__annotations__": {"x": kind}}))


@pytest.mark.parametrize(
    "kind",
    [
        Changeable,
        Incomparable,
        Open,
        Positional,
        Missing,
        record(list[int]),
        record(dict[str, int]),
        record(set[int]),
        record(Any),
        record(object),
        record(tuple),
        record(tuple[list[int], ...]),
        record(Changeable | None),
        record(Annotated[list[int], "note"]),
        record(str | UUID),
        record(complex),
        enum.Enum("Empty", []),  # type: ignore[misc]  # the point
        enum.Enum("Mixed", [("A", 1), ("B", "b")]),
        enum.Enum("Floats", [("A", 1.5)]),
        record(enum.Enum("Objects", [("A", object())])),
    ],
    ids=repr,
)
def test_types_that_could_lose_something_are_refused_when_declared(kind: Any) -> None:
    with pytest.raises(UnsupportedTypeError, match=r"table\.field"):
        conversion_for(kind, "table.field")


@pytest.mark.parametrize("kind", [str, int, dict, list, object, None])
def test_other_types_need_no_conversion(kind: Any) -> None:
    assert conversion_for(kind, "table.field") is None


class Base(DeclarativeBase):
    pass


class Invoice(Sealed, Base):
    __tablename__ = "invoices"
    __owner__ = "tenant_id"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    note: Mapped[str] = sealed(default="")
    state: Mapped[State] = sealed(default=State.OPEN)
    level: Mapped[Level | None] = sealed()
    payer: Mapped[Person | None] = sealed()
    place: Mapped[Place] = sealed(default=lambda: Place("nowhere"))


@pytest.fixture
def session(keyring: Any) -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        yield session
    engine.dispose()


def fields_of(session: Session, keyring: Any, row: int = 1) -> dict[str, object]:
    table = Invoice.__table__
    stored = session.execute(select(table).where(table.c.id == row)).mappings().one()
    return open_row(keyring, Invoice, stored)


def test_models_keep_their_types(session: Session, keyring: Any) -> None:
    invoice = Invoice(id=1, tenant_id="a", payer=FULL, level=Level.HIGH)
    assert (invoice.payer, invoice.level, invoice.state) == (FULL, Level.HIGH, None)
    session.add(invoice)
    session.execute(insert(Invoice), [{"id": 2, "tenant_id": "a", "state": State.PAID}])
    session.commit()
    assert invoice.state is State.OPEN
    assert invoice.payer == FULL
    assert invoice.place == Place("nowhere")
    other = session.get_one(Invoice, 2)
    assert (other.state, other.level, other.payer) == (State.PAID, None, None)
    other.payer = replace(FULL, boss=None)
    other.state = State.OPEN
    session.commit()
    assert other.payer == replace(FULL, boss=None)
    assert other.state is State.OPEN
    assert fields_of(session, keyring, 2)["state"] == "open"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "open"),
        ("state", Level.LOW),
        ("level", 1),
        ("level", True),
        ("payer", {"name": "x"}),
        ("payer", Place("x")),
        ("place", Strict("x")),
    ],
)
def test_values_of_another_type_are_refused(session: Session, name: str, value: Any) -> None:
    with pytest.raises(SealedValueError, match=f"sealed field '{name}'"):
        Invoice(**{name: value})
    with pytest.raises(SealedValueError, match=f"sealed field '{name}'"):
        session.execute(insert(Invoice), [{"id": 1, "tenant_id": "a", name: value}])


def test_the_same_value_again_writes_nothing(session: Session) -> None:
    session.add(Invoice(id=1, tenant_id="a", payer=FULL))
    session.commit()
    invoice = session.get_one(Invoice, 1)
    before = session.scalar(select(Invoice.__table__.c.sealed))
    invoice.payer, invoice.state = replace(FULL), State("open")
    session.commit()
    assert session.scalar(select(Invoice.__table__.c.sealed)) == before


def test_what_this_release_does_not_know_survives(session: Session, keyring: Any) -> None:
    """Rows of a newer release: other fields are read and changed, and nothing is lost."""
    key = keyring.current("a", DataKeyClass.ROWS)
    address = RowAddress("a", "invoices", "default", encode_row_id(1))
    newer = {
        "note": "",
        "state": "disputed",
        "level": 1,
        "payer": {"name": "Ada", "home": {"street": "a", "floor": 3}, "title": "Countess"},
        "place": {"number": 5},
    }
    session.add(Invoice(id=1, tenant_id="a"))
    session.commit()
    envelope = EnvelopeSealer().seal(key, address, newer)
    session.connection().exec_driver_sql("UPDATE invoices SET sealed = ?", (envelope,))
    invoice = session.get_one(Invoice, 1)
    session.refresh(invoice)
    with pytest.raises(UnknownMemberError, match=r"Invoice\.state"):
        _ = invoice.state
    with pytest.raises(RecordShapeError, match=r"Invoice\.place"):
        _ = invoice.place
    assert invoice.payer == Person(Name("Ada"), Place("a"))
    invoice.note = "seen"
    session.commit()
    assert fields_of(session, keyring) == {**newer, "note": "seen"}
    invoice.state = State.PAID
    session.commit()
    stored = session.scalar(select(Invoice.__table__.c.sealed))
    assert EnvelopeOpener().open(key, address, stored)["state"] == "paid"
