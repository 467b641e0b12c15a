"""Destroyed keys: what the log says is destroyed stands in no key table, and none has forgotten it.

The ledger of destroyed keys is read from the log, which is not restored with a database: so a
restored backup of a key table cannot bring data back unnoticed.

Specification: ``spec/destruction.md``, "Ledger and replay".

Example:
    >>> DestroyedKeysCheck().judge(facts).status           # doctest: +SKIP
    <Status.PASS: 'pass'>
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from assay.controls.asset import Asset, Datastore
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result, Status

_NAMED = 20
_WAY_OUT = "run `assay keys replay`"


class DestroyedKeysFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the log and one key table say of destroyed keys.

    Attributes:
        statements: how many statements the log has.
        destructions: how many destructions were ordered.
        unfinished: ids of those that were not completed.
        keys: how many keys they destroyed.
        standing: how many of these keys stand in the key table.
        standing_ids: the first of them, in hexadecimal.
        forgotten: how many of these keys the key table does not remember as destroyed.
        forgotten_ids: the first of them, in hexadecimal.
        wrong: how many of these keys stand there or are forgotten.
    """

    statements: int
    destructions: int
    unfinished: tuple[str, ...]
    keys: int
    standing: int
    standing_ids: tuple[str, ...]
    forgotten: int
    forgotten_ids: tuple[str, ...]
    wrong: int


class DestroyedKeysCheck:
    """No destroyed key is back, and every key table refuses it if it comes."""

    id = "destroyed-keys"
    version = 1
    asset_kind = "datastore"
    title = "looking for destroyed keys"
    facts = DestroyedKeysFacts

    def collect(self, asset: Asset, context: Context) -> DestroyedKeysFacts:
        """Read the log's ledger, and compare the key table with it."""
        from assay.evidence import read_ledger

        if not isinstance(asset, Datastore):
            raise CollectError(f"expected a datastore, found {asset.id}")
        ledger = read_ledger(context.log())
        ids = ledger.key_ids
        table = context.key_table(asset)
        wanted = frozenset(ids)
        standing = {key.key_id for key in table.each() if key.key_id in wanted} if ids else set()
        forgotten = wanted - table.destroyed_among(ids)
        return DestroyedKeysFacts(
            statements=ledger.size,
            destructions=len(ledger.destructions),
            unfinished=ledger.unfinished,
            keys=len(ids),
            standing=len(standing),
            standing_ids=_named(standing),
            forgotten=len(forgotten),
            forgotten_ids=_named(forgotten),
            wrong=len(standing | forgotten),
        )

    def judge(self, facts: DestroyedKeysFacts) -> Result:
        """Pass when every destroyed key is gone and remembered, and no destruction is open."""
        wrong = [f"the destroyed key {key_id} stands there again" for key_id in facts.standing_ids]
        wrong += [
            f"the key table does not know that the key {key_id} was destroyed"
            for key_id in facts.forgotten_ids
        ]
        if wrong:
            wrong.insert(
                0,
                f"{facts.standing} destroyed keys stand there again, {facts.forgotten} are "
                f"forgotten: a backup was restored; {_WAY_OUT}",
            )
        wrong += [
            f"destruction {name} was ordered and not completed; finish it (`assay keys shred "
            "status`)"
            for name in facts.unfinished
        ]
        if wrong:
            # An open destruction is wrong, whatever became of its keys.
            failed = max(facts.wrong, 1)
            counts = Population(facts.keys, facts.keys, failed, "destroyed keys")
            return Result(Status.FAIL, wrong[0], counts, Fidelity.LIVE, tuple(wrong))
        if not facts.keys:
            return Result.not_applicable(
                f"no key was ever destroyed, says the log in {facts.statements} statements",
                Fidelity.LIVE,
            )
        counts = Population(facts.keys, facts.keys, 0, "destroyed keys")
        reason = (
            f"all {facts.keys} keys of {facts.destructions} destructions are gone, and the key "
            "table refuses each of them"
        )
        return Result.of(counts, Fidelity.LIVE, reason)

    def violations(self) -> Sequence[Violation]:
        """A destroyed key from a backup, a table that forgot, and a destruction without an end."""
        return (
            Violation(
                "restored-row",
                "the wrapped row of a destroyed key is restored into the key table",
                partial(_twin, violation="restored-row"),
            ),
            Violation(
                "restored-table",
                "the whole key table is restored from a backup of before the destruction",
                partial(_twin, violation="restored-table"),
            ),
            Violation(
                "open-destruction",
                "a destruction is ordered and never completed",
                partial(_twin, violation="open-destruction"),
            ),
        )


def _named(ids: set[bytes] | frozenset[bytes]) -> tuple[str, ...]:
    return tuple(key_id.hex() for key_id in sorted(ids)[:_NAMED])


@contextmanager
def _twin(folder: Path, inject: bool, *, violation: str) -> Iterator[Twin]:
    """The twin company after it destroyed a tenant's keys, and perhaps what went wrong then."""
    from assay.controls.twins.company import company
    from assay.controls.twins.destruction import destroy, saved_keys

    with company(folder) as twin:
        backup = saved_keys(twin)
        destroy(twin, "north", complete=not (inject and violation == "open-destruction"))
        if inject and violation != "open-destruction":
            backup.restore(forget=violation == "restored-table")
        yield Twin(twin.datastore, twin.context)
