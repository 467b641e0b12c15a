"""``assay keys status``, ``rewrap`` and ``rotate``, as an operator types them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.cli import main
from assay.core import DataKeyClass, KeyUses, SteppedClock
from assay.database import SqlDataKeyTable, open_engine
from assay.keys import Keyring, open_key_service
from assay.keys.embedded import EmbeddedProvider
from assay.keys.embedded_format import SMALLEST_N, ScryptParameters

ROWS, INDEXES = DataKeyClass.ROWS, DataKeyClass.INDEXES
KEYS = "embedded:keys.json?object={}&passphrase-source=env:ASSAY_PASSPHRASE"
PROGRAMME = f"""\
organisation: Shop
keys: "{KEYS.format("kek")}"
log: {{store: log, signer: "{KEYS.format("log")}", origin: shop.example/assay}}
assets:
  - {{id: shop, kind: datastore, url: "sqlite:///shop.db", models: "m:Base", key_table: "sqlite:///keys.db"}}
  - {{id: more, kind: datastore, url: "sqlite:///more.db", models: "m:Base", key_table: "sqlite:///keys.db"}}
  - {{id: own, kind: datastore, url: "sqlite:///own.db", models: "m:Base"}}
"""


class Shop:
    """A programme with two tables of data keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(PROGRAMME)
        for name in ("kek", "new"):
            provider = EmbeddedProvider(ScryptParameters(n=SMALLEST_N))
            provider.create_key(KEYS.format(name), folder, os.environ)
        for name in ("keys", "own", "shop", "more"):
            (folder / f"{name}.db").touch()

    def write(self, programme: str) -> None:
        (self.folder / "assay.yaml").write_text(programme)

    def table(self, name: str = "keys") -> SqlDataKeyTable:
        return SqlDataKeyTable(open_engine(f"sqlite:///{self.folder / name}.db"))

    def make(self, *owners: str, table: str = "keys", days: int = 0, kek: str = "kek") -> None:
        service = open_key_service(KEYS.format(kek), directory=self.folder, environment=os.environ)
        clock = SteppedClock(datetime.now(UTC) - timedelta(days=days))
        keyring = Keyring(service, self.table(table), clock=clock)
        for owner in owners:
            keyring.current(owner, ROWS)
            keyring.current(owner, INDEXES)
        keyring.close()

    def versions(self, table: str = "keys") -> dict[tuple[str, str], int]:
        rows = self.table(table).each()
        return {(row.owner, row.key_class.value): row.version for row in rows}

    def keks(self, table: str = "keys") -> set[str]:
        return {row.kek.partition("object=")[2] for row in self.table(table).each()}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_PASSPHRASE", "correct horse battery")
    return Shop(tmp_path)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    def run(*words: str) -> tuple[int, dict[str, Any]]:
        code = main(["keys", *words, "--json"])
        document = json.loads(capsys.readouterr().out)
        assert document["exit_code"] == code
        return code, document

    return run


def test_status_where_nothing_is_due(shop: Shop, told: Any, capsys: Any) -> None:
    shop.make("ada@example.com", "b")
    shop.make("c", table="own")
    code, found = told("status")
    assert (code, found["due"], found["unknown"]) == (0, [], [])
    assert [(each["key_table"], each["datastores"]) for each in found["key_tables"]] == [
        ("sqlite:///keys.db", ["shop", "more"]), ("sqlite:///own.db", ["own"]),
    ]  # fmt: skip
    rows = found["key_tables"][0]["classes"]["rows"]
    assert (rows["owners"], rows["keys"], rows["due"]) == (2, 2, {})
    assert found["kek"]["wraps_at_least"] == 6
    assert main(["keys", "status"]) == 0
    shown = capsys.readouterr().out
    assert "nothing is due" in shown
    assert "shop, more: data keys in sqlite:///keys.db" in shown
    assert "fidelity emulated" in shown
    assert "ada" not in shown


def test_status_by_age_and_use_with_what_the_programme_says(shop: Shop, told: Any) -> None:
    shop.make("a", days=100)
    shop.make("b")
    (key,) = shop.table().versions("b", ROWS)
    shop.table().add_uses({key.key_id: KeyUses(1000, 2**30)})
    assert told("status")[0] == 0
    shop.write(f"{PROGRAMME}key_rotation: {{rows: {{age_days: 90, messages: 1000}}}}\n")
    code, found = told("status")
    rows = found["key_tables"][0]["classes"]["rows"]
    assert code == 1
    assert rows["due"] == {"90 days old or more": 1, "used for 1000 messages or more": 1}
    assert (rows["most_nonce_prefixes"], rows["share_of_limit"]) == (2**30, 0.25)
    assert len(found["due"]) == 2
    assert "assay keys rotate --due" in found["due"][0]


def test_owners_are_named_only_to_who_asks(shop: Shop, told: Any, capsys: Any) -> None:
    shop.make("ada@example.com", "[bold]b")
    assert "ada" not in json.dumps(told("status")[1])
    asked = told("status", "--owner", "ada@example.com")[1]
    assert {each["owner"] for each in asked["key_tables"][0]["owners"]} == {"ada@example.com"}
    everybody = told("status", "--owners")[1]["key_tables"][0]["owners"]
    assert [each["owner"] for each in everybody].count("[bold]b") == 2
    assert main(["keys", "status", "--owners"]) == 0
    assert "[bold]b" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["status", "--owner", "nobody"], 2, "found 1 of those named without one"),
        (["rotate", "--owner", "nobody", "--owner", "a"], 2, "found 1 of those named"),
        (["rotate", "--class", "columns"], 2, "columns"),
        (["rotate", "--made-before", "yesterday"], 2, "found 'yesterday'"),
        (["rotate", "--made-before", "2026-01-01T00:00:00"], 2, "with its zone"),
        (["rewrap", "--to", "nonsense"], 2, "no scheme"),
        (["rewrap", "--from", "embedded:keys.json?object=gone&passphrase-source=env:ASSAY_PASSPHRASE"], 3, "gone"),
        (["rewrap", "--to", "env:NOT_SET"], 3, "NOT_SET"),
        (["status", "-c", "none.yaml"], 2, "assay init"),
    ],
)  # fmt: skip
def test_wrong_input_changes_nothing(
    shop: Shop, told: Any, words: list[str], code: int, message: str
) -> None:
    shop.make("a", days=1)
    before = list(shop.table().each())
    found, document = told(*words)
    assert found == code
    assert message in document["error"]["message"]
    if "--owner" not in words:
        assert list(shop.table().each()) == before


