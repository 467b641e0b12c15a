import json

import pytest

from assay.cli import main
from assay.controls import load_programme, propose


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "src" / "shop").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "fine-shop"\n')
    (tmp_path / ".env.example").write_text("SHOP_DATABASE_URL=sqlite:///shop.db\n")
    (tmp_path / "src" / "shop" / "models.py").write_text(
        "import sqlalchemy.orm as orm\nimport boto3\n"
        "class Base(orm.DeclarativeBase): pass\n"
        "Old = orm.declarative_base()\n"
    )
    (tmp_path / "src" / "shop" / "web.py").write_text("from fastapi import FastAPI\n")
    (tmp_path / "src" / "shop" / "broken.py").write_text("def (\n")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "x.py").write_text("class Base(DeclarativeBase): pass\n")
    return tmp_path


def test_a_proposal_is_a_programme_that_loads(shop, capsys):
    assert main(["init", str(shop)]) == 0
    programme = load_programme(shop / "assay.yaml")
    assert programme.organisation == "Fine Shop"
    assert programme.log.origin == "fine-shop.example/assay"
    assert [(a.id, a.location()) for a in programme.assets] == [
        ("code", "."), ("app-db", "env:SHOP_DATABASE_URL"), ("app-db-2", "env:SHOP_DATABASE_URL"),
    ]  # fmt: skip
    assert {a.models for a in programme.assets[1:]} == {"shop.models:Base", "shop.models:Old"}
    shown = capsys.readouterr().out
    assert "web framework: fastapi" in shown
    assert "to fill in: the bucket" in shown


def test_an_empty_folder_still_gets_a_programme_that_loads(tmp_path):
    (tmp_path / "x y: #").mkdir()
    proposal = propose(tmp_path / "x y: #")
    target = tmp_path / "assay.yaml"
    target.write_text(proposal.text)
    assert load_programme(target).organisation == "X Y: #"
    assert any("datastore" in sentence for sentence in proposal.missing)


def test_a_programme_file_is_never_replaced(shop, capsys):
    (shop / "assay.yaml").write_text("mine\n")
    assert main(["init", str(shop), "--json"]) == 2
    assert (shop / "assay.yaml").read_text() == "mine\n"
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2
    assert main(["init", str(shop / "missing")]) == 2


def test_code_is_read_and_never_run(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "models.py").write_text(
        f"open({str(marker)!r}, 'w')\nclass Base(DeclarativeBase): pass\n"
    )
    assert "models:Base" in propose(tmp_path).text
    assert not marker.exists()
