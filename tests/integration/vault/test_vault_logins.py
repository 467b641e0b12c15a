"""Tokens, AppRoles, namespaces and certificates, and a Vault that is sealed or away."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.vault_server import mounted

from assay.keys import (
    KeyAccessError,
    KeyServiceError,
    KeyServiceUnavailableError,
    UnwrapError,
)
from assay.keys.vault_service import VaultKeyService, VaultProvider

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}


def policy(transit: Any) -> str:
    return "\n".join(
        f'path "{transit.mount}/{path}/kek" {{ capabilities = ["{capability}"] }}'
        for path, capability in (("keys", "read"), ("encrypt", "update"), ("decrypt", "update"))
    )


def test_a_token_that_was_revoked_is_named_and_never_shown(
    transit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    transit.create()
    token = transit.token(policy(transit))
    service = transit.service(token=token)
    data_key, wrapped = service.generate_data_key(CONTEXT)
    transit.server.api("POST", "auth/token/revoke", {"token": token})
    with pytest.raises(KeyAccessError, match="expired, revoked") as caught:
        service.unwrap(wrapped, CONTEXT)
    assert transit.service().unwrap(wrapped, CONTEXT) == data_key
    for shown in (
        str(caught.value),
        repr(caught.value),
        repr(service._vault._connection()),
        caplog.text,
    ):
        assert token not in shown
        assert transit.environment["VAULT_TOKEN"] not in shown


def test_a_token_that_an_agent_renews_in_a_file_is_read_again(transit: Any) -> None:
    transit.create()
    sink = transit.folder / "token"
    first, second = transit.token(policy(transit)), transit.token(policy(transit))
    sink.write_text(f"{first}\n")
    service = transit.service(token_source="file:token")
    data_key, wrapped = service.generate_data_key(CONTEXT)
    sink.write_text(second)
    transit.server.api("POST", "auth/token/revoke", {"token": first})
    assert service.unwrap(wrapped, CONTEXT) == data_key


def by_approle(transit: Any, **options: Any) -> VaultKeyService:
    role, secret = transit.approle(policy(transit), **options)
    (transit.folder / "secret-id").write_text(secret)
    uri = transit.uri(role_id_source="env:ROLE", secret_id_source="file:secret-id")
    return VaultProvider().open_key_service(uri, transit.folder, {"ROLE": role})


def test_an_approle_logs_in_and_again_when_its_token_is_gone(transit: Any) -> None:
    transit.create()
    service = by_approle(transit)
    data_key, wrapped = service.generate_data_key(CONTEXT)
    token = service._vault._connection().token
    transit.server.api("POST", "auth/token/revoke", {"token": token})
    assert service.unwrap(wrapped, CONTEXT) == data_key
    assert service._vault._connection().token != token


def test_an_approle_logs_in_again_before_its_lease_ends(
    transit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    transit.create()
    service = by_approle(transit, token_ttl="900s")
    now = service._vault._monotonic()
    token = service._vault._connection().token
    monkeypatch.setattr(service._vault, "_monotonic", lambda: now + 590)
    assert service._vault._connection().token == token
    monkeypatch.setattr(service._vault, "_monotonic", lambda: now + 610)
    assert service.generate_data_key(CONTEXT)
    assert service._vault._connection().token != token


def test_an_approle_that_is_refused_is_named(transit: Any) -> None:
    transit.create()
    service = by_approle(transit, secret_id_num_uses=1)
    transit.server.api("POST", "auth/token/revoke", {"token": service._vault._connection().token})
    secret = (transit.folder / "secret-id").read_text()
    with pytest.raises(KeyAccessError, match="let the AppRole in") as caught:
        service.generate_data_key(CONTEXT)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ä"])
def test_what_is_no_token_is_never_sent(transit: Any, token: str) -> None:
    with pytest.raises(KeyAccessError, match="a token of Vault at env:VAULT_TOKEN") as caught:
        transit.service(token=token)
    assert not token or token not in str(caught.value)


def test_a_server_of_another_authority_is_not_asked(transit: Any, tmp_path: Path) -> None:
    transit.create()
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(KeyServiceError, match=r"certificate of .* that is trusted"):
        transit.service(ca=str(other))
    with pytest.raises(KeyServiceError, match="found no file"):
        transit.service(ca="nowhere.pem")


def test_a_sealed_server_is_unavailable_and_works_when_it_is_unsealed(
    stoppable_server: Any, tmp_path: Path
) -> None:
    transit = mounted(stoppable_server, tmp_path)
    transit.create()
    service = transit.service(deadline="2")
    data_key, wrapped = service.generate_data_key(CONTEXT)
    stoppable_server.api("PUT", "sys/seal")
    with pytest.raises(KeyServiceUnavailableError, match=r"503 \(it is sealed"):
        service.unwrap(wrapped, CONTEXT)
    with pytest.raises(KeyServiceUnavailableError):
        service.custody()
    stoppable_server.unseal()
    assert service.unwrap(wrapped, CONTEXT) == data_key


def test_a_server_that_was_restarted_opens_what_it_wrapped(
    stoppable_server: Any, tmp_path: Path
) -> None:
    transit = mounted(stoppable_server, tmp_path)
    transit.create()
    service = transit.service(deadline="2")
    data_key, wrapped = service.generate_data_key(CONTEXT)
    stoppable_server.stop()
    with pytest.raises(KeyServiceUnavailableError, match="within the deadline of 2 s"):
        service.generate_data_key(CONTEXT)
    stoppable_server.start()
    with pytest.raises(KeyServiceUnavailableError, match="sealed"):
        service.unwrap(wrapped, CONTEXT)
    stoppable_server.unseal()
    assert service.unwrap(wrapped, CONTEXT) == data_key
    with pytest.raises(UnwrapError):
        service.unwrap(wrapped, {**CONTEXT, "owner": "tenant-2"})
    token = transit.environment["VAULT_TOKEN"]
    assert token not in stoppable_server.log()
