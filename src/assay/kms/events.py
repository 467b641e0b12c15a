"""Events of the audit trail, as mappings that JSON can hold.

Specification: ``spec/kms.md``, "Audit trail".

Example:
    >>> event(now, action="RotateKey", key=record.arn)["outcome"]       # doctest: +SKIP
    'ok'
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from assay.core import to_rfc3339

LONGEST_ACTION = 64


def event(now: datetime, **fields: Any) -> dict[str, Any]:
    """An event; what is not given is null, and its outcome ``ok``.

    Args:
        now: when it happened.
        fields: of the table in the specification.
    """
    return {
        "time": to_rfc3339(now),
        "request": None,
        "principal": None,
        "source": "",
        "action": None,
        "key": None,
        "context": None,
        "outcome": "ok",
        "reason": None,
        **fields,
    }


def concerning(keys: list[tuple[str, Mapping[str, str] | None]]) -> dict[str, Any]:
    """The fields of an event about keys: the first, and under ``also`` the others.

    Args:
        keys: ARN and encryption context of each.
    """
    told = [
        {"key": arn, "context": None if context is None else dict(context)} for arn, context in keys
    ]
    if not told:
        return {}
    return {**told[0], **({"also": told[1:]} if told[1:] else {})}
