"""The code in docs/vault.md runs as it stands there, against the Vault of the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_the_page_runs(transit: Any, repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "vault.md").read_text()
    blocks = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    program = tmp_path / "program.py"
    program.write_text("\n".join(blocks).replace("vault:transit/", f"vault:{transit.mount}/"))
    shutil.copy(transit.server.ca, tmp_path / "ca.pem")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path, env={**os.environ, **transit.environment, "VAULT_ADDR": transit.server.address},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == 4
