"""The byte strings in which a canary may be hiding: every transform of every piece.

Each piece (the whole value and each shard) is written in each *transform*: the ways in which
databases, logs, queues and backups spell a text. Where an encoding depends on what stands around
the value (base64 and base32 work on groups of bytes), only the *core* is kept: the characters that
are the same whatever the neighbours are.

Specification: ``spec/leak-test.md``, "Transforms".

Example:
    >>> canary = Canary("name", CanaryKind.TEXT, "quietriver7", ("quietriver7",))
    >>> [pattern.data for pattern in patterns([canary]) if pattern.transform == "hex lower"]
    [b'7175696574726976657237']
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import quopri
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from assay.leakage.canaries import Canary, CanaryKind

WHOLE = "whole"
"""The name of the piece that is the whole value; shards are ``shard 1``, ``shard 2``, …"""

_Transform = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One byte string to search for.

    Attributes:
        canary: the index of the canary in the sequence that was given to `patterns`.
        piece: ``whole``, or ``shard N`` counted from 1.
        transform: the name of the spelling.
        data: the bytes.
    """

    canary: int
    piece: str
    transform: str
    data: bytes


def patterns(canaries: Sequence[Canary]) -> tuple[Pattern, ...]:
    """Every spelling of every piece of every canary; equal bytes of one canary only once.

    Args:
        canaries: what was planted.
    """
    found: dict[tuple[int, bytes], Pattern] = {}
    for index, canary in enumerate(canaries):
        for piece, transform, data in _spellings(canary):
            found.setdefault((index, data), Pattern(index, piece, transform, data))
    return tuple(found.values())


def byte_patterns(values: Sequence[bytes]) -> tuple[Pattern, ...]:
    """Every spelling of byte strings that nobody could have written by chance.

    Args:
        values: each of at least 12 bytes; a pattern's canary is the index in this sequence.
    """
    found: dict[tuple[int, bytes], Pattern] = {}
    for index, value in enumerate(values):
        spelt = [("bytes", value)]
        spelt += [each for encode in (_hex, _base64, _base32, _escapes) for each in encode(value)]
        for transform, data in spelt:
            found.setdefault((index, data), Pattern(index, WHOLE, transform, data))
    return tuple(found.values())


def _spellings(canary: Canary) -> Iterator[tuple[str, str, bytes]]:
    pieces = [(WHOLE, canary.value)]
    pieces += [(f"shard {n}", shard) for n, shard in enumerate(canary.shards, 1)]
    for piece, text in pieces:
        for name, data in _of_text(text):
            yield piece, name, data
    for name, data in _digests(canary.value):
        yield WHOLE, name, data
    if canary.kind is CanaryKind.NUMBER:
        for name, data in _of_number(canary.value):
            yield WHOLE, name, data


def _of_text(text: str) -> Iterator[_Transform]:
    for fold, folded in _folds(text):
        yield f"UTF-8{fold}", folded.encode("utf-8")
        yield f"UTF-16LE{fold}", folded.encode("utf-16-le")
        yield f"UTF-16BE{fold}", folded.encode("utf-16-be")
    yield "reversed", text[::-1].encode("utf-8")
    # Stores that fold case encode what they folded, so the encodings see both spellings.
    for fold, folded in (("", text), (" lower case", text.lower())):
        data = folded.encode("utf-8")
        for encode in (_hex, _base64, _base32, _escapes):
            for name, encoded in encode(data):
                yield f"{name}{fold}", encoded
        for name, encoded in _text_escapes(folded):
            yield f"{name}{fold}", encoded


def _folds(text: str) -> Iterator[tuple[str, str]]:
    yield "", text
    yield " lower case", text.lower()
    yield " upper case", text.upper()
    yield " NFC", unicodedata.normalize("NFC", text)
    yield " NFD", unicodedata.normalize("NFD", text)


def _hex(data: bytes) -> Iterator[_Transform]:
    yield "hex lower", data.hex().encode()
    yield "hex upper", data.hex().upper().encode()


def _base64(data: bytes) -> Iterator[_Transform]:
    for offset in range(3):
        yield f"base64 offset {offset}", _core(base64.b64encode, data, offset, 6)
    for offset in range(3):
        yield f"base64url offset {offset}", _core(base64.urlsafe_b64encode, data, offset, 6)


