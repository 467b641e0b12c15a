"""The house keeps its order: contracts that can fail, and doors that stay light."""

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = sorted(
    path.parent.name for path in (Path(__file__).parents[2] / "src" / "assay").glob("*/__init__.py")
)


@pytest.mark.parametrize(
    ("file", "planted", "contract"),
    [
        ("core/clock.py", "import assay.keys", "Imports go downward"),
        ("keys/memory.py", "import assay.ledger", "Imports go downward"),
        ("encryption/payload.py", "import assay.evidence", "Imports go downward"),
        ("assemble/platform.py", "import assay.web", "Imports go downward"),
        ("core/clock.py", "import msgspec", "standard library only"),
        ("evidence/verify.py", "import sqlalchemy", "Verifiers import neither"),
        ("ledger/merkle.py", "import socket", "Verifiers import neither"),
        ("evidence/bundle.py", "import urllib.request", "Verifiers import neither"),
        ("encryption/adoption/sweep.py", "import distributed", "Dask is imported in one file"),
        ("keys/embedded.py", "import pkcs11", "python-pkcs11 is imported in one package"),
        ("encryption/buckets.py", "import boto3", "boto3 is imported in one file"),
        ("encryption/buckets.py", "import botocore", "boto3 is imported in one file"),
        ("encryption/buckets.py", "import pyarrow", "PyArrow is imported in one package"),
        ("kms/http.py", "import uvicorn", "uvicorn is imported in one file"),
        ("kms/uvicorn.py", "import httptools", "uvicorn is imported in one file"),
        ("leakage/search.py", "import hyperscan", "hyperscan is imported in one file"),
        ("leakage/search.py", "import ahocorasick_rs", "ahocorasick_rs is imported in one file"),
        ("encryption/payload.py", "import django", "Django is imported in its adapter only"),
        (
            "encryption/django/moving.py",
            "import assay.encryption.sqlalchemy",
            "never import each other",
        ),
        ("web/page.py", "import jinja2", "Jinja2 is imported in one file"),
        ("transport/sslyze.py", "import sslyze", "imported nowhere"),
    ],
)
def test_each_contract_fails_on_a_planted_violation(tmp_path, repository, file, planted, contract):
    shutil.copytree(repository / "src", tmp_path / "src")
    shutil.copy(repository / "pyproject.toml", tmp_path)
    target = tmp_path / "src" / "assay" / file
    assert linted(tmp_path).returncode == 0
    target.write_text(target.read_text() + f"\n{planted}\n")
    found = linted(tmp_path)
    assert found.returncode != 0
    assert any(contract in line and "BROKEN" in line for line in found.stdout.splitlines())


def test_the_ground_floor_imports_nothing_but_the_standard_library(repository):
    """The contract names packages one by one; this one needs no list."""
    allowed = {*sys.stdlib_module_names, "assay.core"}
    for path in (repository / "src" / "assay" / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name if name.startswith("assay") else name.partition(".")[0]
                assert top in allowed or top.startswith("assay.core."), (path.name, name)


def linted(folder):
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder, env={"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_says_what_it_offers(room):
    module = importlib.import_module(f"assay.{room}")
    assert module.__doc__
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name, None) is not None, name


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        ("assay", {"cryptography", "sqlalchemy", "typer", "rich", "msgspec"}),
        (
            "assay.encryption",
            {
                "sqlalchemy",
                "pymongo",
                "bson",
                "pkcs11",
                "typer",
                "rich",
                "jinja2",
                "yaml",
                "botocore",
                "pyarrow",
            },
        ),
        ("assay.kms", {"pkcs11", "uvicorn", "httptools", "alembic", "typer", "rich", "yaml"}),
        ("assay.keys", {"sqlalchemy", "pkcs11", "typer", "rich", "jinja2", "yaml"}),
        (
            "assay.evidence",
            {"sqlalchemy", "pkcs11", "typer", "rich", "jinja2", "yaml", "assay.keys"},
        ),
        ("assay.assemble", {"sqlalchemy", "pkcs11", "jinja2", "assay.keys", "assay.database"}),
    ],
)
def test_doors_stay_light(imported, heavy):
    code = f"import sys, {imported}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
