"""``assay index plan`` on columns of 20,000 skewed values, in the clear and sealed."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from assay.cli import main

ROWS = 20_000
MODELS = """
from uuid import UUID, uuid4

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.encryption.sqlalchemy import Equality, Sealed, casefold, exact, sealed


class Base(DeclarativeBase):
    pass


class Person(Sealed, Base):
    __tablename__ = "people"
    __owner__ = "tenant"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    email: Mapped[str | None] = sealed(index=Equality(casefold){plaintext_email})
    country: Mapped[str] = sealed(index=Equality(exact{reason}){plaintext_country})
"""
PROGRAMME = """
organisation: Shop
keys: "embedded:keys.json"
log: {{store: .assay, origin: shop.example/log, signer: "embedded:keys.json;object=log"}}
assets:
  - {{id: shop, kind: datastore, url: "{url}", models: "people_models:Base"{more}}}
"""
WRITE = """
import os
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.orm import sessionmaker

from assay import assemble
from assay.encryption.sqlalchemy import bind
from people_models import Base, Person

with assemble.open_adoption(Path("assay.yaml")) as adoption:
    Base.metadata.create_all(adoption.store.engine)
    rows = [
        {"id": n, "tenant": "acme", "email": f"{n}@secret.example", "country": "ABBB"[n % 4]}
        for n in range(300)
    ]
    with bind(sessionmaker(adoption.store.engine), adoption.store.keyring).begin() as session:
        session.execute(insert(Person), rows)
"""


def people() -> list[tuple[int, str, str | None, str, str, int]]:
    chance = random.Random(1)  # noqa: S311 - a column for a test
    weights = [1 / (rank + 1) for rank in range(2000)]
    surnames = chance.choices([f"Surname{rank}" for rank in range(2000)], weights, k=ROWS)
    countries = chance.choices("ABCDEFG", [50, 20, 10, 8, 6, 4, 2], k=ROWS)
    ages = [max(0, int(chance.gauss(40, 15))) for _ in range(ROWS)]
    emails = [None if n % 10 == 0 else f"{n}-secret@example.com" for n in range(ROWS)]
    return list(zip(range(ROWS), ["acme"] * ROWS, emails, countries, surnames, ages, strict=True))


COLUMNS = "id INTEGER PRIMARY KEY, tenant TEXT, email TEXT, country TEXT, surname TEXT, age INTEGER"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the table ``people``."""
    if request.param == "sqlite":
        with sqlite3.connect(tmp_path / "people.db") as connection:
            connection.execute(f"CREATE TABLE people ({COLUMNS})")
            connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?, ?)", people())
        connection.close()
        return f"sqlite:///{tmp_path}/people.db"
    import psycopg

    url = str(request.getfixturevalue("fresh_postgresql_url"))
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE TABLE people ({COLUMNS})")
        with connection.cursor().copy("COPY people FROM STDIN") as copy:
            for row in people():
                copy.write_row(row)
    return url


