"""What happens by itself: keys that waited long enough are destroyed, and those due are rotated.

Example:
    >>> keep_house(transaction, token, now)                             # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from assay.kms.call import Call
from assay.kms.events import event
from assay.kms.operations.rotation import rotated, rotation_due
from assay.kms.records import KeyRecord, KeyState, PrincipalRecord, Rotation
from assay.kms.store import Transaction
from assay.kms.token import Token

_NOBODY = PrincipalRecord("")


def keep_house(transaction: Transaction, token: Token, now: datetime) -> None:
    """Destroy and rotate what is due, and record it.

    The material is destroyed before the record of the key is: when something fails in between, the
    record is still there, and the next time destroys what is gone already.

    Raises:
        KmsError: the token or the database failed.
    """
    for record in list(transaction.state.keys.values()):
        if _is_over(record, now):
            _destroy(transaction, token, record, now)
            continue
        due = rotation_due(record)
        if record.state is KeyState.ENABLED and due is not None and due <= now:
            call = Call("RotateKey", _NOBODY, "", now, transaction, token)
            rotated(call, replace(record, rotation_from=now), Rotation.AUTOMATIC)
            transaction.record_event(event(now, action="RotateKey", key=record.arn))


def _is_over(record: KeyRecord, now: datetime) -> bool:
    until = record.deletion_at
    return record.state is KeyState.PENDING_DELETION and until is not None and until <= now


def _destroy(transaction: Transaction, token: Token, record: KeyRecord, now: datetime) -> None:
    state = transaction.state
    for backing in record.backing:
        token.destroy_key(backing.handle)
    for name in list(state.aliases_of(record.key_id)):
        transaction.remove(state.aliases[name])
    for grant in list(state.grants_of(record.key_id)):
        transaction.remove(grant)
    transaction.remove(record)
    transaction.record_event(event(now, action="DeleteKey", key=record.arn))
