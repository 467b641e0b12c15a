"""A second implementation, written from the specifications alone, agrees on every vector and beyond."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import (
    blind_index,
    data_key,
    parquet_file,
    payload,
    row_envelope,
    sealed_object,
)
from tests.reference.notation import Refused, derived_key, key_id, xaes_seal
from tests.vectors.object_changes import changed_file, changed_object

import assay.encryption.objects as objects_module
from assay.core import DataKeyClass
from assay.encryption import (
    EncryptionError,
    EnvelopeOpener,
    EnvelopeSealer,
    RowAddress,
    SealedObject,
    decode_payload,
    encode_payload,
    open_object,
    seal_object,
)
from assay.keys import DataKey, UnknownDataKeyError, data_key_id


def test_it_imports_nothing_of_the_package(repository: Path) -> None:
    files = sorted((repository / "tests" / "reference").glob("*.py"))
    assert len(files) == 8
    for file in files:
        assert not re.search(r"^\s*(from|import) assay", file.read_text("utf-8"), re.MULTILINE), (
            file
        )


def refused(work: Callable[[], object]) -> str:
    """By which name the reference refuses."""
    with pytest.raises(Refused) as raised:
        work()
    return raised.value.name


def raw(case: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(case[name])


def test_xaes(vectors) -> None:
    for case in vectors("xaes-256-gcm")["cases"]:
        key, nonce = raw(case, "key"), raw(case, "nonce")
        assert derived_key(key, nonce) == raw(case, "derived_key")
        sealed = xaes_seal(key, nonce, raw(case, "plaintext"), raw(case, "associated_data"))
        assert sealed == raw(case, "ciphertext")


def row_place(case: dict[str, Any]) -> row_envelope.Place:
    return case["owner"], case["table"], case["group"], row_envelope.row_id(case["primary_key"])


def test_row_envelopes(vectors) -> None:
    file = vectors("row-envelope")
    keys = {each["owner"]: raw(each, "material") for each in file["keys"]}
    assert all(key_id(raw(each, "material")) == raw(each, "key_id") for each in file["keys"])
    for number, case in enumerate(file["cases"]):
        place, envelope = row_place(case), raw(case, "envelope")
        assert place[3] == raw(case, "row_id")
        assert row_envelope.associated_data(place, versioned=False) == raw(case, "associated_data")
        assert payload.encode(case["fields"], padded=case["padded"]) == raw(case, "payload")
        key, nonce = keys[case["owner"]], raw(file, "segment") + number.to_bytes(12, "big")
        sealed = row_envelope.seal(key, place, case["fields"], nonce, padded=case["padded"])
        assert sealed == envelope, case["name"]
        assert row_envelope.open_envelope(key, place, envelope) == case["fields"], case["name"]
    for case in file["unwritable"]:
        place = ("tenant-1", "documents", "default", b"7")
        name = refused(
            lambda case=case, place=place: (
                row_envelope.row_id(case["primary_key"])
                if "primary_key" in case
                else row_envelope.seal(bytes(32), place, {}, bytes(24), version=case["version"])
            )
        )
        assert name == case["error"], case["name"]
    for case in file["refused"]:
        whole = {**file["cases"][0], **case}
        name = refused(
            lambda whole=whole: row_envelope.open_envelope(
                keys[whole["owner"]], row_place(whole), raw(whole, "envelope")
            )
        )
        assert name == case["error"], case["name"]


def test_versioned_row_envelopes(vectors) -> None:
    file = vectors("row-envelope")
    versioned, key = file["versioned"], raw(file["keys"][0], "material")
    place = row_place(versioned["place"])
    for number, case in enumerate(versioned["cases"]):
        nonce, version = raw(versioned, "segment") + number.to_bytes(12, "big"), case["version"]
        sealed = row_envelope.seal(key, place, case["fields"], nonce, version=version)
        assert sealed == raw(case, "envelope")
        opened = row_envelope.open_envelope(key, place, sealed, version=version, versioned=True)
        assert opened == case["fields"]
    for case in versioned["refused"]:
        version = case["version"]
        name = refused(
            lambda case=case, version=version: row_envelope.open_envelope(
                key, place, raw(case, "envelope"), version=version, versioned=version is not None
            )
        )
        assert name == case["error"], case["name"]


def test_blind_indexes(vectors) -> None:
    file = vectors("blind-index")
    key, version = raw(file["key"], "material"), file["key"]["version"]
    place = (file["owner"], file["table"], file["field"])
    for case in file["cases"]:
        found = blind_index.compute(
            key, version, place, case["value"], (case["transform"], case["bits"])
        )
        assert (found and found.hex()) == case["index"], case["name"]
    for case in file["ngrams"]:
        kind = (case["transform"], case["size"], case["bits"])
        found = blind_index.ngrams(key, version, place, case["value"], kind)
        assert (found and found.hex()) == case["index"], case["name"]
    for case in file["buckets"]:
        number = blind_index.bucket(case["transform"], case["value"])
        assert number == case["bucket"], case["name"]
        hashed = blind_index.truncated(
            key, place, case["transform"], case["bits"], str(number).encode()
        )
        assert "01" + f"{version:04x}" + hashed.hex() == case["index"], case["name"]
    for case in file["refused"]:
        name = refused(
            lambda case=case: blind_index.compute(
                key, version, place, case["value"], (case["transform"], case["bits"])
            )
        )
        assert name == case["error"], case["name"]


def test_data_keys_and_file_keys(vectors) -> None:
    file = vectors("data-keys")
    for case in file["accepted"]:
        kek, plain, context = raw(case, "kek"), raw(case, "data_key"), case["context"]
        assert data_key.wrap(kek, raw(case, "nonce"), plain, context) == raw(case, "wrapped")
        assert data_key.unwrap(kek, raw(case, "wrapped"), context) == plain
        assert key_id(plain) == raw(case, "key_id")
    for case in file["refused"]:
        name = refused(
            lambda case=case: data_key.unwrap(
                raw(case, "kek"), raw(case, "wrapped"), case["context"]
            )
        )
        assert name == case["error"], case["name"]
    file = vectors("service-wrapped-keys")
    for case in file["accepted"]:
        assert data_key.split(raw(case, "wrapped")) == (case["kek"], raw(case, "ciphertext"))
    for case in file["refused"]:
        name = refused(lambda case=case: data_key.split(raw(case, "wrapped")))
        assert name == case["error"], case["name"]
    file = vectors("file-key")
    keys = {each["owner"]: raw(each, "material") for each in file["keys"]}
    for case in file["cases"]:
        place, token = (case["owner"], case["dataset"], case["file"]), case["token"]
        key = keys[case["owner"]]
        assert data_key.file_associated_data(place) == raw(case, "associated_data")
        opened = data_key.unwrap_file_key(key, case["master_key_id"], token, place)
        assert opened == raw(case, "file_key")
        nonce = data_key.base64.b64decode(token)[2:26]
        assert data_key.wrap_file_key(key, opened, place, nonce) == token
    for case in file["refused"]:
        whole = {**file["cases"][0], **case}
        place = (whole["owner"], whole["dataset"], whole["file"])
        name = refused(
            lambda whole=whole, place=place: data_key.unwrap_file_key(
                keys[whole["owner"]], whole["master_key_id"], whole["token"], place
            )
        )
        assert name == case["error"], case["name"]


def test_sealed_objects(vectors) -> None:
    file = vectors("sealed-object")
    key, position, objects = raw(file["key"], "material"), 0, {}
    for case in file["cases"]:
        position += 19
        r = hashlib.shake_128(b"assay vectors objects").digest(position)[-19:]
        place = (case["owner"], case["bucket"], case["key"])
        plain = (bytes(range(251)) * (case["size"] // 251 + 1))[: case["size"]]
        sealed = objects[case["size"]] = sealed_object.seal(key, place, plain, r)
        assert (len(sealed), sealed[:42]) == (case["length"], raw(case, "header"))
        assert hashlib.sha256(sealed).hexdigest() == case["sha256"]
        assert sealed_object.open_object(key, place, sealed) == plain
        assert sealed_object.read_range(key, place, sealed, 0, len(plain), seal_id=r) == plain
    originals = {case["size"]: case for case in file["cases"]}

    def seal_chunk(header: bytes, number: int, plain: bytes, last: bool) -> bytes:
        associated = sealed_object.associated_data(("tenant-1", "uploads", f"objects/{2**20}"))
        nonce = sealed_object.chunk_nonce(header[18:37], number, last=last)
        return xaes_seal(key, nonce, plain, associated)

    def read(case: dict[str, Any]) -> bytes:
        whole = {**originals[case["of"]], **case}
        place = (whole["owner"], whole["bucket"], whole["key"])
        # Each owner has one key: that of another is none of the vectors'.
        owners = key if whole["owner"] == "tenant-1" else bytes(32)
        sealed = changed_object(objects[case["of"]], case, seal_chunk)
        if "start" not in case:
            return sealed_object.open_object(owners, place, sealed)
        seal_id = raw(case, "seal_id") if "seal_id" in case else None
        return sealed_object.read_range(
            owners, place, sealed, case["start"], case["length"], seal_id=seal_id
        )

    for case in file["ranges"]:
        assert hashlib.sha256(read(case)).hexdigest() == case["sha256"]
    for case in [*file["refused"], *file["refused_ranges"]]:
        assert refused(lambda case=case: read(case)) == case["error"], case["name"]


def test_a_parquet_file(vectors) -> None:
    case = vectors("parquet-file")
    keys = {each["owner"]: raw(each, "material") for each in case["keys"]}
    data = data_key.base64.b64decode(case["bytes"])

    def read(data: bytes, **other: str) -> parquet_file.OpenedFile:
        whole = {**case, **other}
        place = (whole["owner"], whole["dataset"], whole["file"])
        seal_id = raw(whole, "seal_id")
        shape = (case["row_groups"], len(case["table"]))
        return parquet_file.open_file(keys[whole["owner"]], data, place, *shape, seal_id=seal_id)

    opened = read(data)
    assert opened.file_key == raw(case, "file_key")
    assert [hashlib.sha256(page).hexdigest() for page in opened.pages] == case["pages"]
    assert b"Dear Ada" in opened.pages[0]
    assert b"Dear Ada" not in data
    for change in case["refused"]:
        other = {name: change[name] for name in change if name in case}
        name = refused(lambda change=change, other=other: read(changed_file(data, change), **other))
        assert name == change["error"], change["name"]


# Beyond the vectors: whatever bytes come, both say the same.

KEY = DataKey("north", DataKeyClass.ROWS, 1, data_key_id(bytes(32)), bytes(32))
PLACE = ("north", "documents", "default", b"7")
ADDRESS = RowAddress(*PLACE)
VERSIONED = RowAddress(*PLACE, 5)
ENVELOPE = EnvelopeSealer().seal(KEY, ADDRESS, {"text": "Dear Ada"})
VERSIONED_ENVELOPE = EnvelopeSealer().seal(KEY, VERSIONED, {"text": "Dear Ada"})


def outcome(work: Callable[[], object]) -> object:
    """What it gives, or the name by which it refuses."""
    try:
        return work()
    except Refused as exc:
        return exc.name
    except EncryptionError as exc:
        return type(exc).__name__


def edited(original: bytes) -> st.SearchStrategy[bytes]:
    """The original with a piece overwritten, cut out or put in."""
    edit = st.tuples(st.integers(0, len(original)), st.integers(0, 20), st.binary(max_size=20))
    return edit.map(lambda edit: original[: edit[0]] + edit[2] + original[edit[0] + edit[1] :])


@settings(max_examples=300)
@given(st.one_of(edited(ENVELOPE), edited(VERSIONED_ENVELOPE), st.binary(max_size=80)),
       st.sampled_from([None, 5, 4, "5"]))  # fmt: skip
def test_both_refuse_the_same_envelopes(data: bytes, version: Any) -> None:
    ours, opener = ADDRESS if version is None else VERSIONED, EnvelopeOpener()
    if version is None:
        found = outcome(lambda: opener.open(KEY, ADDRESS, data) and "opened")
    else:
        found = outcome(
            lambda: opener.open_versioned_payload(KEY, ours, version, data) and "opened"
        )
    expected = outcome(
        lambda: (
            row_envelope.open_envelope(
                KEY.material, PLACE, data, version=version, versioned=version is not None
            )
            and "opened"
        )
    )
    assert found == expected


@settings(max_examples=300)
@given(data=st.data())
def test_both_read_the_same_payloads(generator, data: Any) -> None:
    """Valid ones, near misses, and any bytes."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.binary()
        | st.floats(allow_nan=False) | st.uuids() | st.decimals(allow_nan=False) | st.dates()
        | st.times() | st.datetimes(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )  # fmt: skip
    fields = data.draw(st.dictionaries(st.text(min_size=1), values, max_size=4))
    padded = data.draw(st.booleans())
    written = encode_payload(fields, padded=padded)
    typed = {name: generator.to_typed(value) for name, value in fields.items()}
    assert payload.encode(typed, padded=padded) == written
    assert payload.decode(written) == typed
    near = data.draw(edited(written))
    found = outcome(lambda: {n: generator.to_typed(v) for n, v in decode_payload(near).items()})
    assert outcome(lambda: payload.decode(near)) == found or not _comparable(near)


