"""How a refused vector changes the object that it is about; both implementations are given the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_CHUNK, _SEALED = 2**20, 2**20 + 16

SealChunk = Callable[[bytes, int, bytes, bool], bytes]
"""Seals one chunk of the object behind a header: header, number, plaintext, whether it is the last."""


def changed_object(sealed: bytes, case: dict[str, Any], seal_chunk: SealChunk) -> bytes:
    """The bytes that are refused.

    Args:
        sealed: the object that the vector names by its size.
        case: ``swap``, ``repeat`` and ``drop`` of chunks, ``resealed`` (other chunks, of so many
            bytes), ``flip`` of the lowest bit of a byte, ``cut`` to a length, ``append``.
        seal_chunk: needed by ``resealed``.
    """
    header = sealed[:42]
    chunks = [sealed[at : at + _SEALED] for at in range(42, len(sealed), _SEALED)]
    if "swap" in case:
        one, other = case["swap"]
        chunks[one], chunks[other] = chunks[other], chunks[one]
    if "repeat" in case:
        chunks.insert(case["repeat"], chunks[case["repeat"]])
    if "drop" in case:
        del chunks[case["drop"]]
    if "resealed" in case:
        chunks = [
            seal_chunk(header, number, bytes(each["of"]), each["last"])
            for number, each in enumerate(case["resealed"])
        ]
    data = bytearray(header + b"".join(chunks))
    if "flip" in case:
        data[case["flip"]] ^= 1
    return bytes(data[: case.get("cut", len(data))]) + bytes.fromhex(case.get("append", ""))


def changed_file(data: bytes, case: dict[str, Any]) -> bytes:
    """A Parquet file, changed as a refused vector says: ``at`` a byte some are gone, others put."""
    if "at" not in case:
        return data
    return data[: case["at"]] + bytes.fromhex(case["put"]) + data[case["at"] + case["gone"] :]
