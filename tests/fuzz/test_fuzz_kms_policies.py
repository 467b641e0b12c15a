"""Policy documents: a policy or `DocumentError`, and a verdict for each that was taken.

Each target takes bytes and may only raise the room's own errors. pytest feeds them by hypothesis;
with atheris installed, ``python tests/fuzz/test_fuzz_kms_policies.py TARGET`` runs one by coverage.
"""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kms.decision import decide
from assay.kms.errors import DocumentError, InvalidGrantTokenError
from assay.kms.grants import grant_of_token, grant_token
from assay.kms.policies import parse_policy
from assay.kms.query import Query, caller_facts

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "kms-policies.json").read_text())
ACCOUNT, KEY = VECTORS["account"], VECTORS["key"]
ADA = f"arn:aws:iam::{ACCOUNT}:user/ada"
QUERY = Query(
    ADA,
    "kms:Decrypt",
    KEY,
    caller_facts(ADA, region="eu-central-1", source="10.0.0.1", now=datetime(2026, 11, 26, tzinfo=UTC))
    | {"kms:keyspec": "SYMMETRIC_DEFAULT", "kms:multiregion": False, "kms:rotationperiodindays": 9},
    context={"d": "IT", "D": "HR"},
)  # fmt: skip

DOCUMENTS = [
    *(json.dumps(case["key_policy"]).encode() for case in VECTORS["cases"] if case["key_policy"]),
    *(json.dumps(each).encode() for case in VECTORS["cases"] for each in case["identity"]),
    *(
        (each["text"] if "text" in each else json.dumps(each["document"])).encode()
        for each in VECTORS["refused"]
    ),
]
CONDITIONS = [json.dumps(each["condition"]) for each in VECTORS["conditions"]]
CONDITIONS += [
    json.dumps(each["document"]["Statement"][0]["Condition"])
    for each in VECTORS["refused"]
    if each["name"].startswith("condition: ")
]
SNIPPETS = [
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"${", b"}", b"*", b"?", b"null", b"true", b"1e9",
    b"\\ud800", b"\\u0000", b"\xff", b'"AWS"', b'"Condition":', b'"Null":', b"IfExists", b"Not",
    b"ForAllValues:", b"arn:aws:kms:", b"kms:", b"aws:", b"NaN", b"-1", b"\n", b"0" * 40,
]  # fmt: skip


def fuzz_policy(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for kind in ("key", "identity"):
        with suppress(DocumentError):
            policy = parse_policy(text, kind=kind, account=ACCOUNT)
            keyed = policy if kind == "key" else None
            assert decide(
                QUERY, account=ACCOUNT, key_policy=keyed, identity=[policy][: keyed is None]
            ).rule


def fuzz_condition(data: bytes) -> None:
    start, effect = b'{"Version":"2012-10-17","Statement":{"Principal":"*",', b'"Effect":"Deny",'
    end = b'"Action":"*","Resource":"*","Condition":'
    fuzz_policy(start + effect + end + data + b"}}")


def fuzz_grant_token(data: bytes) -> None:
    token = data.decode("latin-1")
    with suppress(InvalidGrantTokenError):
        assert grant_token(grant_of_token(token)) == token


TARGETS = [fuzz_policy, fuzz_condition, fuzz_grant_token]


@st.composite
def changed(draw: st.DrawFn, known: list[bytes]) -> bytes:
    """A document that was known, with some bytes replaced."""
    data = draw(st.sampled_from(known))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 8))
        data = data[:at] + draw(st.sampled_from(SNIPPETS)) + data[at + cut :]
    return data


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
@given(
    data=st.binary(max_size=300)
    | changed(DOCUMENTS)
    | changed([each.encode() for each in CONDITIONS])
    | st.lists(st.sampled_from(SNIPPETS), max_size=12).map(b"".join)
)
def test_fuzz(target, data):
    target(data)


if __name__ == "__main__":
    import atheris

    chosen = {target.__name__: target for target in TARGETS}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, chosen)
    atheris.Fuzz()
