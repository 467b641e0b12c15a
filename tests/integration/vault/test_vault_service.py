"""KEKs and signing keys in a real Vault."""

from __future__ import annotations

import base64
import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.nonce_record import in_child

from assay.core import DataKeyClass, Fidelity
from assay.keys import (
    KeyAccessError,
    KeyDisabledError,
    KeyExistsError,
    KeyNotFoundError,
    Keyring,
    KeysError,
    KeyServiceError,
    KeyUriError,
    MemoryDataKeyTable,
    MemoryKeyService,
    SigningError,
    UnwrapError,
    create_key,
    create_signing_key,
    key_custody,
    leaky_key,
    open_key_service,
    open_signer,
    vault,
)
from assay.keys.service_wrapping import join_service_wrapped, split_service_wrapped
from assay.keys.vault_service import MOST_MESSAGE_BYTES, VaultProvider
from assay.keys.wrapping import wrap_associated_data

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}
FORKS = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def version(wrapped: bytes) -> bytes:
    """Under which version of the KEK it is wrapped."""
    return split_service_wrapped(wrapped).ciphertext.split(b":")[1]


def test_a_kek_wraps_and_unwraps(transit: Any) -> None:
    transit.create()
    service, other = transit.service(), transit.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert len(data_key) == 32
    assert other.unwrap(wrapped, CONTEXT) == data_key
    assert service.generate_data_key(CONTEXT)[0] != data_key
    assert service.uri == f"vault:{transit.mount}/keys/kek"
    assert split_service_wrapped(wrapped).kek == service.uri
    assert service.fidelity is Fidelity.EMULATED


def test_the_table_of_schemes_opens_it_and_a_keyring_uses_it(transit: Any) -> None:
    options: dict[str, Any] = {"directory": transit.folder, "environment": transit.environment}
    create_key(transit.uri(), **options)
    create_signing_key(transit.uri("log"), **options)
    table = MemoryDataKeyTable()
    service = open_key_service(transit.uri(), **options)
    made = Keyring(service, table).current("a", DataKeyClass.ROWS)
    again = Keyring(open_key_service(transit.uri(), **options), table)
    assert again.current("a", DataKeyClass.ROWS).material == made.material
    assert table.versions("a", DataKeyClass.ROWS)[0].kek == service.uri
    assert key_custody(transit.uri(), **options).provider == "vault"
    assert len(open_signer(transit.uri("log"), **options).sign(b"m")) == 64


@pytest.mark.parametrize(
    "context",
    [
        {},
        {**CONTEXT, "owner": "tenant-2"},
        {**CONTEXT, "more": ""},
        {"owner": "tenant-1", "class": "rows"},
        {**CONTEXT, "version": "\ud800"},
    ],
    ids=["none", "another", "more", "less", "surrogate"],
)
def test_another_context_does_not_open(transit: Any, context: Mapping[str, str]) -> None:
    transit.create()
    service = transit.service()
    _, wrapped = service.generate_data_key(CONTEXT)
    with pytest.raises(KeysError):
        service.unwrap(wrapped, context)
    with pytest.raises(KeysError):
        service.rewrap(wrapped, context)


def test_every_altered_byte_is_refused(transit: Any) -> None:
    transit.create()
    service = transit.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    for position in range(len(wrapped)):
        for change in (1, 0x20):
            altered = bytearray(wrapped)
            altered[position] ^= change
            with pytest.raises((UnwrapError, KeyNotFoundError)):
                service.unwrap(bytes(altered), CONTEXT)
    for other in (b"", wrapped[:-1], wrapped + b"x", wrapped + b"\n", b"\x01" + bytes(60)):
        with pytest.raises(UnwrapError):
            service.unwrap(other, CONTEXT)
    assert service.unwrap(wrapped, CONTEXT) == data_key


