"""What evidence must know of an observation: what it is about, and when it was made.

The rest is the check's affair. Without this, a good observation of one asset, or of last year,
could stand for another (``spec/evidence.md``, section Observation).

Example:
    >>> require_observation(artefact, result, started_at)             # doctest: +SKIP
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from assay.core import AssayError, from_canonical_json, to_rfc3339
from assay.evidence.errors import ObservationMismatchError
from assay.evidence.predicates import ResultRecorded, moment

TOLERANCE = timedelta(seconds=5)
"""How far two readings of one clock may be out of order."""


class ObservationHeader(msgspec.Struct, frozen=True):
    """The members that every observation has, beside others.

    Attributes:
        check: id of the check that made it.
        check_version: its version.
        asset: id of the asset that it is about.
        collected_at: when, as `assay.core.to_rfc3339` writes it.
    """

    check: str
    check_version: int
    asset: str
    collected_at: str


def require_observation(data: bytes, result: ResultRecorded, started_at: str | None) -> None:
    """Refuse an observation that is not the one of its result.

    Args:
        data: the artefact.
        result: the result that rests on it.
        started_at: when the run started; None when that is not known (a cut run).

    Raises:
        ObservationMismatchError: it is about something else, or of another time, or no
            observation at all.
    """
    try:
        header = msgspec.convert(from_canonical_json(data), ObservationHeader)
        collected = moment(header.collected_at)
    except (AssayError, ValueError, RecursionError) as exc:
        raise ObservationMismatchError(f"expected an observation: {exc}") from exc
    found = (header.check, header.check_version, header.asset)
    expected = (result.check, result.check_version, result.asset)
    if found != expected:
        raise ObservationMismatchError(
            f"expected an observation of {_words(expected)}, found one of {_words(found)}"
        )
    _require_time(collected, result.at, started_at)


def _require_time(collected: datetime, at: str, started_at: str | None) -> None:
    late = collected - moment(at) > TOLERANCE
    early = started_at is not None and moment(started_at) - collected > TOLERANCE
    if late or early:
        raise ObservationMismatchError(
            f"expected an observation made between {started_at or 'the start of its run'} and "
            f"{at}, found one of {to_rfc3339(collected)}"
        )


def _words(place: tuple[str, int, str]) -> str:
    return f"{place[2]} by {place[0]} version {place[1]}"
