"""What every verb shows: progress, tables, errors and exit codes.

Example:
    >>> with shown_progress("Checking") as progress:        # doctest: +SKIP
    ...     progress.advance(1, 8, "app-db: rows")
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from assay.controls import CatalogueError, ProgrammeError
from assay.core import AssayError, Progress, SilentProgress, WrongInputError
from assay.evidence import BundleReadError, EvidenceError
from assay.ledger import LedgerError, VerifierKeyError

KEPT, BROKEN, WRONG_INPUT, COULD_NOT_TELL = 0, 1, 2, 3
INTERRUPTED = 130

_WIDTH_WITHOUT_TERMINAL = 160

out = Console(highlight=False)
if not out.is_terminal and "COLUMNS" not in os.environ:
    out.width = _WIDTH_WITHOUT_TERMINAL
err = Console(stderr=True, highlight=False, soft_wrap=True)

STYLES = {
    "kept": "green",
    "broken": "bold red",
    "error": "bold yellow",
    "unproven": "cyan",
}


class _Bar:
    """Shows progress as a bar on standard error."""

    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def advance(self, done: int, total: int, what: str) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total, what=what)


@contextmanager
def shown_progress(title: str, *, as_json: bool = False) -> Iterator[Progress]:
    """A progress bar while the block runs; nothing with ``--json``.

    Without a terminal the bar is left out, and so are its control characters.
    """
    if as_json or not err.is_terminal:
        yield SilentProgress()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with RichProgress(*columns, console=err, transient=True) as bar:
        yield _Bar(bar, bar.add_task(title, total=None, what=""))


def print_json(document: object) -> None:
    """Write a document for machines on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def report_error(exc: Exception, *, as_json: bool, code: int | None = None) -> int:
    """Say what went wrong, and which exit code follows from it, or the one that is given."""
    found, message = _explain(exc)
    code = found if code is None else code
    if as_json:
        details: dict[str, object] = {"message": message, "type": type(exc).__name__}
        if isinstance(exc, ProgrammeError):
            details |= {"file": str(exc.path), "line": exc.line, "column": exc.column}
        print_json({"error": details, "exit_code": code})
    else:
        err.print(f"error: {message}", markup=False)
    return code


def report_refusal(exc: Exception, *, as_json: bool) -> int:
    """Say why evidence was refused, or that its file or its key cannot be read at all."""
    unread = isinstance(exc, VerifierKeyError | BundleReadError)
    code = WRONG_INPUT if unread else BROKEN
    if as_json:
        error = {"message": str(exc), "type": type(exc).__name__}
        print_json({"verified": False, "error": error, "exit_code": code})
    elif unread:
        err.print(f"error: {exc}", markup=False)
    else:
        err.print(f"REFUSED: {exc}", markup=False)
        err.print("Nothing in this bundle counts.")
    return code


def report_usage(message: str, *, as_json: bool) -> int:
    """Say which words were wrong."""
    if as_json:
        print_json({"error": {"message": message}, "exit_code": WRONG_INPUT})
    else:
        err.print(f"error: {message.removesuffix('.')}. See `assay --help`.", markup=False)
    return WRONG_INPUT


def show_help(text: str) -> int:
    """Say which words there are, to someone who gave none."""
    err.print(text, markup=False)
    return WRONG_INPUT


def report_interrupt(*, as_json: bool) -> int:
    """Say that the user stopped it."""
    message = "interrupted: what was recorded so far stays in the log"
    if as_json:
        print_json({"error": {"message": message}, "exit_code": INTERRUPTED})
    else:
        err.print(message)
    return INTERRUPTED


def _explain(exc: Exception) -> tuple[int, str]:
    if isinstance(exc, ProgrammeError | CatalogueError | WrongInputError):
        return WRONG_INPUT, str(exc)
    if isinstance(exc, LedgerError | EvidenceError | AssayError):
        return COULD_NOT_TELL, str(exc)
    if isinstance(exc, OSError):
        place = exc.filename or "a file"
        why = exc.strerror or type(exc).__name__
        return COULD_NOT_TELL, f"expected to use {place}, found: {why}; nothing was lost"
    if os.environ.get("ASSAY_DEBUG"):
        traceback.print_exception(exc)
    return COULD_NOT_TELL, (
        f"unexpected {type(exc).__name__}; this is a defect of Assay. "
        "Set ASSAY_DEBUG=1 to see where, and report it"
    )
