"""Time as an argument: code asks a `Clock`, never the machine.

Example:
    >>> SystemClock().now().tzinfo
    datetime.timezone.utc
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from assay.core.errors import AssayError


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The current moment, with the zone UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The current moment, with the zone UTC."""
        return datetime.now(UTC)


class SteppedClock:
    """A clock for tests and drills that stands still until it is set."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment.astimezone(UTC)

    def now(self) -> datetime:
        """The moment that was set last, with the zone UTC."""
        return self._moment

    def set(self, moment: datetime) -> None:
        """Move to a moment, forwards or backwards."""
        self._moment = moment.astimezone(UTC)


def to_rfc3339(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC with microseconds: ``2026-01-02T03:04:05.000006Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_rfc3339(text: str) -> datetime:
    """Read what `to_rfc3339` wrote.

    Raises:
        AssayError: the text has another form.
    """
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError as exc:
        raise AssayError(
            f"expected a time like 2026-01-02T03:04:05.000006Z, found {text!r}"
        ) from exc
    if to_rfc3339(moment) != text:
        raise AssayError(f"expected a time like 2026-01-02T03:04:05.000006Z, found {text!r}")
    return moment
