"""Whatever bytes come, the parsers of the room raise their named errors and nothing else.

With atheris installed: ``python tests/fuzz/test_fuzz_encryption.py``.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import msgspec
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.core import DataKeyClass, WrongInputError
from assay.encryption import (
    EnvelopeError,
    EnvelopeOpener,
    EnvelopeSealer,
    FilePlace,
    ObjectError,
    PayloadError,
    RowAddress,
    SealedFileError,
    SealedObject,
    decode_payload,
    encode_payload,
    envelope_key_id,
    open_object,
    seal_object,
    unwrap_file_key,
    values_of_file,
    wrap_file_key,
)
from assay.encryption.parquet_footer import (
    refuse_added_bytes,
    refuse_clear_columns,
    refuse_other_algorithm,
)
from assay.encryption.pyarrow import SealedParquet
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

KEYRING = Keyring(MemoryKeyService(), MemoryDataKeyTable())
KEY = KEYRING.current("tenant-1", DataKeyClass.ROWS)
ADDRESS = RowAddress("tenant-1", "documents", "default", b"7")
PLACE = {"owner": "tenant-1", "bucket": "uploads", "key": "report.pdf"}
SEALER, OPENER = EnvelopeSealer(), EnvelopeOpener()


def _sealed_object(plain: bytes) -> bytes:
    target = io.BytesIO()
    seal_object(KEYRING, io.BytesIO(plain), target, **PLACE)
    return target.getvalue()


ENVELOPE = SEALER.seal(KEY, ADDRESS, {"text": "Dear Ada"})
VERSIONED = RowAddress("tenant-1", "documents", "default", b"7", 3)
VERSIONED_ENVELOPE = SEALER.seal(KEY, VERSIONED, {"text": "Dear Ada"})
OBJECT = _sealed_object(b"Dear Ada")
FILES_KEY = KEYRING.current("tenant-1", DataKeyClass.FILES)
FILE = FilePlace("tenant-1", "documents")
TOKEN = wrap_file_key(FILES_KEY, bytes(32), FILE).encode()
CRYPTO_METADATA = bytes.fromhex("1c1c2801610000") + b"\x18\x03key" + b"\0"
FOOTER = bytes.fromhex("491c192c8c1c0000008c1c000000" + "0000")


PARQUET = SealedParquet(KEYRING, owner="tenant-1", dataset="documents")
TABLE = pa.table({"text": ["Dear Ada", None], "number": [1, 2]})


def _parquet_file() -> bytes:
    sink = io.BytesIO()
    PARQUET.write(TABLE, sink)
    return sink.getvalue()


PARQUET_FILE = _parquet_file()


def fuzz_envelope(data: bytes) -> None:
    """Bytes in the column: only the envelope itself opens."""
    try:
        key_id = envelope_key_id(data)
        opened = OPENER.open(KEY, ADDRESS, data)
    except EnvelopeError:
        assert data != ENVELOPE
    else:
        assert key_id == KEY.key_id
        assert opened == {"text": "Dear Ada"}
        assert data == ENVELOPE


def fuzz_versioned_envelope(data: bytes) -> None:
    """Bytes in the column of a versioned table: only the envelope of this version opens."""
    try:
        opened = OPENER.open(KEY, VERSIONED, data)
    except EnvelopeError:
        assert data != VERSIONED_ENVELOPE
    else:
        assert opened == {"text": "Dear Ada"}
        assert data == VERSIONED_ENVELOPE


def fuzz_row_version(data: bytes) -> None:
    """An authentic envelope of a versioned table around any bytes: fields, or a named error."""
    envelope = SEALER.seal_payload(KEY, VERSIONED.associated_data(), data)
    try:
        again = encode_payload(OPENER.open(KEY, VERSIONED, envelope))
    except (EnvelopeError, PayloadError):
        return
    assert data.startswith((3).to_bytes(8, "big"))
    assert again == encode_payload(decode_payload(data[8:]))


def fuzz_values(data: bytes) -> None:
    """A file of values for the index planner: its values, or a named error."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for column in (None, "email"):
            try:
                values = list(values_of_file(Path(file.name), column))
            except WrongInputError:
                continue
            assert all(value is None or (value and type(value) is str) for value in values)


def fuzz_payload(data: bytes) -> None:
    """An authentic envelope around any bytes: fields, or a named error; fields can be resealed."""
    envelope = SEALER.seal_payload(KEY, ADDRESS.associated_data(), data)
    try:
        fields = OPENER.open(KEY, ADDRESS, envelope)
        again = encode_payload(fields)
    except PayloadError:
        return
    # Not compared with ==: a payload may hold numbers that equal nothing, not even themselves.
    assert encode_payload(decode_payload(again)) == again


def fuzz_object(data: bytes) -> None:
    """Bytes in the bucket: only the object itself opens, as a stream and in ranges."""
    results = []
    for read in (
        lambda: b"".join(open_object(KEYRING, io.BytesIO(data), **PLACE)),
        lambda: SealedObject(KEYRING, io.BytesIO(data), **PLACE).read(0, 8),
    ):
        try:
            results.append(read())
        except ObjectError:
            results.append(None)
    assert results == ([b"Dear Ada"] * 2 if data == OBJECT else [None] * 2)


