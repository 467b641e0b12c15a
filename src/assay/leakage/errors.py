"""Errors of the leak test.

::

    LeakageError
    ├── CanaryError      a canary that could not be found again, or not told apart
    ├── MatcherError     no engine for searching many patterns, or the engine failed
    └── ControlError     a control file could not be written into a medium, or not removed

A file that cannot be read is not an error of this kind: it is an entry in the `Search`, so that
one unreadable file never hides what was found in the others.
"""

from __future__ import annotations

from assay.core import AssayError


class LeakageError(AssayError):
    """Anything that `assay.leakage` refuses or cannot do."""


class CanaryError(LeakageError):
    """A canary has no shards, or shards too short to be told from chance."""


class MatcherError(LeakageError):
    """No engine for searching many patterns is installed, or it failed."""


class ControlError(LeakageError):
    """The control file of a medium could not be written or removed."""
