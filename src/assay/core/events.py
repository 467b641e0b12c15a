"""Protocols by which a lower floor tells a higher one that something happened.

Example:
    >>> sink = RecordedEvents()
    >>> sink.emit(Event("data-key.created", {"class": "rows"}))
    >>> [event.kind for event in sink.events]
    ['data-key.created']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, without secrets and without personal data.

    Attributes:
        kind: a dotted name, noun first ("data-key.created").
        details: short texts that identify what it happened to.
    """

    kind: str
    details: Mapping[str, str] = field(default_factory=dict)


class EventSink(Protocol):
    """Takes events; must not raise for an event that it does not care about."""

    def emit(self, event: Event) -> None:
        """Take one event."""
        ...


class IgnoredEvents:
    """A sink that keeps nothing."""

    def emit(self, event: Event) -> None:
        """Take one event and forget it."""


class RecordedEvents:
    """A sink in memory, for tests."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Take one event and keep it."""
        self.events.append(event)


class Progress(Protocol):
    """Shows that long work goes on."""

    def advance(self, done: int, total: int, what: str) -> None:
        """Say that ``done`` of ``total`` steps are finished and what is at work now."""
        ...


class SilentProgress:
    """Shows nothing."""

    def advance(self, done: int, total: int, what: str) -> None:
        """Take note and show nothing."""
