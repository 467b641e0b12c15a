"""The benchmark of the key service works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def test_the_benchmark_measures_both(needs: Callable[[str], None], repository: Path) -> None:
    needs("softhsm2")
    done = subprocess.run(
        [sys.executable, str(repository / "bench" / "key_service.py"), "--quick"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, _, one, many = done.stdout.splitlines()
    assert head == "| connections | assay kms serve, data keys/s | moto, data keys/s | ratio |"
    for line, connections in ((one, "1"), (many, "16")):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == connections
        assert all(float(cell) > 0 for cell in cells[1:])
