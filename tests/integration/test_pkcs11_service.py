"""Keys on a real SoftHSM2 token."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.nonce_record import in_child as returned_by_child

from assay.core import DataKeyClass, Fidelity, to_canonical_json
from assay.keys import (
    Custody,
    KeyAccessError,
    KeyExistsError,
    KeyNotFoundError,
    Keyring,
    KeyService,
    KeyServiceError,
    KeyUriError,
    MemoryDataKeyTable,
    SessionLostError,
    SigningError,
    TokenError,
    UnwrapError,
    create_key,
    create_signing_key,
    initialise_token,
    key_custody,
    leaky_key,
    open_key_service,
    open_signer,
)
from assay.keys.pkcs11_sharing import _LIBRARIES, _TOKENS, SharedToken
from assay.keys.pkcs11_uri import TokenSelector

CONTEXT = {"owner": "a", "class": "rows", "version": "1"}
# From Python 3.12 on a fork with threads warns; that the child works all the same is the point.
FORKS = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


class Keys:
    """The keys of one token, opened as a program would."""

    def __init__(self, token: Any, folder: Path) -> None:
        self.token = token
        self.uri = token.uri("kek")
        self.options: dict[str, Any] = {"directory": folder, "environment": token.environment}
        self._opened: list[Any] = []

    def service(self, name: str = "kek") -> KeyService:
        found = open_key_service(self.token.uri(name), **self.options)
        self._opened.append(found)
        return found

    def signer(self, name: str = "log") -> Any:
        found = open_signer(self.token.uri(name), **self.options)
        self._opened.append(found)
        return found

    def close(self) -> None:
        for found in self._opened:
            found.close()


@pytest.fixture
def keys(softhsm_token: Any, tmp_path: Path) -> Any:
    found = Keys(softhsm_token, tmp_path)
    create_key(found.uri, **found.options)
    yield found
    found.close()


def test_a_kek_wraps_and_unwraps(keys: Keys) -> None:
    service, other = keys.service(), keys.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert (len(data_key), len(wrapped)) == (32, 61)
    assert other.unwrap(wrapped, CONTEXT) == data_key
    assert service.generate_data_key(CONTEXT)[1] != wrapped
    assert service.uri == keys.uri
    assert keys.token.pin not in repr(vars(service))


def test_what_was_altered_or_moved_does_not_open(keys: Keys) -> None:
    service = keys.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    refused: list[tuple[bytes, Mapping[str, str]]] = [
        (wrapped, {**CONTEXT, "owner": "b"}),
        (wrapped, {**CONTEXT, "more": ""}),
        (wrapped[:-1], CONTEXT),
        (b"\x02" + wrapped[1:], CONTEXT),
        (b"", CONTEXT),
    ]
    for position in (1, 13, 45, 60):
        altered = bytearray(wrapped)
        altered[position] ^= 1
        refused.append((bytes(altered), CONTEXT))
    for altered_bytes, context in refused:
        with pytest.raises(UnwrapError):
            service.unwrap(altered_bytes, context)
        assert service.unwrap(wrapped, CONTEXT) == data_key
    create_key(keys.token.uri("other"), **keys.options)
    with pytest.raises(UnwrapError):
        keys.service("other").unwrap(wrapped, CONTEXT)


def test_a_data_key_is_wrapped_anew_and_moves_under_another_kek(keys: Keys) -> None:
    old = keys.service()
    data_key, wrapped = old.generate_data_key(CONTEXT)
    again = old.rewrap(wrapped, CONTEXT)
    assert again != wrapped
    assert old.unwrap(again, CONTEXT) == data_key
    create_key(keys.token.uri("new"), **keys.options)
    new = keys.service("new")
    moved = new.rewrap(again, CONTEXT, wrapped_by=old)
    assert new.unwrap(moved, CONTEXT) == data_key
    for service, other in ((old, moved), (new, wrapped)):
        with pytest.raises(UnwrapError):
            service.rewrap(other, CONTEXT)
    with pytest.raises(UnwrapError):
        new.rewrap(wrapped, {**CONTEXT, "owner": "b"}, wrapped_by=old)


def test_a_token_in_trouble_is_not_called_a_wrong_key(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.keys.pkcs11 import Session

    service = keys.service()
    _, wrapped = service.generate_data_key(CONTEXT)

    def fail(*_: object) -> bytes:
        raise TokenError("decrypt", "GeneralError")

    monkeypatch.setattr(Session, "decrypt", fail)
    with pytest.raises(KeyServiceError):
        service.unwrap(wrapped, CONTEXT)


def test_a_signing_key_signs(keys: Keys) -> None:
    create_signing_key(keys.token.uri("log"), **keys.options)
    signer = keys.signer()
    public = Ed25519PublicKey.from_public_bytes(signer.public_key())
    for message in (b"", b"head", bytes(1_000_000)):
        public.verify(signer.sign(message), message)
    assert keys.signer().public_key() == signer.public_key()


def test_a_faulty_signature_is_thrown_away(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.keys.pkcs11 import Session

    create_signing_key(keys.token.uri("log"), **keys.options)
    signer = keys.signer()
    monkeypatch.setattr(Session, "sign", lambda *_: bytes(64))
    with pytest.raises(SigningError, match="does not"):
        signer.sign(b"head")


def test_keys_are_never_overwritten(keys: Keys) -> None:
    _, wrapped = keys.service().generate_data_key(CONTEXT)
    with pytest.raises(KeyExistsError, match="not overwritten"):
        create_key(keys.uri, **keys.options)
    keys.service().unwrap(wrapped, CONTEXT)
    create_signing_key(keys.token.uri("log"), **keys.options)
    with pytest.raises(KeyExistsError):
        create_signing_key(keys.token.uri("log"), **keys.options)
    with pytest.raises(KeyExistsError, match="not touched"):
        initialise_token(
            keys.token.module, label=keys.token.label, so_pin="123456", user_pin="123456"
        )


def test_what_is_missing_or_refused_is_named(keys: Keys) -> None:
    options = keys.options
    with pytest.raises(KeyNotFoundError, match="one AES key 'gone'"):
        open_key_service(keys.token.uri("gone"), **options)
    with pytest.raises(KeyNotFoundError, match="one Ed25519 key 'kek'"):
        open_signer(keys.uri, **options)
    with pytest.raises(KeyServiceError, match="one token 'gone'"):
        open_key_service("pkcs11:token=gone;object=kek", **options)
    with pytest.raises(KeyUriError, match="type=secret-key"):
        open_key_service(f"{keys.uri};type=private", **options)
    wrong = {**keys.token.environment, "ASSAY_PIN": "000000"}
    with pytest.raises(KeyAccessError, match="PinIncorrect") as caught:
        open_key_service(keys.uri, directory=options["directory"], environment=wrong)
    assert "000000" not in str(caught.value)
    keys.service()
    with pytest.raises(KeyAccessError, match="found another"):
        open_key_service(keys.uri, directory=options["directory"], environment=wrong)
    moved = {**keys.token.environment, "SOFTHSM2_CONF": "/elsewhere"}
    with pytest.raises(KeyServiceError, match="in the environment of this process"):
        open_key_service(keys.uri, directory=options["directory"], environment=moved)
    assert {place[1].label for place in _TOKENS} == {keys.token.label}


def test_a_file_that_is_no_library_is_refused(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "no.so").write_text("no library")
    with pytest.raises(KeyServiceError, match="load its library"):
        open_key_service(f"{keys.uri}?module-path=no.so", **keys.options)


def test_the_last_one_who_closes_logs_out(keys: Keys) -> None:
    one, other = keys.service(), keys.service()
    data_key, wrapped = one.generate_data_key(CONTEXT)
    one.close()
    one.close()
    with pytest.raises(KeyServiceError, match="was closed"):
        one.unwrap(wrapped, CONTEXT)
    assert other.unwrap(wrapped, CONTEXT) == data_key
    other.close()
    assert _TOKENS == {}
    assert keys.service().unwrap(wrapped, CONTEXT) == data_key


def test_custody_tells_facts_that_survive_json(keys: Keys) -> None:
    service = keys.service()
    custody = service.custody()
    assert custody.fidelity is Fidelity.EMULATED
    assert (custody.provider, custody.algorithm) == ("pkcs11", "AES-256-GCM")
    assert custody.origin.generated_inside
    assert custody.origin.mechanism == "AES_KEY_GEN"
    expected = {
        "sensitive": True, "extractable": False, "always_sensitive": True,
        "never_extractable": True, "local": True, "token": True, "private": True,
        "modifiable": False, "copyable": False, "encrypt": True, "decrypt": True, "wrap": False,
        "unwrap": False, "sign": False, "verify": False, "derive": False, "destroyable": True,
    }  # fmt: skip
    assert custody.attributes == expected
    doors = {attempt.door: attempt for attempt in custody.export_attempts}
    assert len(doors) == 7
    assert all(attempt.refused for attempt in doors.values())
    assert doors["read CKA_VALUE"].answer == "AttributeSensitive"
    assert doors["set CKA_EXTRACTABLE to True"].answer == "ActionProhibited"
    assert doors["wrap under another key with AES_KEY_WRAP_PAD"].answer == "KeyUnextractable"
    assert custody.untried_doors == ()
    assert custody.token is not None
    assert custody.token.known_software
    assert not custody.token.hardware_slot
    assert custody.token.token_label == keys.token.label
    plain = msgspec.to_builtins(custody)
    to_canonical_json(plain)
    assert msgspec.convert(plain, Custody) == custody
    assert keys.token.pin not in repr(custody)
    assert key_custody(keys.uri, **keys.options) == custody
    # Trying the doors left no key behind, and the key itself as it was.
    assert service.custody() == custody


def test_custody_of_a_signing_key(keys: Keys) -> None:
    create_signing_key(keys.token.uri("log"), **keys.options)
    custody = keys.signer().custody()
    assert custody.algorithm == "Ed25519"
    assert custody.origin.mechanism == "EC_EDWARDS_KEY_PAIR_GEN"
    assert all(attempt.refused for attempt in custody.export_attempts)
    assert len(custody.export_attempts) == 7
    assert custody.attributes["sign"]
    assert not custody.attributes["extractable"]
    assert not custody.attributes["decrypt"]


def test_the_leaky_twin_leaks_and_goes_away(keys: Keys) -> None:
    keys.service()  # keeps the session open, so the twin does not end with it
    with leaky_key(keys.uri, **keys.options) as twin:
        custody = key_custody(twin, **keys.options)
        assert custody.attributes["extractable"]
        assert not custody.attributes["sensitive"]
        assert not custody.attributes["token"]
        assert not any(attempt.refused for attempt in custody.export_attempts)
        assert len(custody.export_attempts) == 7
    with pytest.raises(KeyNotFoundError):
        key_custody(twin, **keys.options)
    assert all(attempt.refused for attempt in keys.service().custody().export_attempts)


def test_eight_threads_share_one_token(keys: Keys) -> None:
    create_signing_key(keys.token.uri("log"), **keys.options)
    signer = keys.signer()
    public = Ed25519PublicKey.from_public_bytes(signer.public_key())
    barrier = threading.Barrier(8)

    def work(number: int) -> int:
        service = open_key_service(keys.uri, **keys.options)
        barrier.wait()
        for turn in range(60):
            context = {"owner": f"{number}-{turn}"}
            data_key, wrapped = service.generate_data_key(context)
            assert service.unwrap(wrapped, context) == data_key
            with pytest.raises(UnwrapError):
                service.unwrap(wrapped, CONTEXT)
            message = f"{number}-{turn}".encode()
            public.verify(signer.sign(message), message)
        service.close()
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))


def in_child(check: Any) -> int:
    """Run a check in a forked child; its exit code, or -1 when it did not end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@FORKS
