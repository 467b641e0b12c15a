"""New backing keys for old keys: every day that is set, or when somebody asks; old ones still open.

Example:
    >>> rotate_key_on_demand(call, OfKey(key_id="alias/orders"))        # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from msgspec import UNSET, UnsetType

from assay.kms.arguments import OfKey, checked_range, given
from assay.kms.call import ANY_STATE, Call
from assay.kms.errors import LimitError, UnsupportedError
from assay.kms.operations.pages import Page, paged
from assay.kms.records import BackingKey, KeyRecord, KeySpec, Rotation

MOST_ON_DEMAND = 25
_DAYS = (90, 2560)
_USUAL_DAYS = 365


class EnableKeyRotation(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of EnableKeyRotation."""

    rotation_period_in_days: int | UnsetType = UNSET


class ListKeyRotations(
    Page, frozen=True, rename="pascal", forbid_unknown_fields=True, kw_only=True
):
    """Arguments of ListKeyRotations."""

    key_id: str
    include_key_material: str | UnsetType = UNSET


def enable_key_rotation(call: Call, arguments: EnableKeyRotation) -> None:
    """Rotate a key by itself from now on, each time so many days have gone."""
    days = checked_range(
        "RotationPeriodInDays", given(arguments.rotation_period_in_days, _USUAL_DAYS), *_DAYS
    )
    record = call.key(arguments.key_id, facts={"kms:rotationperiodindays": days})
    _refuse_other_kinds(record)
    since = record.rotation_from if record.rotation_days is not None else call.now
    call.transaction.put(replace(record, rotation_days=days, rotation_from=since))


def disable_key_rotation(call: Call, arguments: OfKey) -> None:
    """Rotate a key by itself no more."""
    record = call.key(arguments.key_id)
    _refuse_other_kinds(record)
    call.transaction.put(replace(record, rotation_days=None, rotation_from=None))


def get_key_rotation_status(call: Call, arguments: OfKey) -> dict[str, Any]:
    """Tell whether and when a key rotates by itself."""
    record = call.key(arguments.key_id, states=ANY_STATE)
    _refuse_other_kinds(record)
    told: dict[str, Any] = {
        "KeyId": record.arn,
        "KeyRotationEnabled": record.rotation_days is not None,
    }
    due = rotation_due(record)
    if record.rotation_days is not None and due is not None:
        told |= {"RotationPeriodInDays": record.rotation_days, "NextRotationDate": due.timestamp()}
    return told


def rotate_key_on_demand(call: Call, arguments: OfKey) -> dict[str, Any]:
    """Rotate a key now."""
    record = call.key(arguments.key_id)
    _refuse_other_kinds(record)
    asked = sum(1 for each in record.backing if each.rotation is Rotation.ON_DEMAND)
    if asked >= MOST_ON_DEMAND:
        raise LimitError(f"expected at most {MOST_ON_DEMAND} rotations on demand, found as many")
    rotated(call, record, Rotation.ON_DEMAND)
    return {"KeyId": record.arn}


def list_key_rotations(call: Call, arguments: ListKeyRotations) -> dict[str, Any]:
    """List the rotations of a key, oldest first."""
    if given(arguments.include_key_material, "ROTATIONS_ONLY") != "ROTATIONS_ONLY":
        raise UnsupportedError("expected IncludeKeyMaterial ROTATIONS_ONLY: none is imported here")
    record = call.key(arguments.key_id, states=ANY_STATE)
    _refuse_other_kinds(record)
    entries = [
        (
            f"{each.version:010}",
            {
                "KeyId": record.arn,
                "RotationDate": each.created_at.timestamp(),
                "RotationType": each.rotation.value,
            },
        )
        for each in record.backing
        if each.rotation is not Rotation.FIRST
    ]
    return paged("Rotations", entries, arguments, 1000)


def rotation_due(record: KeyRecord) -> Any:
    """When a key rotates by itself, or None."""
    if record.rotation_days is None or record.rotation_from is None:
        return None
    since = max(record.rotation_from, record.backing[-1].created_at)
    return since + timedelta(days=record.rotation_days)


def rotated(call: Call, record: KeyRecord, why: Rotation) -> KeyRecord:
    """Make the next backing key of a symmetric key."""
    version = record.backing[-1].version + 1
    made = call.token.create_key(record.spec, record.usage, f"{record.key_id}/{version}")
    backing = (*record.backing, BackingKey(version, made.handle, call.now, why))
    record = replace(record, backing=backing)
    call.transaction.put(record)
    return record


def _refuse_other_kinds(record: KeyRecord) -> None:
    if record.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise UnsupportedError(
            f"expected a symmetric encryption key to rotate, found a key of {record.spec}"
        )
