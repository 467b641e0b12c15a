"""Where things stand in sealed bytes, for the tamper matrix: row envelopes, objects, Parquet files.

A layout knows of one format what an attacker knows who has read its specification: which bytes say
what, where its pieces begin, and by which role (see `tests.tamper_matrix.Target.errors`) a change of
them must be refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

TAG_BYTES = 16
MINIMUM_BYTES = 58
NONCE_BORDERS = (18, 30)
"""Where the bytes begin that choose the derived key, and the rest of the nonce."""


@dataclass(frozen=True)
class RowEnvelope:
    """``spec/row-envelope.md``, and what the other layouts have in common with it."""

    parts: Mapping[str, range] = field(
        default_factory=lambda: {
            "version": range(1),
            "suite": range(1, 2),
            "key id": range(2, 18),
            "nonce": range(18, 42),
        }
    )
    roles: Mapping[str, str] = field(
        default_factory=lambda: {
            "version": "version",
            "suite": "suite",
            "key id": "key",
            "nonce": "tampered",
            "short text": "truncated",
            "long text": "version",
            "empty": "truncated",
        }
    )

    def header(self, own: bytes) -> bytes:
        """The bytes that `parts` numbers."""
        return own[: max(part.stop for part in self.parts.values())]

    def with_header(self, own: bytes, header: bytes) -> bytes:
        """The same sealed bytes behind another header."""
        return header + own[len(header) :]

    def body(self, own: bytes) -> Iterable[int]:
        """The positions of ciphertext."""
        return range(len(self.header(own)), len(own) - TAG_BYTES)

    def tags(self, own: bytes) -> Iterable[int]:
        """The positions of tags."""
        return range(len(own) - TAG_BYTES, len(own))

    def cut_role(self, own: bytes, length: int) -> str:
        """What refuses the first bytes of it."""
        return "truncated" if length < MINIMUM_BYTES else "tampered"

    def extended_role(self, own: bytes, extra: bytes) -> str:
        """What refuses it with something behind it."""
        return "tampered"

    def splices(self, own: bytes, other: bytes) -> Iterator[tuple[str, bytes]]:
        """Two authentic envelopes of one owner, put together."""
        for border in (*NONCE_BORDERS, MINIMUM_BYTES - TAG_BYTES, len(other) - TAG_BYTES):
            yield f"own bytes to {border}, another's after", own[:border] + other[border:]

    def pieces(self, own: bytes) -> list[range]:
        """The places of the pieces that follow each other and could be exchanged."""
        return []

    def ends(self, own: bytes) -> Iterator[tuple[str, bytes, str]]:
        """Other ends of the file, where a format says at its end how to read it."""
        return iter(())


@dataclass(frozen=True)
class SealedObjectBytes(RowEnvelope):
    """``spec/sealed-object.md``.

    Attributes:
        chunk_bytes: the length of a chunk's plaintext.
        ranged: the reader begins at the end, and does not tell added bytes from altered ones.
    """

    parts: Mapping[str, range] = field(
        default_factory=lambda: {
            "version": range(1),
            "suite": range(1, 2),
            "key id": range(2, 18),
            "nonce": range(18, 37),
            "zero": range(37, 42),
        }
    )
    roles: Mapping[str, str] = field(
        default_factory=lambda: {**RowEnvelope().roles, "zero": "tampered"}
    )
    chunk_bytes: int = 2**20
    ranged: bool = True

    def body(self, own: bytes) -> Iterable[int]:
        """The positions of ciphertext in all chunks."""
        return (at for piece in self.pieces(own) for at in piece[:-TAG_BYTES])

    def tags(self, own: bytes) -> Iterable[int]:
        """The positions of the tags of all chunks."""
        return (at for piece in self.pieces(own) for at in piece[-TAG_BYTES:])

    def cut_role(self, own: bytes, length: int) -> str:
        """Cut between two chunks, or so that no tag is left of the last."""
        rest = (length - 42) % (self.chunk_bytes + TAG_BYTES)
        return "truncated" if length < MINIMUM_BYTES or rest < TAG_BYTES else "tampered"

    def extended_role(self, own: bytes, extra: bytes) -> str:
        """Behind a full last chunk it is known that something was added."""
        chunk = self.chunk_bytes + TAG_BYTES
        if (len(own) + len(extra) - 42) % chunk in range(1, TAG_BYTES) and self.ranged:
            return "truncated"
        full = (len(own) - 42) % chunk == 0
        return "extended" if full and not self.ranged else "tampered"

    def pieces(self, own: bytes) -> list[range]:
        """The chunks."""
        chunk = self.chunk_bytes + TAG_BYTES
        return [range(at, min(at + chunk, len(own))) for at in range(42, len(own), chunk)]


@dataclass(frozen=True)
class ParquetFile(RowEnvelope):
    """``spec/parquet.md``: version, suite, key id and nonce stand as text near the file's end.

    Where its pieces (the column chunks) stand, only its encrypted footer tells: see `Target.pieces`.
    """

    roles: Mapping[str, str] = field(
        default_factory=lambda: {
            "version": "version",
            "suite": "version",
            "key id": "key",
            "nonce": "tampered",
            "short text": "tampered",
            "long text": "tampered",
            "empty": "tampered",
        }
    )

    def header(self, own: bytes) -> bytes:
        """Version, suite, key id and nonce of the token, in the order of an envelope's."""
        said = self._said(own)
        token = base64.b64decode(said["wrappedDEK"])
        return token[:2] + bytes.fromhex(said["masterKeyID"]) + token[2:26]

    def with_header(self, own: bytes, header: bytes) -> bytes:
        """The same file whose key metadata say something else; all lengths stay."""
        said = self._said(own)
        token = base64.b64decode(said["wrappedDEK"])
        changed = base64.b64encode(header[:2] + header[18:42] + token[26:]).decode()
        for before, after in (
            (said["masterKeyID"], header[2:18].hex()),
            (said["wrappedDEK"], changed),
        ):
            assert own.count(before.encode()) == 1
            own = own.replace(before.encode(), after.encode())
        return own

    def body(self, own: bytes) -> Iterable[int]:
        """All that stands before the footer."""
        return range(self.footer(own).start)

    def tags(self, own: bytes) -> Iterable[int]:
        """The tag of the footer, the last before its length."""
        return range(len(own) - 8 - TAG_BYTES, len(own) - 8)

    def cut_role(self, own: bytes, length: int) -> str:
        """A file says at its end what it is, so it never is one without it."""
        return "tampered"

    def splices(self, own: bytes, other: bytes) -> Iterator[tuple[str, bytes]]:
        """The pages of one and the footer of another, and the token of another."""
        yield "own pages, another's footer", own[: self.footer(own).start] + other[self.footer(other).start :]  # fmt: skip
        yield "another's pages, own footer", other[: self.footer(other).start] + own[self.footer(own).start :]  # fmt: skip
        mine, theirs = (self._said(each)["wrappedDEK"].encode() for each in (own, other))
        yield "another's token", own.replace(mine, theirs)

    def ends(self, own: bytes) -> Iterator[tuple[str, bytes, str]]:
        """Another length, other magic bytes, a byte of the footer."""
        length = int.from_bytes(own[-8:-4], "little")
        for other in (0, 1, length - 1, length + 1, len(own), 2**31 - 1, 2**32 - 1):
            yield f"footer of {other} bytes", own[:-8] + other.to_bytes(4, "little") + own[-4:], "tampered"  # fmt: skip
        yield "the end of a file in the clear", own[:-4] + b"PAR1", "clear"
        yield "no known end", own[:-4] + b"PARX", "tampered"
        yield "no end", own[:-4], "tampered"
        yield "the end twice", own + own[-8:], "tampered"
        for at in range(self.footer(own).stop, len(own) - 8):
            yield f"byte {at} of the footer", _flipped(own, at), "tampered"

    def footer(self, own: bytes) -> range:
        """Where the crypto metadata stand, which precede the encrypted footer."""
        start = len(own) - 8 - int.from_bytes(own[-8:-4], "little")
        return range(start, own.index(b"}", own.index(b'{"keyMaterialType', start)) + 2)

    def _said(self, own: bytes) -> dict[str, str]:
        start = own.index(b'{"keyMaterialType')
        said: dict[str, str] = json.loads(own[start : own.index(b"}", start) + 1])
        return said


def _flipped(own: bytes, at: int) -> bytes:
    return own[:at] + bytes([own[at] ^ 1 << at % 8]) + own[at + 1 :]
