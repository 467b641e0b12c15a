"""What both tables of data keys do about destroyed keys, other wrapped forms, and uses."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from assay.core import (
    DataKeyClass,
    DataKeyTable,
    DestroyedKey,
    KeyUses,
    OwnerDestroyedError,
    WrappedDataKey,
    owner_digest,
)
from assay.database import KEY_TABLE_NAME, SqlDataKeyTable, open_engine
from assay.keys import MemoryDataKeyTable

ROWS, INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES
MOMENT, LATER = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)


def key(number: int, owner: str = "tenant-1", key_class: DataKeyClass = ROWS) -> WrappedDataKey:
    named = f"{owner} {key_class} {number}"
    key_id = hashlib.sha256(named.encode()).digest()[:16]
    return WrappedDataKey(owner, key_class, number, key_id, "memory:kek", bytes(61), MOMENT)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    found = open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    yield found
    found.dispose()


@pytest.fixture(params=["memory", "sqlite"])
def table(request: pytest.FixtureRequest, engine: sa.Engine) -> DataKeyTable:
    return MemoryDataKeyTable() if request.param == "memory" else SqlDataKeyTable(engine)


def test_each_gives_every_key_in_order(table: DataKeyTable) -> None:
    keys = [key(1), key(2, "b"), key(10), key(3), key(4, key_class=INDEXES)]
    for one in keys:
        assert table.add(one)
    assert list(table.each()) == sorted(keys, key=lambda k: (k.owner, k.key_class, k.version))


def test_a_key_is_replaced_only_as_it_was_read(table: DataKeyTable) -> None:
    old, new = key(1), replace(key(1), wrapped=b"new", kek="memory:other")
    table.add(old)
    table.add(key(2))
    assert table.replace(old, new)
    assert list(table.versions("tenant-1", ROWS)) == [new, key(2)]
    assert not table.replace(old, replace(old, wrapped=b"late"))
    assert not table.replace(key(7), replace(key(7), wrapped=b"missing"))
    with pytest.raises(ValueError, match="another key"):
        table.replace(new, replace(new, key_id=bytes(16)))
    assert list(table.versions("tenant-1", ROWS)) == [new, key(2)]


def test_destroyed_keys_are_gone_and_remembered_by_id(table: DataKeyTable) -> None:
    for one in (key(1), key(2), key(1, key_class=INDEXES), key(9, "other")):
        table.add(one)
    before = table.generation()
    gone = table.destroy("tenant-1", LATER)
    assert [(one.key_class, one.version) for one in gone] == [(INDEXES, 1), (ROWS, 1), (ROWS, 2)]
    assert {(one.owner_digest, one.destroyed_at) for one in gone} == {
        (owner_digest("tenant-1"), LATER)
    }
    assert set(table.destroyed()) == set(gone)
    assert table.generation() != before
    assert [one.owner for one in table.each()] == ["other"]
    assert list(table.owners(ROWS)) == ["other"]
    ids = [one.key_id for one in gone]
    assert table.destroyed_among([*ids, bytes(16)]) == frozenset(ids)
    assert list(table.destroy("tenant-1", LATER)) == []
    assert list(table.destroy("nobody", LATER)) == []


def test_an_owner_whose_keys_were_destroyed_gets_no_new_one(table: DataKeyTable) -> None:
    table.add(key(1))
    table.destroy("tenant-1", LATER)
    with pytest.raises(OwnerDestroyedError, match="expected an owner"):
        table.add(key(2))
    assert list(table.each()) == []
    assert table.add(key(2, "tenant-10"))


def test_a_destroyed_key_is_not_rewrapped(table: DataKeyTable) -> None:
    table.add(key(1))
    table.destroy("tenant-1", LATER)
    assert not table.replace(key(1), replace(key(1), wrapped=b"new"))


def test_what_a_backup_brings_back_is_not_found_and_destroyed_again(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    stored = sa.table(KEY_TABLE_NAME, *(sa.column(one.name) for one in fields(WrappedDataKey)))
    table.add(key(1))
    table.add(key(5, "other"))
    with engine.connect() as connection:
        backup = [dict(row) for row in connection.execute(sa.select(stored)).mappings()]
    (gone,) = table.destroy("tenant-1", LATER)
    with engine.begin() as connection:
        connection.execute(sa.delete(stored))
        connection.execute(sa.insert(stored), backup)
    assert list(table.versions("tenant-1", ROWS)) == []
    assert list(table.owners(ROWS)) == ["other"]
    assert [one.owner for one in table.each()] == ["other", "tenant-1"]
    assert not table.replace(key(1), replace(key(1), wrapped=b"new"))
    assert table.destroy_again([gone]) == 1
    assert table.destroy_again([gone]) == 0
    assert [one.owner for one in table.each()] == ["other"]


def test_a_restored_table_learns_again_what_was_destroyed(table: DataKeyTable) -> None:
    table.add(key(1))
    table.add(key(1, "other"))
    known = DestroyedKey(key(1).key_id, owner_digest("tenant-1"), ROWS, 1, LATER)
    never_here = DestroyedKey(key(3).key_id, owner_digest("gone"), ROWS, 3, LATER)
    table.destroy_again([known, never_here])
    assert {one.owner_digest for one in table.destroyed()} == {
        owner_digest("tenant-1"),
        owner_digest("gone"),
    }
    for owner in ("tenant-1", "gone"):
        with pytest.raises(OwnerDestroyedError):
            table.add(key(8, owner))


def test_many_keys_are_destroyed_again(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    keys = [key(number) for number in range(1, 1203)]
    for one in keys[::100]:
        table.add(one)
    gone = [
        DestroyedKey(one.key_id, owner_digest("tenant-1"), ROWS, one.version, LATER) for one in keys
    ]
    assert table.destroy_again(gone) == 13
    assert table.destroyed_among([one.key_id for one in keys]) == {one.key_id for one in keys}


def test_uses_add_up(table: DataKeyTable) -> None:
    a, b = key(1).key_id, key(2).key_id
    table.add_uses({})
    table.add_uses({a: KeyUses(5, 1), b: KeyUses(1, 1)})
    table.add_uses({a: KeyUses(2**40, 2)})
    assert table.uses() == {a: KeyUses(2**40 + 5, 3), b: KeyUses(1, 1)}


def add_until_refused(table: DataKeyTable, owner: str, begin: threading.Barrier) -> None:
    begin.wait()
    for number in range(2, 6):
        try:
            table.add(key(number, owner))
        except OwnerDestroyedError:
            return


def test_who_adds_while_another_destroys_leaves_no_key(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    for round_ in range(12):
        owner, begin = f"tenant-{round_}", threading.Barrier(2)
        table.add(key(1, owner))
        adding = threading.Thread(target=add_until_refused, args=(table, owner, begin))
        adding.start()
        begin.wait()
        table.destroy(owner, LATER)
        adding.join()
        assert [one for one in table.each() if one.owner == owner] == []
