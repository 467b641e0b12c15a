"""The record of an observation, and its judgement: now, and again by anyone who holds the record.

A record is canonical JSON. It holds either the facts that a check collected, or why it could
not. `judge_record` is what the runner uses and what a verifier uses: the same function on the
same bytes, so a recorded result that does not follow from its observation is found.

Example:
    >>> record = record_failure(check, asset_id="api", ...)      # doctest: +SKIP
    >>> judge_record(CHECKS, record).status                       # doctest: +SKIP
    <Status.ERROR: 'error'>
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from assay.controls.check import AnyCheck, judges_version
from assay.controls.errors import ObservationError
from assay.core import AssayError, Fidelity, Result, from_canonical_json, to_canonical_json


class ObservationRecord(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What stands in the evidence.

    Attributes:
        check: the check's id.
        check_version: the check's version.
        asset: the asset's id.
        collected_at: RFC 3339, UTC.
        fidelity: how real the programme says the asset is; the facts may say less, never more.
        facts: what the check collected; None when it failed.
        failure: why it could not collect; None when it did.
    """

    check: str
    check_version: int
    asset: str
    collected_at: str
    fidelity: Fidelity
    facts: dict[str, Any] | None = None
    failure: str | None = None

    def to_bytes(self) -> bytes:
        """The one canonical encoding.

        Raises:
            CanonicalJsonError: the facts hold what canonical JSON cannot.
        """
        return to_canonical_json(msgspec.to_builtins(self, str_keys=True))

    @classmethod
    def from_bytes(cls, data: bytes) -> ObservationRecord:
        """Read what `to_bytes` wrote.

        Raises:
            ObservationError: it is something else, or holds both facts and a failure, or neither.
        """
        try:
            record = msgspec.convert(from_canonical_json(data), cls, strict=True)
        except (AssayError, msgspec.ValidationError) as exc:
            raise ObservationError(f"expected an observation, found something else: {exc}") from exc
        if (record.facts is None) == (record.failure is None):
            raise ObservationError("expected either facts or a failure, found both or neither")
        return record


def judge_record(checks: Mapping[str, AnyCheck], data: bytes) -> Result:
    """The result that follows from a recorded observation.

    Args:
        checks: the table of checks by id.
        data: the bytes of an `ObservationRecord`.

    Raises:
        ObservationError: the record is malformed, or was made by a check, or a version of it,
            that this table does not have, so it cannot be judged again here.
    """
    record = ObservationRecord.from_bytes(data)
    check = checks.get(record.check)
    if check is None or not judges_version(check, record.check_version):
        have = f"version {check.version}" if check else "no check of that name"
        raise ObservationError(
            f"expected check {record.check} version {record.check_version} to judge this "
            f"observation, found {have}; use the release of Assay that recorded it"
        )
    if record.failure is not None:
        return Result.error(record.failure, record.fidelity)
    facts = facts_of(check, record)
    try:
        result = check.judge(facts)
    except Exception as exc:  # noqa: BLE001 - a judgement that crashes could not tell
        return Result.error(
            f"could not tell: the judgement of {record.check} failed with {type(exc).__name__}",
            record.fidelity,
        )
    return result.at_most(record.fidelity)


def facts_of(check: AnyCheck, record: ObservationRecord) -> Any:
    """The facts in a record, as its check collected them.

    Raises:
        ObservationError: they are not what the check collects.
    """
    try:
        return msgspec.convert(record.facts, check.facts, strict=True)
    except msgspec.ValidationError as exc:
        raise ObservationError(
            f"expected facts of check {record.check} version {record.check_version}, found "
            f"others: {exc}"
        ) from exc
