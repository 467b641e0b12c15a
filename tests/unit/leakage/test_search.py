# ruff: noqa: S311 - seeded, so that a failure can be repeated
from __future__ import annotations

import base64
import gzip
import os
import random
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.leakage import (
    Canary,
    CanaryKind,
    FileChange,
    FileState,
    Hit,
    Limits,
    Matcher,
    Medium,
    Pattern,
    Search,
    load_matcher,
    make_canaries,
    patterns,
    search_file,
    search_files,
)
from assay.leakage import search as search_module
from assay.leakage.ahocorasick import AhoCorasickMatcher
from assay.leakage.hyperscan import HyperscanMatcher
from assay.leakage.layers import Layer, Record

Engine = Callable[[Sequence[Pattern]], Matcher]
NOISE = random.Random(11)


def _forms(hits: Sequence[Hit]) -> set[tuple[str, str, str]]:
    return {(hit.piece, hit.transform, hit.container) for hit in hits}


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture
def matcher(engine: Engine, canaries: tuple[Canary, ...]) -> Matcher:
    return engine(patterns(canaries))


@pytest.fixture
def text(canaries: tuple[Canary, ...]) -> bytes:
    return canaries[0].value.encode()


def test_clean_bytes_give_no_hits_and_are_counted(tmp_path: Path, matcher: Matcher) -> None:
    _write(tmp_path / "a", NOISE.randbytes(100_000))
    _write(tmp_path / "b", b"")
    found = search_files([Medium("files", (tmp_path,)), Medium("none", ())], matcher)
    assert found.hits == ()
    assert found.hits_total == 0
    assert [(item.name, item.files, item.searched) for item in found.media] == [
        ("files", 2, 2),
        ("none", 0, 0),
    ]
    assert found.media[0].bytes_read == 100_000
    assert found.engine == matcher.engine
    assert found.canaries == 3
    assert found.patterns == len(matcher.patterns)


def test_a_hit_names_medium_file_offset_canary_piece_and_transform(
    tmp_path: Path, matcher: Matcher, text: bytes
) -> None:
    (tmp_path / "data").mkdir()
    _write(tmp_path / "data" / "rows.db", NOISE.randbytes(5000) + text + NOISE.randbytes(5000))
    found = search_files([Medium("database files", (tmp_path / "data",))], matcher)
    whole = [hit for hit in found.hits if hit.piece == "whole"]
    assert whole == [Hit("database files", "data/rows.db", 5000, 0, "whole", "UTF-8", "")]
    shards = sorted(hit.offset for hit in found.hits if hit.piece != "whole")
    assert shards == [5000, 5011, 5022, 5033]
    assert found.hits_total == 5
    assert found.media[0].hits == 5


def test_one_shard_is_enough(
    tmp_path: Path, matcher: Matcher, canaries: tuple[Canary, ...]
) -> None:
    for number, shard in enumerate(canaries[1].shards, 1):
        path = _write(tmp_path / "torn", b"...." + shard.encode() + b"\0\0")
        (hit,) = search_file(path, matcher).hits
        assert (hit.canary, hit.piece) == (1, f"shard {number}")


@pytest.mark.parametrize("position", [-60, -30, -21, -1, 0, 1])
def test_what_straddles_the_border_of_a_window_is_found_once(
    tmp_path: Path,
    matcher: Matcher,
    text: bytes,
    position: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_module, "_CHUNK", 10_000)
    data = bytearray(NOISE.randbytes(35_000))
    for border in (10_000, 20_000, 30_000):
        data[border + position : border + position + len(text)] = text
    found = search_file(_write(tmp_path / "f", bytes(data)), matcher)
    whole = sorted(hit.offset for hit in found.hits if hit.piece == "whole")
    assert whole == [10_000 + position, 20_000 + position, 30_000 + position]
    assert found.hits_total == 15


@pytest.mark.parametrize("position", [-3000, -200, -40, -9, -3, -2, -1, 0])
def test_members_that_straddle_windows_are_opened_once(
    tmp_path: Path,
    matcher: Matcher,
    text: bytes,
    position: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_module, "_CHUNK", 10_000)
    content = NOISE.randbytes(2000) + text + NOISE.randbytes(2000)
    for pack, name in ((gzip.compress, "gzip"), (zlib.compress, "zlib")):
        member = pack(content)
        data = bytearray(40_000)
        data[20_000 + position : 20_000 + position + len(member)] = member
        found = search_file(_write(tmp_path / name, bytes(data)), matcher)
        # Incompressible bytes are stored as they are, so the canary may show outside as well.
        inside = [hit for hit in found.hits if hit.container == name]
        assert ("whole", "UTF-8", name) in _forms(inside)
        assert {hit.offset for hit in inside} == {20_000 + position}
        assert found.files[0].members_complete == 1
        assert found.files[0].expanded_bytes >= len(content)


