"""Deadlines, attempts, credentials and the names of what goes wrong, for calls of Vault."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.transit_in_memory import ADDRESS, TOKEN, TransitInMemory, raising, refused, response

from assay.core import SecretReferenceError
from assay.keys import (
    KeyAccessError,
    KeyDisabledError,
    KeyNotFoundError,
    KeysError,
    KeyServiceError,
    KeyServiceUnavailableError,
    KeyUriError,
    UnwrapError,
    open_key_service,
)
from assay.keys.vault import Vault
from assay.keys.vault_uri import parse_vault_uri

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}
PASSING: dict[str, Callable[[Any], Any]] = {
    "sealed": refused(503, "Vault is sealed"),
    "busy": refused(429, "request path is rate limited"),
    "internal": refused(500, "internal error"),
    "not initialised": refused(501),
    "bad gateway": lambda _: response(502, text="<html>"),
    "no connection": raising(requests.ConnectionError()),
    "broken": raising(requests.exceptions.ChunkedEncodingError()),
    "no answer": raising(requests.Timeout()),
}


@pytest.fixture
def engine() -> TransitInMemory:
    return TransitInMemory()


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_again(engine: TransitInMemory, fault: Any) -> None:
    service = engine.service()
    engine.faults.extend([fault, fault])
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert engine.calls["transit/encrypt/kek"] == 3
    assert service.unwrap(wrapped, CONTEXT) == data_key


STAYING: dict[str, tuple[int, tuple[str, ...], type[KeysError], str]] = {
    "denied": (403, ("permission denied",), KeyAccessError, "allow the token update on"),
    "expired": (403, ("permission denied", "invalid token"), KeyAccessError, "expired, revoked"),
    "no such path": (404, (), KeyNotFoundError, "check mount, name and namespace"),
    "no such key": (400, ("encryption key not found",), KeyNotFoundError, "check mount"),
    "too old": (
        400, ("ciphertext or signature version is disallowed by policy (too old)",),
        KeyDisabledError, "lower min_decryption_version",
    ),
    "altered": (400, ("cipher: message authentication failed",), UnwrapError, "does not open"),
    "odd": (400, ("hunter2",), UnwrapError, "does not open"),
    "no such method": (405, ("unsupported operation",), KeyServiceError, "it answered 405"),
}  # fmt: skip


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_is_named_at_once(engine: TransitInMemory, name: str) -> None:
    service = engine.service()
    _, wrapped = service.generate_data_key(CONTEXT)
    status, errors, kind, words = STAYING[name]
    before = engine.calls["transit/decrypt/kek"]
    engine.faults.append(refused(status, *errors))
    with pytest.raises(kind, match=words) as caught:
        service.unwrap(wrapped, CONTEXT)
    assert type(caught.value) is kind
    assert engine.calls["transit/decrypt/kek"] == before + 1
    for secret in ("hunter2", "tenant-1", TOKEN):
        assert secret not in str(caught.value)
    if kind is not UnwrapError:
        assert "vault:transit/keys/kek" in str(caught.value)


@pytest.mark.parametrize("fault", [PASSING["sealed"], PASSING["no connection"]])
def test_a_call_ends_within_its_deadline(engine: TransitInMemory, fault: Any) -> None:
    service = engine.service("&deadline=1")
    engine.faults.extend([fault] * 1000)
    began = time.monotonic()
    with pytest.raises(KeyServiceUnavailableError, match="within the deadline of 1 s"):
        service.generate_data_key(CONTEXT)
    assert time.monotonic() - began < 5
    assert 2 <= engine.calls["transit/encrypt/kek"] < 100
    engine.faults.clear()
    assert service.generate_data_key(CONTEXT)


ODD: dict[str, Any] = {
    "a page": response(200, text="<html>hunter2</html>"),
    "a list": response(200, ["hunter2"]),
    "another form": response(200, {"data": ["hunter2"]}),
    "a redirect": response(307, text=""),
    "no ciphertext": response(200, {"data": {}}),
    "another ciphertext": response(200, {"data": {"ciphertext": "hunter2"}}),
    "no data": response(204, text=""),
}


@pytest.mark.parametrize("name", ODD)
def test_an_answer_that_is_none_is_named(engine: TransitInMemory, name: str) -> None:
    service = engine.service()
    engine.faults.append(lambda _: ODD[name])
    with pytest.raises(KeyServiceError, match="check address=") as caught:
        service.generate_data_key(CONTEXT)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"type": 1}, {"latest_version": "1"}, {"latest_version": True}]
)
def test_a_description_of_another_key_is_not_believed(
    engine: TransitInMemory, changes: dict[str, Any]
) -> None:
    engine.changes = changes
    with pytest.raises(KeyServiceError, match="to describe the key vault:transit/keys/kek"):
        engine.service()


def test_a_redirect_is_not_followed_and_no_proxy_used(
    engine: TransitInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    service = engine.service()
    moved = response(307, text="")
    moved.headers["Location"] = "https://evil.example/v1/transit/encrypt/kek"
    engine.faults.append(lambda _: moved)
    with pytest.raises(KeyServiceError, match="a redirect, which is not followed"):
        service.generate_data_key(CONTEXT)
    assert all(str(each.url).startswith(ADDRESS) for each in engine.seen)
    assert service._vault is not None
    assert service._vault._connection().adapter.session.trust_env is False


def test_token_and_namespace_go_in_headers_alone(
    engine: TransitInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine.service("&namespace=a/b").generate_data_key(CONTEXT)
    for each in engine.seen:
        assert each.headers["X-Vault-Token"] == TOKEN
        assert each.headers["X-Vault-Namespace"] == "a/b"
        assert TOKEN not in f"{each.url}{each.body!r}"
    assert TOKEN not in caplog.text


def test_nothing_is_read_from_where_hvac_would_look(
    engine: TransitInMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.of-the-process")
    (tmp_path / ".vault-token").write_text("hvs.of-the-home")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SecretReferenceError, match="VAULT_TOKEN"):
        engine.vault(environment={})
    query = "&role-id-source=env:R&secret-id-source=env:S"
    engine.service(query, environment={"R": "r", "S": "s"})
    assert "X-Vault-Token" not in engine.seen[0].headers
    assert engine.seen[0].body == b'{"role_id": "r", "secret_id": "s"}'


def test_a_login_without_a_token_is_named(engine: TransitInMemory) -> None:
    query = "&role-id-source=env:R&secret-id-source=env:S"
    for body in (
        {},
        {"auth": {}},
        {"auth": {"client_token": "a b", "lease_duration": 1}},
        {"auth": 1},
    ):
        engine.faults.append(lambda _, body=body: response(200, body))
        with pytest.raises(KeyServiceError, match="found no token"):
            engine.service(query, environment={"R": "r", "S": "s"})


def test_a_server_that_overlooks_associated_data_gives_no_data_key(engine: TransitInMemory) -> None:
    service = engine.service()
    engine.binds = False
    with pytest.raises(KeyServiceError, match="opens a data key without; upgrade"):
        service.generate_data_key(CONTEXT)
    engine.binds = True
    service.generate_data_key(CONTEXT)
    asked = engine.calls["transit/decrypt/kek"]
    service.generate_data_key(CONTEXT)
    assert engine.calls["transit/decrypt/kek"] == asked  # it was seen once


def test_a_key_is_never_made_by_wrapping(engine: TransitInMemory) -> None:
    engine.service().generate_data_key(CONTEXT)
    sent = [each.body for each in engine.seen if str(each.url).endswith("/encrypt/kek")]
    assert b'"convergent_encryption": true' in sent[0]


def test_the_address_is_found_and_refused(tmp_path: Path) -> None:
    uri, token = parse_vault_uri("vault:transit/keys/kek"), {"VAULT_TOKEN": TOKEN}
    assert Vault(uri, tmp_path, {**token, "VAULT_ADDR": f"{ADDRESS}/"}).address == ADDRESS
    with pytest.raises(KeyUriError, match="or set VAULT_ADDR"):
        Vault(uri, tmp_path, token)
    with pytest.raises(KeyUriError, match="http:// only for this machine"):
        Vault(uri, tmp_path, {**token, "VAULT_ADDR": "http://vault.example"})


def test_without_hvac_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "hvac", None)
    monkeypatch.setitem(sys.modules, "hvac.adapters", None)
    for name in [name for name in sys.modules if name.startswith("assay.keys.vault")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(KeyServiceError, match=r"install assay\[vault\]"):
        open_key_service("vault:transit/keys/k", directory=tmp_path, environment={})
