"""Signed notes, verifier keys, checkpoints and tlog-proofs against their vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import ledger
from assay.core import AssayError
from assay.ledger import (
    Checkpoint,
    Note,
    NoteFormatError,
    NoteSignature,
    NoteSignatureError,
    TextFormError,
    TlogProof,
    VerifierKey,
    VerifierKeyError,
    decode_base64,
    decode_number,
    encode_base64,
    load_verifier_key,
    sign_note,
)


def test_accepted_notes(vectors):
    for case in vectors("signed-note.json")["accepted"]:
        data = case["note"].encode()
        assert VerifierKey.parse(case["key"]).verify_note(data) == case["text"], case["name"]
        assert Note.parse(data).to_bytes() == data


def test_refused_notes(vectors, refused):
    for case in vectors("signed-note.json")["refused"]:
        refused(
            case,
            lambda case=case: VerifierKey.parse(case["key"]).verify_note(case["note"].encode()),
        )


def test_refused_keys(vectors, refused):
    for case in vectors("signed-note.json")["refused_keys"]:
        refused(case, lambda case=case: VerifierKey.parse(case["key"]))


def test_signing_gives_the_note_of_the_vectors(vectors, new_signer):
    data = vectors("signed-note.json")
    signer = new_signer(bytes.fromhex(data["seed"]))
    assert sign_note(data["text"], data["name"], signer) == data["note"].encode()
    assert str(VerifierKey(data["name"], signer.public_key())) == data["key"]


def test_every_one_byte_change_of_a_note_is_refused(vectors):
    data = vectors("signed-note.json")
    key, note = VerifierKey.parse(data["key"]), data["note"].encode()
    for at in range(len(note)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(note)
            changed[at] ^= flip
            with pytest.raises(ledger.NoteError):
                key.verify_note(bytes(changed))


def test_a_note_is_not_signed_with_a_text_that_it_cannot_hold(signer):
    for text in ("", "no line break", "tab\t\n"):
        with pytest.raises(NoteFormatError):
            sign_note(text, "example.com/log", signer)
    assert sign_note("\n", "example.com/log", signer)


def test_a_signer_that_lies_or_fails_gives_no_note(signer):
    signer.lies = True
    with pytest.raises(NoteSignatureError):
        sign_note("text\n", "example.com/log", signer)
    signer.broken = True
    with pytest.raises(AssayError, match="token is gone"):
        sign_note("text\n", "example.com/log", signer)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", "a\ud800", "\x00"])
def test_names_that_no_note_can_carry(name):
    with pytest.raises(VerifierKeyError):
        VerifierKey(name, bytes(32))


def test_a_key_of_another_length():
    with pytest.raises(VerifierKeyError, match="32 bytes, found 31"):
        VerifierKey("name", bytes(31))


@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])),
    st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(min_size=1)), min_size=1),
)
def test_notes_read_as_they_were_written(text, signatures):
    lines = tuple(NoteSignature("example.com/key", *one) for one in signatures)
    note = Note(text + "\n", lines)
    assert Note.parse(note.to_bytes()) == note


def test_key_files(tmp_path, vectors):
    text = vectors("signed-note.json")["key"]
    key = VerifierKey.parse(text)
    path = tmp_path / "log.vkey"
    for content in (text, f"{text}\n"):
        path.write_text(content)
        assert load_verifier_key(str(path)) == load_verifier_key(text) == key
    for content in (b"", f"{text}\n\n".encode(), f"{text} \n".encode(), b"\xff", bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(VerifierKeyError):
            load_verifier_key(str(path))
    for nothing in (str(tmp_path / "missing"), str(tmp_path), "", "a\0b"):
        with pytest.raises(VerifierKeyError, match="no such file"):
            load_verifier_key(nothing)


def test_accepted_checkpoints(vectors):
    data = vectors("checkpoint.json")
    key = VerifierKey.parse(data["key"])
    for case in data["accepted"]:
        checkpoint = Checkpoint.verify(case["note"].encode(), key)
        assert checkpoint.origin == key.name
        assert checkpoint.size == case["size"], case["name"]
        assert checkpoint.root.hex() == case["root"]
        assert list(checkpoint.extensions) == case["extensions"]
        assert Checkpoint.parse(checkpoint.text) == checkpoint


def test_refused_checkpoints(vectors, refused):
    data = vectors("checkpoint.json")
    for case in data["refused"]:
        refused(
            case,
            lambda case=case: Checkpoint.verify(
                case["note"].encode(), VerifierKey.parse(data["key"])
            ),
        )


def test_accepted_proofs(vectors):
    data = vectors("tlog-proof.json")
    for case in data["accepted"]:
        proof = TlogProof.parse(case["proof"])
        assert proof.text == case["proof"], case["name"]
        assert proof.index == case["index"]
        key = VerifierKey.parse(data["key"])
        assert proof.verify(bytes.fromhex(case["entry"]), key).size == case["size"]


def test_refused_proofs(vectors, refused):
    data = vectors("tlog-proof.json")
    key = VerifierKey.parse(data["key"])
    for case in data["refused"]:
        refused(
            case,
            lambda case=case: TlogProof.parse(case["proof"]).verify(
                bytes.fromhex(case["entry"]), key
            ),
        )


def test_every_one_character_change_of_a_proof_is_refused(vectors):
    data = vectors("tlog-proof.json")
    key, case = VerifierKey.parse(data["key"]), data["accepted"][0]
    text, entry = case["proof"], bytes.fromhex(case["entry"])
    for at, char in enumerate(text):
        changed = text[:at] + chr(ord(char) ^ 1) + text[at + 1 :]
        with pytest.raises(ledger.LedgerError):
            TlogProof.parse(changed).verify(entry, key)


@given(st.binary())
def test_base64_reads_as_it_was_written(data):
    assert decode_base64(encode_base64(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AB==", "AA==\n", " AA==", "AA== ", "__==", "é"]
)
def test_base64_has_one_spelling(text):
    with pytest.raises(TextFormError):
        decode_base64(text)


@given(st.integers(0, 2**63 - 1))
def test_numbers_read_as_they_were_written(number):
    assert decode_number(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-1", "+1", " 1", "1_0", "٣", str(2**63), "1" * 99]
)
def test_numbers_have_one_spelling(text):
    with pytest.raises(TextFormError):
        decode_number(text)
