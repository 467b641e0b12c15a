"""What a table of data keys is said to look like, and which keys get a new version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.core import DataKeyClass, DataKeyTable, Fidelity, KeyUses, SteppedClock, WrappedDataKey
from assay.database import SqlDataKeyTable, open_engine
from assay.keys import (
    ClassRotation,
    KekStatus,
    KekVersion,
    Keyring,
    MemoryDataKeyTable,
    MemoryKeyService,
    OwnerKeyStatus,
    RotationPolicy,
    RotationReport,
    due_of_table,
    key_table_status,
    rotate_keys,
)

ROWS, INDEXES, OBJECTS = DataKeyClass.ROWS, DataKeyClass.INDEXES, DataKeyClass.OBJECTS
NOW = datetime(2026, 6, 1, tzinfo=UTC)
POLICY = RotationPolicy()
KEK = MemoryKeyService(name="kek")


@pytest.fixture(params=["memory", "sqlite"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DataKeyTable]:
    if request.param == "memory":
        yield MemoryDataKeyTable()
        return
    engine = open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    yield SqlDataKeyTable(engine)
    engine.dispose()


def add(
    table: DataKeyTable,
    owner: str,
    kind: DataKeyClass,
    *ages: int,
    uses: KeyUses | None = None,
    kek: str = KEK.uri,
) -> WrappedDataKey:
    """An owner's key in versions of these ages in days; the uses are of the newest."""
    for version, age in enumerate(ages, 1):
        key_id = f"{owner}{kind.value[0]}{version}".encode().ljust(16, b".")
        made = NOW - timedelta(days=age)
        row = WrappedDataKey(owner, kind, version, key_id, kek, b"wrapped", made)
        assert table.add(row)
    if uses is not None:
        table.add_uses({row.key_id: uses})
    return row


def test_each_class_is_summed_up(table: DataKeyTable) -> None:
    add(table, "a", ROWS, 800, 400, 30, uses=KeyUses(7, 2**30))
    add(table, "b", ROWS, 90, uses=KeyUses(9, 3))
    add(table, "c", ROWS, 366)
    add(table, "a", INDEXES, 366)
    told: list[OwnerKeyStatus] = []
    status = key_table_status(table, POLICY, KEK, NOW, told.append)
    rows, indexes = status.classes[ROWS], status.classes[INDEXES]
    assert (rows.owners, rows.keys, rows.most_versions) == (3, 5, 3)
    assert (rows.oldest, rows.newest) == (NOW - timedelta(366), NOW - timedelta(30))
    assert (rows.most, rows.share) == (KeyUses(9, 2**30), 0.25)
    assert rows.due == {"365 days old or more": 1}
    assert (indexes.owners, indexes.keys, indexes.share, indexes.due) == (1, 1, 0.0, {})
    assert list(status.classes) == [ROWS, INDEXES]
    assert (status.keys, status.due, status.outdated, status.returned) == (6, 1, 0, 0)
    assert status.wrapped_by == {KEK.uri: 6}
    assert {(each.owner, each.key_class, each.version, each.due is None) for each in told} == {
        ("a", ROWS, 3, True),
        ("b", ROWS, 1, True),
        ("c", ROWS, 1, False),
        ("a", INDEXES, 1, True),
    }
    assert "'a'" not in repr(status)


def test_uses_of_older_versions_are_not_those_of_the_key_that_is_written_under(
    table: DataKeyTable,
) -> None:
    add(table, "a", ROWS, 20, uses=KeyUses(0, 2**32))
    assert key_table_status(table, POLICY, KEK, NOW).due == 1
    newer = add(table, "b", ROWS, 20, 10)
    table.add_uses({newer.key_id.replace(b"2", b"1"): KeyUses(0, 2**32)})
    assert key_table_status(table, POLICY, KEK, NOW).due == 1


def test_what_other_keks_wrap_is_to_be_wrapped_anew(table: DataKeyTable) -> None:
    add(table, "a", ROWS, 1, 1)
    add(table, "b", ROWS, 1, kek="memory:old")
    status = key_table_status(table, POLICY, KEK, NOW)
    assert (status.wrapped_by, status.outdated) == ({KEK.uri: 2, "memory:old": 1}, 1)
    assert due_of_table("db", status) == [
        "db: 1 keys are wrapped by another KEK, or by an older version; run `assay keys rewrap`"
    ]
    assert key_table_status(table, POLICY, None, NOW).outdated == 0


def test_destroyed_keys_are_not_counted_among_those_that_are_there(table: DataKeyTable) -> None:
    add(table, "a", ROWS, 400)
    add(table, "b", ROWS, 1)
    table.destroy("a", NOW)
    status = key_table_status(table, POLICY, KEK, NOW)
    assert (status.keys, status.due, status.destroyed, status.returned) == (1, 0, 1, 0)