@pytest.mark.parametrize("verb", ["status", "rewrap", "rotate"])
def test_no_data_key_is_no_success(shop: Shop, told: Any, verb: str, capsys: Any) -> None:
    assert told(verb)[0] == 3
    assert main(["keys", verb]) == 3
    assert "could not tell" in capsys.readouterr().out


def test_a_kek_that_cannot_be_opened_leaves_the_rest_to_see(
    shop: Shop, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.make("a", days=400)
    shop.make("b", table="own")
    monkeypatch.setenv("ASSAY_PASSPHRASE", "another one")
    code, found = told("status")
    assert code == 1
    assert "rows keys are 365 days old or more" in found["due"][0]
    assert "the KEK could not be opened" in found["unknown"][0]
    shop.table().destroy("a", datetime.now(UTC))
    code, found = told("status")
    assert (code, found["due"], len(found["unknown"])) == (3, [], 1)
    assert found["kek"]["fidelity"] is None


def test_a_database_that_is_not_there_is_not_made(shop: Shop, told: Any) -> None:
    (shop.folder / "own.db").unlink()
    assert told("status")[0] == 3
    assert not (shop.folder / "own.db").exists()


def test_rewrap_to_the_kek_that_takes_the_place_of_another(shop: Shop, told: Any) -> None:
    shop.make("a", "b")
    shop.make("c", table="own")
    new = KEYS.format("new")
    moved = PROGRAMME.replace(KEYS.format("kek"), new, 1)
    shop.write(moved)
    code, found = told("status")
    assert code == 1
    assert [each["to_rewrap"] for each in found["key_tables"]] == [4, 2]
    assert "assay keys rewrap" in found["due"][0]
    code, found = told("rewrap")
    assert code == 1
    assert found["key_tables"][0]["refused"] == {
        "does not open, or not under embedded:keys.json?object=kek": 4
    }
    shop.write(f'{moved}former_keys: ["{KEYS.format("kek")}"]\n')
    code, found = told("rewrap")
    assert (code, found["kek"]) == (0, "embedded:keys.json?object=new")
    assert [each["done"] for each in found["key_tables"]] == [4, 2]
    assert shop.keks() == shop.keks("own") == {"new"}
    shop.write(moved)
    assert told("status")[0] == 0
    assert told("rewrap")[1]["key_tables"][0] == {
        "key_table": "sqlite:///keys.db", "datastores": ["shop", "more"], "done": 0,
        "already": 4, "lost_races": 0, "refused": {}, "left": 0,
    }  # fmt: skip


def test_rewrap_with_the_keks_on_the_command_line(shop: Shop, told: Any, capsys: Any) -> None:
    shop.make("ada@example.com")
    assert main(["keys", "rewrap", "--to", KEYS.format("new")]) == 0
    shown = capsys.readouterr().out
    assert "KEK: embedded:keys.json?object=new" in shown
    assert "shop, more: 2 data keys wrapped anew, 0 were already, 0 left" in shown
    assert "ada" not in shown
    assert shop.keks() == {"new"}
    assert told("rewrap", "--from", KEYS.format("new"))[1]["key_tables"][0]["done"] == 2
    assert shop.keks() == {"kek"}
    assert told("rewrap", "--every")[1]["key_tables"][0]["done"] == 2


def test_rotate_what_is_due(shop: Shop, told: Any, capsys: Any) -> None:
    shop.make("a", days=400)
    shop.make("b", days=10)
    code, found = told("rotate", "--due")
    assert (code, found["key_tables"][0]["made"]) == (0, {"rows": 1})
    assert shop.versions() == {
        ("a", "rows"): 2, ("a", "indexes"): 1, ("b", "rows"): 1, ("b", "indexes"): 1,
    }  # fmt: skip
    assert told("status")[0] == 0
    assert main(["keys", "rotate", "--due"]) == 0
    assert "new versions: none; left as they are: 4" in capsys.readouterr().out


def test_rotate_what_is_chosen(shop: Shop, told: Any) -> None:
    shop.make("a", "b", days=10)
    shop.make("c")
    assert told("rotate", "--class", "indexes", "--owner", "a")[0] == 0
    assert shop.versions()["a", "indexes"] == 2
    assert sum(shop.versions().values()) == 7
    settle = told("status")[1]["key_tables"][0]["index_keys_settle_at"]
    assert datetime.fromisoformat(settle) > datetime.now(UTC)
    before = (datetime.now(UTC) - timedelta(days=5)).isoformat()
    found = told("rotate", "--class", "rows", "--made-before", before)[1]
    assert found["key_tables"][0]["made"] == {"rows": 2}
    again = told("rotate", "--class", "rows", "--made-before", before)[1]
    assert again["key_tables"][0]["made"] == {}
    assert told("rotate")[1]["key_tables"][0]["made"] == {"rows": 3, "indexes": 3}