def fuzz_file_key(data: bytes) -> None:
    """Text in a Parquet file's key metadata: only the token itself is unwrapped."""
    try:
        found = unwrap_file_key(FILES_KEY, data.decode("latin-1"), FILE)
    except SealedFileError:
        assert data != TOKEN
    else:
        assert data == TOKEN
        assert found == bytes(32)


def fuzz_footer(data: bytes) -> None:
    """Bytes where a Parquet file's crypto metadata and footer stand: read, or a named error."""
    for refuse in (
        refuse_other_algorithm,
        refuse_clear_columns,
        lambda footer: refuse_added_bytes(footer, 4, 5),
    ):
        try:
            refuse(data)
        except SealedFileError:
            continue


def fuzz_parquet(data: bytes) -> None:
    """A whole Parquet file: only the table that was written is read, or a named error."""
    try:
        found = PARQUET.read(data)
    except SealedFileError:
        assert data != PARQUET_FILE
    else:
        assert found.equals(TABLE)


def fuzz(data: bytes) -> None:
    """The first byte chooses the parser."""
    targets = (
        fuzz_envelope, fuzz_versioned_envelope, fuzz_row_version, fuzz_payload, fuzz_object,
        fuzz_file_key, fuzz_footer, fuzz_parquet, fuzz_values,
    )  # fmt: skip
    targets[data[0] % len(targets) if data else 0](data[1:])


def changed(original: bytes) -> st.SearchStrategy[bytes]:
    """The original with pieces overwritten, cut out and put in."""

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        result = original
        for position, length, piece in edits:
            start = position % (len(result) + 1)
            result = result[:start] + piece + result[start + length :]
        return result

    edit = st.tuples(st.integers(0, 200), st.integers(0, 20), st.binary(max_size=20))
    return st.lists(edit, max_size=3).map(apply)


extensions = st.builds(
    msgspec.msgpack.Ext,
    st.integers(-128, 127),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [
                b"2026-01-01T00:00:00+01:00[Europe/Berlin]",
                b"0001-01-01T00:00:00+14:00[Pacific/Apia]",
                b"9999-12-31T23:59:59-12:00[Europe/Berlin]",
                b"1E+999999999",
                b"2026-02-29",
            ]
        ),
    ),
)
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(),
        st.binary(), extensions,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(), st.integers(0, 9), st.binary()), inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip
payloads = st.one_of(
    st.binary(max_size=100),
    st.dictionaries(st.text(), anything, max_size=3).map(msgspec.msgpack.encode),
    anything.map(msgspec.msgpack.encode).flatmap(changed),
)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=120), changed(ENVELOPE)))
@example(ENVELOPE)
def test_any_bytes_as_envelope(data: bytes) -> None:
    fuzz_envelope(data)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=120), changed(VERSIONED_ENVELOPE)))
@example(VERSIONED_ENVELOPE)
@example(ENVELOPE)
def test_any_bytes_as_versioned_envelope(data: bytes) -> None:
    fuzz_versioned_envelope(data)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=9), payloads.map(lambda each: bytes(7) + b"\x03" + each)))
@example(bytes(7) + b"\x03" + encode_payload({"text": "Dear Ada"}))
@example(bytes(7) + b"\x04" + encode_payload({"text": "Dear Ada"}))
def test_any_bytes_as_row_version(data: bytes) -> None:
    fuzz_row_version(data)


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=60), changed(b'name,email\nAda,ada@example.com\n"B,",\n')))
@example(b"name,email\nAda\n")
@example(b"name,email\nAda,a@example.com,more\n")
@example(b"\xff")
@example(b'name,email\n"Ada')
def test_any_bytes_as_values(data: bytes) -> None:
    fuzz_values(data)


@settings(max_examples=600)
@given(payloads)
@example(b"\x81\xa1a\xd6\xff\xff\xff\xff\xff")
@example(b"\x81\xa1a" + b"\x81\xa1a" * 5000 + b"\xc0")
def test_any_bytes_as_payload(data: bytes) -> None:
    fuzz_payload(data)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=120), changed(OBJECT)))
@example(OBJECT)
def test_any_bytes_as_object(data: bytes) -> None:
    fuzz_object(data)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=120), changed(TOKEN)))
@example(TOKEN)
def test_any_bytes_as_file_key(data: bytes) -> None:
    fuzz_file_key(data)


@settings(max_examples=600)
@given(st.one_of(st.binary(max_size=120), changed(CRYPTO_METADATA), changed(FOOTER)))
@example(CRYPTO_METADATA)
@example(FOOTER)
def test_any_bytes_as_footer(data: bytes) -> None:
    fuzz_footer(data)


@settings(max_examples=400)
@given(st.data())
@example(None)
def test_any_bytes_as_parquet_file(data: st.DataObject | None) -> None:
    if data is None:
        fuzz_parquet(PARQUET_FILE)
        return
    at = data.draw(st.integers(0, len(PARQUET_FILE)))
    gone, put = data.draw(st.integers(0, 30)), data.draw(st.binary(max_size=20))
    fuzz_parquet(PARQUET_FILE[:at] + put + PARQUET_FILE[at + gone :])


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    fuzz(data)


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found]  # only where it is installed

    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