def test_a_forked_child_logs_in_again_and_the_parent_goes_on(keys: Keys) -> None:
    service = keys.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)

    def check() -> None:
        (library,) = _LIBRARIES.values()
        before = library.generation
        assert service.unwrap(wrapped, CONTEXT) == data_key
        assert library.generation == before + 1, "the child used its parent's session"
        assert keys.service().unwrap(wrapped, CONTEXT) == data_key
        assert service.custody().origin.generated_inside
        service.close()

    assert in_child(check) == 0
    assert service.unwrap(wrapped, CONTEXT) == data_key
    assert in_child(service.close) == 0
    assert service.unwrap(wrapped, CONTEXT) == data_key


@FORKS
def test_a_fork_while_other_threads_are_inside_the_library(keys: Keys) -> None:
    service = keys.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            assert service.unwrap(wrapped, CONTEXT) == data_key

    def check() -> None:
        for _ in range(20):
            assert service.unwrap(wrapped, CONTEXT) == data_key

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(check) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@FORKS
def test_no_data_key_and_no_nonce_repeats(keys: Keys) -> None:
    """The token's generator, between threads, forks and a new start: a copy of it would repeat."""
    service = keys.service()

    def made(_: int = 0) -> list[tuple[bytes, bytes]]:
        return [service.generate_data_key(CONTEXT) for _ in range(10)]

    every = made()
    with ThreadPoolExecutor(4) as pool:
        every += [each for part in pool.map(made, range(4)) for each in part]
    for _ in range(4):
        every += returned_by_child(made)
    every += made()
    service.close()
    every += [keys.service().generate_data_key(CONTEXT) for _ in range(10)]
    assert len(every) == 10 + 40 + 40 + 10 + 10
    assert len({data_key for data_key, _ in every}) == len(every)
    assert len({wrapped[1:13] for _, wrapped in every}) == len(every)


