"""The index planner on distributions whose numbers were computed by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise, permutations, product
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, create_engine, insert, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.core import AssayError, DataKeyClass, Status, WrongInputError
from assay.encryption import (
    Distribution,
    IndexVerdict,
    MeasuredColumn,
    MeasuredIndex,
    PlainValues,
    judge_indexes,
    kinds_for,
    measure_column,
    measure_plain_values,
    values_of_file,
)
from assay.encryption.errors import UnsupportedTypeError
from assay.encryption.index_planner import sample, text_kinds
from assay.encryption.sqlalchemy import (
    Buckets,
    Equality,
    Ngram,
    Prefix,
    Sealed,
    bind,
    casefold,
    exact,
    measure_models,
    sealed,
)
from assay.keys import DataKey, Keyring

KEY = DataKey("planner", DataKeyClass.INDEXES, 1, b"\x01" * 16, b"\x02" * 32)
WHY = "who reads the table knows it anyway"


def measured(
    values: Mapping[Any, int],
    *kinds: Any,
    of: int | None = None,
    nulls: int = 0,
    declared: bool = False,
    reference: Mapping[Any, int] | None = None,
) -> MeasuredColumn:
    seen = Distribution(values, nulls, of if of is not None else sum(values.values()) + nulls)
    chosen = kinds or text_kinds(casefold)
    return measure_column("c", seen, chosen, KEY, declared=declared, reference=reference)


def only(column: MeasuredColumn) -> MeasuredIndex:
    (index,) = column.indexes
    return index


def verdict(values: Mapping[Any, int], *kinds: Any, **options: Any) -> IndexVerdict:
    return judge_indexes(measured(values, *kinds, **options))


def unique(count: int) -> dict[Any, int]:
    return {f"{number:05}@example.com": 1 for number in range(count)}


def test_two_values_are_guessed_at_once() -> None:
    column = measured({"yes": 900, "no": 100}, Equality(exact))
    index = only(column)
    assert (column.rows, column.distinct, index.entries) == (1000, 2, 2)
    assert column.min_entropy_bits == pytest.approx(0.15200309)
    assert index.guessed == index.guessed_at_most == 1.0
    assert index.rows_per_search == (900 * 900 + 100 * 100) / 1000
    assert index.collide_measured == 0
    assert index.seen_once == 0


def test_values_of_one_frequency_cannot_be_told_apart() -> None:
    # of the two that occur twice, one is guessed right on average: 2 of 5 rows, and the last one
    assert only(measured({"a": 2, "b": 2, "c": 1}, Equality(exact))).guessed == pytest.approx(3 / 5)
    assert only(measured(unique(400), Equality(exact))).guessed == pytest.approx(1 / 400)


def test_short_hashes_make_values_alike_as_calculated() -> None:
    index = only(measured(unique(1000), Equality(exact, bits=8)))
    assert index.collide_expected == pytest.approx(1000 * (1 - (255 / 256) ** 999))
    assert abs(index.collide_measured - index.collide_expected) < 20
    assert index.rows_per_search == pytest.approx(1000 / 256, rel=0.5)
    long = only(measured(unique(1000), Equality(exact)))
    assert (long.collide_measured, long.rows_per_search) == (0, 1.0)


def test_values_that_a_transform_makes_equal_are_alike() -> None:
    index = only(measured({"Ada": 3, "ada": 2, "Bob": 1}, Equality(casefold)))
    assert (index.entries, index.collide_measured, index.collide_expected) == (
        2, 2, pytest.approx(2),
    )  # fmt: skip


def test_a_short_hash_does_not_hide_what_a_long_one_tells() -> None:
    """Alike values disturb the ranks; who guesses better than by rank is not disturbed."""
    skewed = {str(number): 3 + number * number for number in range(110)}
    short = only(measured(skewed, Equality(exact, bits=8)))
    long = only(measured(skewed, Equality(exact)))
    assert long.guessed == 1.0
    assert short.guessed < 0.5
    assert short.guessed_at_most > 0.8  # most hashes have one value, or one that is frequent
    assert verdict(skewed, Equality(exact, bits=8)).status is Status.FAIL
    # with fewer hashes than values, knowing all of them does not tell the values
    flat = dict.fromkeys(map(str, range(1000)), 3)
    assert only(measured(flat, Equality(exact, bits=1))).guessed_at_most <= 2 * 3 / 3000


def test_beginnings_pieces_and_ranges_by_hand() -> None:
    names = {"Anna": 3, "Anne": 2, "Otto": 1}
    two, four = measured(names, Prefix(casefold, lengths=(3, 4))).indexes
    assert (two.label, two.entries, two.guessed) == ("prefix 3", 2, 1.0)
    assert (two.rows_per_search, two.collide_measured) == (pytest.approx(26 / 6), 2)
    assert (four.label, four.entries) == ("prefix 4", 3)
    # ann 5, nna 3, nne 2, ott 1, tto 1; of the last two one is guessed right on average
    grams = only(measured(names, Ngram(casefold, bits=128)))
    assert (grams.label, grams.entries, grams.guessed) == ("n-grams 3", 5, pytest.approx(11 / 12))
    assert grams.seen_once == pytest.approx(2 / 12)
    ages = only(measured({3: 1, 9: 4, 10: 2, 19: 2}, Buckets(width=10)))
    assert (ages.label, ages.entries, ages.collide_measured) == ("buckets 10", 2, 4)
    assert ages.rows_per_search == pytest.approx((25 + 16) / 9)


def test_a_sample_says_what_the_whole_column_may_tell() -> None:
    # 1000 of 10,000, all different: t = 50, so (1 + … + 50) / 10,000 may be guessed
    few = measured(unique(1000), Equality(exact), of=10_000)
    assert only(few).guessed == pytest.approx(0.001)
    assert only(few).guessed_at_most == pytest.approx(1275 / 10_000)
    assert judge_indexes(few).status is Status.ERROR
    assert "--sample" in judge_indexes(few).sentence
    # 5000 of 20,000: t = 20
    more = measured(unique(5000), Equality(exact), of=20_000)
    assert only(more).guessed_at_most == pytest.approx(210 / 20_000)
    assert judge_indexes(more).status is Status.PASS
    # what was seen twice may all be guessed
    twice = {**unique(4000), **dict.fromkeys(map(str, range(500)), 2)}
    assert only(measured(twice, Equality(exact), of=20_000)).guessed_at_most == pytest.approx(
        1000 / 5000 + 210 / 20_000
    )
    assert only(measured(unique(100), Equality(exact), of=10_000)).guessed_at_most == 1.0


def test_a_skewed_column_is_never_called_safe_because_its_sample_is_small() -> None:
    chance = Random(7)  # noqa: S311 - a column for a test
    weights = [1 / (rank + 20) for rank in range(3000)]
    column = chance.choices([f"name {rank}" for rank in range(3000)], weights, k=30_000)
    whole = verdict(Counter(column), Equality(casefold))
    assert whole.status is Status.FAIL
    for most in (100, 300, 1000, 3000, 10_000, 29_000):
        rows, of_rows = sample(column, most, chance)
        found = verdict(Counter(rows), Equality(casefold), of=of_rows)
        assert found.status is not Status.PASS, most


@pytest.mark.parametrize("rows", [0, 1, 50, 99])
@pytest.mark.parametrize("declared", [True, False])
def test_too_few_values_say_nothing(rows: int, declared: bool) -> None:
    found = verdict(unique(rows), Equality(exact), nulls=1000, declared=declared)
    assert found.status is Status.ERROR
    assert f"at least 100 values, found {rows}" in found.sentence
    assert set(found.indexes) <= {Status.ERROR}
    with_reason = Equality(exact, acknowledged=WHY)
    assert verdict(unique(rows), with_reason, declared=True).status is Status.ERROR


def test_few_values_are_refused_once_they_are_known_to_be_few() -> None:
    known = dict.fromkeys(map(str, range(60)), 2)
    assert verdict(known, Equality(exact), declared=True).status is Status.FAIL
    # 40 of 120 rows have a value that was seen once: there are more of them
    growing = {**dict.fromkeys(map(str, range(40)), 2), **unique(40)}
    assert verdict(growing, Equality(exact), declared=True).status is Status.ERROR
    assert verdict(unique(100), Equality(exact), declared=True).status is Status.PASS


def test_a_declared_index_of_few_values_needs_a_reason() -> None:
    few = {"north": 700, "south": 300}
    refused = verdict(few, Equality(exact), declared=True)
    assert refused.status is Status.FAIL
    assert "refused: equality" in refused.sentence
    assert "acknowledged" in refused.sentence
    assert verdict(few, Equality(exact, acknowledged=WHY), declared=True).status is Status.PASS
    kinds = (Equality(exact, acknowledged=WHY), Prefix(exact, lengths=(1, 2)))
    assert verdict(few, *kinds, declared=True).indexes == (Status.PASS, Status.FAIL, Status.FAIL)
    assert verdict(few).status is Status.FAIL


def test_an_index_of_nothing_says_nothing() -> None:
    short = {f"{number:02}": 10 for number in range(100)}
    found = verdict(short, Equality(exact), Ngram(exact), declared=True)
    assert found.indexes == (Status.PASS, Status.ERROR)
    assert found.status is Status.ERROR
    none = replace(measured(unique(200), declared=True), indexes=())
    assert judge_indexes(none).status is Status.ERROR


def test_what_is_recommended() -> None:
    assert verdict(unique(1000)).sentence == (
        "Equality(casefold, bits=128): at most 0.1% of the rows are guessed"
    )
    # eight frequencies of 1 to 8 a hundred times each: 36 of 3600 rows are guessed
    spread = {f"{often} {number}": often for often in range(1, 9) for number in range(100)}
    assert verdict(spread).sentence.startswith("Equality(casefold, bits=128): at most 1.0%")
    # 1 to 40 ten times each: 820 of 8200
    wider = {f"{often} {number}": often for often in range(1, 41) for number in range(10)}
    found = verdict({**wider, "x": 41 * 2}, Equality(exact, bits=128), Equality(exact, bits=1))
    assert found.sentence.startswith("Equality(exact, bits=1), searched with matching()")
    assert "no index" in verdict({"a": 500, "b": 400}).sentence


def test_who_knows_a_public_sample_guesses_by_its_ranks() -> None:
    column = {"smith": 500, "jones": 300, "brown": 200}
    order = {"smith": 90, "brown": 60, "jones": 30}
    index = only(measured(column, Equality(exact), reference=order))
    assert index.guessed == 0.5  # smith alone has the same rank in both
    assert index.in_reference == 1.0
    strange = measured(unique(1000), Equality(exact), reference={"x": 500}, declared=True)
    assert only(strange).in_reference == 0
    assert judge_indexes(strange).status is Status.ERROR


def test_kinds_for_types() -> None:
    def labels(*values: Any) -> list[str]:
        return list(dict.fromkeys(i.label for i in measured(
            Counter(values), *kinds_for(Counter(values), casefold)).indexes))  # fmt: skip

    assert labels("a", "b") == [
        "equality", "prefix 2", "prefix 3", "prefix 5", "prefix 8", "n-grams 3",
    ]  # fmt: skip
    assert labels(0, 4321) == ["equality", "buckets 1000", "buckets 100", "buckets 10"]
    assert labels(5, 5) == ["equality"]
    assert labels(Decimal("0.5"), Decimal("12.75")) == [
        "buckets 10", "buckets 1", "buckets 0.1", "buckets 0.01",
    ]  # fmt: skip
    assert labels(date(2000, 1, 1)) == [
        "equality", "buckets 7 days", "buckets 30 days", "buckets 365 days",
    ]  # fmt: skip
    assert labels(datetime(2000, 1, 1))[0] == "buckets 1 day"  # noqa: DTZ001 - without a zone
    for value in (b"a", uuid4(), True):
        assert labels(value) == ["equality"]
    for values in ((1.5,), (1, "a"), (True, 2)):
        with pytest.raises(UnsupportedTypeError, match="expected values of one type"):
            kinds_for(Counter(values), casefold)
    assert kinds_for({}, casefold) == text_kinds(casefold)
    hours = Buckets(width=timedelta(hours=12))
    days = {datetime(2000, 1, d): 1 for d in (1, 2)}  # noqa: DTZ001 - without a zone
    assert only(measured(days, hours)).label == "buckets 0.5 days"


frequencies = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@given(frequencies)
def test_of_each_frequency_one_value_is_guessed(counts: list[int]) -> None:
    column = measured({f"v{n}": count for n, count in enumerate(counts)}, Equality(exact))
    assert only(column).guessed == pytest.approx(sum(set(counts)) / sum(counts))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.lists(st.integers(0, 3), max_size=5))
def test_guessing_is_what_an_attacker_does_who_breaks_ties_by_chance(
    counts: list[int], known: list[int]
) -> None:
    """The mean over all orders in which the attacker may put what occurs equally often."""
    values = {f"v{n}": count for n, count in enumerate(counts)}
    reference = {f"v{n}": count for n, count in enumerate(known) if count}

    def orders(frequency: Mapping[str, int]) -> list[tuple[str, ...]]:
        return [
            order
            for order in permutations(frequency)
            if all(frequency[a] >= frequency[b] for a, b in pairwise(order))
        ]

    right = [
        sum(values[a] for a, b in zip(one, other, strict=False) if a == b)
        for one, other in product(orders(values), orders(reference))
    ]
    index = only(measured(values, Equality(exact), reference=reference))
    assert index.guessed == pytest.approx(sum(right) / len(right) / sum(counts))


@given(frequencies, st.sampled_from([1, 4, 8, 16, 128]), st.integers(1, 50))
def test_bounds_hold(counts: list[int], bits: int, times: int) -> None:
    values = {f"v{n}": count for n, count in enumerate(counts)}
    for of in (sum(counts), sum(counts) * times):
        index = only(measured(values, Equality(exact, bits=bits), of=of))
        assert 0 <= index.guessed <= index.guessed_at_most + 1e-12
        assert index.guessed_at_most <= 1 + 1e-12
        assert 0 <= index.collide_measured <= len(counts)
        assert -1e-9 <= index.collide_expected <= len(counts)
        assert 1 <= index.rows_per_search <= sum(counts)


@given(st.dictionaries(st.text("abcdef ", min_size=6, max_size=12), st.integers(1, 9), min_size=1))
def test_no_value_is_in_what_is_reported(values: dict[str, int]) -> None:
    secret = {f"zq{value}": count for value, count in values.items()}
    column = measured(secret)
    shown = json.dumps(asdict(column)) + repr(column) + repr(judge_indexes(column))
    shown += repr(Distribution(secret, 0, 9)) + repr(PlainValues("c", list(secret)))
    assert not any(value in shown for value in secret)


@given(st.integers(0, 60), st.integers(1, 40), st.integers())
def test_a_sample_is_of_what_is_there(count: int, most: int, seed: int) -> None:
    kept, of_rows = sample(range(count), most, Random(seed))  # noqa: S311 - a test
    assert of_rows == count
    assert len(kept) == len(set(kept)) == min(count, most)
    assert set(kept) <= set(range(count))


def test_every_row_has_the_same_chance() -> None:
    chance, hits = Random(3), Counter[int]()  # noqa: S311 - a test
    for _ in range(4000):
        hits.update(sample(range(20), 5, chance)[0])
    assert all(abs(hits[number] - 1000) < 150 for number in range(20))


def plain(tmp_path: Path, content: str, column: str | None = None, **options: Any) -> Any:
    path = tmp_path / "values"
    path.write_text(content, encoding="utf-8")
    source = PlainValues("values", values_of_file(path, column), **options)
    return measure_plain_values(source, KEY, 1000, Random(1))  # noqa: S311 - a test


def test_values_of_files(tmp_path: Path) -> None:
    lines = plain(tmp_path, "a\nb\n\nb\r\n")
    assert (lines.rows, lines.nulls, lines.distinct) == (3, 1, 2)
    table = plain(tmp_path, '\ufeffname,town\nAda,"x, y"\nBob,\n', "town")
    assert (table.rows, table.nulls, table.of_rows) == (1, 1, 2)
    assert plain(tmp_path, "\ufeffname\nAda\n", "name").rows == 1
    assert plain(tmp_path, "1\n20\n", kind="int").indexes[-1].label == "buckets 10"
    for kind, value in (("decimal", "1.5"), ("date", "2000-01-01"), ("datetime", "2000-01-01")):
        assert plain(tmp_path, f"{value}\n", kind=kind).rows == 1


@pytest.mark.parametrize(
    ("content", "column", "options", "message"),
    [
        ("name\nAda\n", "town", {}, "no column"),
        ('name\n"Ada\n', "name", {}, "no CSV"),
        ("name,town\nAda\n", "town", {}, "no CSV"),
        ("name,town\nAda,Ely,hunter2\n", "town", {}, "no CSV"),
        ("1\nhunter2\n", None, {"kind": "int"}, "type int, found another one at 2"),
        ("hunter2\n", None, {"kind": "decimal"}, "type decimal"),
        ("hunter2\n", None, {"kind": "date"}, "type date"),
        ("a\n", None, {"kind": "uuid"}, "expected a type"),
        ("a\n", None, {"transform": "x"}, "expected a transform"),
        ("a\n", None, {"reference": ["a"] * 99}, "at least 100 values"),
        ("a\n", None, {"reference": []}, "at least 100 values"),
    ],
)
def test_wrong_input(
    tmp_path: Path, content: str, column: str | None, options: Any, message: str
) -> None:
    with pytest.raises(WrongInputError, match=message) as raised:
        plain(tmp_path, content, column, **options)
    chain: BaseException | None = raised.value
    while chain is not None:
        assert "hunter2" not in str(chain)
        chain = chain.__cause__ or chain.__context__


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "values").write_bytes(b"ada\n\xff\xfe\n")
    with pytest.raises(WrongInputError, match="UTF-8") as raised:
        list(values_of_file(tmp_path / "values", None))
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


class Base(DeclarativeBase):
    pass


class Person(Sealed, Base):
    __tablename__ = "planned_people"
    __owner__ = "tenant"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant: Mapped[str]
    sort: Mapped[str] = mapped_column(default="person")
    email: Mapped[str | None] = sealed(index=Equality(casefold))
    note: Mapped[str | None] = sealed()
    size: Mapped[int | None] = sealed(
        group="more", index=Buckets(boundaries=(3, 9), acknowledged=WHY)
    )
    __mapper_args__ = {"polymorphic_on": "sort", "polymorphic_identity": "person"}  # noqa: RUF012 - SQLAlchemy's own


class Driver(Person):
    __tablename__ = "planned_drivers"
    id: Mapped[UUID] = mapped_column(ForeignKey("planned_people.id"), primary_key=True)
    class_: Mapped[str] = sealed(index=Equality(exact))
    __mapper_args__ = {"polymorphic_identity": "driver"}  # noqa: RUF012 - SQLAlchemy's own


class Rider(Person):
    horse: Mapped[str] = sealed(index=Equality(exact, acknowledged=WHY))
    __mapper_args__ = {"polymorphic_identity": "rider"}  # noqa: RUF012 - SQLAlchemy's own


class Later(DeclarativeBase):
    pass


class Customer(Sealed, Later):
    __tablename__ = "planned_customers"
    __owner__ = "tenant"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    email: Mapped[str] = sealed(index=Equality(casefold), plaintext="email")


def models(engine: Any, keyring: Keyring, base: Any, most: int = 10_000) -> list[MeasuredColumn]:
    return measure_models(engine, keyring, base, most, KEY, random=Random(1))  # noqa: S311 - a test


def test_declared_indexes_are_measured_on_what_their_fields_hold(keyring: Keyring) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    sessions = bind(sessionmaker(engine), keyring)
    rows = [
        {"tenant": f"t{n % 3}", "email": f"{n}@x" if n % 5 else None, "size": n % 12}
        for n in range(200)
    ]
    with sessions.begin() as session:
        session.execute(insert(Person), rows)
        session.add_all(
            Driver(tenant="t0", email=f"d{n}@x", size=3, class_="B" if n else "C")
            for n in range(110)
        )
        session.add_all(Rider(tenant="t1", horse=f"h{n}") for n in range(7))
    found = {each.column: each for each in models(engine, keyring, Base)}
    assert set(found) == {
        "planned_people.email", "planned_people.size", "planned_people.horse", "planned_drivers.class_",
    }  # fmt: skip
    email = found["planned_people.email"]
    assert (email.rows, email.nulls, email.of_rows, email.distinct) == (270, 47, 317, 270)
    assert email.declared
    classes = found["planned_drivers.class_"]
    assert (classes.rows, classes.distinct, classes.of_rows) == (110, 2, 110)
    horses = found["planned_people.horse"]  # rows of other classes have none
    assert (horses.rows, horses.nulls, horses.of_rows) == (7, 0, 7)
    size = only(found["planned_people.size"])
    assert (size.entries, size.acknowledged) == (3, WHY)
    judged = {name: judge_indexes(each).status for name, each in found.items()}
    assert list(judged.values()).count(Status.PASS) == 2
    assert judged["planned_drivers.class_"] is Status.FAIL
    sampled = {each.column: each for each in models(engine, keyring, Base, 120)}
    assert sampled["planned_people.size"].of_rows == 317
    assert sampled["planned_people.size"].rows + sampled["planned_people.size"].nulls == 120
    engine.dispose()


def test_a_table_in_the_clear_is_measured_before_it_has_sealed_columns(keyring: Keyring) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE planned_customers (id INTEGER, tenant, email)"))
        connection.execute(
            text("INSERT INTO planned_customers VALUES (:n, 't', :email)"),
            [{"n": n, "email": f"{n % 3}@x"} for n in range(300)],
        )
    (found,) = models(engine, keyring, Later)
    assert (found.column, found.rows, found.distinct) == ("planned_customers.email", 300, 3)
    assert judge_indexes(found).status is Status.FAIL
    engine.dispose()


def test_a_row_that_does_not_open_is_not_left_out(keyring: Keyring) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(sessionmaker(engine), keyring).begin() as session:
        session.execute(insert(Person), [{"tenant": "t", "email": f"{n}@x"} for n in range(101)])
    with engine.begin() as connection:
        connection.execute(text("UPDATE planned_people SET tenant = 'other' WHERE rowid = 7"))
    with pytest.raises(AssayError):
        models(engine, keyring, Base)
    engine.dispose()
