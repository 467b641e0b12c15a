from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from assay.web import FolderRefusedError
from assay.web import folder as room
from assay.web.folder import MARKER, replace_folder

FIRST = {"index.html": b"first", "proofs/1.json": b"1", "proofs/2.json": b"2"}
SECOND = {"index.html": b"second", "proofs/3.json": b"3"}


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARKER
    }


def _beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def _exchanges(tmp_path: Path) -> bool:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    return room._exchange(one, other)


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":
        monkeypatch.setattr(room, "_exchange", lambda *_: False)
    return str(request.param)


def test_a_new_folder_holds_all_files(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "trust"
    written = replace_folder(target, FIRST)
    assert _content(target) == FIRST
    assert written == tuple(target / name for name in FIRST)
    assert _beside(target) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    target.mkdir()
    replace_folder(target, FIRST)
    assert _content(target) == FIRST


def test_a_page_is_replaced_as_a_whole(tmp_path: Path, way: str) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    replace_folder(target, SECOND)
    assert _content(target) == SECOND
    assert _beside(target) == []


def test_the_page_can_be_read_by_a_server_of_another_user(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    mask = os.umask(0o022)
    try:
        replace_folder(target, FIRST)
    finally:
        os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o755
    assert (target / "proofs").stat().st_mode & 0o777 == 0o755
    assert (target / "index.html").stat().st_mode & 0o777 == 0o644


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target = tmp_path / "real"
    link = tmp_path / "trust"
    replace_folder(target, FIRST)
    link.symlink_to(target)
    assert replace_folder(link, SECOND)[0] == link / "index.html"
    assert link.is_symlink()
    assert _content(target) == SECOND


def test_somebodys_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderRefusedError, match="something else"):
        replace_folder(tmp_path, FIRST)
    assert _content(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    target.write_text("mine")
    with pytest.raises(FolderRefusedError, match="something else"):
        replace_folder(target, FIRST)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("name", ["CNAME", "proofs/notes.txt", "proofs/more/x", ".git/HEAD"])
def test_a_file_that_was_added_to_the_page_is_not_lost(tmp_path: Path, name: str) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    (target / name).parent.mkdir(exist_ok=True)
    (target / name).write_text("mine")
    with pytest.raises(FolderRefusedError, match=Path(name).name):
        replace_folder(target, SECOND)
    assert _content(target) == {**FIRST, name: b"mine"}


def test_an_added_empty_folder_counts_as_added(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    (target / "drafts").mkdir()
    with pytest.raises(FolderRefusedError, match="drafts"):
        replace_folder(target, SECOND)


def test_what_file_browsers_leave_does_not_count(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    (target / ".DS_Store").write_bytes(b"\0")
    replace_folder(target, SECOND)
    assert _content(target) == SECOND


@pytest.mark.parametrize("marker", [b"", b"assay trust page 2\nindex.html\n", b"\xff\xfe"])
def test_a_marker_of_another_make_is_refused(tmp_path: Path, marker: bytes) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    (target / MARKER).write_bytes(marker)
    with pytest.raises(FolderRefusedError, match="something else"):
        replace_folder(target, SECOND)
    assert _content(target) == FIRST


def test_a_full_disk_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_folder(target, SECOND)
    assert _content(target) == FIRST
    assert _beside(target) == []


def test_every_file_is_on_the_disk_before_the_page_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    replace_folder(tmp_path / "trust", FIRST)
    written = list((tmp_path / "trust").rglob("*"))
    assert {path.stat().st_ino for path in (tmp_path, tmp_path / "trust", *written)} <= set(flushed)


def test_a_swap_that_fails_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    rename = Path.rename

    def busy(self: Path, other: Path) -> Path:
        if other == target and (self / "index.html").read_bytes() == b"second":
            raise OSError(errno.EBUSY, "busy")
        return rename(self, other)

    monkeypatch.setattr(room, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(OSError, match="busy"):
        replace_folder(target, SECOND)
    assert _content(target) == FIRST
    assert _beside(target) == []


def test_what_a_killed_build_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    dead = tmp_path / ".trust.0123456789ab.tmp"
    room._write(dead, {"index.html": b"ha"})
    mine = tmp_path / ".trust.ba9876543210.tmp"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    other = tmp_path / ".trust2.0123456789ab.tmp"
    room._write(other, {"index.html": b"ha"})
    replace_folder(target, FIRST)
    assert _beside(target) == [mine.name, other.name]


def test_a_reader_never_sees_half_a_page(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    pages = [{"index.html": n, "style.css": n} for n in (b"0" * 999, b"1" * 999)]
    replace_folder(target, pages[0])
    in_one_step = _exchanges(tmp_path)
    done = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.append((target / "index.html").read_bytes())
            except FileNotFoundError:  # between the two renames, where there is no exchange
                assert not in_one_step

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(20):
            replace_folder(target, pages[turn % 2])
    finally:
        done.set()
        reader.join()
    assert set(seen) <= {b"0" * 999, b"1" * 999}
    assert seen


def test_two_builds_at_once_leave_one_whole_page(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    pages = [{"index.html": b"%d" % n, f"proofs/{n}": b"%d" % n} for n in range(6)]
    threads = [threading.Thread(target=replace_folder, args=(target, page)) for page in pages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _content(target) in pages
    assert _beside(target) == []


def test_a_folder_is_judged_when_no_other_build_works_in_it(tmp_path: Path) -> None:
    target = tmp_path / "trust"
    replace_folder(target, FIRST)
    stranger = target / "of-the-other-build"
    with ThreadPoolExecutor(1) as threads:
        with room._alone_in(tmp_path):
            stranger.write_bytes(b"seen between two looks")
            build = threads.submit(replace_folder, target, FIRST)
            wait([build], timeout=0.2)
            assert not build.done()
            stranger.unlink()
        build.result()
    assert _beside(target) == []
