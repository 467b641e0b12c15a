"""Parsers of the ledger: any bytes give a value or one of the room's named errors.

Each target also asserts that what was accepted is written back as the same bytes: one spelling.
With atheris installed: ``python tests/fuzz/test_fuzz_ledger.py``.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from assay.ledger import (
    Checkpoint,
    ConsistencyProofError,
    InclusionProofError,
    LedgerError,
    Note,
    TlogProof,
    VerifierKey,
    decode_base64,
    decode_entries,
    decode_number,
    encode_base64,
    encode_entries,
    verify_consistency,
    verify_inclusion,
)

KEY = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
ROOT = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
PROOF = f"c2sp.org/tlog-proof@v1\nextra AA==\nindex 3\n{ROOT}\n\n".encode() + NOTE

pieces = st.sampled_from(
    [
        *(
            b"\n",
            b"\n\n",
            b" ",
            b"+",
            "— ".encode(),
            b"=",
            b"index ",
            b"extra ",
            b"0",
            b"7",
            b"\xff",
        ),
        *(KEY.name.encode(), str(KEY).encode(), ROOT.encode(), NOTE, PROOF),
    ]
)
texts = st.lists(pieces | st.binary(max_size=8), max_size=12).map(b"".join)


def fuzz(data: bytes) -> None:
    """Every parser of the room, on the same bytes."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(LedgerError):
        assert Note.parse(data).to_bytes() == data
    with suppress(LedgerError):
        KEY.verify_note(data)
    with suppress(LedgerError):
        assert str(VerifierKey.parse(text)) == text
    with suppress(LedgerError):
        assert Checkpoint.parse(text).text == text
    with suppress(LedgerError):
        Checkpoint.verify(data, KEY)
    with suppress(LedgerError):
        assert TlogProof.parse(text).text == text
    with suppress(LedgerError):
        TlogProof.parse(text).verify(data, KEY)
    with suppress(LedgerError):
        assert encode_base64(decode_base64(text)) == text
    with suppress(LedgerError):
        assert str(decode_number(text)) == text
    for count in (0, 1, 2, 256):
        with suppress(LedgerError):
            assert encode_entries(decode_entries(data, count)) == data
    _fuzz_proofs(data)


def _fuzz_proofs(data: bytes) -> None:
    """The bytes as two numbers and a list of hashes."""
    one, two = int.from_bytes(data[:3], "big"), int.from_bytes(data[3:6], "big")
    hashes = [data[at : at + 32] for at in range(6, len(data), 32)]
    root = hashes[-1] if hashes else b""
    with suppress(InclusionProofError):
        verify_inclusion(root, one, two, hashes, root=root)
    with suppress(ConsistencyProofError):
        verify_consistency(one, root, two, root, hashes)


@given(texts | st.binary(max_size=300))
@example(NOTE)
@example(PROOF)
@example(str(KEY).encode())
@example(f"example.com/log\n0\n{ROOT}\n".encode())
@example(f"example.com/log\n1\n{ROOT}\n\n".encode())
def test_any_bytes_give_a_value_or_a_named_error(data):
    fuzz(data)


@given(st.data())
def test_changed_notes_and_proofs(data):
    """Near misses find more than noise does."""
    good = data.draw(st.sampled_from([NOTE, PROOF, str(KEY).encode()]))
    at = data.draw(st.integers(0, len(good) - 1))
    put = data.draw(pieces | st.binary(max_size=3))
    fuzz(good[:at] + put + good[at + data.draw(st.integers(0, 3)) :])


if __name__ == "__main__":
    import atheris

    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
