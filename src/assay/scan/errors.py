"""Errors of looking at code.

::

    ScanError
    ├── RepositoryError      the folder cannot be scanned as a whole
    ├── ScannerOutputError   a scanner's output is not what the pinned version writes
    └── InterpreterError     no Python that the pinned tools can run on

A file that cannot be read or parsed is not an error of this kind: it is in the observation, so
that it never hides what was found in the others.
"""

from __future__ import annotations

from assay.core import AssayError


class ScanError(AssayError):
    """Anything that `assay.scan` refuses or cannot do."""


class RepositoryError(ScanError):
    """The folder is missing, cannot be listed, or an exclusion does not lie in it."""


class ScannerOutputError(ScanError):
    """A scanner's output is not what the pinned version writes, or is of another version."""


class InterpreterError(ScanError):
    """No Python was found that the pinned tools can run on."""
