"""The keys of the key management service on a real SoftHSM2 token."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, PKCS11Error
from tests.kms_token_contract import CONTRACT, LABEL, SYMMETRIC
from tests.nonce_record import in_child as returned_by_child

from assay.core import Fidelity
from assay.keys import KeyOrigin, KeyType, TokenError, create_key, open_token, pkcs11_sharing
from assay.keys.pkcs11 import Session
from assay.keys.pkcs11 import Token as PkcsToken
from assay.keys.pkcs11_sharing import _LIBRARIES, _TOKENS
from assay.keys.pkcs11_uri import KeySelector
from assay.kms.errors import (
    InternalError,
    InvalidCiphertextError,
    TokenUnavailableError,
    UnsupportedError,
)
from assay.kms.key_kinds import KINDS
from assay.kms.pkcs11_token import Pkcs11Token
from assay.kms.public_keys import encrypt_oaep, verify
from assay.kms.records import KeySpec, KeyUsage
from assay.kms.token import Token

SIGNING = (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY)


def opened(softhsm_token: Any) -> Pkcs11Token:
    uri = f"pkcs11:token={softhsm_token.label}?module-path={softhsm_token.module}"
    return Pkcs11Token(open_token(uri, directory=Path(), environment=softhsm_token.environment))


@pytest.fixture
def token(softhsm_token: Any) -> Iterator[Pkcs11Token]:
    found = opened(softhsm_token)
    yield found
    found.close()


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_the_token_keeps_the_contract(rule: Callable[[Token], None], token: Pkcs11Token) -> None:
    rule(token)


def test_it_says_that_it_is_a_stand_in(token: Pkcs11Token) -> None:
    assert token.fidelity is Fidelity.EMULATED


def test_a_closed_token_does_nothing(token: Pkcs11Token) -> None:
    token.close()
    with pytest.raises(TokenUnavailableError, match="was closed"):
        token.random(16)


# What a key is and may; the rest of the attributes depends on its kind.
GUARDED = {
    "sensitive": True, "extractable": False, "always_sensitive": True, "never_extractable": True,
    "local": True, "token": True, "private": True, "modifiable": False, "copyable": False,
}  # fmt: skip
USES = ("encrypt", "decrypt", "sign", "verify", "wrap", "unwrap", "derive")


def test_no_key_of_any_kind_comes_out_of_the_token(softhsm_token: Any, token: Pkcs11Token) -> None:
    for (spec, usage), kind in KINDS.items():
        if kind.size_bits > 2048:
            continue  # of the same type as the smallest; they take many seconds to be made
        handle = token.create_key(spec, usage, LABEL).handle
        custody = token._token.custody(handle, kind)
        read = 6 if kind.key_type is KeyType.RSA else 1
        assert len(custody.export_attempts) == read + 4 + 2, spec
        assert [each for each in custody.export_attempts if not each.refused] == [], spec
        assert custody.untried_doors == (), spec
        assert custody.origin == KeyOrigin(generated_inside=True, mechanism=kind.generation)
        assert custody.attributes | GUARDED == custody.attributes, spec
        uses = {name.upper() for name in USES if custody.attributes[name]}
        assert uses == set(kind.uses), spec
        assert handle.hex() in custody.uri
        assert softhsm_token.pin not in repr(custody)


def test_nobody_changes_the_public_half(token: Pkcs11Token) -> None:
    for spec in (KeySpec.RSA_2048, KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_EDWARDS25519):
        handle = token.create_key(spec, KeyUsage.SIGN_VERIFY, LABEL).handle
        kind = KINDS[spec, KeyUsage.SIGN_VERIFY]
        (shared,) = _TOKENS.values()

        def change(session: Session, key: KeySelector) -> bool:
            half = session._find(key, public=True)
            with pytest.raises(PKCS11Error):
                half[Attribute.LABEL] = "another"
            return bool(half[Attribute.MODIFIABLE])

        key = KeySelector(None, handle, kind.key_type)
        assert not shared.run(lambda session, key=key: change(session, key)), spec


def test_an_operator_finds_the_keys_by_their_labels(softhsm_token: Any, token: Pkcs11Token) -> None:
    made = [token.create_key(*SYMMETRIC, LABEL), token.create_key(*SIGNING, "mrk-ab/2")]
    create_key(softhsm_token.uri("kek"), directory=Path(), environment=softhsm_token.environment)
    labels = token._token.labels()
    assert {labels[key.handle] for key in made} == {f"assay-kms/{LABEL}", "assay-kms/mrk-ab/2"}
    assert "kek" in labels.values()
    assert token.handles() == {key.handle for key in made}, "a key of somebody else is listed"


def test_another_hash_of_oaep_is_named_when_the_token_lacks_it(token: Pkcs11Token) -> None:
    key = token.create_key(KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT, LABEL)
    sealed = encrypt_oaep(key.public_key or b"", "SHA_256", b"plaintext")
    try:
        assert token.decrypt_oaep(key.handle, "SHA_256", sealed) == b"plaintext"
    except UnsupportedError as exc:
        assert "RSAES_OAEP_SHA_256" in str(exc)  # noqa: PT017 - a newer SoftHSM has it


def test_a_key_that_another_process_destroyed_is_gone_here_as_well(
    softhsm_token: Any, token: Pkcs11Token
) -> None:
    kept, signing = token.create_key(*SYMMETRIC, LABEL), token.create_key(*SIGNING, LABEL)
    aes = token.create_key(*SYMMETRIC, LABEL).handle
    sealed = token.encrypt(aes, b"plaintext", b"")
    assert token.decrypt(aes, *sealed, b"") == b"plaintext"
    assert token.sign(signing.handle, "ECDSA_SHA_256", b"message", digested=False)
    code = (
        "import os; from pathlib import Path\n"
        "from assay.keys import open_token; from assay.kms.pkcs11_token import Pkcs11Token\n"
        f"opened = open_token('pkcs11:token={softhsm_token.label}', directory=Path(),\n"
        "                    environment=os.environ)\n"
        f"for handle in ({aes!r}, {signing.handle!r}): Pkcs11Token(opened).destroy_key(handle)\n"
    )
    environment = {**os.environ, **softhsm_token.environment}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    for _ in range(2):
        with pytest.raises(InternalError):
            token.decrypt(aes, *sealed, b"")
        with pytest.raises(InternalError):
            token.sign(signing.handle, "ECDSA_SHA_256", b"message", digested=False)
    assert token.handles() == {kept.handle}
    assert token.encrypt(kept.handle, b"plaintext", b"")


def test_to_destroy_one_key_forgets_no_other(
    token: Pkcs11Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = (token.create_key(*SYMMETRIC, LABEL).handle for _ in range(2))
    token.destroy_key(gone)
    monkeypatch.setattr(Session, "_search", lambda *_: pytest.fail("it was looked for again"))
    assert token.encrypt(kept, b"plaintext", b"")


class Use:
    """One key of each way to use a key, and whether it still answers as it did."""

    def __init__(self, token: Pkcs11Token) -> None:
        self.token = token
        self.aes = token.create_key(*SYMMETRIC, LABEL).handle
        self.signing = token.create_key(*SIGNING, LABEL)
        self.mac = token.create_key(KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC, LABEL).handle
        self.sealed = token.encrypt(self.aes, b"plaintext", b"context")
        self.tag = token.mac(self.mac, "HMAC_SHA_256", b"message")

    def check(self) -> None:
        assert self.token.decrypt(self.aes, *self.sealed, b"context") == b"plaintext"
        with pytest.raises(InvalidCiphertextError):
            self.token.decrypt(self.aes, *self.sealed, b"another")
        signature = self.token.sign(self.signing.handle, "ECDSA_SHA_256", b"m", digested=False)
        public = self.signing.public_key or b""
        verify(public, "ECDSA_SHA_256", b"m", signature, digested=False)
        assert self.token.mac(self.mac, "HMAC_SHA_256", b"message") == self.tag
        made = self.token.create_key(*SYMMETRIC, LABEL).handle
        assert {made, self.aes, self.mac, self.signing.handle} <= self.token.handles()
        self.token.destroy_key(made)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_uses_the_keys_and_the_parent_goes_on(token: Pkcs11Token) -> None:
    use = Use(token)
    (library,) = _LIBRARIES.values()
    generation = library.generation

    def in_child() -> list[bytes]:
        use.check()
        assert library.generation == generation + 1, "the child used its parent's session"
        return [token.random(16) for _ in range(20)]

    drawn = [value for _ in range(2) for value in returned_by_child(in_child)]
    drawn += [token.random(16) for _ in range(20)]
    assert len(set(drawn)) == 60, "parent and child draw the same random bytes"
    use.check()


def test_a_lost_session_is_opened_again(token: Pkcs11Token) -> None:
    use = Use(token)
    for _ in range(3):
        (shared,) = _TOKENS.values()
        assert shared._session is not None
        shared._session.close()
        use.check()


def test_a_library_that_was_ended_starts_anew(softhsm_token: Any, token: Pkcs11Token) -> None:
    use = Use(token)
    library = ctypes.CDLL(str(softhsm_token.module))
    for _ in range(2):
        assert library.C_Finalize(None) == 0
        use.check()


def test_a_token_that_was_away_is_used_again(softhsm_token: Any, token: Pkcs11Token) -> None:
    use = Use(token)
    library = ctypes.CDLL(str(softhsm_token.module))
    directory: Path = softhsm_token.directory
    away = directory.with_name("away")
    for empty in (False, True):
        directory.rename(away)
        if empty:  # a reader that is there, without the token
            directory.mkdir()
        assert library.C_Finalize(None) == 0
        try:
            for _ in range(2):
                with pytest.raises(TokenUnavailableError):
                    token.decrypt(use.aes, *use.sealed, b"context")
                with pytest.raises(TokenUnavailableError):
                    token.create_key(*SYMMETRIC, LABEL)
        finally:
            if empty:
                directory.rmdir()
            away.rename(directory)
        use.check()


def test_a_refused_pin_is_tried_once(token: Pkcs11Token, monkeypatch: pytest.MonkeyPatch) -> None:
    use = Use(token)
    (shared,) = _TOKENS.values()
    session = shared._session
    assert session is not None
    pin, tries = shared._pin, []
    login = PkcsToken.login
    monkeypatch.setattr(PkcsToken, "login", lambda *args: (tries.append(1), login(*args))[1])
    monkeypatch.setattr(shared, "_pin", "000000")
    session.close()
    for _ in range(3):
        with pytest.raises(TokenUnavailableError, match="PIN"):
            token.random(16)
    assert len(tries) == 1
    monkeypatch.setattr(shared, "_pin", pin)
    monkeypatch.setattr(shared, "_pin_was_refused", False)
    use.check()


def test_nobody_waits_for_ever(token: Pkcs11Token, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pkcs11_sharing, "TURN_SECONDS", 0.1)
    (shared,) = _TOKENS.values()
    inside, leave = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        inside.set()
        leave.wait(30)

    other = threading.Thread(target=lambda: shared.run(hang))
    other.start()
    try:
        assert inside.wait(30)
        with pytest.raises(TokenUnavailableError, match="still at work"):
            token.random(16)
    finally:
        leave.set()
        other.join()
    assert len(token.random(16)) == 16


def test_a_faulty_signature_is_thrown_away(
    token: Pkcs11Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    for spec, algorithm, size in (
        (KeySpec.RSA_2048, "RSASSA_PKCS1_V1_5_SHA_256", 256),
        (KeySpec.RSA_2048, "RSASSA_PSS_SHA_512", 256),
        (KeySpec.ECC_NIST_P256, "ECDSA_SHA_256", 64),
        (KeySpec.ECC_NIST_EDWARDS25519, "ED25519_SHA_512", 64),
    ):
        handle = token.create_key(spec, KeyUsage.SIGN_VERIFY, LABEL).handle
        assert token.sign(handle, algorithm, b"message", digested=False)
        with monkeypatch.context() as patch:
            patch.setattr(Session, "sign", lambda *_, size=size: b"\x01" * size)
            with pytest.raises(TokenUnavailableError, match="thrown away"):
                token.sign(handle, algorithm, b"message", digested=False)


def test_a_token_in_trouble_is_not_called_a_wrong_ciphertext(
    token: Pkcs11Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise TokenError("decrypt", "GeneralError")

    use = Use(token)
    rsa = token.create_key(KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT, LABEL)
    sealed = encrypt_oaep(rsa.public_key or b"", "SHA_1", b"plaintext")
    monkeypatch.setattr(Session, "decrypt", fail)
    monkeypatch.setattr(Session, "decrypt_oaep", fail)
    with pytest.raises(TokenUnavailableError, match="GeneralError"):
        token.decrypt(use.aes, *use.sealed, b"context")
    with pytest.raises(TokenUnavailableError, match="GeneralError"):
        token.decrypt_oaep(rsa.handle, "SHA_1", sealed)


def test_what_does_not_open_uses_up_no_nonces(
    token: Pkcs11Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    use, encrypted, encrypt = Use(token), [], Session.encrypt
    monkeypatch.setattr(Session, "encrypt", lambda *args: (encrypted.append(1), encrypt(*args))[1])
    for number in range(20):
        with pytest.raises(InvalidCiphertextError):
            token.decrypt(use.aes, *use.sealed, b"%d" % number)
    assert len(encrypted) == 1
