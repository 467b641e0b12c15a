from __future__ import annotations

import ast
import re
from pathlib import Path

from assay.scan import RULES, bandit_tool, canary_code
from assay.scan.bandit import _batches


def test_the_lock_installs_exactly_the_trusted_version() -> None:
    tool = bandit_tool(Path("home"))
    lock = tool.requirements.read_text()
    assert lock.startswith(f"bandit=={tool.version} \\\n    --hash=sha256:")
    requirements = re.findall(r"^[a-z].*", lock, re.MULTILINE)
    assert all(re.match(r"[a-z0-9-]+==\S+( ;.*)? \\$", line) for line in requirements)
    assert "http" not in lock, "a lock names no host"


def test_the_canary_is_code_and_no_python_file_of_this_repository() -> None:
    ast.parse(canary_code())
    assert len(set(RULES)) == len(RULES) == 75
    assert not list(Path(bandit_tool(Path()).requirements).parent.glob("*canary*.py"))


def test_batches_hold_every_file_once_and_fit_on_a_command_line() -> None:
    names = [f"folder/{n:050}.py" for n in range(5000)]
    batches = list(_batches(names))
    assert [name for batch in batches for name in batch] == names
    assert max(map(len, batches)) <= 400
    assert max(sum(len(name) + 3 for name in batch) for batch in batches) <= 60_100
    assert list(_batches(["a.py"])) == [["a.py"]]


def test_without_files_there_is_still_a_run_for_the_canary() -> None:
    assert list(_batches([])) == [[]]
