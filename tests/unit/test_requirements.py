"""What a new user installs is enough: each part is imported with what its extra requires, no more.

The environment of the tests holds all extras and the tools of development, so that a requirement
that is missing would be noticed by nobody but a new user.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_IMPORT = """
import sys

missing = frozenset({missing!r})


class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None


sys.meta_path.insert(0, Missing)
import {module}
"""


def closure(pending: list[Requirement]) -> set[str]:
    """The distributions that a list of requirements installs."""
    found: set[tuple[str, frozenset[str]]] = set()
    while pending:
        wanted = pending.pop()
        place = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if place in found:
            continue
        found.add(place)
        try:
            further = [Requirement(line) for line in requires(wanted.name) or ()]
        except PackageNotFoundError:
            continue  # of another system
        for each in further:
            extras = ["", *wanted.extras]
            if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras):
                pending.append(each)
    return {name for name, _ in found}


@pytest.mark.parametrize(
    ("extra", "module"),
    [
        (None, "assay"),
        (None, "assay.__main__"),
        (None, "assay.encryption"),
        (None, "assay.encryption.sqlalchemy"),
        (None, "assay.encryption.adoption"),
        (None, "assay.keys"),
        (None, "assay.evidence"),
        (None, "assay.kms.http"),
        ("kms", "assay.kms.uvicorn"),
        ("aws", "assay.encryption.boto3"),
        ("django", "assay.encryption.django"),
        ("mongodb", "assay.encryption.mongodb"),
        ("parquet", "assay.encryption.pyarrow"),
        ("distributed", "assay.encryption.adoption.distributed"),
    ],
)
def test_a_new_user_has_what_is_imported(repository: Path, extra: str | None, module: str) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    installed = closure([Requirement(line) for line in wanted]) | {"assay"}
    missing = sorted(
        name
        for name, providers in packages_distributions().items()
        if not {canonicalize_name(each) for each in providers} & installed
    )
    assert "pytest" in missing
    program = _IMPORT.format(missing=missing, module=module)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1500:]