def test_columns_in_the_clear(
    database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEOPLE_URL", database)
    words = ["index", "plan", "--database", "env:PEOPLE_URL", "--table", "people", "--column"]

    def plan(column: str, *more: str) -> tuple[int, dict[str, object], dict[str, dict[str, float]]]:
        code = main([*words, column, "--json", *more])
        printed = capsys.readouterr().out
        for value in ("secret", "Surname"):
            assert value not in printed
        (found,) = json.loads(printed)["columns"]
        named = {f"{i['kind']} {i['size']}".strip() + f"/{i['bits']}": i for i in found["indexes"]}
        return code, found, named

    code, email, by = plan("email")
    assert (code, email["rows"], email["nulls"], email["distinct"]) == (0, 18_000, 2000, 18_000)
    assert email["sentence"] == "Equality(casefold, bits=128): at most 0.1% of the rows are guessed"
    assert by["equality/128"]["collide_measured"] == 0
    expected = 18_000 * (1 - (1 - 2**-16) ** 17_999)
    assert by["equality/16"]["collide_expected"] == pytest.approx(expected)
    assert by["equality/16"]["collide_measured"] == pytest.approx(expected, rel=0.1)
    assert by["prefix 2/32"]["status"] == "fail"

    code, country, by = plan("country")
    assert (code, country["status"], country["distinct"]) == (1, "fail", 7)
    whole = {name: index["guessed_at_most"] for name, index in by.items() if "n-grams" not in name}
    # Under a random key two of seven countries share a hash of 8 bits in 8% of the runs.
    assert {share for name, share in whole.items() if not name.endswith("/8")} == {1}
    assert min(whole.values()) > 0.7
    assert "no index" in str(country["sentence"])

    code, surname, by = plan("surname")
    assert (code, surname["status"]) == (1, "fail")
    counts = {name: 0 for _, _, _, _, name, _ in people()}
    for _, _, _, _, name, _ in people():
        counts[name] += 1
    assert by["equality/128"]["guessed"] == pytest.approx(sum(set(counts.values())) / ROWS)
    assert {index["status"] for index in by.values()} == {"fail"}

    code, age, by = plan("age")
    assert (code, age["status"]) == (1, "fail")
    assert {"buckets 10/32"} <= set(by)

    code, sampled, _ = plan("surname", "--sample", "500")
    assert (sampled["rows"], sampled["of_rows"]) == (500, ROWS)
    assert code in (1, 3)  # never "it fits"

    assert main([*words, "nothing"]) == 3
    assert "found none called nothing" in capsys.readouterr().err


def test_what_a_terminal_shows_fits_into_80_columns(
    database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.cli.screen.out.width", 80)
    words = ["index", "plan", "--database", database, "--table", "people", "--column", "surname"]
    assert main(words) == 1
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0].startswith("people.surname: 20000 values, ")
    assert lines[1].split() == [
        "index", "bits", "entries", "alike", "expected", "found", "guessed", "at", "most",
    ]  # fmt: skip
    table = [line for line in lines if line.startswith(("equality", "prefix", "n-grams"))]
    assert len(table) == 10
    assert all(line.split()[-1] == "REFUSED" for line in table)
    assert all(len(line) <= 80 for line in lines if not line.startswith(("->", "people")))
    assert "Surname" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["--table", "people"],
        ["--column", "x"],
        ["--values", "x", "--database", "y"],
        ["--database", "sqlite:///x.db", "--table", "t"],
        ["--transform", "exact"],
        ["--type", "int"],
        ["--sample", "0"],
    ],
)
def test_options_that_do_not_fit_are_not_overlooked(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "plan", *words]) == 2
    assert capsys.readouterr().err


class Shop:
    """A folder with a programme, and a process for each command."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "ASSAY_PASSPHRASE": "a long passphrase for a test",
            "PYTHONPATH": ".",
        }
        self.environment["PEOPLE_URL"] = url
        more = ', key_table: "sqlite:///keys.db"'
        (folder / "assay.yaml").write_text(PROGRAMME.format(url="env:PEOPLE_URL", more=more))
        (folder / "keys.db").touch()

    def declare(self, reason: str = "", *, plaintext: bool = False) -> None:
        fields = {
            f"plaintext_{name}": f', plaintext="{name}"' if plaintext else ""
            for name in ("email", "country")
        }
        (self.folder / "people_models.py").write_text(MODELS.format(reason=reason, **fields))

    def run(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def plan(self) -> tuple[int, str]:
        return self.run("-m", "assay", "index", "plan")


def test_declared_indexes_before_anything_is_sealed(database: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    shop.declare(plaintext=True)
    code, shown = shop.run("-m", "assay", "keys", "create")
    assert code == 0, shown
    code, shown = shop.plan()
    assert code == 1, shown
    assert "people.country: 20000 values, 7 different" in shown
    assert "-> refused: equality" in shown
    assert "-> keep the declared indexes" in shown
    shop.declare(', acknowledged="it stands on every parcel"', plaintext=True)
    code, shown = shop.plan()
    assert code == 0, shown
    assert "known" in shown
    assert "secret" not in shown


def test_declared_indexes_of_sealed_rows(tmp_path: Path) -> None:
    (tmp_path / "sealed.db").touch()
    shop = Shop(tmp_path, f"sqlite:///{tmp_path}/sealed.db")
    shop.declare()
    (tmp_path / "write.py").write_text(WRITE)
    code, shown = shop.run("-m", "assay", "keys", "create")
    assert code == 0, shown
    assert shop.run("write.py") == (0, "")
    code, shown = shop.plan()
    assert code == 1, shown
    assert "people.email: 300 values, 300 different, 0 rows without" in shown
    assert "people.country: 300 values, 2 different" in shown
    assert "secret" not in shown
    with sqlite3.connect(tmp_path / "sealed.db") as connection:
        connection.execute("DELETE FROM people")
    connection.close()
    shop.declare(', acknowledged="it stands on every parcel"')
    code, shown = shop.plan()
    assert code == 3, shown
    assert shown.count("could not tell: expected at least 100 values, found 0") == 2
