"""The published vectors: what is sealed, and what is refused by which name."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from tests.vectors.object_changes import SealChunk, changed_file, changed_object

import assay.encryption as room
import assay.encryption.objects as objects_module
from assay.core import DataKeyClass
from assay.encryption import (
    BlindIndex,
    EnvelopeOpener,
    EnvelopeSealer,
    FileKeys,
    FilePlace,
    RowAddress,
    SealedObject,
    WrongKeyError,
    casefold,
    decode_payload,
    digits,
    encode_payload,
    encode_row_id,
    envelope_key_id,
    exact,
    open_object,
    seal_object,
    wrap_file_key,
)
from assay.encryption.bucket_index import Buckets
from assay.encryption.index_kinds import prefix_of
from assay.encryption.ngram_index import Ngram
from assay.encryption.pyarrow import SealedParquet
from assay.keys import DataKey, data_key_id

TRANSFORMS = {
    each.name: each
    for each in (
        casefold,
        digits,
        exact,
        prefix_of(casefold, 3),
        prefix_of(exact, 2),
        prefix_of(exact, 3),
    )
}

READ: dict[type, Callable[[str], Any]] = {
    int: int,
    Decimal: lambda text: Decimal(float(Fraction(text))),
    date: date.fromisoformat,
    datetime: datetime.fromisoformat,
}
"""Boundaries of buckets from the names of their transforms."""


def test_the_files_are_what_the_generator_writes(generator) -> None:
    for name in generator.VECTORS:
        assert (generator.FOLDER / name).read_text(encoding="utf-8") == generator.render(name), name


def _row_keys(file) -> dict[str, DataKey]:
    keys = {}
    for each in file["keys"]:
        material = bytes.fromhex(each["material"])
        assert data_key_id(material).hex() == each["key_id"]
        keys[each["owner"]] = DataKey(
            each["owner"], DataKeyClass.ROWS, 1, data_key_id(material), material
        )
    return keys


def test_row_envelopes(generator, vectors) -> None:
    file = vectors("row-envelope")
    key = _row_keys(file)["tenant-1"]
    segment = bytes.fromhex(file["segment"])
    sealer, opener = EnvelopeSealer(random=lambda _: segment), EnvelopeOpener()
    assert len(file["cases"]) >= 10
    for case in file["cases"]:
        fields = {name: generator.from_typed(value) for name, value in case["fields"].items()}
        row_id = encode_row_id(*(generator.from_typed(value) for value in case["primary_key"]))
        address = RowAddress(case["owner"], case["table"], case["group"], row_id)
        assert row_id.hex() == case["row_id"], case["name"]
        assert address.associated_data().hex() == case["associated_data"], case["name"]
        assert encode_payload(fields, padded=case["padded"]).hex() == case["payload"], case["name"]
        assert decode_payload(bytes.fromhex(case["payload"])) == fields, case["name"]
        envelope = bytes.fromhex(case["envelope"])
        assert sealer.seal(key, address, fields, padded=case["padded"]) == envelope, case["name"]
        assert opener.open(key, address, envelope) == fields, case["name"]


def _open(opener: EnvelopeOpener, key: DataKey, case, primary_key) -> dict[str, object]:
    row_id = encode_row_id(*primary_key)
    address = RowAddress(case["owner"], case["table"], case["group"], row_id)
    return opener.open(key, address, bytes.fromhex(case["envelope"]))


@pytest.mark.parametrize("known", [False, True], ids=["first", "after-the-good-one"])
def test_refused_row_envelopes(generator, vectors, known: bool) -> None:
    """An opener that has derived the key of the segment before is not more lenient."""
    file = vectors("row-envelope")
    keys, opener = _row_keys(file), EnvelopeOpener()
    good = file["cases"][0]
    if known:
        place = [generator.from_typed(each) for each in good["primary_key"]]
        _open(opener, keys["tenant-1"], good, place)
    assert len(file["refused"]) >= 46
    for case in file["refused"]:
        whole = {**good, **case}
        key = [generator.from_typed(value) for value in whole["primary_key"]]
        with pytest.raises(room.EncryptionError) as raised:
            _open(opener, keys[whole["owner"]], whole, key)
        assert type(raised.value).__name__ == case["error"], case["name"]
    address = RowAddress("tenant-1", good["table"], good["group"], bytes.fromhex(good["row_id"]))
    assert opener.open(keys["tenant-1"], address, bytes.fromhex(good["envelope"]))


def test_rows_that_cannot_be_written(generator, vectors) -> None:
    file = vectors("row-envelope")
    key, found = _row_keys(file)["tenant-1"], []
    for case in file["unwritable"]:
        row, version = (
            case.get("primary_key", [{"type": "integer", "value": "7"}]),
            case.get("version"),
        )

        def write(row=row, version=version) -> None:
            row_id = encode_row_id(*(generator.from_typed(each) for each in row))
            address = RowAddress("tenant-1", "documents", "default", row_id, version)
            EnvelopeSealer().seal(key, address, {})

        with pytest.raises(room.EncryptionError) as raised:
            write()
        assert type(raised.value).__name__ == case["error"], case["name"]
        found.append(case["error"])
    assert {error: found.count(error) for error in found} == {"RowIdError": 6, "RowVersionError": 3}


def test_versioned_row_envelopes(generator, vectors) -> None:
    file = vectors("row-envelope")
    key, versioned = _row_keys(file)["tenant-1"], file["versioned"]
    segment, place = bytes.fromhex(versioned["segment"]), versioned["place"]
    sealer, opener = EnvelopeSealer(random=lambda _: segment), EnvelopeOpener()
    row_id = encode_row_id(*(generator.from_typed(value) for value in place["primary_key"]))

    def address(version: int | None) -> RowAddress:
        return RowAddress(place["owner"], place["table"], place["group"], row_id, version)

    assert len(versioned["cases"]) >= 3
    for case in versioned["cases"]:
        here, envelope = address(case["version"]), bytes.fromhex(case["envelope"])
        fields = {name: generator.from_typed(value) for name, value in case["fields"].items()}
        assert here.associated_data().hex() == case["associated_data"]
        stamped = bytes.fromhex(case["sealed_payload"])
        assert stamped == case["version"].to_bytes(8, "big") + encode_payload(fields)
        assert opener.open_payload(key, here.associated_data(), envelope) == stamped
        assert sealer.seal(key, here, fields) == envelope
        assert opener.open(key, here, envelope) == fields
    assert len(versioned["refused"]) >= 7
    for case in versioned["refused"]:
        with pytest.raises(room.EncryptionError) as raised:
            opener.open(key, address(case["version"]), bytes.fromhex(case["envelope"]))
        assert type(raised.value).__name__ == case["error"], case["name"]


def test_an_envelope_names_its_key(vectors) -> None:
    file = vectors("row-envelope")
    for case in file["cases"]:
        assert envelope_key_id(bytes.fromhex(case["envelope"])).hex() == file["keys"][0]["key_id"]
    with pytest.raises(WrongKeyError):
        EnvelopeOpener().open(
            _row_keys(file)["tenant-2"],
            RowAddress("tenant-2", "documents", "default", b""),
            bytes.fromhex(file["cases"][0]["envelope"]),
        )


def test_blind_indexes(generator, vectors) -> None:
    file = vectors("blind-index")
    material = bytes.fromhex(file["key"]["material"])
    key = DataKey(file["owner"], DataKeyClass.INDEXES, 1, data_key_id(material), material)
    found = {}
    for case in file["cases"]:
        transform, value = TRANSFORMS[case["transform"]], generator.from_typed(case["value"])
        index = BlindIndex(file["table"], file["field"], transform, case["bits"]).compute(
            key, value
        )
        found[case["name"]] = index
        if value is None:
            assert index is None
            continue
        assert transform(value).hex() == case["normalised"], case["name"]
        assert index is not None
        assert index.hex() == case["index"], case["name"]
        assert len(index) == 3 + (case["bits"] + 7) // 8
    assert found["casefold"] == found["casefold-same"]
    assert found["casefold-composed"] == found["casefold-decomposed"]
    assert found["exact-composed"] != found["exact-decomposed"]
    assert found["digits"] == found["digits-arabic-indic"]
    assert found["casefold"] != found["exact-text"]
    assert found["256-bits"].startswith(found["casefold"])
    assert found["prefix"] == found["prefix-same"] != found["prefix-of-short-text"]
    for case in file["refused"]:
        with pytest.raises(room.EncryptionError) as raised:
            BlindIndex("documents", "f", TRANSFORMS[case["transform"]], case["bits"]).compute(
                key, generator.from_typed(case["value"])
            )
        assert type(raised.value).__name__ == case["error"], case["name"]


def test_ngrams_and_buckets(generator, vectors) -> None:
    file = vectors("blind-index")
    material = bytes.fromhex(file["key"]["material"])
    key = DataKey(file["owner"], DataKeyClass.INDEXES, 1, data_key_id(material), material)
    for case in file["ngrams"]:
        kind = Ngram(TRANSFORMS[case["transform"]], case["size"], case["bits"])
        (index,) = kind.columns(file["table"], file["field"]).values()
        assert bytes(index.compute(key, case["value"]) or b"").hex() == (case["index"] or "")
        size, raw = case["bits"] // 8, bytes.fromhex(case["index"] or "010001")
        hashes = [raw[at : at + size] for at in range(3, len(raw), size)]
        assert hashes == sorted(set(hashes)), case["name"]
    for case in file["buckets"]:
        scheme, text = case["transform"].removeprefix("buckets/").split("/", 1)
        value = generator.from_typed(case["value"])
        if scheme == "boundaries":
            kind = Buckets(boundaries=tuple(READ[type(value)](each) for each in text.split(",")))
        elif text.endswith("us"):
            kind = Buckets(width=timedelta(microseconds=int(text[:-2])))
        else:
            whole, _, parts = text.partition("/")
            kind = Buckets(
                width=type(value)(whole) / type(value)(parts or 1) if parts else int(whole)
            )
        assert kind.number(value) == case["bucket"], case["name"]
        (index,) = kind.columns(file["table"], file["field"]).values()
        assert index.transform.name == case["transform"]
        assert index.compute(key, value).hex() == case["index"], case["name"]


@pytest.fixture(scope="module")
def objects(generator, vectors) -> dict[int, bytes]:
    """The sealed objects of the vectors by size, made anew and compared."""
    random, made = generator.stream("assay vectors objects"), {}
    for case in vectors("sealed-object")["cases"]:
        target = io.BytesIO()
        source = io.BytesIO(generator.plaintext_of(case["size"]))
        place = {name: case[name] for name in ("owner", "bucket", "key")}
        assert seal_object(generator.FixedKeys(), source, target, **place, random=random) == len(
            target.getvalue()
        )
        sealed = made[case["size"]] = target.getvalue()
        assert len(sealed) == case["length"]
        assert sealed[:42].hex() == case["header"]
        assert hashlib.sha256(sealed).hexdigest() == case["sha256"]
        assert case.get("object", sealed.hex()) == sealed.hex()
    return made


def test_sealed_objects(generator, vectors, objects) -> None:
    for case in vectors("sealed-object")["cases"]:
        place = {name: case[name] for name in ("owner", "bucket", "key")}
        pieces = open_object(generator.FixedKeys(), io.BytesIO(objects[case["size"]]), **place)
        assert b"".join(pieces) == generator.plaintext_of(case["size"])


def _seal_chunk(generator) -> SealChunk:
    key = generator.key_of("tenant-1", DataKeyClass.OBJECTS)
    names = {"owner": "tenant-1", "bucket": "uploads", "key": f"objects/{2**20}"}
    associated = objects_module._associated_data(**names)
    return lambda header, number, plain, last: objects_module._Chunks(key, header, associated).seal(
        number, plain, last=last
    )


def _place(case, original) -> dict[str, str]:
    return {name: case.get(name, original[name]) for name in ("owner", "bucket", "key")}


def test_refused_objects(generator, vectors, objects) -> None:
    file = vectors("sealed-object")
    originals = {case["size"]: case for case in file["cases"]}
    assert len(file["refused"]) >= 24
    for case in file["refused"]:
        place = _place(case, originals[case["of"]])
        changed = changed_object(objects[case["of"]], case, _seal_chunk(generator))
        with pytest.raises(room.EncryptionError) as raised:
            list(open_object(generator.FixedKeys(), io.BytesIO(changed), **place))
        assert type(raised.value).__name__ == case["error"], case["name"]
        with pytest.raises(room.EncryptionError):  # by which name: see the refused ranges
            SealedObject(generator.FixedKeys(), io.BytesIO(changed), **place).read(0, 1 << 30)


def test_ranges_of_objects(generator, vectors, objects) -> None:
    file = vectors("sealed-object")
    originals = {case["size"]: case for case in file["cases"]}
    assert len(file["ranges"]) >= 8
    for case in file["ranges"]:
        place = _place(case, originals[case["of"]])
        sealed = objects[case["of"]]
        opened = SealedObject(
            generator.FixedKeys(), io.BytesIO(sealed), **place, seal_id=sealed[18:37]
        )
        found = opened.read(case["start"], case["length"])
        assert len(found) == case["length"]
        assert hashlib.sha256(found).hexdigest() == case["sha256"]
    assert len(file["refused_ranges"]) >= 14
    for case in file["refused_ranges"]:
        place = _place(case, originals[case["of"]])
        seal_id = bytes.fromhex(case["seal_id"]) if "seal_id" in case else None
        changed = changed_object(objects[case["of"]], case, _seal_chunk(generator))
        with pytest.raises(room.EncryptionError) as raised:
            SealedObject(generator.FixedKeys(), io.BytesIO(changed), **place, seal_id=seal_id).read(
                case["start"], case["length"]
            )
        assert type(raised.value).__name__ == case["error"], case["name"]


def test_file_keys(generator, vectors) -> None:
    random = generator.stream("assay vectors file keys")
    for case in vectors("file-key")["cases"]:
        place = FilePlace(case["owner"], case["dataset"], case["file"])
        key = generator.key_of(case["owner"], DataKeyClass.FILES)
        assert place.associated_data().hex() == case["associated_data"], case["name"]
        token = wrap_file_key(key, bytes.fromhex(case["file_key"]), place, random=random)
        assert token == case["token"], case["name"]
        keys = FileKeys(generator.FixedKeys(), place)
        assert keys.unwrap(token, case["master_key_id"]).hex() == case["file_key"], case["name"]


def test_refused_file_keys(generator, vectors) -> None:
    file = vectors("file-key")
    assert len(file["refused"]) >= 15
    for change in file["refused"]:
        case = {**file["cases"][0], **change}
        keys = FileKeys(
            generator.FixedKeys(), FilePlace(case["owner"], case["dataset"], case["file"])
        )
        with pytest.raises(room.EncryptionError) as raised:
            keys.unwrap(case["token"], case["master_key_id"])
        assert type(raised.value).__name__ == case["error"], case["name"]


def test_a_parquet_file(generator, vectors) -> None:
    case = vectors("parquet-file")
    data = base64.b64decode(case["bytes"])

    def files(**place: str) -> SealedParquet:
        named = {name: place.get(name, case[name]) for name in ("owner", "dataset", "file")}
        return SealedParquet(generator.FixedKeys(), **named)

    seal_id = bytes.fromhex(case["seal_id"])
    assert files().read(data, seal_id=seal_id).to_pydict() == case["table"]
    assert files().file_key(data).hex() == case["file_key"]
    assert len(case["refused"]) >= 23
    for refused in case["refused"]:
        changed = changed_file(data, refused)
        place = {name: refused[name] for name in ("owner", "dataset", "file") if name in refused}
        wanted = bytes.fromhex(refused.get("seal_id", case["seal_id"]))
        for read in (
            lambda files, data, seal_id: files.read(data, seal_id=seal_id),
            lambda files, data, seal_id: list(files.read_batches(data, seal_id=seal_id)),
        ):
            with pytest.raises(room.EncryptionError) as raised:
                read(files(**place), changed, wanted)
            assert type(raised.value).__name__ == refused["error"], refused["name"]
