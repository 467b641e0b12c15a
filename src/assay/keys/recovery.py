"""Break-glass recovery of an embedded key store by shares that custodians hold.

Specification: ``spec/embedded-key-store.md``, "Shares" to "Rehearsals"; why it is so:
``docs/adr/0008-shares-open-a-second-slot-of-the-store.md``.

Example:
    >>> split_store(path, passphrase, ("ada", "grace", "edsger"), 2, hand_out)  # doctest: +SKIP
    >>> rehearse(path, given, SystemClock()).custodians                         # doctest: +SKIP
    ('ada', 'edsger')
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from assay.core import Clock, write_atomically
from assay.keys.bip39_slip39 import split_secret
from assay.keys.embedded_file import locked_store, read_store_file, refuse_short, replace_proven
from assay.keys.embedded_format import NONCE_BYTES, ScryptParameters, StoredKey
from assay.keys.embedded_slots import (
    MOST_REVOKED,
    STORE_ID_BYTES,
    STORE_KEY_BYTES,
    PassphraseSlot,
    RecoverySlot,
    SlottedStore,
    is_slotted,
    open_any_store,
    parse_slotted,
    passphrase_cost,
    refuse_custodians,
)
from assay.keys.errors import (
    KeyStoreAlteredError,
    KeyStoreError,
    NoRecoveryError,
    RecoveryExistsError,
    ShareError,
    SharesRefusedError,
)
from assay.keys.recovery_shares import (
    GivenShare,
    Share,
    join_shares,
    present,
    read_share,
    refuse_shares,
    write_share,
)
from assay.keys.rehearsals import OPENED, Rehearsal, read_rehearsals, write_rehearsals

HandOut = Callable[[Sequence[tuple[str, str]]], None]
"""Gives each custodian, by name, the text of a share."""


@dataclass(frozen=True, slots=True)
class RecoveryStatus:
    """What is known of the recovery of a store without opening it.

    Attributes:
        split: the number of the current split.
        threshold: how many shares open the store.
        custodians: who holds them.
        revoked: the splits that were revoked.
        rehearsals: of the current split, the oldest first.
    """

    split: int
    threshold: int
    custodians: tuple[str, ...]
    revoked: tuple[int, ...]
    rehearsals: tuple[Rehearsal, ...]


def split_store(  # noqa: PLR0913 - who, how many, and what is done with shares of before
    path: Path,
    passphrase: str,
    custodians: tuple[str, ...],
    threshold: int,
    hand_out: HandOut,
    *,
    replace: bool = False,
) -> RecoverySlot:
    """Make shares that open a store, and give it the slot that they open.

    Args:
        path: the store.
        passphrase: opens it; stays as it is.
        custodians: 2 to 16 names, one for each share.
        threshold: how many of them open the store, from 2.
        hand_out: is given the shares, before the store is replaced. When it raises, the store
            stays as it was.
        replace: revoke the shares that there are.

    Raises:
        RecoveryExistsError: there are shares, and they shall not be replaced.
        KeyStoreFormatError: custodians or a threshold that cannot be.
        KeyStoreError: the store cannot be opened or written.
    """
    refuse_custodians(custodians, threshold)
    with locked_store(path):
        data = read_store_file(path)
        keys = open_any_store(data, passphrase)
        identity, current, revoked = _told(data)
        if current is not None and not replace:
            raise RecoveryExistsError(
                f"expected a key store without shares, found split {current.split} with "
                f"{len(current.custodians)} of them; replace it, which revokes these"
            )
        revoked = _with_revoked(revoked, current)
        secret = os.urandom(STORE_KEY_BYTES)
        split, words = split_secret(secret, threshold, len(custodians), revoked)
        slot = RecoverySlot(split, threshold, custodians)
        made = _sealed(
            keys, identity, passphrase, passphrase_cost(data), revoked, recovery=(slot, secret)
        )
        texts = [write_share(identity, slot, at, each) for at, each in enumerate(words)]

        def prove(found: bytes) -> None:
            store = parse_slotted(found)
            _require(keys, open_any_store(found, passphrase))
            shares = [read_share(GivenShare(custodians[at], text)) for at, text in enumerate(texts)]
            _require(keys, _open_with(store, slot, shares)[1])
            hand_out(list(zip(custodians, texts, strict=True)))

        replace_proven(path, made, prove)
        return slot


def rehearse(path: Path, given: Sequence[GivenShare], clock: Clock) -> Rehearsal:
    """Show that shares would open a store. The store stays as it is; a note is kept of it.

    Raises:
        ShareError: they would not; a note of that is kept as well.
        NoRecoveryError: the store has no shares.
        RehearsalFormatError: the notes have another form; nothing was noted.
        KeyStoreError: the store cannot be read, or was altered.
    """
    with locked_store(path):
        store, slot = _with_slot(path)
        before = _notes(path, store.store)
        read: list[Share] = []

        def note(outcome: str) -> Rehearsal:
            made = Rehearsal(clock.now(), slot.split, present(read, slot), outcome)
            data = write_rehearsals(store.store, (*before, made))
            write_atomically(_notes_path(path), data, mode=0o600)
            return made

        try:
            read.extend(read_share(each) for each in given)
            _open_with(store, slot, read)
        except (ShareError, KeyStoreAlteredError) as exc:
            note(type(exc).__name__)
            raise
        return note(OPENED)


def restore_store(
    path: Path,
    given: Sequence[GivenShare],
    passphrase: str,
    parameters: ScryptParameters | None = None,
) -> tuple[str, ...]:
    """Give a store a new passphrase by shares. The old passphrase does not open it any more.

    Args:
        path: the store.
        given: as many shares as are needed, or more.
        passphrase: the new one, at least 12 characters.
        parameters: cost of the key derivation from now on.

    Returns:
        Whose shares were given.

    Raises:
        ShareError: the shares do not open it; nothing was changed.
        PassphraseError: the new passphrase is too short; nothing was changed.
        NoRecoveryError: the store has no shares.
        KeyStoreError: the store cannot be read or written, or was altered.
    """
    refuse_short(passphrase)
    with locked_store(path):
        store, slot = _with_slot(path)
        shares = [read_share(each) for each in given]
        secret, keys = _open_with(store, slot, shares)
        made = _sealed(
            keys,
            store.store,
            passphrase,
            parameters or ScryptParameters(),
            store.revoked,
            recovery=(slot, secret),
        )

        def prove(found: bytes) -> None:
            again = parse_slotted(found)
            _require(keys, open_any_store(found, passphrase))
            _require(keys, _open_with(again, slot, shares)[1])

        replace_proven(path, made, prove)
        return present(shares, slot)


def revoke_shares(path: Path, passphrase: str) -> RecoverySlot:
    """Take the slot of the shares away, and draw a new store key.

    Returns:
        The slot that was taken away.

    Raises:
        NoRecoveryError: the store has no shares.
        KeyStoreError: the store cannot be opened or written.
    """
    with locked_store(path):
        store, slot = _with_slot(path)
        keys = store.keys_under(store.passphrase.open(store.store, passphrase))
        revoked = _with_revoked(store.revoked, slot)
        cost = store.passphrase.parameters
        made = _sealed(keys, store.store, passphrase, cost, revoked, recovery=None)
        replace_proven(path, made, lambda data: _require(keys, open_any_store(data, passphrase)))
        return slot


def recovery_status(path: Path) -> RecoveryStatus:
    """What stands in the clear about shares, and what was noted of rehearsals.

    Raises:
        NoRecoveryError: the store has no shares.
        RehearsalFormatError: the notes have another form.
        KeyStoreError: the store cannot be read.
    """
    store, slot = _with_slot(path)
    notes = tuple(one for one in _notes(path, store.store) if one.split == slot.split)
    return RecoveryStatus(slot.split, slot.threshold, slot.custodians, store.revoked, notes)


def what_is_due(status: RecoveryStatus, now: datetime, within: timedelta) -> str | None:
    """Why a rehearsal is due; None when the last one opened the store and is young enough."""
    if not status.rehearsals:
        return f"the shares of split {status.split} were never rehearsed"
    last = status.rehearsals[-1]
    if last.outcome != OPENED:
        return f"the last rehearsal did not open the store: {last.outcome}"
    if last.at > now:
        return "the last rehearsal is noted in the future; the clock or the notes are wrong"
    if now - last.at > within:
        return f"the last rehearsal was {(now - last.at).days} days ago"
    return None


def _told(data: bytes) -> tuple[bytes, RecoverySlot | None, tuple[int, ...]]:
    if not is_slotted(data):
        return os.urandom(STORE_ID_BYTES), None, ()
    store = parse_slotted(data)
    return store.store, store.recovery, store.revoked


def _with_slot(path: Path) -> tuple[SlottedStore, RecoverySlot]:
    data = read_store_file(path)
    store = parse_slotted(data) if is_slotted(data) else None
    if store is None or store.recovery is None:
        passphrase_cost(data)  # raises when it is no key store at all
        raise NoRecoveryError(
            f"expected shares that open {path}, found none; make them with "
            "`assay keys recovery split`"
        )
    return store, store.recovery


def _open_with(
    store: SlottedStore, slot: RecoverySlot, shares: Sequence[Share]
) -> tuple[bytes, dict[str, StoredKey]]:
    current = store.recovery
    if current is None or current.split != slot.split:
        raise SharesRefusedError(f"expected split {slot.split} in the key store, found another")
    refuse_shares(shares, store.store, current, store.revoked)
    secret = join_shares(shares, current.threshold)
    return secret, store.keys_under(current.open(store.store, secret))


def _sealed(  # noqa: PLR0913 - what a file is made of
    keys: dict[str, StoredKey],
    identity: bytes,
    passphrase: str,
    cost: ScryptParameters,
    revoked: tuple[int, ...],
    *,
    recovery: tuple[RecoverySlot, bytes] | None,
) -> bytes:
    """A store under a new store key."""
    store_key = os.urandom(STORE_KEY_BYTES)
    slot = (
        recovery[0].sealing(store_key, identity, recovery[1], os.urandom(NONCE_BYTES))
        if recovery
        else None
    )
    by_passphrase = PassphraseSlot.seal(store_key, identity, passphrase, cost)
    store = SlottedStore(identity, by_passphrase, slot, revoked)
    return store.sealed_with(store_key, keys, os.urandom(NONCE_BYTES))


def _with_revoked(revoked: tuple[int, ...], slot: RecoverySlot | None) -> tuple[int, ...]:
    together = tuple(sorted({*revoked, slot.split})) if slot else revoked
    if len(together) > MOST_REVOKED:
        raise KeyStoreError(
            f"expected at most {MOST_REVOKED} revoked splits of a key store, found more; make a "
            "new store"
        )
    return together


def _require(expected: dict[str, StoredKey], found: dict[str, StoredKey]) -> None:
    same = expected.keys() == found.keys() and all(
        key.type == found[name].type and hmac.compare_digest(key.material, found[name].material)
        for name, key in expected.items()
    )
    if not same:
        raise KeyStoreAlteredError(
            "expected to read back the keys that were written, found others; the old file stays"
        )


def _notes_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.rehearsals")


def _notes(path: Path, store: bytes) -> tuple[Rehearsal, ...]:
    try:
        return read_rehearsals(_notes_path(path).read_bytes(), store)
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise KeyStoreError(f"expected to read {_notes_path(path)}: {exc.strerror}") from exc
