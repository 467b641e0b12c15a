"""A twin company that destroys a tenant's keys, with everything that the log then says.

Example:
    >>> with company(folder) as twin:                    # doctest: +SKIP
    ...     backup = saved_keys(twin)
    ...     destroy(twin, "north")
    ...     backup.restore(forget=True)
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, text

from assay.controls.twins.company import Company
from assay.controls.twins.keys import TwinSigner
from assay.core import DataKeyClass, WrappedDataKey, to_rfc3339
from assay.evidence import (
    ArtefactStore,
    DestructionCompleted,
    DestructionOrdered,
    DestructionRequest,
    Reading,
    Recorder,
    RequestedKey,
    RequestedKeys,
    Storage,
    sign_consent,
)
from assay.ledger import FileLog, VerifierKey

_PEOPLE = {"linus": "request", "ada": "approve", "grace": "approve"}


@dataclass(frozen=True)
class SavedKeys:
    """The rows of a key table at one moment, as a backup has them.

    Attributes:
        engine: the database.
        rows: column to value.
    """

    engine: Engine
    rows: Sequence[dict[str, Any]]

    def restore(self, *, forget: bool) -> None:
        """Put the rows back, past every check.

        Args:
            forget: restore the table of destroyed keys as well, which was empty.
        """
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM assay_data_keys"))
            columns = ", ".join(self.rows[0])
            values = ", ".join(f":{name}" for name in self.rows[0])
            connection.execute(
                text(f"INSERT INTO assay_data_keys ({columns}) VALUES ({values})"),  # noqa: S608 - names of columns
                list(self.rows),
            )
            if forget:
                connection.execute(text("DELETE FROM assay_destroyed_keys"))


def saved_keys(twin: Company) -> SavedKeys:
    """The twin's key table as it is now."""
    engine = twin.context.engine(twin.datastore.key_table or twin.datastore.url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM assay_data_keys")).mappings().all()
    return SavedKeys(engine, [dict(row) for row in rows])


def destroy(twin: Company, owner: str, *, complete: bool = True) -> None:
    """Destroy a tenant's keys as ``spec/destruction.md`` says, with people who are keys in memory.

    Args:
        twin: the company.
        owner: the tenant.
        complete: whether the completion is recorded.
    """
    context = twin.context
    FileLog.open(context.log().directory, context.log().verifier_key.name, context.signer_of_log)
    store = ArtefactStore(context.log().directory.parent / "artefacts")
    recorder = Recorder(context.log(), store, context.signer_of_log, context.clock)
    table = context.key_table(twin.datastore)
    keys = [key for each in DataKeyClass for key in table.versions(owner, each)]
    request = _request(twin, owner, keys)
    ordered = DestructionOrdered(
        destruction=request.destruction,
        at=recorder.now(),
        log=request.log,
        kind=request.kind,
        owner=request.commitment,
        reason=request.reason,
        request=request.digest,
        consents=_consents(request),
        keys=request.key_ids,
    )
    recorder.record(ordered)
    table.destroy(owner, context.clock.now())
    if complete:
        recorder.record(_completion(twin, ordered.destruction, len(keys), recorder.now()))


def _request(twin: Company, owner: str, keys: Sequence[WrappedDataKey]) -> DestructionRequest:
    now = twin.context.clock.now()
    return DestructionRequest(
        destruction=f"twin-{secrets.token_hex(4)}",
        log=twin.context.programme.log.origin,
        kind="tenant",
        owner=owner,
        salt=secrets.token_hex(32),
        reason="a drill",
        requested_at=to_rfc3339(now),
        expires_at=to_rfc3339(now + timedelta(days=1)),
        keys=tuple(
            RequestedKeys(
                table=twin.datastore.id,
                key_class=key.key_class.value,
                versions={
                    str(key.version): RequestedKey(
                        key_id=key.key_id.hex(), created_at=to_rfc3339(key.created_at)
                    )
                },
            )
            for key in keys
        ),
        holds=(),
    )


def _consents(request: DestructionRequest) -> list[Any]:
    signers = {name: TwinSigner() for name in _PEOPLE}
    return [
        sign_consent(
            request,
            "request" if role == "request" else "approve",
            request.requested_at,
            VerifierKey(name, signers[name].public_key()),
            signers[name],
        )
        for name, role in _PEOPLE.items()
    ]


def _completion(twin: Company, destruction: str, keys: int, at: str) -> DestructionCompleted:
    place = twin.datastore.id
    return DestructionCompleted(
        destruction=destruction,
        at=at,
        also=(),
        destroyed_at=at,
        watch_seconds=0,
        readings=(
            Reading(
                place=place,
                kind="keys",
                found=keys,
                attempted=keys,
                refused={"DestroyedDataKeyError": keys},
                untried="",
            ),
        ),
        storage=(
            Storage(
                table=place,
                traced=0,
                files=0,
                bytes_read=0,
                cleaned=(),
                remains=(),
                unsearched="a twin is thrown away",
            ),
        ),
        backups_until="",
    )
