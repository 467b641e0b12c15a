# ruff: noqa: S311 - seeded, so that a failure can be repeated
from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.leakage.containers import JoinedLines, Member

BREAKS = [b"\n", b"\r\n", b"\r", b"=\r\n", b"\n  ", b"\r\n\t", rb"\n", rb"\r\n"]


@given(st.lists(st.tuples(st.binary(max_size=6), st.sampled_from(BREAKS)), max_size=8))
def test_joined_text_leads_back_to_the_window(lines: list[tuple[bytes, bytes]]) -> None:
    keep = bytes.maketrans(b"\r\n\t =\\rn", b"........")
    clean = [(line.translate(keep), line_break) for line, line_break in lines]
    window = b"".join(line + line_break for line, line_break in clean)
    joined = JoinedLines(window)
    assert joined.text == b"".join(line for line, _ in clean)
    for offset in range(len(joined.text)):
        first, end = joined.window_span(offset, 1)
        assert end == first + 1
        assert window[first:end] == joined.text[offset : offset + 1]


def test_a_span_reaches_from_its_first_to_its_last_byte() -> None:
    joined = JoinedLines(b"ab\r\n  cd\nef")
    assert joined.text == b"abcdef"
    assert joined.window_span(1, 2) == (1, 7)
    assert joined.window_span(2, 2) == (6, 8)
    assert joined.window_span(0, 6) == (0, 11)


def _expand(kind: str, data: bytes, step: int = 1 << 30) -> tuple[bytes, Member]:
    member = Member(kind)
    pieces = [memoryview(data)[n : n + step] for n in range(0, len(data), step)]
    return b"".join(output for piece in pieces for output in member.feed(piece)), member


@given(st.binary(max_size=300), st.integers(1, 50), st.sampled_from(["gzip", "zlib"]))
def test_a_member_gives_its_bytes_however_it_is_fed(data: bytes, step: int, kind: str) -> None:
    packed = (gzip.compress if kind == "gzip" else zlib.compress)(data)
    output, member = _expand(kind, packed + b"what follows", step)
    assert output == data
    assert member.is_complete
    assert not member.is_open
    assert member.produced_bytes == len(data)


def test_a_cut_member_gives_what_came_before_the_cut() -> None:
    data = random.Random(3).randbytes(20_000).hex().encode()
    packed = zlib.compress(data)
    output, member = _expand("zlib", packed[: len(packed) // 2])
    assert data.startswith(output)
    assert len(output) > len(data) // 3
    assert member.is_open
    assert not member.is_complete


@pytest.mark.parametrize("size", [5, 40, 300, 5_000, 54_000, 60_000])
@pytest.mark.parametrize("byte", [b"\0", None])
def test_damage_loses_nothing_of_what_came_before_it(size: int, byte: bytes | None) -> None:
    # Zeros come out in several pieces of one slice, hexadecimal digits in one piece of several.
    data = byte * size * 100 if byte else random.Random(3).randbytes(size).hex().encode()
    stream = zlib.compressobj(9)
    packed = stream.compress(data) + stream.flush(zlib.Z_FULL_FLUSH)
    reserved_block_type = b"\x07"
    output, member = _expand("zlib", packed + reserved_block_type + b"\xff" * 50)
    assert output == data
    assert member.produced_bytes == len(data)
    assert not member.is_complete
    assert not member.is_open


def test_a_wrong_checksum_does_not_hide_the_bytes() -> None:
    packed = bytearray(zlib.compress(b"quietriver" * 9))
    packed[-1] ^= 1
    output, member = _expand("zlib", bytes(packed))
    assert output == b"quietriver" * 9
    assert not member.is_complete
    assert not member.is_open


def test_output_comes_in_bounded_pieces_and_stops_when_nobody_asks() -> None:
    bomb = memoryview(zlib.compress(bytes(64 << 20), 9))
    assert max(len(piece) for piece in Member("zlib").feed(bomb)) == 1 << 20
    member = Member("zlib")
    pieces = member.feed(bomb)
    while len(next(pieces)) < 1 << 20:
        pass
    assert member.produced_bytes < 3 << 20


def test_chance_is_told_from_a_member() -> None:
    assert Member.is_plausible("gzip", memoryview(gzip.compress(b"quietriver")))
    assert Member.is_plausible("zlib", memoryview(zlib.compress(b"quietriver")))
    assert not Member.is_plausible("zlib", memoryview(b"\x78\x9c" + b"\xff" * 20))
    assert not Member.is_plausible("gzip", memoryview(b"\x1f\x8b\x08\x00" + b"\xff" * 30))
