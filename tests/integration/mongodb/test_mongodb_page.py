"""The code in docs/mongodb.md runs as it stands there, against the MongoDB of the tests."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from pymongo import MongoClient


def test_the_page_runs(mongodb: Any, repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "mongodb.md").read_text()
    blocks = re.findall(r"^```(?:py|python)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    name = f"assay_{secrets.token_hex(6)}"
    program = tmp_path / "program.py"
    program.write_text("\n".join(blocks).replace('["app"]', f'["{name}"]'))
    try:
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=tmp_path, env={**os.environ, "MONGODB_URI": mongodb.uri},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    finally:
        with MongoClient[dict[str, Any]](mongodb.uri) as client:
            client.drop_database(name)
