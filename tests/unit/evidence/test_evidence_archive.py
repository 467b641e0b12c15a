"""The file form: the same bytes as any ZIP tool would write, and no others."""

from __future__ import annotations

import io
import os
import random
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.evidence import (
    BundleError,
    BundleFormError,
    BundleMemberMissingError,
    BundleReadError,
    BundleTooLargeError,
)
from assay.evidence import archive as archive_module
from assay.evidence.archive import Archive, ArchiveWriter

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)
contents = st.dictionaries(names, st.binary(max_size=50), max_size=5)


def by_zipfile(members):
    """The same file by another writer."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            file.writestr(info, members[name])
    return out.getvalue()


@given(contents)
def test_it_is_what_zipfile_writes(tmp_path, archive_of, members):
    # zipfile takes "a/../b" and the like as they are, but ends names at a null: none is drawn.
    data = archive_of(members)
    assert data == by_zipfile(members)
    path = tmp_path / "archive"
    path.write_bytes(data)
    archive = Archive.open(path)
    assert {name: archive.read(name) for name in archive.members} == members
    assert list(archive.members) == sorted(members)


def test_many_members(tmp_path, archive_of):
    """From 65,535 members on there is a ZIP64 end record."""
    path = tmp_path / "archive"
    assert not archive_module._end_records(65_534, 0, 0).startswith(b"PK\x06\x06")
    assert archive_module._end_records(65_535, 0, 0).startswith(b"PK\x06\x06")
    for count in (65_534, 65_536):
        members = {f"{number:06}": b"" for number in range(count)}
        data = archive_of(members)
        path.write_bytes(data)
        assert len(Archive.open(path).members) == count
        assert (b"PK\x06\x06" in data[-98:]) == (count == 65_536)
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            assert len(file.namelist()) == count
    assert data == by_zipfile(members)
    chance = random.Random(1)  # noqa: S311 - which bytes to change
    for at in [*range(len(data) - 98, len(data)), *chance.sample(range(len(data)), 5)]:
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(BundleError):
            Archive.open(path)


def test_every_change_of_every_byte_is_noticed(tmp_path, archive_of):
    """Every single bit, and all bits of a byte at once."""
    data = archive_of({"a": b"", "b/c": b"content", "d": b"\0"})
    path = tmp_path / "archive"
    path.write_bytes(data)
    with path.open("r+b", buffering=0) as file:
        for at in range(len(data)):
            for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
                os.pwrite(file.fileno(), bytes([data[at] ^ flip]), at)
                with pytest.raises(BundleFormError):
                    Archive.open(path)
            os.pwrite(file.fileno(), data[at : at + 1], at)
    Archive.open(path)


def parts_of(data):
    """Members, directory and end record of a file."""
    offset = int.from_bytes(data[-6:-2], "little")
    return data[:offset], data[offset:-22], data[-22:]


def test_nothing_hides_between_members_directory_and_end(tmp_path, archive_of):
    members, directory, _ = parts_of(archive_of({"a": b"one", "b": b"two"}))
    end = archive_module._end_records
    path = tmp_path / "archive"
    for data in (
        members + b"hidden" + directory + end(2, len(directory), len(members) + 6),
        members + directory + b"hidden" + end(2, len(directory) + 6, len(members)),
        members + directory + end(1, len(directory), len(members)),
    ):
        path.write_bytes(data)
        with pytest.raises(BundleFormError, match="nothing between"):
            Archive.open(path)


def test_a_member_is_where_the_one_before_it_ends(tmp_path, archive_of):
    """A member within another would leave its own place free for anything."""
    inner, _, _ = parts_of(archive_of({"b": b"two"}))
    outer = archive_of({"a": inner, "b": b"two"})
    members, directory, end = parts_of(outer)
    place, within = members.rindex(inner), members.index(inner)
    assert place != within
    free = members[:place] + b"x" * len(inner)
    moved = directory[:-5] + within.to_bytes(4, "little") + b"b"
    assert len(moved) == len(directory)
    (tmp_path / "archive").write_bytes(free + moved + end)
    with pytest.raises(BundleFormError, match="without gaps"):
        Archive.open(tmp_path / "archive")


def test_names_in_another_order_are_not_written():
    writer = ArchiveWriter(io.BytesIO())
    writer.add("b", b"")
    for name in ("a", "b"):
        with pytest.raises(ValueError, match="ascending order"):
            writer.add(name, b"")


def test_a_file_that_would_be_too_long_is_not_written(monkeypatch, archive_of, tmp_path):
    members = {"a": b"x" * 100, "b": b"y" * 100}
    size = len(archive_of(members))
    (tmp_path / "archive").write_bytes(archive_of(members))
    monkeypatch.setattr(archive_module, "_LARGEST", size - 1)
    with pytest.raises(BundleTooLargeError, match="a later first one"):
        archive_of(members)
    with pytest.raises(BundleFormError, match="shorter than 4 GiB"):
        Archive.open(tmp_path / "archive")


def test_what_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(BundleReadError):
            Archive.open(path)


def test_a_member_that_is_not_there(tmp_path, archive_of):
    (tmp_path / "archive").write_bytes(archive_of({"a": b"x"}))
    with pytest.raises(BundleMemberMissingError):
        Archive.open(tmp_path / "archive").read("b")
