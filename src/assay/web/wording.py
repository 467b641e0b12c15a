"""How the page says things: states, fidelities, counts and times, in words for customers.

Example:
    >>> moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)).text
    '2 Jan 2026, 03:04 UTC'
    >>> visible("safe\u202etxt")
    'safe[U+202E]txt'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from assay.controls.coverage import State
from assay.core import Fidelity, Population

WORDS: Mapping[State, str] = {
    State.KEPT: "Kept",
    State.BROKEN: "Broken",
    State.ERROR: "Error",
    State.UNPROVEN: "Unproven",
    State.NOT_APPLICABLE: "Not applicable",
}
"""The word beside each icon."""

MEANINGS: Mapping[State, str] = {
    State.KEPT: "every check passed, everywhere it applies",
    State.BROKEN: "a check found that it does not hold",
    State.ERROR: "a check could not tell, which counts as not kept",
    State.UNPROVEN: "a proof is missing, too old or too weak",
}
"""What each state of a promise means."""

WHY_NOT: Mapping[State, str] = {
    State.BROKEN: "Why it is broken",
    State.ERROR: "Why nobody can tell",
    State.UNPROVEN: "What is missing",
}
"""The heading over the reasons."""

FIDELITIES: Mapping[Fidelity, str] = {
    Fidelity.LIVE: "the real system itself",
    Fidelity.EMULATED: "a stand-in, such as a software token, not the real thing",
    Fidelity.FIXTURE: "test data, not a real system",
}
"""What each fidelity means."""

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

# Control characters, lone surrogates, and the bidirectional embeddings, overrides and isolates:
# with them a text could be read as another one than it is (Unicode TR 36, section 2.10).
_DECEPTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Moment:
    """A time for the template.

    Attributes:
        iso: for machines, to the second.
        text: for people, to the minute; seconds are cut off, never rounded up.
    """

    iso: str
    text: str


def moment(time: datetime) -> Moment:
    """A time in UTC, the same words on every machine whatever its language."""
    utc = time.astimezone(UTC)
    text = f"{utc.day} {_MONTHS[utc.month - 1]} {utc.year}, {utc:%H:%M} UTC"
    return Moment(f"{utc:%Y-%m-%dT%H:%M:%SZ}", text)


def visible(text: str) -> str:
    """The text with every character that hides or reorders others spelled out."""
    return _DECEPTIVE.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def shortened(text: str, limit: int) -> str:
    """The text, cut at ``limit`` characters; the full one is in the statement."""
    return text if len(text) <= limit else f"{text[:limit].rstrip()}… (cut here; see the statement)"


def counted(population: Population) -> str:
    """``412 of 412 rows``, and how many of them failed."""
    text = f"{population.evaluated:,} of {population.in_scope:,} {population.unit}"
    return f"{text}, {population.failed:,} failed" if population.failed else text


def headline(counts: Mapping[State, int]) -> str:
    """The overall line: never better than the worst that is known."""
    total, kept = sum(counts.values()), counts[State.KEPT]
    if total == 0:
        return "No promise is declared, so nothing is proven."
    if kept == total:
        return "The one promise is kept." if total == 1 else f"All {total} promises are kept."
    noun = "promise is" if total == 1 else "promises are"
    return f"{kept} of {total} {noun} kept."


def remainder(counts: Mapping[State, int]) -> str:
    """What the headline leaves out, as in ``1 is broken, 7 are unproven.``; empty when nothing."""
    phrases = {
        State.BROKEN: ("is broken", "are broken"),
        State.ERROR: ("ended in an error", "ended in an error"),
        State.UNPROVEN: ("is unproven", "are unproven"),
    }
    parts = [
        f"{counts[state]} {one if counts[state] == 1 else many}"
        for state, (one, many) in phrases.items()
        if counts[state]
    ]
    return f"{', '.join(parts)}." if parts else ""
