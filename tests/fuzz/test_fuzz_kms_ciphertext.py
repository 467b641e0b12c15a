"""Whatever bytes come in as a ciphertext, reading them raises the service's own error or nothing.

Runs under hypothesis with pytest; with atheris: ``python tests/fuzz/test_fuzz_kms_ciphertext.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from assay.kms.ciphertext import associated_data, join, parse
from assay.kms.errors import InvalidCiphertextError

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "kms-ciphertext.json").read_bytes()
)  # fmt: skip
SEEDS = [bytes.fromhex(vector["ciphertext"]) for vector in VECTORS["accepted"]]
KNOWN = {
    (bytes.fromhex(vector["ciphertext"]), json.dumps(vector["context"], sort_keys=True))
    for vector in VECTORS["accepted"]
}
KEY = bytes.fromhex(VECTORS["accepted"][0]["key"])
CONTEXT = VECTORS["accepted"][0]["context"]


def fuzz(data: bytes) -> None:
    """A ciphertext of somebody: it parses and is joined again, and opens only if it is ours."""
    try:
        parts = parse(data)
    except InvalidCiphertextError:
        return
    assert join(f"mrk-{parts.key.hex()}", parts.version, parts.nonce, parts.sealed) == data
    associated = associated_data(parts.header, CONTEXT)
    try:
        AESGCM(KEY).decrypt(parts.nonce, parts.sealed, associated)
    except InvalidTag:
        return
    assert (data, json.dumps(CONTEXT, sort_keys=True)) in KNOWN, "bytes opened that nobody sealed"


def altered(seed: bytes) -> st.SearchStrategy[bytes]:
    """A seed with a piece replaced: gets past the first check more often than random bytes."""
    place = st.integers(0, len(seed))
    return st.builds(
        lambda start, end, piece: seed[: min(start, end)] + piece + seed[max(start, end) :],
        place,
        place,
        st.binary(max_size=8),
    )


@given(st.data())
def test_reading_raises_only_its_own_error(data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS))
    fuzz(data.draw(st.one_of(st.binary(), altered(seed))))


@pytest.mark.parametrize("seed", SEEDS, ids=len)
def test_the_seeds_themselves(seed: bytes) -> None:
    fuzz(seed)


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found] # not in the lock; whoever fuzzes installs it

    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
