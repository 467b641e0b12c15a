"""No byte of a bundle is free: every change of a small one is refused by a named error."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import pytest

from assay.evidence import EvidenceError, verify_bundle
from assay.evidence.archive import Archive, ArchiveWriter
from assay.ledger import LedgerError


class Bench:
    """One file that is changed in place, verified, and put right again."""

    def __init__(self, path: Path, key, judge) -> None:
        self.path, self.key, self.judge = path, key, judge
        self.data = path.read_bytes()
        archive = Archive.open(path)
        self.members = {name: archive.read(name) for name in archive.members}
        self.file = path.open("r+b", buffering=0)
        self.errors: Counter[str] = Counter()

    def refuses(self, data: bytes | None = None) -> str:
        """Assert that the file, or other bytes in its place, are refused; gives the error's name."""
        if data is not None:
            os.pwrite(self.file.fileno(), data, 0)
            os.ftruncate(self.file.fileno(), len(data))
        try:
            verify_bundle(self.path, self.key, self.judge)
        except (EvidenceError, LedgerError) as exc:
            self.errors[type(exc).__name__] += 1
            return type(exc).__name__
        raise AssertionError("a changed bundle was accepted")

    def restore(self) -> None:
        os.pwrite(self.file.fileno(), self.data, 0)
        os.ftruncate(self.file.fileno(), len(self.data))


@pytest.fixture
def bench(workshop, judge):
    workshop.start(assets=["db"])
    workshop.tick()
    workshop.record("db", [True, True])
    workshop.tick()
    workshop.finish()
    made = Bench(workshop.bundle(), workshop.log.verifier_key, judge)
    assert 2_000 < len(made.data) < 6_000
    yield made
    made.restore()
    verify_bundle(made.path, made.key, judge)
    made.file.close()


def test_every_byte_of_the_file_counts(bench):
    for at, byte in enumerate(bench.data):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            os.pwrite(bench.file.fileno(), bytes([byte ^ flip]), at)
            bench.refuses()
        os.pwrite(bench.file.fileno(), bytes([byte]), at)
    assert set(bench.errors) == {"BundleFormError"}


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_every_byte_of_every_member_counts_when_the_checksums_are_made_good(
    bench, archive_of, flip
):
    """Somebody who changes a bundle knows how to compute a CRC."""
    for name, content in bench.members.items():
        for at, byte in enumerate(content):
            changed = content[:at] + bytes([byte ^ flip]) + content[at + 1 :]
            bench.refuses(archive_of(bench.members | {name: changed}))
    assert not bench.errors["BundleFormError"]
    assert set(bench.errors) > {"BundleHeaderError", "BundleRootError", "ArtefactDigestError"}


def test_every_byte_of_every_name_counts(bench, archive_of):
    for name, content in bench.members.items():
        for at in range(len(name)):
            other = name[:at] + chr(ord(name[at]) ^ 1) + name[at + 1 :]
            members = {one: held for one, held in bench.members.items() if one != name}
            bench.refuses(archive_of(members | {other: content}))
    assert set(bench.errors) <= {
        "ArtefactMissingError",
        "BundleMemberMissingError",
        "BundleMemberUnknownError",
    }


def test_every_truncation_is_refused(bench):
    for length in reversed(range(len(bench.data))):
        os.ftruncate(bench.file.fileno(), length)
        assert bench.refuses() == "BundleFormError"


def test_every_byte_that_is_left_out_or_put_in_is_noticed(bench):
    for at in range(len(bench.data)):
        bench.refuses(bench.data[:at] + bench.data[at + 1 :])
        bench.refuses(bench.data[:at] + b"\0" + bench.data[at:])
    for byte in range(256):
        assert bench.refuses(bench.data + bytes([byte])) == "BundleFormError"
        assert bench.refuses(bytes([byte]) + bench.data) == "BundleFormError"
    bench.refuses(bench.data * 2)


def test_members_that_are_removed_added_doubled_or_exchanged(bench, archive_of):
    for name, content in bench.members.items():
        without = {one: held for one, held in bench.members.items() if one != name}
        bench.refuses(archive_of(without))
        bench.refuses(archive_of(bench.members | {name: b""}))
        bench.refuses(archive_of(bench.members | {name: content + b"\n"}))
        bench.refuses(archive_of(bench.members | {f"{name}x": content}))
        bench.refuses(archive_of(bench.members | {f"x/{name}": content}))
        for other, held in without.items():
            bench.refuses(archive_of(bench.members | {name: held, other: content}))
        assert bench.refuses(doubled(bench.members, name)) == "BundleFormError"


def doubled(members: dict[str, bytes], name: str) -> bytes:
    """A file in which one member comes twice."""
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    for one in sorted([*members, name]):
        writer._last = b""
        writer.add(one, members[one])
    writer.finish()
    return file.getvalue()