def _base32(data: bytes) -> Iterator[_Transform]:
    for offset in range(5):
        core = _core(base64.b32encode, data, offset, 5)
        yield f"base32 offset {offset}", core
        yield f"base32 lower offset {offset}", core.lower()


def _core(encode: Callable[[bytes], bytes], data: bytes, offset: int, bits: int) -> bytes:
    """The characters that depend on the data alone when it starts ``offset`` bytes into a group.

    Character *i* holds the bits from *i* times ``bits``; those that begin before the data or end
    after it also hold bits of a neighbour, and are left out (RFC 4648, sections 4 to 6).
    """
    encoded = encode(bytes(offset) + data)
    first = -(-offset * 8 // bits)
    last = (offset + len(data)) * 8 // bits
    return encoded[first:last]


def _escapes(data: bytes) -> Iterator[_Transform]:
    yield "URL escapes lower", "".join(f"%{byte:02x}" for byte in data).encode()
    yield "URL escapes upper", "".join(f"%{byte:02X}" for byte in data).encode()
    # RFC 2045 section 6.7 asks for upper case; line breaks are the search's affair.
    yield "quoted-printable all", "".join(f"={byte:02X}" for byte in data).encode()
    yield "quoted-printable", quopri.encodestring(data).replace(b"=\n", b"")
    yield "backslash x", "".join(f"\\x{byte:02x}" for byte in data).encode()


def _text_escapes(text: str) -> Iterator[_Transform]:
    units = text.encode("utf-16-be")
    codes = [units[n] << 8 | units[n + 1] for n in range(0, len(units), 2)]
    yield "JSON escapes lower", "".join(f"\\u{code:04x}" for code in codes).encode()
    yield "JSON escapes upper", "".join(f"\\u{code:04X}" for code in codes).encode()
    yield "JSON escapes minimal", json.dumps(text)[1:-1].encode()
    yield "JSON escapes of quotes", json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8")
    yield "URL escapes minimal", urllib.parse.quote(text, safe="").encode()
    yield "URL escapes form", urllib.parse.quote_plus(text, safe="").encode()
    yield "HTML escapes", html.escape(text).encode("utf-8")
    yield "HTML escapes decimal", "".join(f"&#{ord(char)};" for char in text).encode()
    yield "HTML escapes hex", "".join(f"&#x{ord(char):x};" for char in text).encode()


def _digests(value: str) -> Iterator[_Transform]:
    for fold, folded in (
        ("", value),
        (" lower case", value.lower()),
        (" upper case", value.upper()),
    ):
        data = folded.encode("utf-8")
        for name in ("md5", "sha1", "sha256"):
            # Not for security: an unsalted digest of a guessable value is a leak to be found.
            digest = hashlib.new(name, data, usedforsecurity=False).digest()
            title = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256"}[name]
            yield f"{title}{fold}", digest
            yield f"{title} hex lower{fold}", digest.hex().encode()
            yield f"{title} hex upper{fold}", digest.hex().upper().encode()
            # The last character of a digest's base64 holds padding bits, not a neighbour's.
            yield f"{title} base64{fold}", base64.b64encode(digest).rstrip(b"=")
            yield f"{title} base64url{fold}", base64.urlsafe_b64encode(digest).rstrip(b"=")


def _of_number(value: str) -> Iterator[_Transform]:
    number = int(value)
    yield "64-bit integer big endian", number.to_bytes(8, "big")
    yield "64-bit integer little endian", number.to_bytes(8, "little")
    yield "BCD", bytes.fromhex(value if len(value) % 2 == 0 else f"0{value}")
    # PostgreSQL's numeric: groups of four decimal digits as 16-bit integers (src/include/utils
    # names it NBASE 10000), in the machine's byte order on disk and big endian on the wire.
    padded = value.zfill(-(-len(value) // 4) * 4)
    groups = [int(padded[n : n + 4]) for n in range(0, len(padded), 4)]
    yield "numeric little endian", b"".join(group.to_bytes(2, "little") for group in groups)
    yield "numeric big endian", b"".join(group.to_bytes(2, "big") for group in groups)
