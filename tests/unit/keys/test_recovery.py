from __future__ import annotations

import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.core import SteppedClock
from assay.keys import (
    ForeignShareError,
    GivenShare,
    KeyStoreAlteredError,
    KeyStoreError,
    KeyStoreFormatError,
    NoRecoveryError,
    PassphraseError,
    RecoveryExistsError,
    RehearsalFormatError,
    RevokedShareError,
    TooFewSharesError,
    recovery_status,
    rehearse,
    restore_store,
    revoke_shares,
    split_store,
    what_is_due,
)
from assay.keys import recovery as room
from assay.keys.embedded import EmbeddedProvider
from assay.keys.embedded_file import add_key, read_key
from assay.keys.embedded_format import ScryptParameters, StoredKey
from assay.keys.embedded_slots import parse_slotted

CHEAP = ScryptParameters(n=2**14)
OLD, NEW = "correct horse battery", "another horse battery"
CUSTODIANS = ("ada", "grace", "edsger")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
CLOCK = SteppedClock(NOW)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    add_key(path, "kek", "aes-256", OLD, CHEAP)
    return path


def split(store: Path, passphrase: str = OLD, *, replace: bool = False) -> list[GivenShare]:
    shares: list[GivenShare] = []

    def keep(texts: Sequence[tuple[str, str]]) -> None:
        shares.extend(GivenShare(name, text) for name, text in texts)

    split_store(store, passphrase, CUSTODIANS, 2, keep, replace=replace)
    return shares


def kek(store: Path, passphrase: str = OLD) -> StoredKey:
    return read_key(store, "kek", "aes-256", passphrase)


def test_splitting_changes_no_key_and_no_passphrase(store: Path) -> None:
    before = kek(store)
    shares = split(store)
    assert [share.label for share in shares] == list(CUSTODIANS)
    assert kek(store) == before
    add_key(store, "log", "ed25519", OLD, CHEAP)
    assert kek(store) == before
    assert rehearse(store, shares[:2], CLOCK).custodians == ("ada", "grace")
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert sorted(p.name for p in store.parent.iterdir()) == [
        "keys.json", "keys.json.lock", "keys.json.rehearsals",
    ]  # fmt: skip


def test_a_rehearsal_changes_nothing_and_is_noted(store: Path) -> None:
    shares = split(store)
    before = store.read_bytes()
    status = recovery_status(store)
    assert "never rehearsed" in str(what_is_due(status, NOW, timedelta(days=1)))
    with pytest.raises(TooFewSharesError):
        rehearse(store, shares[2:], CLOCK)
    last = recovery_status(store).rehearsals[-1]
    assert (last.outcome, last.custodians) == ("TooFewSharesError", ("edsger",))
    status = recovery_status(store)
    assert "TooFewSharesError" in str(what_is_due(status, NOW, timedelta(days=1)))
    made = rehearse(store, [shares[2], shares[0]], CLOCK)
    assert (made.at, made.outcome, made.custodians) == (NOW, "opened", ("ada", "edsger"))
    status = recovery_status(store)
    assert status.rehearsals[-1] == made
    assert what_is_due(status, NOW + timedelta(days=30), timedelta(days=30)) is None
    assert "30 days ago" in str(
        what_is_due(status, NOW + timedelta(days=30, seconds=1), timedelta(days=30))
    )
    assert "future" in str(what_is_due(status, NOW - timedelta(1), timedelta(days=30)))
    assert store.read_bytes() == before
    notes = store.with_name("keys.json.rehearsals")
    assert stat.S_IMODE(notes.stat().st_mode) == 0o600


def test_the_last_hundred_rehearsals_are_kept_and_other_notes_are_not_overwritten(
    store: Path,
) -> None:
    shares = split(store)
    for minute in range(102):
        rehearse(store, shares[:2], SteppedClock(NOW + timedelta(minutes=minute)))
    kept = recovery_status(store).rehearsals
    assert len(kept) == 100
    assert kept[0].at == NOW + timedelta(minutes=2)
    notes = store.with_name("keys.json.rehearsals")
    notes.write_bytes(b"{}")
    with pytest.raises(RehearsalFormatError, match="move the file away"):
        rehearse(store, shares[:2], CLOCK)
    assert notes.read_bytes() == b"{}"


