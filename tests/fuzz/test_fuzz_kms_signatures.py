"""Whatever request comes in, who signed it is told, or an error of the room ``kms`` is raised.

Runs under hypothesis with pytest; with atheris:
``python tests/fuzz/test_fuzz_kms_signatures.py NAME``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kms.canonical import fold_headers, parse_query
from assay.kms.errors import KmsError
from assay.kms.request import SignedRequest
from assay.kms.sigv4 import SigningKeys, claim_of, verify

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "kms-sigv4.json").read_bytes())
HEADER = next(case["request"] for case in VECTORS["accepted"] if case["name"] == "header")
QUERY = next(case["request"] for case in VECTORS["accepted"] if case["name"] == "query")
AUTHORIZATION = dict(HEADER["headers"])["authorization"]
SIGNED_AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


def _accepts(request: SignedRequest) -> bool:
    try:
        verify(
            request,
            VECTORS["secrets"].get,
            region=VECTORS["region"],
            now=SIGNED_AT,
            keys=SigningKeys(),
        )
    except KmsError as error:
        if len(str(error)) > 600:
            raise AssertionError("an error repeats what came in") from error
        return False
    return True


def _request(sent: dict, headers: list[tuple[str, str]], query: str) -> SignedRequest:
    return SignedRequest("POST", "/", query, tuple(headers), sent["body"].encode())


def fuzz_authorization(data: bytes) -> None:
    """The header Authorization of a request that is signed otherwise well."""
    text = data.decode("latin-1")
    headers = [(name, value) for name, value in HEADER["headers"] if name != "authorization"]
    if _accepts(_request(HEADER, [*headers, ("authorization", text)], "")):
        parts = sorted(part.strip(" ") for part in text.partition(" ")[2].split(","))
        assert parts == sorted(AUTHORIZATION.partition(" ")[2].split(", "))


def fuzz_query(data: bytes) -> None:
    """The query of a presigned request; what is accepted has the same parameters."""
    query = data.decode("latin-1")
    headers = [(name, value) for name, value in QUERY["headers"]]
    if _accepts(_request(QUERY, headers, query)):
        assert sorted(parse_query(query)) == sorted(parse_query(QUERY["query"]))


def fuzz_headers(data: bytes) -> None:
    """All headers of a request, a line each; no signature, no caller."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    headers = tuple([(n.decode("latin-1"), v.decode("latin-1")) for n, _, v in lines])
    try:
        folded, repeated = fold_headers(headers)
        claim_of(folded, repeated, [])
    except KmsError:
        return
    assert "authorization" in folded


SEEDS: dict[Callable[[bytes], None], tuple[bytes, ...]] = {
    fuzz_authorization: (AUTHORIZATION.encode(), b"AWS4-HMAC-SHA256 Credential=,,=", b"," * 5000),
    fuzz_query: (QUERY["query"].encode(), b"X-Amz-Signature=%ff&" * 50, b"&=%00&=&&"),
    fuzz_headers: (
        "\n".join(f"{n}:{v}" for n, v in HEADER["headers"]).encode(),
        b"date:Sun, 30 Feb",
    ),
}


def altered(seed: bytes) -> st.SearchStrategy[bytes]:
    """A seed with a piece replaced: gets past the first check more often than random bytes."""
    place = st.integers(0, len(seed))
    return st.builds(
        lambda start, end, piece: seed[: min(start, end)] + piece + seed[max(start, end) :],
        place,
        place,
        st.binary(max_size=8),
    )


@pytest.mark.parametrize("fuzz", SEEDS, ids=lambda fuzz: fuzz.__name__)
@given(data=st.data())
def test_only_errors_of_its_own(fuzz: Callable[[bytes], None], data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[fuzz]))
    fuzz(data.draw(st.one_of(st.binary(), altered(seed))))


@pytest.mark.parametrize(
    ("fuzz", "seed"),
    [(fuzz, seed) for fuzz, seeds in SEEDS.items() for seed in seeds],
    ids=lambda value: value.__name__ if callable(value) else str(len(value)),
)
def test_the_seeds_themselves(fuzz: Callable[[bytes], None], seed: bytes) -> None:
    fuzz(seed)


def test_the_first_seeds_are_accepted() -> None:
    assert _accepts(_request(HEADER, [(n, v) for n, v in HEADER["headers"]], ""))
    assert _accepts(_request(QUERY, [(n, v) for n, v in QUERY["headers"]], QUERY["query"]))


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found] # not in the lock; whoever fuzzes installs it

    targets = {target.__name__: target for target in SEEDS}
    chosen = targets[sys.argv.pop(1)]
    atheris.Setup(sys.argv, chosen)
    atheris.Fuzz()
