"""A log on disk: growth, refusals, tampering, and a fault at every step of the file system."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from assay import ledger
from assay.core import AssayError, files
from assay.ledger import (
    Checkpoint,
    CheckpointMissingError,
    ConsistencyProofError,
    EntryIndexError,
    EntryTooLargeError,
    FileLog,
    LogCheckpointError,
    LogFlushError,
    LogKeyMismatchError,
    LogOriginError,
    LogReadError,
    LogRollbackError,
    LogWriteError,
    NoteSignatureError,
    TailTree,
    TileMismatchError,
    TileMissingError,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from assay.ledger.tiles import entry_tiles, partial_tiles


def numbered(first: int, end: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(first, end)]


def paths_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def needed_paths(size: int) -> set[str]:
    """Every file of a log of this size, from the definition of a tile."""
    needed = {"checkpoint", ".lock"} | {tile.path for tile in entry_tiles(0, size)}
    needed |= {tile.path for tile in partial_tiles(size)}
    level = 0
    while full := size >> 8 * (level + 1):
        needed |= {f"tile/{level}/{index:03}" for index in range(full)}
        level += 1
    return needed


def test_a_new_log_has_a_signed_empty_head(open_log):
    log = open_log()
    assert log.head() == Checkpoint("example.com/log", 0, ledger.EMPTY_ROOT)
    assert Checkpoint.verify(log.signed_head(), log.verifier_key).size == 0
    assert list(log.entries()) == []
    assert log.verify_storage().size == 0


def test_it_keeps_what_it_was_given_and_only_the_files_that_it_needs(open_log):
    log, tree, entries = open_log(), TailTree(), []
    for step in (1, 1, 253, 1, 1, 300, 0, 2):
        added = numbered(len(entries), len(entries) + step)
        assert log.append(added) == range(len(entries), len(entries) + step)
        entries += added
        for entry in added:
            tree.add(leaf_hash(entry))
        assert log.head() == Checkpoint("example.com/log", len(entries), tree.root())
        assert paths_in(log.directory) == needed_paths(len(entries))
        log = open_log()
    assert list(log.entries()) == entries
    assert list(log.entries(250, 520)) == entries[250:520]
    assert list(log.entries(7, 7)) == []
    assert [log.entry(index) for index in (0, 255, 256, 558)] == [
        entries[index] for index in (0, 255, 256, 558)
    ]
    assert log.verify_storage().size == 559


def test_its_proofs_hold(open_log):
    log, roots = open_log(), {}
    for size in (1, 2, 200, 255, 256, 257, 600):
        log.append(numbered(log.head().size, size))
        roots[size] = log.head().root
    for index in (0, 1, 254, 255, 256, 511, 512, 599):
        proof = log.inclusion_proof(index)
        verify_inclusion(leaf_hash(b"entry %d" % index), index, 600, proof, root=roots[600])
        assert log.prove(index).verify(b"entry %d" % index, log.verifier_key).size == 600
    for old, old_root in roots.items():
        for new, new_root in roots.items():
            if old <= new:
                proof = log.consistency_proof(old, new)
                verify_consistency(old, old_root, new, new_root, proof)
    tail = TailTree(512, log.compact_range(512))
    for entry in log.entries(512):
        tail.add(leaf_hash(entry))
    assert tail.root() == roots[600]


def test_indexes_and_sizes_that_are_not_there(open_log):
    log = open_log()
    log.append(numbered(0, 3))
    for index in (-1, 3):
        with pytest.raises(EntryIndexError):
            log.entry(index)
        with pytest.raises(EntryIndexError):
            log.prove(index)
    for first, last in ((-1, 2), (0, 4), (2, 1)):
        with pytest.raises(EntryIndexError):
            log.entries(first, last)
    for work in (lambda: log.consistency_proof(1, 4), lambda: log.compact_range(4)):
        with pytest.raises(EntryIndexError):
            work()
    with pytest.raises(ConsistencyProofError):
        log.consistency_proof(3, 2)


def test_an_entry_that_is_too_large_leaves_the_log_as_it_was(open_log):
    log = open_log()
    with pytest.raises(EntryTooLargeError):
        log.append([b"fits", bytes(65536)])
    assert log.head().size == 0
    log.append([bytes(65535)])
    assert log.entry(0) == bytes(65535)


def test_a_signer_that_fails_or_lies_leaves_the_log_as_it_was(open_log, signer):
    log = open_log()
    log.append([b"one"])
    before = log.signed_head()
    signer.broken = True
    with pytest.raises(AssayError, match="token is gone"):
        log.append([b"two"])
    signer.broken, signer.lies = False, True
    with pytest.raises(NoteSignatureError):
        log.append([b"three"])
    assert log.signed_head() == before
    signer.lies = False
    assert log.append([b"four"]) == range(1, 2)
    assert list(open_log().entries()) == [b"one", b"four"]
    assert log.verify_storage().size == 2


def test_another_key_and_another_origin_are_refused(open_log, tmp_path, new_signer):
    open_log().append([b"one"])
    with pytest.raises(LogKeyMismatchError, match="signed by another key"):
        FileLog.open(tmp_path / "log", "example.com/log", new_signer(bytes(32)))
    with pytest.raises(LogOriginError):
        FileLog.open(tmp_path / "log", "example.com/other", new_signer())
    with pytest.raises(LogOriginError):
        FileLog.open(tmp_path / "log", "example.com/other", new_signer(bytes(32)))


def test_a_checkpoint_under_our_name_for_another_origin_is_refused(open_log, signer):
    log = open_log()
    text = Checkpoint("example.com/other", 0, ledger.EMPTY_ROOT).text
    (log.directory / "checkpoint").write_bytes(ledger.sign_note(text, "example.com/log", signer))
    with pytest.raises(LogOriginError):
        open_log()


def test_a_log_without_its_checkpoint_is_never_a_new_log(open_log):
    log = open_log()
    log.append([b"one"])
    (log.directory / "checkpoint").unlink()
    for work in (open_log, log.head, lambda: log.append([b"two"]), lambda: log.entry(0)):
        with pytest.raises(CheckpointMissingError):
            work()
    assert "checkpoint" not in paths_in(log.directory)


def test_a_log_that_is_not_there(tmp_path, signer):
    log = FileLog(tmp_path / "nowhere", "example.com/log", signer)
    with pytest.raises(CheckpointMissingError, match="no such folder"):
        log.append([b"one"])
    with pytest.raises(CheckpointMissingError):
        log.head()


@pytest.mark.parametrize("content", [b"", b"not a note", bytes(100)])
def test_a_damaged_checkpoint_is_refused(open_log, content):
    log = open_log()
    log.append([b"one"])
    (log.directory / "checkpoint").write_bytes(content)
    for work in (open_log, log.head, lambda: log.append([b"two"])):
        with pytest.raises(LogCheckpointError):
            work()


def test_every_byte_of_the_checkpoint_counts(open_log):
    log = open_log()
    log.append([b"one"])
    path = log.directory / "checkpoint"
    note = path.read_bytes()
    for at in range(len(note)):
        path.write_bytes(note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :])
        with pytest.raises(ledger.LogError):
            open_log()
    path.write_bytes(note)
    assert open_log().head().size == 1


def test_a_tampered_or_missing_file_is_named(open_log):
    """Every file of a log: at the edge by opening and by appending, elsewhere by verifying."""
    log = open_log()
    log.append(numbered(0, 600))
    edge = {tile.path for tile in partial_tiles(600)} | {"tile/entries/002.p/88"}
    for path in needed_paths(600) - {"checkpoint", ".lock"}:
        file = log.directory / path
        content = file.read_bytes()
        for change in (
            content[:-1],
            content + b"\0",
            content[:-1] + bytes([content[-1] ^ 1]),
            None,
        ):
            if change is None:
                file.unlink()
            else:
                file.write_bytes(change)
            expected = TileMissingError if change is None else TileMismatchError
            if path in edge:
                with pytest.raises(expected):
                    open_log()
                with pytest.raises(expected):
                    log.append([b"more"])
            # The partial tiles are checked together, so an altered one cannot be named.
            named = path if change is None or path not in edge else "tile"
            with pytest.raises(expected, match=named):
                FileLog(log.directory, "example.com/log", log._signer).verify_storage()
            file.write_bytes(content)
    assert log.verify_storage().size == 600


def test_an_entry_is_compared_with_what_was_signed(open_log):
    log = open_log()
    log.append(numbered(0, 300))
    file = log.directory / "tile/entries/000"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"entry 17", b"entry 71", 1))
    with pytest.raises(TileMismatchError, match="tile/entries/000"):
        log.entry(3)
    with pytest.raises(TileMismatchError):
        list(log.entries(0, 1))


def test_a_rollback_while_it_is_open_is_noticed(open_log, tmp_path):
    log = open_log()
    log.append(numbered(0, 5))
    shutil.copytree(log.directory, tmp_path / "older")
    log.append(numbered(5, 9))
    log.entry(0)
    shutil.rmtree(log.directory)
    (tmp_path / "older").rename(log.directory)
    for work in (lambda: log.append([b"another history"]), lambda: log.entry(0)):
        with pytest.raises(LogRollbackError, match="9 entries, found a head of 5"):
            work()
    other = open_log()
    other.append([b"another"] * 10)
    with pytest.raises(LogRollbackError, match="found a head of 15 that does not"):
        log.append([b"more"])


def test_disk_errors_while_reading_are_named(open_log, monkeypatch):
    log = open_log()
    log.append([b"one"])
    (log.directory / "checkpoint").unlink()
    (log.directory / "checkpoint").mkdir()
    with pytest.raises(LogReadError, match=r"expected to read .*checkpoint"):
        log.head()


def test_a_folder_that_cannot_be_made_or_locked(tmp_path, open_log, signer):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LogWriteError):
        FileLog.open(tmp_path / "file" / "log", "example.com/log", signer)
    log = open_log()
    (log.directory / ".lock").unlink()
    (log.directory / ".lock").mkdir()
    with pytest.raises(LogWriteError, match="expected to lock"):
        log.append([b"one"])


def test_exclusive_may_be_nested_and_keeps_others_out(open_log):
    log, other, order = open_log(), open_log(), []

    def append_from_elsewhere() -> None:
        order.append(("other", other.append([b"other"]).start))

    thread = threading.Thread(target=append_from_elsewhere)
    with log.exclusive(), log.exclusive():
        log.append([b"one"])
        thread.start()
        thread.join(timeout=0.2)
        assert not order
        log.append([b"two"])
    thread.join()
    assert order == [("other", 2)]


def test_a_reader_goes_on_while_another_appends(open_log):
    reader, writer = open_log(), open_log()
    writer.append(numbered(0, 10))
    entries = reader.entries()
    assert next(entries) == b"entry 0"
    writer.append(numbered(10, 300))
    assert list(entries) == numbered(1, 10)
    assert reader.entry(299) == b"entry 299"


def test_a_head_that_another_thread_has_outrun_is_no_rollback(open_log, monkeypatch):
    """One thread reads the head, another appends and reads, and only then the first goes on."""
    log = open_log()
    log.append([b"one"])
    outrun = log.signed_head()
    log.append([b"two"])
    log.entry(1)
    real, notes = log.signed_head, [outrun]
    monkeypatch.setattr(log, "signed_head", lambda: notes.pop() if notes else real())
    assert log.entry(1) == b"two"
    assert not notes


def test_threads_may_share_a_log(open_log):
    log = open_log()

    def work(name: bytes) -> None:
        for number in range(10):
            log.append([b"%s %d" % (name, number)])

    threads = [threading.Thread(target=work, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted(b"%s %d" % (name, n) for name in (b"a", b"b", b"c") for n in range(10))
    assert sorted(log.entries()) == expected


# --- a fault at every step -----------------------------------------------------------------


class PowerCut(BaseException):
    """The process ends here: nothing after it takes effect."""


class FaultyDisk:
    """Counts every step that changes the disk, and fails at one of them.

    ``error``: that one step fails with ENOSPC. ``full``: that step and every later one that needs
    room. ``crash``: that step and everything after it does not happen.
    """

    NEEDS_ROOM = ("open", "write", "fsync", "mkdir", "replace")
    FREES = ("unlink", "rmdir")

    def __init__(self, monkeypatch, mode: str = "", fail_at: int = -1) -> None:
        self.mode, self.fail_at, self.steps = mode, fail_at, 0
        for name in ("open", "fsync", "mkdir", "replace", *self.FREES):
            monkeypatch.setattr(os, name, self._guarded(name, getattr(os, name)))
        monkeypatch.setattr(files, "open", self._open_file, raising=False)

    def step(self, name: str) -> None:
        step, self.steps = self.steps, self.steps + 1
        if self.mode == "crash" and 0 <= self.fail_at <= step:
            raise PowerCut
        no_room = self.mode == "full" and name in self.NEEDS_ROOM and 0 <= self.fail_at <= step
        if no_room or (self.mode == "error" and step == self.fail_at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _guarded(self, name, real):
        def guarded(path, *args, **kwargs):
            if not (name == "open" and str(path).endswith(".lock")):
                self.step(name)
            return real(path, *args, **kwargs)

        return guarded

    def _open_file(self, descriptor, mode):
        return _FaultyFile(self, os.fdopen(descriptor, mode))


class _FaultyFile:
    """A file of which only half is written when the disk fails."""

    def __init__(self, disk: FaultyDisk, file) -> None:
        self._disk, self._file = disk, file

    def __enter__(self):
        return self

    def __exit__(self, *exc_info) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        try:
            self._disk.step("write")
        except BaseException:
            self._file.write(data[: len(data) // 2])
            raise
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()


@pytest.fixture(scope="module")
def log_before(tmp_path_factory, repository):
    """A log one entry before its first tile is full, and one that has several tiles."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    class Plain:
        key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

        def public_key(self):
            return self.key.public_key().public_bytes_raw()

        def sign(self, message):
            return self.key.sign(message)

    folder = tmp_path_factory.mktemp("before")
    for size in (0, 254, 600):
        log = FileLog.open(folder / str(size), "example.com/log", Plain())
        log.append(numbered(0, size))
    return folder


