"""Custody of a PKCS#11 key, with tokens that a test makes up: what SoftHSM never answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.core import Fidelity
from assay.keys import SessionLostError, TokenError, TokenFacts
from assay.keys.pkcs11 import SOFTWARE_TOKENS
from assay.keys.pkcs11_custody import _residual_risk, token_fidelity
from assay.keys.pkcs11_doors import WRAPPING_MECHANISMS, try_doors
from assay.keys.pkcs11_uri import KeySelector
from assay.keys.token_keys import KeyKind, KeyType

KEK = KeySelector("kek", None, KeyType.AES)
FACTS = TokenFacts(
    module_path="/usr/lib/vendor.so",
    library_manufacturer="Vendor",
    library_description="Vendor PKCS#11",
    library_version="3.0",
    token_label="assay",
    token_manufacturer="Vendor",
    token_model="Model 5",
    token_serial="1",
    hardware_slot=False,
    hardware_mechanism=False,
    known_software=False,
)


class GuardedSession:
    """A session on a token that refuses everything, and notes what was left behind."""

    def __init__(self) -> None:
        self.guarded = {"EXTRACTABLE": False, "SENSITIVE": True}
        self.left: set[str] = set()
        self.restored: list[tuple[str, bool]] = []

    def attributes(self, key: KeySelector) -> dict[str, bool]:
        return self.guarded

    def read_material(self, key: KeySelector, name: str) -> int:
        raise TokenError("give a key away", "AttributeSensitive")

    def change(self, key: KeySelector, name: str, value: bool) -> bool:
        raise TokenError("change a key", "AttributeReadOnly")

    def copy(self, key: KeySelector, name: str, value: bool) -> bool:
        raise TokenError("copy a key", "ActionProhibited")

    def create_wrapping_key(self, key: KeySelector) -> None:
        self.left.add(str(key.label))

    def create(self, key: KeySelector, kind: KeyKind, *, exportable: bool, store: bool) -> None:
        assert exportable
        assert not store
        self.left.add(str(key.label))

    def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
        if key == KEK:
            raise TokenError("wrap a key", "KeyUnextractable")
        return 40

    def destroy(self, key: KeySelector) -> None:
        assert key != KEK
        self.left.discard(str(key.label))


def test_a_guarded_key_is_refused_at_every_door() -> None:
    session = GuardedSession()
    attempts, untried = try_doors(session, KEK)
    assert all(attempt.refused for attempt in attempts)
    assert len(attempts) == 5 + len(WRAPPING_MECHANISMS)
    assert untried == ()
    assert session.left == set()


def refused(session: GuardedSession) -> dict[str, bool]:
    attempts, _ = try_doors(session, KEK)
    return {attempt.door: attempt.refused for attempt in attempts}


def test_a_key_that_can_be_read_is_told() -> None:
    class Session(GuardedSession):
        def read_material(self, key: KeySelector, name: str) -> int:
            return 32

    found = refused(Session())
    assert not found.pop("read CKA_VALUE")
    assert all(found.values())


def test_every_part_of_an_rsa_key_is_tried() -> None:
    class Session(GuardedSession):
        def read_material(self, key: KeySelector, name: str) -> int:
            if name == "COEFFICIENT":
                return 128
            return super().read_material(key, name)

        def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
            if key.key_type is KeyType.RSA:
                raise TokenError("wrap a key", "KeyUnextractable")
            return 40

    attempts, untried = try_doors(Session(), KeySelector(None, b"id", KeyType.RSA))
    assert len(attempts) == 10 + len(WRAPPING_MECHANISMS)
    assert [each.door for each in attempts if not each.refused] == ["read CKA_COEFFICIENT"]
    assert untried == ()


def test_an_empty_answer_gives_nothing_away() -> None:
    class Session(GuardedSession):
        def read_material(self, key: KeySelector, name: str) -> int:
            return 0

    assert refused(Session())["read CKA_VALUE"]


def test_an_attribute_that_can_be_changed_is_told_and_set_back() -> None:
    class Session(GuardedSession):
        def change(self, key: KeySelector, name: str, value: bool) -> bool:
            self.restored.append((name, value))
            return value

    session = Session()
    found = refused(session)
    assert not found["set CKA_EXTRACTABLE to True"]
    assert not found["set CKA_SENSITIVE to False"]
    assert session.restored == [
        ("EXTRACTABLE", True),
        ("EXTRACTABLE", False),
        ("SENSITIVE", False),
        ("SENSITIVE", True),
    ]


def test_a_change_without_effect_is_a_refusal() -> None:
    class Session(GuardedSession):
        def change(self, key: KeySelector, name: str, value: bool) -> bool:
            return not value

    assert all(refused(Session()).values())


def test_an_extractable_copy_is_told() -> None:
    class Session(GuardedSession):
        def copy(self, key: KeySelector, name: str, value: bool) -> bool:
            return value

    found = refused(Session())
    assert not found["copy with CKA_EXTRACTABLE True"]
    assert not found["copy with CKA_SENSITIVE False"]


def test_a_key_that_can_be_wrapped_is_told() -> None:
    class Session(GuardedSession):
        def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
            return 40

    found = refused(Session())
    assert [door for door, closed in found.items() if not closed] == [
        f"wrap under another key with {mechanism}" for mechanism in WRAPPING_MECHANISMS
    ]


def test_a_door_whose_control_does_not_open_is_not_called_refused() -> None:
    class Session(GuardedSession):
        def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
            raise TokenError("wrap a key", "FunctionFailed")

    attempts, untried = try_doors(Session(), KEK)
    assert not any("wrap" in attempt.door for attempt in attempts)
    assert len(untried) == len(WRAPPING_MECHANISMS)


def test_a_token_without_wrapping_says_so() -> None:
    class Session(GuardedSession):
        def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
            raise TokenError("wrap a key", "MechanismInvalid")

    _, untried = try_doors(Session(), KEK)
    assert untried == ("wrap under another key: the token offers no AES wrapping mechanism",)


def test_a_token_that_makes_no_wrapping_key_says_so() -> None:
    class Session(GuardedSession):
        def create_wrapping_key(self, key: KeySelector) -> None:
            raise TokenError("make a wrapping key", "TemplateInconsistent")

    _, untried = try_doors(Session(), KEK)
    assert untried == (
        "wrap under another key: TemplateInconsistent when the token should make one",
    )


@pytest.mark.parametrize(
    "trouble",
    [TokenError("read", "DeviceError"), SessionLostError("read", "SessionHandleInvalid")],
    ids=str,
)
def test_a_token_in_trouble_refuses_nothing(trouble: TokenError) -> None:
    class Session(GuardedSession):
        def read_material(self, key: KeySelector, name: str) -> int:
            raise trouble

    with pytest.raises(type(trouble)):
        try_doors(Session(), KEK)

    class Later(GuardedSession):
        def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
            raise SessionLostError("wrap", "SessionHandleInvalid")

    later = Later()
    with pytest.raises(SessionLostError):
        try_doors(later, KEK)
    assert later.left == set()


def test_hardware_must_say_so() -> None:
    assert token_fidelity(FACTS) is Fidelity.EMULATED
    assert token_fidelity(replace(FACTS, hardware_slot=True)) is Fidelity.LIVE
    assert token_fidelity(replace(FACTS, hardware_mechanism=True)) is Fidelity.LIVE


def test_a_known_software_token_is_never_live() -> None:
    boasting = replace(FACTS, hardware_slot=True, hardware_mechanism=True, known_software=True)
    assert token_fidelity(boasting) is Fidelity.EMULATED
    assert "softhsm" in SOFTWARE_TOKENS


def test_the_residual_risk_fits_the_token() -> None:
    assert "token's files and the PIN" in _residual_risk(replace(FACTS, known_software=True))
    assert "does not say that it is hardware" in _residual_risk(FACTS)
    assert "token's own word" in _residual_risk(replace(FACTS, hardware_slot=True))