def test_destroyed_keys_that_came_back_are_told_and_not_counted(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    table = SqlDataKeyTable(engine)
    row = add(table, "a", ROWS, 400)
    add(table, "b", ROWS, 1)
    table.destroy("a", NOW)
    with engine.begin() as connection:  # as a backup that is restored in part
        connection.exec_driver_sql(
            "INSERT INTO assay_data_keys VALUES ('a', 'rows', 1, ?, 'memory:old', x'00', ?)",
            (row.key_id, "2025-01-01T00:00:00.000000Z"),
        )
    status = key_table_status(table, POLICY, KEK, NOW)
    assert (status.keys, status.due, status.destroyed, status.returned) == (1, 0, 1, 1)
    assert due_of_table("db", status) == ["db: 1 destroyed keys are back, from a backup"]
    engine.dispose()


def test_new_versions_of_index_keys_may_be_settling(table: DataKeyTable) -> None:
    add(table, "a", INDEXES, 1)
    add(table, "b", INDEXES, 9, 1)
    add(table, "c", INDEXES, 90, 60)
    add(table, "d", ROWS, 9, 1)
    assert key_table_status(table, POLICY, KEK, NOW).recent_indexes == ("b",)


@pytest.mark.parametrize(
    ("wraps", "days", "due"),
    [
        (2**31 - 1, None, []),
        (2**31, None, ["wrapped 2147483648 keys"]),
        (0, 729, []),
        (0, 730, ["version is 730 days old"]),
        (2**33, 800, ["wrapped 8589934592 keys", "version is 730 days old"]),
    ],
)
def test_a_kek_is_due_by_what_it_wrapped_and_by_its_age(
    wraps: int, days: int | None, due: list[str]
) -> None:
    made = None if days is None else NOW - timedelta(days)
    found = KekStatus("memory:kek", Fidelity.EMULATED, KekVersion(None, made), wraps).due(NOW)
    assert len(found) == len(due)
    for sentence, piece in zip(found, due, strict=True):
        assert piece in sentence
        assert "make a new version of it" in sentence


def test_ten_thousand_owners_are_as_short_as_one() -> None:
    table = MemoryDataKeyTable()
    for number in range(10_000):
        add(table, f"{number:05}", ROWS, number % 500)
    status = key_table_status(table, POLICY, KEK, NOW)
    assert status.classes[ROWS].due == {"365 days old or more": 2_700}
    assert len(repr(status)) < 1_000


def of_table(table: DataKeyTable, now: datetime = NOW) -> Keyring:
    return Keyring(KEK, table, clock=SteppedClock(now))


def newest(table: DataKeyTable) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for row in table.each():
        found[row.owner, row.key_class.value] = row.version
    return found


def test_only_what_is_chosen_gets_a_new_version(table: DataKeyTable) -> None:
    add(table, "a", ROWS, 500, 400)
    add(table, "b", ROWS, 30)
    add(table, "c", ROWS, 30, uses=KeyUses(0, 2**31))
    add(table, "a", INDEXES, 731)
    keyring = of_table(table)
    report = rotate_keys(table, keyring, lambda key, uses: POLICY.due(key, uses, NOW) is not None)
    assert report == RotationReport({INDEXES: 1, ROWS: 2}, kept=1)
    assert newest(table) == {
        ("a", "rows"): 3, ("b", "rows"): 1, ("c", "rows"): 2, ("a", "indexes"): 2,
    }  # fmt: skip
    again = rotate_keys(table, keyring, lambda key, uses: POLICY.due(key, uses, NOW) is not None)
    assert again == RotationReport({}, kept=4)
    keyring.close()


def test_a_new_version_is_not_chosen_again_in_the_same_call(table: DataKeyTable) -> None:
    add(table, "a", ROWS, 500)
    add(table, "b", OBJECTS, 0)
    keyring = of_table(table)
    assert rotate_keys(table, keyring, lambda *_: True) == RotationReport({OBJECTS: 1, ROWS: 1})
    assert newest(table) == {("a", "rows"): 2, ("b", "objects"): 2}
    keyring.close()


class Racing:
    """A table in which something happens once, when a key is looked at for the n-th time."""

    def __init__(self, table: DataKeyTable, happen: object, nth: int = 1) -> None:
        self._table, self._happen, self._left = table, happen, nth

    def __getattr__(self, name: str) -> object:
        return getattr(self._table, name)

    def versions(self, owner: str, kind: DataKeyClass) -> object:
        self._left -= 1
        if self._left == 0:
            self._happen(owner, kind)  # type: ignore[operator] - a function of these two
        return self._table.versions(owner, kind)


def test_a_key_that_another_writer_rotated_is_not_rotated_twice(table: DataKeyTable) -> None:
    add(table, "a", ROWS, 500)
    keyring = of_table(table)
    policy = RotationPolicy(rows=ClassRotation(max_age=timedelta(days=90)))
    racing = Racing(table, keyring.rotate)
    report = rotate_keys(racing, keyring, lambda key, uses: policy.due(key, uses, NOW) is not None)
    assert report == RotationReport({}, kept=1, overtaken=1)
    assert newest(table) == {("a", "rows"): 2}
    keyring.close()


def test_the_form_in_which_a_key_is_wrapped_makes_it_no_other_key(table: DataKeyTable) -> None:
    row = add(table, "a", ROWS, 500)
    keyring = of_table(table)
    racing = Racing(table, lambda *_: table.replace(row, replace(row, wrapped=b"anew")))
    assert rotate_keys(racing, keyring, lambda *_: True).made == {ROWS: 1}
    keyring.close()


@pytest.mark.parametrize("nth", [1, 2])
def test_an_owner_that_is_destroyed_meanwhile_gets_no_new_key(
    table: DataKeyTable, nth: int
) -> None:
    add(table, "a", ROWS, 500)
    racing = Racing(table, lambda owner, _: table.destroy(owner, NOW), nth)
    keyring = of_table(racing)
    assert rotate_keys(racing, keyring, lambda *_: True) == RotationReport({}, destroyed=1)
    assert not list(table.each())
    keyring.close()