def test_the_server_is_as_the_specification_says(transit: Any) -> None:
    """encrypt and decrypt bind associated data; rewrap and datakey do not know of it."""
    transit.create()
    _, wrapped = transit.service().generate_data_key(CONTEXT)
    bound = {
        "ciphertext": split_service_wrapped(wrapped).ciphertext.decode(),
        "associated_data": base64.b64encode(wrap_associated_data(CONTEXT)).decode(),
    }
    assert transit.api("POST", "decrypt/kek", bound)["data"]["plaintext"]
    refused = "message authentication failed"
    with pytest.raises(AssertionError, match=refused):
        transit.api("POST", "decrypt/kek", {"ciphertext": bound["ciphertext"]})
    with pytest.raises(AssertionError, match=refused):
        transit.api("POST", "rewrap/kek", bound)
    in_batch = transit.api("POST", "rewrap/kek", {"batch_input": [bound]})
    assert refused in in_batch["data"]["batch_results"][0]["error"]
    if "ASSAY_VAULT_ADDR" not in os.environ:  # OpenBao's datakey knows it
        asked = {"associated_data": bound["associated_data"]}
        made = transit.api("POST", "datakey/wrapped/kek", asked)["data"]["ciphertext"]
        assert transit.api("POST", "decrypt/kek", {"ciphertext": made})["data"]["plaintext"]


def test_a_new_version_of_the_kek_wraps_and_the_old_one_still_opens(transit: Any) -> None:
    transit.create()
    service = transit.service()
    data_key, old = service.generate_data_key(CONTEXT)
    transit.api("POST", "keys/kek/rotate")
    new = service.rewrap(old, CONTEXT)
    assert (version(old), version(new)) == (b"v1", b"v2")
    assert service.unwrap(old, CONTEXT) == service.unwrap(new, CONTEXT) == data_key
    assert version(service.generate_data_key(CONTEXT)[1]) == b"v2"


def test_a_version_that_is_no_longer_used_is_named(transit: Any) -> None:
    transit.create()
    service = transit.service()
    _, old = service.generate_data_key(CONTEXT)
    transit.api("POST", "keys/kek/rotate")
    new = service.rewrap(old, CONTEXT)
    transit.api("POST", "keys/kek/config", {"min_decryption_version": 2})
    with pytest.raises(KeyDisabledError, match="lower min_decryption_version"):
        service.unwrap(old, CONTEXT)
    transit.api("POST", "keys/kek/config", {"min_encryption_version": 2})
    transit.api("POST", "keys/kek/trim", {"min_available_version": 2})
    with pytest.raises(KeyDisabledError, match="trimmed"):
        service.rewrap(old, CONTEXT)
    assert service.unwrap(new, CONTEXT)


def test_a_data_key_moves_between_keys_and_services(transit: Any) -> None:
    transit.create()
    transit.create("second")
    first, second, elsewhere = transit.service(), transit.service("second"), MemoryKeyService()
    data_key, outside = elsewhere.generate_data_key(CONTEXT)
    inside = first.rewrap(outside, CONTEXT, wrapped_by=elsewhere)
    moved = second.rewrap(inside, CONTEXT, wrapped_by=first)
    assert split_service_wrapped(moved).kek == second.uri
    assert split_service_wrapped(second.rewrap(inside, CONTEXT)).kek == second.uri
    away = elsewhere.rewrap(moved, CONTEXT, wrapped_by=second)
    assert elsewhere.unwrap(away, CONTEXT) == data_key
    with pytest.raises(UnwrapError, match=r"\(version 02\), found 01"):
        first.unwrap(outside, CONTEXT)


def test_the_table_cannot_lead_to_a_key_that_somebody_chose(transit: Any) -> None:
    transit.create()
    service = transit.service()
    ciphertext = split_service_wrapped(service.generate_data_key(CONTEXT)[1]).ciphertext
    mount = transit.mount
    for name in (
        "vault:other/keys/kek", f"vault:{mount}/keys/../kek", f"vault:{mount}/decrypt/kek",
        f"vault:{mount}/keys/kek?address=https://evil.example", f"aws-kms:{mount}/keys/kek",
        f"{mount}/keys/kek", f"vault:{mount}/keys/kek/", "vault:sys/keys/kek", "x",
    ):  # fmt: skip
        with pytest.raises(UnwrapError):
            service.unwrap(join_service_wrapped(name, ciphertext), CONTEXT)
    for other in (b"vault:v1:", b"vault:v0:AAAA", b"AAAA", ciphertext + b"\n", b"\xff"):
        with pytest.raises(UnwrapError):
            service.unwrap(join_service_wrapped(service.uri, other), CONTEXT)
    with pytest.raises(KeyNotFoundError):
        service.unwrap(join_service_wrapped(f"vault:{mount}/keys/gone", ciphertext), CONTEXT)


