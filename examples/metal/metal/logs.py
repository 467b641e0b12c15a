"""Structured logs: one JSON object a line, without what customers wrote.

What is logged are ids, routes (never paths or queries), numbers, and the types of errors. Messages
of exceptions are left out, since they quote what was being worked on.

Example:
    >>> with open_log(Path("metal.jsonl")) as log:      # doctest: +SKIP
    ...     log.info("server.started", port=8443)
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import structlog
from structlog.typing import FilteringBoundLogger


@contextmanager
def open_log(path: Path) -> Iterator[FilteringBoundLogger]:
    """Open the log, append to it, and close it at the end.

    The file can be read by its owner only (0600).

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8", buffering=1) as file:
        log: FilteringBoundLogger = structlog.wrap_logger(
            structlog.WriteLogger(file),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=False,
        )
        yield log


def places(exc: BaseException) -> list[str]:
    """Where an exception came from: type, file and line of it and its causes, never a message."""
    found: list[str] = []
    current: BaseException | None = exc
    while current is not None and len(found) < 8:
        found.append(f"{type(current).__qualname__} at {_innermost(current.__traceback__)}")
        current = current.__cause__ or current.__context__
    return found


def _innermost(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"


class ServerMessages(logging.Handler):
    """Hands what the HTTP server says to the structured log, without arguments or messages.

    Only the constant text of a record is kept: its arguments may hold what a client sent.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        exc = record.exc_info[1] if record.exc_info else None
        said = record.msg if isinstance(record.msg, str) else type(record.msg).__qualname__
        text = said.splitlines()[0] if said else ""
        self._log.warning("server.message", said=text, error=places(exc) if exc else [])
