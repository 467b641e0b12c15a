"""``spec/sealed-object.md``: objects as bytes, whole and in ranges."""

from __future__ import annotations

from tests.reference.notation import Refused, key_id, pae, text, xaes_open, xaes_seal

CHUNK, SEALED = 2**20, 2**20 + 16
Place = tuple[str, str, str]
"""Tenant, bucket, object key."""


def seal(key: bytes, place: Place, plain: bytes, r: bytes) -> bytes:
    """Sealing, with the object nonce R."""
    associated = associated_data(place)
    chunks = [plain[at : at + CHUNK] for at in range(0, len(plain), CHUNK)] or [b""]
    header = b"\x11\x01" + key_id(key) + r + bytes(5)
    return header + b"".join(
        xaes_seal(key, chunk_nonce(r, i, last=i == len(chunks) - 1), chunk, associated)
        for i, chunk in enumerate(chunks)
    )


def open_object(key: bytes, place: Place, sealed: bytes) -> bytes:
    """Opening, from the first chunk to the last."""
    r, associated = _begin(key, place, sealed)
    chunks = [sealed[at : at + SEALED] for at in range(42, len(sealed), SEALED)] or [b""]
    plain = []
    for i, chunk in enumerate(chunks):  # 7
        last = i == len(chunks) - 1
        opened = xaes_open(key, chunk_nonce(r, i, last=last), chunk, associated)
        if opened is None or (last and i and not opened):
            raise Refused(_reason(key, r, i, chunk, associated, last=last))
        plain.append(opened)
    return b"".join(plain)


def read_range(
    key: bytes,
    place: Place,
    sealed: bytes,
    start: int,
    length: int,
    *,
    seal_id: bytes | None = None,
) -> bytes:
    """Reading a range."""
    r, associated = _begin(key, place, sealed)  # 1
    if len(sealed) < 58:
        raise Refused("TruncatedObjectError")
    last = (len(sealed) - 42 - 1) // SEALED
    chunk = sealed[42 + last * SEALED :]
    tail = xaes_open(key, chunk_nonce(r, last, last=True), chunk, associated)  # 2
    if tail is None or (last and not tail):
        raise Refused(_reason(key, r, last, chunk, associated, last=True))
    if seal_id is not None and seal_id != r:  # 3
        raise Refused("ReplacedObjectError")
    size = last * CHUNK + len(tail)
    if not 0 <= start <= start + length <= size:  # 4
        raise Refused("ObjectRangeError")
    plain = b""
    first = start // CHUNK
    for i in range(first, -(-(start + length) // CHUNK) if length else first):  # 5
        chunk = sealed[42 + i * SEALED :][:SEALED]
        opened = (
            tail if i == last else xaes_open(key, chunk_nonce(r, i, last=False), chunk, associated)
        )
        if opened is None:
            raise Refused(_reason(key, r, i, chunk, associated, last=False))
        plain += opened
    return plain[start - first * CHUNK :][:length]


def _begin(key: bytes, place: Place, sealed: bytes) -> tuple[bytes, bytes]:
    if len(sealed) < 42:  # 1
        raise Refused("TruncatedObjectError")
    if sealed[0] != 0x11:  # 2
        raise Refused("UnknownObjectVersionError")
    if sealed[1] != 0x01:  # 3
        raise Refused("UnknownObjectSuiteError")
    if sealed[2:18] != key_id(key):  # 4
        raise Refused("WrongObjectKeyError")
    if sealed[37:42] != bytes(5):  # 5
        raise Refused("TamperedObjectError")
    return sealed[18:37], associated_data(place)


def _reason(key: bytes, r: bytes, i: int, chunk: bytes, associated: bytes, *, last: bool) -> str:
    if len(chunk) < 16:
        return "TruncatedObjectError"
    if xaes_open(key, chunk_nonce(r, i, last=not last), chunk, associated) is None:
        return "TamperedObjectError"
    return "TruncatedObjectError" if last else "ExtendedObjectError"


def chunk_nonce(r: bytes, i: int, *, last: bool) -> bytes:
    """N(i, last)."""
    return r + i.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


def associated_data(place: Place) -> bytes:
    """The same for each chunk."""
    return pae([b"assay object v1", *(text(name, "ObjectNameError") for name in place)])
