"""Errors of the scanners.

::

    ScanError
    ├── ScannerOutputError    a scanner ran, and what it printed proves nothing
    └── RepositoryError       what shall be scanned is not there
"""

from __future__ import annotations

from assay.core import AssayError


class ScanError(AssayError):
    """Anything that `assay.scan` refuses or cannot do."""


class ScannerOutputError(ScanError):
    """A scanner's output is not what that version of it writes."""


class RepositoryError(ScanError):
    """The folder that shall be scanned is missing, or cannot be listed."""
