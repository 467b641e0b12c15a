"""Every table has triggers, migrations and files of its own, whatever it is called."""

from __future__ import annotations

import ast
import itertools

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.encryption.adoption.alembic import Steps, find_migration, write_migration
from assay.encryption.adoption.expand import slug
from assay.encryption.adoption.mariadb_columns import without_not_null
from assay.encryption.adoption.names import quoted, trigger_name
from assay.encryption.adoption.parts import Part, parts_in_transition
from assay.encryption.sqlalchemy import Sealed, sealed

LONG = "x" * 58
ALIKE = ["users", "Users", "us ers", "us_ers", "us.ers", "us-ers", f"{LONG}1", f"{LONG}2", "ü" * 31]


def part_of(name: str) -> Part:
    class Base(DeclarativeBase):
        pass

    class Row(Sealed, Base):
        __tablename__ = name
        __owner__ = "tenant"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        tenant: Mapped[str]
        text: Mapped[str] = sealed(plaintext="text")

    (part,) = parts_in_transition(Base)
    return part


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(ALIKE, 2)))
def test_tables_that_are_called_alike_do_not_share_anything(one, other):
    first, second = part_of(one), part_of(other)
    assert trigger_name(first) != trigger_name(second)
    assert slug(first, "assay_expand") != slug(second, "assay_expand")


@pytest.mark.parametrize("name", ALIKE)
def test_no_name_is_longer_than_postgresql_keeps(name):
    assert len(trigger_name(part_of(name)).encode()) <= 63


def test_a_migration_of_another_table_is_not_found(tmp_path):
    wanted = slug(part_of("ers"), "assay_expand")
    other = Steps(f"of_{wanted}", "Other.", "sqlite", [], [])
    write_migration(tmp_path, other)
    assert find_migration(tmp_path, wanted) is None
    assert find_migration(tmp_path, other.slug) is not None


@pytest.mark.parametrize("title", ["a\\b", 'ends with "', '"""', "two\nlines", "é"])
def test_what_a_table_is_called_stays_in_the_docstring(tmp_path, title):
    path = write_migration(tmp_path, Steps("slug", title, "sqlite", [], [])).path
    assert ast.get_docstring(ast.parse(path.read_text()), clean=False) == title


@pytest.mark.parametrize("dialect", ["postgresql", "mariadb", "sqlite"])
def test_a_percent_sign_in_a_name_stays_one(dialect):
    assert quoted("100% (x)s", dialect)[1:-1] == "100% (x)s"


@pytest.mark.parametrize(
    ("definition", "loosened"),
    [
        ("int(11) NOT NULL", "int(11) NULL"),
        ("enum('a NOT NULL','it''s') NOT NULL DEFAULT 'x'", "enum('a NOT NULL','it''s') NULL DEFAULT 'x'"),
        ("text COMMENT 'is NOT NULL'", "text COMMENT 'is NOT NULL'"),
        (r"varchar(9) COLLATE c NOT NULL DEFAULT '\\' NOT NULL'", r"varchar(9) COLLATE c NULL DEFAULT '\\' NOT NULL'"),
    ],
)  # fmt: skip
def test_a_definition_loses_its_not_null_and_nothing_else(definition, loosened):
    assert without_not_null(definition) == loosened
