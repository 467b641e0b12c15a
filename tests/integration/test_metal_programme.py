"""The whole of ``make run`` on PostgreSQL: the checks see what is real there as well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

METAL = Path(__file__).parents[2] / "examples" / "metal"
KEPT = ("at-rest", "row-encryption", "storage-insufficient", "hsts", "sast", "uniformity")


def test_the_programme_keeps_its_promises_on_postgresql(
    tmp_path: Path, fresh_postgresql_url: str, needs: Callable[[str], None]
) -> None:
    needs("bandit")
    needs("sslyze")
    company = tmp_path / "metal"
    shutil.copytree(METAL, company, ignore=shutil.ignore_patterns("data", "__pycache__"))
    done = subprocess.run(
        [sys.executable, company / "run.py"],
        env={
            **os.environ,
            "METAL_KEY_STORE": "embedded",
            "METAL_HTTPS_PORT": "0",
            "METAL_HTTP_PORT": "0",
            "DATABASE_URL": fresh_postgresql_url,
            "COLUMNS": "100",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    words = [line.split()[:2] for line in done.stdout.splitlines() if line]
    states = {line[0]: line[1] for line in words if len(line) == 2}
    assert {promise: states.get(promise) for promise in KEPT} == dict.fromkeys(KEPT, "kept"), (
        done.stdout + done.stderr
    )
    # No check looks at the connection to the database yet, and SQLite has none.
    assert states["in-transit"] == "unproven"
    assert done.returncode == 0
