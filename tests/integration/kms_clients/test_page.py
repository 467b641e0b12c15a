"""What the page of the key service says of clients, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .conftest import Kms

BLOCK = re.compile(r"^```sh client\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECRET = "password: Quartz-and-Obsidian\n"


@pytest.fixture
def programs(python_clients: Path, sops: Path) -> str:
    return os.pathsep.join([str(python_clients), str(sops.parent), os.environ["PATH"]])


@pytest.mark.parametrize("file", ["letter", "secrets.yaml"])
def test_a_client_does_what_the_page_says(
    file: str, kms: Kms, programs: str, repository: Path, tmp_path: Path
) -> None:
    page = (repository / "docs" / "key-service.md").read_text(encoding="utf-8")
    (block,) = [each for each in BLOCK.findall(page) if file in each]
    if not any(
        each["AliasName"] == "alias/orders" for each in kms.client.list_aliases()["Aliases"]
    ):
        kms.client.create_alias(AliasName="alias/orders", TargetKeyId=kms.key())
    (tmp_path / file).write_text(SECRET)
    done = subprocess.run(
        ["sh", "-e", "-c", block], cwd=tmp_path, env=kms.environment(PATH=programs),  # noqa: S607 - sh of the PATH
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == SECRET
