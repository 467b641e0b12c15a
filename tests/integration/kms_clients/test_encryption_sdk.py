"""The AWS Encryption SDK for Python, with master keys and with keyrings, and for JavaScript.

What one of them seals the others open: they share the form of a message, and the service.
"""

from __future__ import annotations

import base64
import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .conftest import ClientError, Kms, Programme

SECRET = base64.b64encode(b"Quartz-and-Obsidian").decode()
NORTH = {"tenant": "north"}
PLAIN, SIGNED = 0x0478, 0x0578  # AES-256-GCM with commitment; and with an ECDSA signature
APIS = ("master-keys", "keyrings", "javascript")


class Sdk:
    """One of the SDKs, with the variables of one user."""

    def __init__(self, programme: Programme, api: str) -> None:
        self._programme, self._api = programme, api

    def encrypt(self, *keys: str, suite: int = SIGNED, **more: Any) -> str:
        asked = {"text": SECRET, "context": NORTH, "suite": suite, **more}
        if keys:
            asked["keys"] = keys
        return str(self._programme("encrypt", api=self._api, **asked)["text"])

    def do(self, what: str, **more: Any) -> Any:
        return self._programme(what, api=self._api, **more)

    def decrypt(self, text: str, *keys: str, **more: Any) -> Any:
        asked = {"keys": keys} if keys else {}
        return self._programme("decrypt", api=self._api, text=text, **asked, **more)


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[str]:
    """Where moto stands in for DynamoDB, in which hierarchical keyrings keep what they wrapped."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()):
        server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def programmes(
    kms: Kms,
    python_clients: Path,
    node_clients: Path,
    dynamodb: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Programme]]:
    folder = tmp_path_factory.mktemp("sdk")
    environment = kms.environment(CLIENTS=str(node_clients), AWS_ENDPOINT_URL_DYNAMODB=dynamodb)
    environment["NODE_EXTRA_CA_CERTS"] = environment["AWS_CA_BUNDLE"]
    commands = {
        "python": [str(python_clients / "python"), str(Path(__file__).with_name("encryption_sdk.py"))],
        "node": ["node", str(Path(__file__).with_name("encryption_sdk.mjs"))],
    }  # fmt: skip
    made = {name: Programme(command, environment, folder) for name, command in commands.items()}
    yield made
    for each in made.values():
        each.close()


@pytest.fixture(scope="module")
def sdks(programmes: dict[str, Programme]) -> dict[str, Sdk]:
    return {api: Sdk(programmes["node" if api == "javascript" else "python"], api) for api in APIS}


@pytest.fixture(params=APIS)
def sdk(request: pytest.FixtureRequest, sdks: dict[str, Sdk]) -> Sdk:
    return sdks[request.param]


@pytest.mark.parametrize("suite", [PLAIN, SIGNED], ids=["plain", "signed"])
def test_what_one_seals_all_open(sdk: Sdk, sdks: dict[str, Sdk], kms: Kms, suite: int) -> None:
    key = kms.key()
    sealed = sdk.encrypt(key, suite=suite)
    for other in sdks.values():
        assert other.decrypt(sealed, key) == {"text": SECRET, "context": NORTH}
    kms.client.rotate_key_on_demand(KeyId=key)
    assert sdk.decrypt(sealed, key)["text"] == SECRET


def test_another_context_is_refused_by_the_service(sdk: Sdk, kms: Kms) -> None:
    key = kms.key()
    raw = base64.b64decode(sdk.encrypt(key, suite=PLAIN))
    altered = base64.b64encode(raw.replace(b"north", b"south")).decode()
    with pytest.raises(ClientError):
        sdk.decrypt(altered, key)
    assert kms.performed("Decrypt", key) == ["InvalidCiphertextException"]


def test_keyrings_refuse_a_context_that_was_not_expected(sdks: dict[str, Sdk], kms: Kms) -> None:
    key, sdk = kms.key(), sdks["keyrings"]
    sealed = sdk.encrypt(key)
    assert sdk.decrypt(sealed, key, context=NORTH)["text"] == SECRET
    with pytest.raises(ClientError, match=r"(?i)encryption.?context"):
        sdk.decrypt(sealed, key, context={"tenant": "south"})


def test_keys_are_found_by_account(sdk: Sdk, kms: Kms) -> None:
    key = kms.key()
    sealed = sdk.encrypt(key)
    assert sdk.decrypt(sealed)["text"] == SECRET
    assert sdk.decrypt(sealed, accounts=[kms.account])["text"] == SECRET
    before = kms.performed("Decrypt", key)
    assert before == ["ok", "ok"]
    with pytest.raises(ClientError):
        sdk.decrypt(sealed, accounts=["999988887777"])
    assert kms.performed("Decrypt", key) == before
    with pytest.raises(ClientError):
        sdk.decrypt(sealed, kms.key())


def test_one_of_two_keys_opens_and_both_must_seal(sdk: Sdk, kms: Kms) -> None:
    first, second = kms.key(), kms.key()
    sealed = sdk.encrypt(first, second)
    kms.client.disable_key(KeyId=first)
    assert sdk.decrypt(sealed, first, second)["text"] == SECRET
    assert sdk.decrypt(sealed, second)["text"] == SECRET
    with pytest.raises(ClientError):
        sdk.encrypt(first, second)
    assert kms.performed("GenerateDataKey", first) == ["ok", "DisabledException"]
    kms.client.disable_key(KeyId=second)
    with pytest.raises(ClientError):
        sdk.decrypt(sealed, first, second)


def test_materials_that_are_cached_ask_once(sdks: dict[str, Sdk], kms: Kms) -> None:
    key, sdk = kms.key(), sdks["master-keys"]
    sealed = [sdk.encrypt(key, cached="writing", messages=3) for _ in range(4)]
    assert kms.performed("GenerateDataKey", key) == ["ok", "ok"]
    for each in sealed:
        assert sdk.decrypt(each, key, cached="reading")["text"] == SECRET
    assert kms.performed("Decrypt", key) == ["ok", "ok"]


def test_branch_keys_hang_on_one_key(sdks: dict[str, Sdk], kms: Kms) -> None:
    key, sdk = kms.key(), sdks["keyrings"]
    branch = {"branch": sdk.do("create-branch", key=key), "key": key}
    sealed = sdk.encrypt(**branch, suite=PLAIN)
    sdk.do("version-branch", **branch)
    assert sdk.decrypt(sealed, **branch)["text"] == SECRET
    assert kms.performed("ReEncrypt", key)
    kms.client.disable_key(KeyId=key)
    with pytest.raises(ClientError):
        sdk.decrypt(sealed, **branch)
    assert kms.performed("Decrypt", key)[-1] == "DisabledException"


def test_a_key_pair_for_encryption_opens(sdks: dict[str, Sdk], kms: Kms) -> None:
    key, sdk = kms.key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"), sdks["keyrings"]
    sealed = sdk.encrypt(rsa=key, suite=PLAIN)
    assert sdk.decrypt(sealed, rsa=key)["text"] == SECRET
    assert kms.performed("Decrypt", key) == ["ok"]


def test_who_may_only_seal_opens_nothing(
    kms: Kms, python_clients: Path, reader: Mapping[str, str], tmp_path: Path
) -> None:
    key = kms.key()
    grantee = f"arn:aws:iam::{kms.account}:user/reader"
    kms.client.create_grant(
        KeyId=key, GranteePrincipal=grantee, Operations=["GenerateDataKey"],
        Constraints={"EncryptionContextSubset": NORTH},
    )  # fmt: skip
    program = Path(__file__).with_name("encryption_sdk.py")
    command = [str(python_clients / "python"), str(program)]
    programme = Programme(command, kms.environment(reader), tmp_path)
    sdk = Sdk(programme, "keyrings")
    try:
        sealed = sdk.encrypt(key, suite=PLAIN)
        with pytest.raises(ClientError):
            sdk.decrypt(sealed, key)
        with pytest.raises(ClientError):
            sdk.encrypt(key, context={"tenant": "south"}, suite=PLAIN)
    finally:
        programme.close()
    assert kms.performed("Decrypt", key) == ["AccessDeniedException"]
    assert kms.performed("GenerateDataKey", key) == ["ok", "AccessDeniedException"]
