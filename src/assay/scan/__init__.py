"""Scanners: run in environments of their own, and believed only with proof that they scanned.

Example:
    >>> from assay.core import tools_home
    >>> bandit_tool(tools_home()).name
    'bandit'
"""

from assay.scan.bandit import BanditObservation, Finding, bandit_tool, scan_repository
from assay.scan.errors import RepositoryError, ScanError, ScannerOutputError
from assay.scan.interpreters import newest_python
from assay.scan.python_files import PythonFiles, list_python_files

__all__ = [
    "BanditObservation",
    "Finding",
    "PythonFiles",
    "RepositoryError",
    "ScanError",
    "ScannerOutputError",
    "bandit_tool",
    "list_python_files",
    "newest_python",
    "scan_repository",
]