def test_the_old_passphrase_does_not_open_a_restored_store(store: Path) -> None:
    shares, before = split(store), kek(store)
    assert restore_store(store, shares[1:], NEW, CHEAP) == ("grace", "edsger")
    assert kek(store, NEW) == before
    with pytest.raises(PassphraseError):
        kek(store)
    assert rehearse(store, shares[:2], CLOCK).outcome == "opened"


@pytest.mark.parametrize("act", ["split", "revoke", "restore"])
def test_every_act_but_adding_keys_draws_a_new_store_key(store: Path, act: str) -> None:
    shares = split(store)
    old = parse_slotted(store.read_bytes())
    old_key = old.passphrase.open(old.store, OLD)
    if act == "split":
        split(store, replace=True)
    elif act == "revoke":
        revoke_shares(store, OLD)
    else:
        restore_store(store, shares[:2], NEW, CHEAP)
    with pytest.raises(KeyStoreAlteredError):
        parse_slotted(store.read_bytes()).keys_under(old_key)
    again = parse_slotted(store.read_bytes())
    assert again.store == old.store
    assert again.passphrase.salt != old.passphrase.salt


def test_revoked_shares_are_refused_by_name(store: Path) -> None:
    first = split(store)
    with pytest.raises(RecoveryExistsError):
        split(store)
    assert rehearse(store, first[:2], CLOCK).outcome == "opened"
    second = split(store, replace=True)
    with pytest.raises(RevokedShareError, match="which was revoked"):
        rehearse(store, first[:2], CLOCK)
    assert recovery_status(store).rehearsals[-1].custodians == ()
    assert rehearse(store, second[1:], CLOCK).outcome == "opened"
    revoke_shares(store, OLD)
    for act in (
        lambda: rehearse(store, second[:2], CLOCK),
        lambda: restore_store(store, second[:2], NEW, CHEAP),
        lambda: revoke_shares(store, OLD),
        lambda: recovery_status(store),
    ):
        with pytest.raises(NoRecoveryError):
            act()
    third = split(store)
    with pytest.raises(RevokedShareError):
        rehearse(store, second[:2], CLOCK)
    assert rehearse(store, third[:2], CLOCK).outcome == "opened"


