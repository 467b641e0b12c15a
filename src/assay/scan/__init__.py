"""What scanners find in code, together with the proof that they looked.

Example:
    >>> tool = bandit_tool(tools_home())
    >>> tool.create(str(newest_python()))
    >>> facts = scan_repository(Path("."), {"vendored": "not our code"}, tool)
    >>> facts.files, facts.parsed, facts.canary_missed, len(facts.findings)
    (25, 25, (), 0)

A scanner's exit code is never evidence. Files in scope are counted against files parsed, the
version and the rules against those that are pinned, and a canary of known-bad code must be found
by every rule in the same run. The room reports facts; checks judge them.
"""

from assay.scan.bandit import RULES, bandit_tool, canary_code, scan_repository
from assay.scan.errors import InterpreterError, RepositoryError, ScanError, ScannerOutputError
from assay.scan.interpreters import newest_python
from assay.scan.observation import BanditObservation, Finding
from assay.scan.python_files import PythonFiles, list_python_files

__all__ = [
    "RULES",
    "BanditObservation",
    "Finding",
    "InterpreterError",
    "PythonFiles",
    "RepositoryError",
    "ScanError",
    "ScannerOutputError",
    "bandit_tool",
    "canary_code",
    "list_python_files",
    "newest_python",
    "scan_repository",
]