def test_keys_are_never_overwritten(transit: Any) -> None:
    transit.create()
    before = transit.api("GET", "keys/kek")["data"]["keys"]
    for create in (VaultProvider().create_key, VaultProvider().create_signing_key):
        with pytest.raises(KeyExistsError, match="not overwritten"):
            create(transit.uri(), transit.folder, transit.environment)
    assert transit.api("GET", "keys/kek")["data"]["keys"] == before
    made = transit.api("GET", "keys/kek")["data"]
    assert (made["exportable"], made["allow_plaintext_backup"], made["deletion_allowed"]) == (
        False, False, False,
    )  # fmt: skip


def test_keys_that_are_absent_or_of_another_kind_are_named(transit: Any) -> None:
    with pytest.raises(KeyNotFoundError, match=f"vault:{transit.mount}/keys/kek"):
        transit.service()
    transit.api("POST", "keys/rsa", {"type": "rsa-2048"})
    transit.api("POST", "keys/derived", {"type": "aes256-gcm96", "derived": True})
    for name in ("rsa", "derived"):
        with pytest.raises(KeyUriError, match="the type aes256-gcm96 and derived=False"):
            transit.service(name)
        with pytest.raises(KeyUriError, match="the type ed25519"):
            transit.signer(name)


def test_a_deleted_key_is_named_and_never_made_anew(transit: Any) -> None:
    transit.create()
    service = transit.service()  # by the root token, which may create keys
    reader = transit.service(token=transit.token(policies(transit)["SealAndRead"]))
    _, wrapped = service.generate_data_key(CONTEXT)
    transit.api("POST", "keys/kek/config", {"deletion_allowed": True})
    transit.api("DELETE", "keys/kek")
    for each in (service, reader):
        for refused in (
            lambda each=each: each.unwrap(wrapped, CONTEXT),
            lambda each=each: each.generate_data_key(CONTEXT),
        ):
            with pytest.raises(KeyNotFoundError, match="keys/kek"):
                refused()
    with pytest.raises(KeyNotFoundError):
        transit.service()


def test_a_signing_key_signs_as_rfc_8032_says(transit: Any) -> None:
    VaultProvider().create_signing_key(transit.uri("log"), transit.folder, transit.environment)
    signer = transit.signer()
    signature = signer.sign(b"message")
    Ed25519PublicKey.from_public_bytes(signer.public_key()).verify(signature, b"message")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(signer.public_key()).verify(signature, b"another")
    long = secrets.token_bytes(MOST_MESSAGE_BYTES)
    Ed25519PublicKey.from_public_bytes(signer.public_key()).verify(signer.sign(long), long)
    for message in (b"", long + b"x"):
        with pytest.raises(SigningError, match="a message of 1 to 524288 bytes"):
            signer.sign(message)


def test_a_signer_keeps_the_version_with_which_it_was_opened(transit: Any) -> None:
    VaultProvider().create_signing_key(transit.uri("log"), transit.folder, transit.environment)
    before = transit.signer()
    public_key = before.public_key()
    transit.api("POST", "keys/log/rotate")
    Ed25519PublicKey.from_public_bytes(public_key).verify(before.sign(b"m"), b"m")
    after = transit.signer()
    assert after.public_key() != public_key
    Ed25519PublicKey.from_public_bytes(after.public_key()).verify(after.sign(b"m"), b"m")
    transit.api("POST", "keys/log/config", {"min_encryption_version": 2})
    with pytest.raises(SigningError, match="keys/log"):
        before.sign(b"m")


