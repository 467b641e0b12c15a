"""Errors of the programme, the catalogue and the checks.

::

    ControlsError
    ├── ProgrammeError      the programme file is wrong: file, line, what was expected
    ├── CatalogueError      the catalogue contradicts itself
    ├── CollectError        a check could not observe an asset: becomes an ``error`` result
    ├── ObservationError    a recorded observation is not what its check writes
    └── TwinError           a drill's disposable twin could not be built
"""

from __future__ import annotations

from pathlib import Path

from assay.core import AssayError


class ControlsError(AssayError):
    """Anything that `assay.controls` refuses or cannot do."""


class ProgrammeError(ControlsError):
    """The programme file is wrong.

    Attributes:
        path: the file.
        line: the line, counted from 1; 0 when the file as a whole is meant.
        column: the column, counted from 1.
        problem: what was expected and what was found.
    """

    def __init__(self, path: Path, line: int, column: int, problem: str) -> None:
        place = f"{path}:{line}:{column}" if line else str(path)
        super().__init__(f"{place}: {problem}")
        self.path = path
        self.line = line
        self.column = column
        self.problem = problem


class CatalogueError(ControlsError):
    """The catalogue of promises and controls contradicts itself or the table of checks."""


class CollectError(ControlsError):
    """A check could not observe its asset; the runner records this as an ``error`` result."""


class ObservationError(ControlsError):
    """A recorded observation cannot be read as what its check collects."""


class TwinError(ControlsError):
    """The disposable twin of a drill could not be built."""