def test_a_lost_session_is_opened_again_once(keys: Keys) -> None:
    service = keys.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    (shared,) = _TOKENS.values()
    session = shared._session
    assert session is not None
    session.close()  # as a token does that was taken out and put back
    assert service.unwrap(wrapped, CONTEXT) == data_key
    assert shared._session is not session

    def lose(_: object) -> None:
        raise SessionLostError("answer", "SessionHandleInvalid")

    with pytest.raises(SessionLostError):
        shared.run(lose)


def test_a_login_by_other_code_of_the_process_is_shared(keys: Keys) -> None:
    import pkcs11

    library = pkcs11.lib(str(keys.token.module.resolve()))
    token = library.get_token(token_label=keys.token.label)
    foreign = token.open(user_pin=keys.token.pin)
    service = keys.service()
    service.generate_data_key(CONTEXT)
    service.close()
    assert len(list(foreign.get_objects())) == 1, "our close logged the other code out"
    foreign.close()


def test_another_configuration_is_refused_while_a_token_is_open(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.service()
    monkeypatch.setenv("SOFTHSM2_CONF", "/elsewhere")
    with pytest.raises(KeyServiceError, match="to stay as it was"):
        SharedToken.open(keys.token.module, TokenSelector(keys.token.label), keys.token.pin)


def test_another_configuration_is_read_when_no_token_is_open(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.close()
    assert _TOKENS == {}
    (tmp_path / "tokens").mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    with monkeypatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(configuration))
        initialise_token(keys.token.module, label="other", so_pin="123456", user_pin="654321")
        shared = SharedToken.open(keys.token.module, TokenSelector("other"), "654321")
        assert len(shared.run(lambda session: session.random(8))) == 8
        shared.close()
    assert keys.service().uri == keys.uri


def test_another_process_finds_the_keys(keys: Keys, tmp_path: Path) -> None:
    data_key, wrapped = keys.service().generate_data_key(CONTEXT)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from assay.keys import open_key_service\n"
        f"service = open_key_service({keys.uri!r}, directory=Path(), environment=os.environ)\n"
        f"found = service.unwrap(bytes.fromhex({wrapped.hex()!r}), {CONTEXT!r})\n"
        f"sys.exit(0 if found.hex() == {data_key.hex()!r} else 1)\n"
    )
    environment = {**os.environ, **keys.token.environment}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


def test_a_pin_from_a_file(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(f"{keys.token.pin}\n")
    environment = {**keys.token.environment}
    del environment["ASSAY_PIN"]
    uri = f"{keys.uri}?pin-source=file:pin"
    service = open_key_service(uri, directory=tmp_path, environment=environment)
    assert service.uri == keys.uri
    service.close()


def test_a_keyring_on_the_token(keys: Keys) -> None:
    table = MemoryDataKeyTable()
    key = Keyring(keys.service(), table).current("a", DataKeyClass.ROWS)
    assert Keyring(keys.service(), table).by_id("a", DataKeyClass.ROWS, key.key_id) == key


@pytest.mark.parametrize("label", ["", "x" * 33])
def test_a_label_that_does_not_fit_is_refused(softhsm_token: Any, label: str) -> None:
    with pytest.raises(KeyServiceError, match="1 to 32 bytes"):
        initialise_token(softhsm_token.module, label=label, so_pin="123456", user_pin="123456")
