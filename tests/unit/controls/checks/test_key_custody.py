from dataclasses import dataclass

import msgspec
import pytest

from assay.controls.checks.key_custody import Attempt, CustodyFacts, KeyCustody, StoreFile
from assay.core import Fidelity, Status

TOKEN = CustodyFacts(
    provider="pkcs11",
    fidelity=Fidelity.EMULATED,
    algorithm="AES-256-GCM",
    generated_inside=True,
    attributes={
        "sensitive": True, "extractable": False, "always_sensitive": True, "never_extractable": True,
    },
    attempts=(Attempt("read CKA_VALUE", True, "CKR_ATTRIBUTE_SENSITIVE"),),
    untried=(),
    store=None,
    described_as="SoftHSM project SoftHSM v2",
    residual_risk="Whoever holds the token files and the PIN holds the keys.",
)  # fmt: skip
STORE = msgspec.structs.replace(
    TOKEN,
    provider="embedded",
    attributes={},
    generated_inside=None,
    attempts=(Attempt("find the material in the file", True, "not found"),),
    store=StoreFile("0600", True, False, "0700", "scrypt", "AES-256-GCM"),
)


def judged(facts, **changes):
    return KeyCustody().judge(msgspec.structs.replace(facts, **changes))


@pytest.mark.parametrize("facts", [TOKEN, STORE])
def test_a_key_that_stays_where_it_is_passes(facts):
    result = judged(facts)
    assert result.status is Status.PASS
    assert result.fidelity is Fidelity.EMULATED
    assert "not a hardware security module" in result.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [("sensitive", False), ("extractable", True), ("always_sensitive", False), ("never_extractable", False)],
)  # fmt: skip
def test_each_attribute_counts(name, value):
    assert judged(TOKEN, attributes={**TOKEN.attributes, name: value}).status is Status.FAIL
    unsaid = judged(TOKEN, attributes={**TOKEN.attributes, name: None})
    assert unsaid.status is Status.ERROR
    assert name in unsaid.reason


def test_a_key_that_came_out_fails():
    out = Attempt("wrap under another key", False, "40 bytes")
    assert judged(TOKEN, attempts=(*TOKEN.attempts, out)).status is Status.FAIL


def test_an_imported_key_fails_and_an_unknown_origin_is_an_error():
    assert judged(TOKEN, generated_inside=False).status is Status.FAIL
    assert judged(TOKEN, generated_inside=None).status is Status.ERROR


def test_a_door_that_could_not_be_tried_was_not_refused():
    result = judged(TOKEN, untried=("wrap under another key: no such mechanism",))
    assert result.status is Status.ERROR
    assert "no such mechanism" in result.reason


@pytest.mark.parametrize("facts", [TOKEN, STORE])
def test_without_an_attempt_nothing_can_be_told(facts):
    result = judged(facts, attempts=())
    assert result.status is Status.ERROR
    assert "nothing was tried" in result.reason


def test_what_is_wrong_counts_before_what_is_not_known():
    out = Attempt("wrap under another key", False, "40 bytes")
    unsaid = {**TOKEN.attributes, "sensitive": None}
    result = judged(TOKEN, attempts=(out,), attributes=unsaid, untried=("another door",))
    assert result.status is Status.FAIL
    assert result.reason == "the key came out: wrap under another key (40 bytes)"
    assert judged(TOKEN, attempts=(out,), generated_inside=None).status is Status.FAIL
    extractable = {**TOKEN.attributes, "extractable": True}
    assert judged(TOKEN, attempts=(), attributes=extractable).status is Status.FAIL


@pytest.mark.parametrize("mode", ["0600", "0400"])
def test_a_store_file_may_be_read_by_its_owner_alone(mode):
    assert (
        judged(STORE, store=msgspec.structs.replace(STORE.store, mode=mode)).status is Status.PASS
    )


@dataclass
class Change:
    field: str
    value: object


@pytest.mark.parametrize(
    "change",
    [
        Change("mode", "0640"), Change("mode", "0644"), Change("owned_by_user", False),
        Change("symbolic_link", True), Change("directory_mode", "0777"), Change("kdf", "none"),
        Change("cipher", "none"),
    ],
    ids=lambda change: f"{change.field}={change.value}",
)  # fmt: skip
def test_each_weakness_of_a_store_file_counts(change):
    store = msgspec.structs.replace(STORE.store, **{change.field: change.value})
    assert judged(STORE, store=store).status is Status.FAIL