def _squeezable(text: bytes) -> bytes:
    # Words with a varied frequency, so that deflate uses Huffman codes and hides the canary.
    def words() -> bytes:
        names = [b"alpha", b"beta", b"gamma", b"delta"]
        return b" ".join(NOISE.choice(names) for _ in range(3000))

    return words() + b" " + text.replace(b" ", b" beta ") + b" " + words()


def test_concatenated_and_embedded_members_are_searched(
    tmp_path: Path, matcher: Matcher, text: bytes
) -> None:
    member = gzip.compress(_squeezable(text))
    assert text.split()[0] not in member
    data = gzip.compress(b"first") + member + NOISE.randbytes(3000) + zlib.compress(member) + b"end"
    found = search_file(_write(tmp_path / "f.gz", data), matcher)
    containers = {hit.container for hit in found.hits}
    assert containers >= {"gzip", "zlib > gzip"}
    assert found.files[0].members_complete >= 4
    assert found.files[0].state is FileState.SEARCHED


def test_a_truncated_member_is_searched_as_far_as_it_goes(
    tmp_path: Path, matcher: Matcher, text: bytes
) -> None:
    member = gzip.compress(_squeezable(text))
    found = search_file(_write(tmp_path / "f", member[: len(member) * 3 // 4]), matcher)
    assert {hit.container for hit in found.hits} == {"gzip"}
    assert found.files[0].members_complete == 0
    assert found.files[0].members_broken == 1


def test_a_member_torn_by_a_page_border_is_searched_up_to_it(
    tmp_path: Path, matcher: Matcher, text: bytes
) -> None:
    member = zlib.compress(_squeezable(text) + bytes(NOISE.randbytes(4000)))
    torn = member[:4000] + b"\0\0\0\x07" + member[4000:]
    found = search_file(_write(tmp_path / "f", torn), matcher)
    assert {hit.container for hit in found.hits} == {"zlib"}


@pytest.mark.parametrize("width", [16, 20, 60, 64, 76])
@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\n   ", rb"\n", rb"\r\n"])
def test_wrapped_base64_is_found_at_every_shift(
    tmp_path: Path, matcher: Matcher, text: bytes, width: int, line_break: bytes
) -> None:
    for shift in range(0, 24, 5):
        encoded = base64.b64encode(b"#" * (90 + shift) + text + b"#" * 90)
        lines = line_break.join(encoded[n : n + width] for n in range(0, len(encoded), width))
        path = _write(tmp_path / "mail", b"Subject: x\n\n" + lines + b"\n")
        found = search_file(path, matcher)
        whole = [hit for hit in found.hits if hit.piece == "whole"]
        # Only the widest lines can hold the whole value in one piece.
        assert [hit.container for hit in whole] in (
            [["line breaks"]] if width < 60 else [["line breaks"], [""]]
        )
        first = whole[0].offset
        assert lines.find(path.read_bytes()[first : first + 3]) >= 0


def test_wrapped_lines_across_the_windows_of_a_nested_layer(matcher: Matcher, text: bytes) -> None:
    encoded = base64.b64encode(b"x" * 800_000 + text + b"y" * 5000)
    lines = b"\r\n".join(encoded[n : n + 16] for n in range(0, len(encoded), 16))
    place = 800_000 // 12 * 18
    for cut in range(place - 20, place + 100, 7):
        record = Record(matcher, Limits(), len(lines))
        layer = Layer(record, ("gzip",), 77)
        layer.feed(lines[:cut])
        layer.feed(lines[cut:])
        layer.close()
        whole = [
            (offset, container)
            for index, offset, container in record.hits
            if matcher.patterns[index].piece == "whole"
        ]
        assert whole == [(77, "gzip > line breaks")]


def test_a_bomb_is_stopped_and_said(tmp_path: Path, matcher: Matcher, text: bytes) -> None:
    bomb = gzip.compress(bytes(20 << 20) + text)
    path = _write(tmp_path / "bomb", bomb + text)
    limits = Limits(expansion_floor_bytes=1 << 20, expansion_ratio=10)
    found = search_file(path, matcher, limits=limits)
    (file,) = found.files
    assert file.state is FileState.PARTLY
    assert "compressed members hold more than" in file.reasons[0]
    assert file.expanded_bytes < 4 << 20
    assert {hit.container for hit in found.hits} == {""}, "what follows the bomb is searched"


def test_nesting_beyond_the_limit_is_said(tmp_path: Path, matcher: Matcher, text: bytes) -> None:
    data = text
    for _ in range(4):
        data = gzip.compress(data)
    found = search_file(_write(tmp_path / "f", data), matcher)
    assert found.files[0].state is FileState.PARTLY
    assert found.files[0].reasons == ("containers nested deeper than 3",)
    # Two small members are stored rather than packed, so the outer one shows what the inner holds.
    deep = search_file(tmp_path / "f", matcher, limits=Limits(depth=4))
    assert deep.files[0].state is FileState.SEARCHED
    assert {hit.container for hit in deep.hits} == {
        "gzip > gzip > gzip",
        "gzip > gzip > gzip > gzip",
    }


def test_more_members_at_once_than_the_limit_is_said(tmp_path: Path, matcher: Matcher) -> None:
    # Stored blocks: each member begins inside the one before, and none ends.
    data = b"".join(b"\x78\x01\x01\xff\xff\x00\x00" for _ in range(6)) + bytes(3000)
    limits = Limits(open_members=2, depth=9)
    found = search_file(_write(tmp_path / "f", data), matcher, limits=limits)
    assert any("members at once" in reason for reason in found.files[0].reasons)


def test_hits_are_counted_but_not_all_kept(tmp_path: Path, matcher: Matcher, text: bytes) -> None:
    found = search_file(_write(tmp_path / "f", (text + b"\n") * 1000), matcher)
    assert found.hits_total == 5000
    assert found.files[0].hits == 5000
    assert len(found.hits) == 15


def test_what_cannot_be_read_is_an_entry(tmp_path: Path, matcher: Matcher) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    medium = Medium("files", (tmp_path, tmp_path / "never-there"))
    found = search_files([medium], matcher)
    entries = {file.path.split("/")[-1]: (file.state, file.reasons) for file in found.files}
    assert entries["pipe"] == (FileState.SPECIAL, ("a pipe holds no bytes at rest",))
    assert entries["gone"][0] is FileState.MISSING
    assert entries["never-there"][0] is FileState.MISSING
    assert found.media[0].files == 3
    assert found.media[0].searched == 0


def test_a_file_without_permission_is_an_entry(
    tmp_path: Path, matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "closed", b"x")

    def refuse(*_args: object, **_options: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    (file,) = search_file(tmp_path / "closed", matcher).files
    assert (file.state, file.reasons) == (FileState.UNREADABLE, ("Permission denied",))


def test_a_file_that_vanishes_before_it_is_opened_is_an_entry(
    tmp_path: Path, matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "wal", b"x")
    listed = search_module.list_files(Medium("m", (path,)))
    path.unlink()
    monkeypatch.setattr(search_module, "list_files", lambda _medium: listed)
    (file,) = search_file(path, matcher).files
    assert file.state is FileState.MISSING
    assert file.reasons == ("it vanished before it was opened",)


class _During:
    """A matcher that does something to the file when the first window is searched."""

    def __init__(self, matcher: Matcher, action: Callable[[], object]) -> None:
        self.engine, self.patterns = matcher.engine, matcher.patterns
        self._matcher, self._action = matcher, action
        self.compressed_starts = matcher.compressed_starts
        self.may_have_wrapped_lines = matcher.may_have_wrapped_lines

    def find(self, window: bytes) -> Sequence[tuple[int, int]]:
        action, self._action = self._action, lambda: None
        action()
        return self._matcher.find(window)


@pytest.mark.parametrize(
    ("action", "change"),
    [
        (lambda path: path.open("ab").write(b"more"), FileChange.GREW),
        (lambda path: os.truncate(path, 10), FileChange.SHRANK),
        (lambda path: path.unlink(), FileChange.VANISHED),
        (
            lambda path: (
                path.with_name("new").write_bytes(b"x" * 50),
                path.with_name("new").replace(path),
            ),
            FileChange.REPLACED,
        ),
        (lambda path: os.utime(path, (1, 1)), FileChange.WRITTEN),
        (lambda _path: None, FileChange.NONE),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_happens_to_a_file_while_it_is_read_is_said(
    tmp_path: Path,
    canaries: tuple[Canary, ...],
    action: Callable[[Path], object],
    change: FileChange,
) -> None:
    path = _write(tmp_path / "live", b"x" * 50)
    matcher = _During(load_matcher(patterns(canaries)), lambda: action(path))
    (file,) = search_file(path, matcher).files
    assert file.state is FileState.SEARCHED
    assert file.change is change


def test_what_is_appended_while_it_is_read_is_searched(
    tmp_path: Path, canaries: tuple[Canary, ...], text: bytes
) -> None:
    path = _write(tmp_path / "live", b"x" * 50)

    def append() -> None:
        with path.open("ab") as file:
            file.write(text)

    found = search_file(path, _During(load_matcher(patterns(canaries)), append))
    assert found.hits_total == 5
    assert found.files[0].size_after == found.files[0].bytes_read == 50 + len(text)


def test_a_file_that_grows_without_end_is_left_and_said(
    tmp_path: Path, matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "_GROWTH_ALLOWANCE", 1000)
    monkeypatch.setattr(search_module, "_CHUNK", 100)
    path = _write(tmp_path / "live", b"x" * 50)
    endless = _During(matcher, lambda: None)
    find = endless.find

    def grow(window: bytes) -> Sequence[tuple[int, int]]:
        if path.stat().st_size < 100_000:
            with path.open("ab") as file:
                file.write(b"x" * 200)
        return find(window)

    endless.find = grow  # type: ignore[method-assign] # a stand-in for a writer that never stops
    (file,) = search_file(path, endless).files
    assert file.state is FileState.PARTLY
    assert "grew without end" in file.reasons[0]


def test_an_error_in_the_middle_keeps_what_was_found(
    tmp_path: Path, matcher: Matcher, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(search_module.FileIO):
        def readinto(self, buffer: object) -> int:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().readinto(buffer)

    monkeypatch.setattr(search_module, "FileIO", Failing)
    found = search_file(_write(tmp_path / "f", text + bytes(100)), matcher)
    assert found.files[0].state is FileState.PARTLY
    assert "Input/output error" in found.files[0].reasons[0]
    assert found.hits_total == 5


def test_links_are_followed_and_loops_end(tmp_path: Path, matcher: Matcher, text: bytes) -> None:
    outside = tmp_path / "tablespace"
    outside.mkdir()
    _write(outside / "rows", text)
    inside = tmp_path / "data"
    inside.mkdir()
    (inside / "space").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    found = search_files([Medium("m", (inside,))], matcher)
    assert [file.path for file in found.files] == ["data/space/rows"]
    assert found.hits_total == 5


def test_progress_counts_bytes(tmp_path: Path, matcher: Matcher) -> None:
    _write(tmp_path / "a", b"x" * 30)
    _write(tmp_path / "b", b"x" * 70)
    steps: list[tuple[int, int]] = []
    progress = SimpleNamespace(advance=lambda done, total, _what: steps.append((done, total)))
    search_files([Medium("m", (tmp_path,))], matcher, progress)
    assert steps == [(0, 100), (30, 100), (100, 100)]


def test_an_observation_survives_being_recorded(
    tmp_path: Path, matcher: Matcher, text: bytes
) -> None:
    found = search_file(_write(tmp_path / "f", gzip.compress(text)), matcher)
    recorded = msgspec.json.encode(found)
    assert msgspec.json.decode(recorded, type=Search) == found
    assert text not in recorded


CANARY = make_canaries({"text": CanaryKind.TEXT}, random.Random(5))
ENGINES = [HyperscanMatcher(patterns(CANARY)), AhoCorasickMatcher(patterns(CANARY))]
WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "lines": base64.encodebytes,
    "prefix": lambda data: b"\x78\x9c\x1f\x8b" + data,
}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(WRAPPINGS)), max_size=3),
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.integers(1, 400),
)
def test_whatever_it_is_wrapped_in_and_however_it_arrives_it_is_found(
    wrappings: list[str], before: bytes, after: bytes, step: int
) -> None:
    data = before + CANARY[0].value.encode() + after
    # Text that was wrapped twice is not decoded: the search knows spellings, not decoders.
    for name in [item for n, item in enumerate(wrappings) if item != "lines" or n == 0]:
        data = WRAPPINGS[name](data)
    for matcher in ENGINES:
        record = Record(matcher, Limits(), len(data))
        layer = Layer(record)
        for n in range(0, len(data), step):
            layer.feed(data[n : n + step])
        layer.close()
        pieces = {matcher.patterns[index].piece for index, _, _ in record.hits}
        assert len(pieces) >= 3
