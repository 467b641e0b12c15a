"""What is missing to serve is named with the extra that brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("missing", ["uvicorn", "httptools"])
def test_a_missing_package_is_named_with_its_extra(missing: str, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from assay.cli import main\n"
        "raise SystemExit(main(['kms', 'serve', '--certificate', 'c', '--private-key', 'k']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"expected the package {missing}" in done.stderr
    assert "install assay[kms]" in done.stderr