def test_shares_of_another_store_are_refused_by_name(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    add_key(other, "kek", "aes-256", OLD, CHEAP)
    split(store)
    foreign = split(other)
    before = store.read_bytes()
    with pytest.raises(ForeignShareError, match="of another store"):
        restore_store(store, foreign[:2], NEW, CHEAP)
    assert store.read_bytes() == before


def test_nothing_is_split_when_the_shares_cannot_be_handed_out(store: Path) -> None:
    before = store.read_bytes()

    def refuse(_: Sequence[tuple[str, str]]) -> None:
        raise RuntimeError("no paper")

    with pytest.raises(RuntimeError, match="no paper"):
        split_store(store, OLD, CUSTODIANS, 2, refuse)
    assert store.read_bytes() == before
    assert not list(store.parent.glob(".*"))


@pytest.mark.parametrize(
    ("custodians", "threshold"),
    [(("ada",), 2), (("ada", "ada"), 2), (("ada", "grace"), 1), (("ada", "grace"), 3),
     (("ada", "gr/ace"), 2), (tuple(map(str, range(17))), 2)],
)  # fmt: skip
def test_what_cannot_be_split_is_refused(
    store: Path, custodians: tuple[str, ...], threshold: int
) -> None:
    before = store.read_bytes()
    with pytest.raises(KeyStoreFormatError, match="expected"):
        split_store(store, OLD, custodians, threshold, lambda _: None)
    assert store.read_bytes() == before


def test_what_was_read_back_and_is_not_right_replaces_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, before = split(store), store.read_bytes()
    sealed = room._sealed
    wrong = {"kek": StoredKey("aes-256", bytes(32))}
    monkeypatch.setattr(room, "_sealed", lambda _, *args, **more: sealed(wrong, *args, **more))
    for act in (
        lambda: restore_store(store, shares[:2], NEW, CHEAP),
        lambda: revoke_shares(store, OLD),
        lambda: split(store, replace=True),
    ):
        with pytest.raises(KeyStoreAlteredError, match="old file stays"):
            act()
        assert store.read_bytes() == before
    assert not list(store.parent.glob(".*"))


def test_a_short_passphrase_and_a_full_disk_restore_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, before = split(store), store.read_bytes()
    with pytest.raises(PassphraseError, match="at least 12"):
        restore_store(store, shares[:2], "elevenchars", CHEAP)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("assay.keys.embedded_file.write_atomically", full)
    with pytest.raises(KeyStoreError, match="No space left"):
        restore_store(store, shares[:2], NEW, CHEAP)
    assert store.read_bytes() == before


def test_an_open_service_goes_on_and_custody_names_the_custodians(store: Path) -> None:
    environment = {"ASSAY_PASSPHRASE": OLD}
    provider = EmbeddedProvider(CHEAP)
    service = provider.open_key_service("embedded:keys.json", store.parent, environment)
    assert "custodians" not in service.custody().residual_risk
    split(store)
    custody = service.custody()
    assert "any 2 of its 3 custodians together" in custody.residual_risk
    assert all(attempt.refused for attempt in custody.export_attempts)
    assert custody.store is not None
    assert custody.store.kdf_parameters == {"n": 2**14, "r": 8, "p": 1}


RESTORER = """
import sys
from pathlib import Path
from assay.keys import GivenShare, restore_store
from assay.keys.embedded_format import ScryptParameters
store, *shares = map(Path, sys.argv[1:])
given = [GivenShare(share.name, share.read_text()) for share in shares]
print("begun", flush=True)
number = 0
while True:
    number += 1
    restore_store(store, given, f"passphrase number {number % 2}", ScryptParameters(n=2**14))
"""


def test_a_restore_that_is_killed_leaves_a_store_that_opens(store: Path, tmp_path: Path) -> None:
    """Whatever the moment: exactly one passphrase opens the store, and so do the shares."""
    shares = split(store)
    files = [tmp_path / f"{share.label}.share" for share in shares]
    for file, share in zip(files, shares, strict=True):
        file.write_text(share.text)
    before = kek(store)
    known = {OLD, "passphrase number 0", "passphrase number 1"}
    found = set()
    for attempt in range(12):
        command = [sys.executable, "-c", RESTORER, str(store), str(files[0]), str(files[2])]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(attempt * 0.023)  # another moment each time; nothing waits for it
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        opening = []
        for passphrase in known:
            try:
                assert kek(store, passphrase) == before
            except PassphraseError:
                continue
            opening.append(passphrase)
        assert len(opening) == 1
        found.update(opening)
        assert rehearse(store, shares[1:], CLOCK).outcome == "opened"
    assert len(found) > 1, "no restore came to its end before it was killed"
    restore_store(store, shares[:2], NEW, CHEAP)
    assert kek(store, NEW) == before
    assert not store.with_name(".keys.json.new").exists()


def test_two_who_restore_at_once_do_it_one_after_the_other(store: Path, tmp_path: Path) -> None:
    shares, before = split(store), kek(store)
    code = RESTORER.replace("while True:", "for _ in range(3):")
    files = [tmp_path / f"{share.label}.share" for share in shares]
    for file, share in zip(files, shares, strict=True):
        file.write_text(share.text)
    command = [sys.executable, "-c", code, str(store), str(files[0]), str(files[1])]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert kek(store, "passphrase number 1") == before


def test_files_of_the_first_version_still_open(store: Path) -> None:
    assert b'"version":1' in store.read_bytes()
    with pytest.raises(NoRecoveryError):
        recovery_status(store)
    store.write_bytes(b"{}")
    with pytest.raises(KeyStoreFormatError):
        recovery_status(store)