def test_a_drill_has_a_key_that_comes_out_and_leaves_nothing(transit: Any) -> None:
    transit.create()
    options: dict[str, Any] = {"directory": transit.folder, "environment": transit.environment}
    with leaky_key(transit.uri(), **options) as uri:
        came_out = [
            each.door for each in key_custody(uri, **options).export_attempts if not each.refused
        ]
        assert came_out == [
            "export the key (export/encryption-key)", "back the key up in the clear (backup)",
        ]  # fmt: skip
    assert transit.api("LIST", "keys")["data"]["keys"] == ["kek"]


def policies(transit: Any) -> dict[str, str]:
    """The policies of the module's docstring, for this mount."""
    found = re.search(r"\.\. code-block:: hcl\n\n(.*?)\n\nSource", vault.__doc__ or "", re.DOTALL)
    assert found
    sections = re.split(r"(?m)^ *# (\w+).*\n", found[1])[1:]
    return {
        name: text.replace('"transit/', f'"{transit.mount}/')
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }


def seal_and_read(transit: Any, token: str) -> None:
    service = transit.service(token=token)
    _, wrapped = service.generate_data_key(CONTEXT)
    service.rewrap(wrapped, CONTEXT)


def sign_the_log(transit: Any, token: str) -> None:
    try:
        transit.signer(token=token).sign(b"m")
    except SigningError as exc:
        raise KeyAccessError(str(exc)) from exc


def observe_custody(transit: Any, token: str) -> None:
    found = transit.service(token=token).custody()
    if found.untried_doors:
        raise KeyAccessError(" ".join(found.untried_doors))


def create_keys(transit: Any, token: str) -> None:
    VaultProvider().create_key(transit.uri(), transit.folder, {"VAULT_TOKEN": token})


def drill(transit: Any, token: str) -> None:
    with VaultProvider().leaky_key(transit.uri(), transit.folder, {"VAULT_TOKEN": token}):
        pass


WORK: dict[str, Callable[[Any, str], None]] = {
    "SealAndRead": seal_and_read,
    "SignTheLog": sign_the_log,
    "ObserveCustody": observe_custody,
    "CreateKeys": create_keys,
    "Drill": drill,
}


@pytest.mark.parametrize("section", WORK)
def test_the_policy_that_is_documented_is_enough_and_none_of_its_lines_too_much(
    transit: Any, section: str
) -> None:
    if section != "CreateKeys":
        transit.create()
    VaultProvider().create_signing_key(transit.uri("log"), transit.folder, transit.environment)
    policy = policies(transit)[section].strip().splitlines()
    assert len(policy) >= 1
    for missing in range(len(policy)):
        rest = "\n".join(line for number, line in enumerate(policy) if number != missing)
        with pytest.raises(KeyAccessError, match=r"allow the token|403"):
            WORK[section](transit, transit.token(rest or "# nothing"))
    WORK[section](transit, transit.token("\n".join(policy)))


def test_the_sections_of_the_policy_are_all_tested(transit: Any) -> None:
    assert set(policies(transit)) == set(WORK)


def test_threads_share_a_service(transit: Any) -> None:
    transit.create()
    service = transit.service()
    start = threading.Barrier(8)

    def work(number: int) -> set[bytes]:
        start.wait()
        found = set()
        for _ in range(10):
            context = {**CONTEXT, "owner": str(number)}
            data_key, wrapped = service.generate_data_key(context)
            assert service.unwrap(wrapped, context) == data_key
            found.add(data_key)
        return found

    with ThreadPoolExecutor(8) as threads:
        assert len(set().union(*threads.map(work, range(8)))) == 80


@FORKS
def test_a_fork_asks_over_a_connection_of_its_own(transit: Any) -> None:
    transit.create()
    service = transit.service()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    inside = service._vault._connection().adapter

    def child() -> bytes:
        assert service._vault._connection().adapter is not inside
        return service.unwrap(wrapped, CONTEXT)

    assert in_child(child) == data_key
    assert service._vault._connection().adapter is inside
    assert service.unwrap(wrapped, CONTEXT) == data_key


def test_a_closed_service_says_so(transit: Any) -> None:
    transit.create()
    service = transit.service()
    service.close()
    service.close()
    for closed in (service.custody, lambda: service.generate_data_key(CONTEXT)):
        with pytest.raises(KeyServiceError, match="was closed"):
            closed()