@pytest.mark.parametrize("mode", ["error", "full", "crash"])
@pytest.mark.parametrize("size", [0, 254, 600])
def test_a_fault_at_any_step_leaves_an_append_wholly_there_or_not_there(  # noqa: PLR0917 - fixtures
    size, mode, log_before, tmp_path, signer, monkeypatch
):
    added, step, appended = numbered(size, size + 3), 0, False
    outcomes = set()
    while not appended:
        folder = tmp_path / f"{step}"
        shutil.copytree(log_before / str(size), folder)
        log = FileLog(folder, "example.com/log", signer)
        with monkeypatch.context() as patched:
            disk = FaultyDisk(patched, mode, step)
            outcome = attempt(lambda log=log: log.append(added))
            appended = disk.steps <= step
        outcomes.add(outcome)
        reopened = FileLog.open(folder, "example.com/log", signer)
        found = reopened.verify_storage().size
        if outcome in ("done", "LogFlushError"):
            assert found == size + 3, (step, outcome)
        elif outcome == "LogWriteError":
            assert found == size, (step, outcome)
        else:
            assert found in (size, size + 3), (step, outcome)
        assert list(reopened.entries()) == numbered(0, found)
        # Life goes on, and nothing that the fault left behind stays or misleads.
        other = [b"other %d" % number for number in range(5)]
        reopened.append(other)
        assert list(reopened.entries()) == numbered(0, found) + other
        assert reopened.verify_storage().size == found + 5
        assert paths_in(folder) == needed_paths(found + 5), step
        shutil.rmtree(folder)
        step += 1
    assert step > 15
    expected = {"error": {"LogWriteError", "LogFlushError"}, "full": {"LogWriteError"}}
    assert expected.get(mode, {"PowerCut"}) <= outcomes


@pytest.mark.parametrize("mode", ["error", "full", "crash"])
def test_a_fault_at_any_step_of_creation_leaves_nothing_or_a_log(
    mode, tmp_path, signer, monkeypatch
):
    step, created = 0, False
    while not created:
        folder = tmp_path / f"{step}" / "log"
        with monkeypatch.context() as patched:
            disk = FaultyDisk(patched, mode, step)
            outcome = attempt(lambda folder=folder: FileLog.open(folder, "example.com/log", signer))
            created = disk.steps <= step
        assert outcome in ("done", "LogWriteError", "LogFlushError", "PowerCut", "LogReadError")
        log = FileLog.open(folder, "example.com/log", signer)
        assert log.append([b"one"]) == range(1)
        assert paths_in(folder) == needed_paths(1)
        step += 1
    assert step > 5


def attempt(work) -> str:
    try:
        work()
    except (AssayError, PowerCut) as exc:
        return type(exc).__name__
    return "done"


def test_flush_error_is_a_write_error():
    assert issubclass(LogFlushError, LogWriteError)