def _comparable(data: bytes) -> bool:
    """Not what the specification leaves open, nor numbers that equal nothing."""
    try:
        found = repr(payload.decode(data))
    except Refused:
        return True
    return not re.search(r"nan|NaN|'extension'|'map of other keys'", found)


class OneKey:
    """A keyring with one data key of objects."""

    def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
        return DataKey(owner, key_class, 1, data_key_id(bytes(32)), bytes(32))

    def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
        key = self.current(owner, key_class)
        if key.key_id != key_id:
            raise UnknownDataKeyError("expected another id")
        return key


OBJECT_PLACE = ("north", "uploads", "a")


@settings(max_examples=200)
@given(st.binary(max_size=70), st.data())
def test_both_refuse_the_same_objects(plain: bytes, data: Any) -> None:
    place = dict(zip(("owner", "bucket", "key"), OBJECT_PLACE, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        for module in (objects_module, sealed_object):
            chunk, sealed_chunk = ("CHUNK_BYTES", "_SEALED_CHUNK_BYTES") if module is objects_module else ("CHUNK", "SEALED")  # fmt: skip
            patch.setattr(module, chunk, 16)
            patch.setattr(module, sealed_chunk, 32)
        target = io.BytesIO()
        seal_object(OneKey(), io.BytesIO(plain), target, **place)
        sealed = target.getvalue()
        assert sealed_object.seal(bytes(32), OBJECT_PLACE, plain, sealed[18:37]) == sealed
        near = data.draw(st.one_of(edited(sealed), st.just(sealed)))
        start, length = data.draw(st.tuples(st.integers(-1, 80), st.integers(-1, 80)))
        found = outcome(lambda: b"".join(open_object(OneKey(), io.BytesIO(near), **place)))
        assert found == outcome(lambda: sealed_object.open_object(bytes(32), OBJECT_PLACE, near))
        found = outcome(
            lambda: SealedObject(OneKey(), io.BytesIO(near), **place).read(start, length)
        )
        assert found == outcome(
            lambda: sealed_object.read_range(bytes(32), OBJECT_PLACE, near, start, length)
        )
