"""What a real Vault says of a key, and what became of each attempt."""

from __future__ import annotations

import base64
import os
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from assay.controls.asset import Key
from assay.controls.checks.key_custody import KeyCustody
from assay.controls.context import Context
from assay.controls.twins.programme import twin_programme
from assay.core import Fidelity, Status
from assay.keys import Custody, key_custody

DOORS = {
    "export the key (export/encryption-key)": "400: is not exportable",
    "back the key up in the clear (backup)": "500: exporting is disallowed",
    "open a data key without its context (decrypt)": "400: message authentication failed",
    "open a data key under another context (decrypt)": "400: message authentication failed",
}


def custody(transit: Any, name: str = "kek", **environment: str) -> Custody:
    given = {**transit.environment, **environment}
    return key_custody(transit.uri(name), directory=transit.folder, environment=given)


def judged(transit: Any, name: str = "kek", **environment: str) -> Any:
    """The check's result for a key, as a programme would have it."""
    uri, given = transit.uri(name), {**transit.environment, **environment}
    with Context(transit.folder, twin_programme(keys=uri), environment=given) as context:
        facts = KeyCustody().collect(Key(id="kek", uri=uri, purpose="encryption"), context)
    return KeyCustody().judge(facts)


def test_every_door_is_tried_and_stays_shut(transit: Any) -> None:
    transit.create()
    found = transit.service().custody()
    assert {each.door: each.answer for each in found.export_attempts} == DOORS
    assert all(each.refused for each in found.export_attempts)
    assert found.untried_doors == ()
    assert (found.provider, found.algorithm) == ("vault", "AES-256-GCM")
    assert found.origin.generated_inside is True
    assert found.fidelity is Fidelity.EMULATED
    assert "root token" in found.residual_risk
    assert "(shamir)" in found.residual_risk
    assert msgspec.convert(msgspec.to_builtins(found), Custody) == found


def test_facts_are_read(transit: Any) -> None:
    transit.create()
    transit.api("POST", "keys/kek/rotate")
    transit.api(
        "POST", "keys/kek/config", {"auto_rotate_period": "24h", "min_decryption_version": 2}
    )
    facts = custody(transit).transit
    assert facts is not None
    assert (facts.address, facts.key) == (transit.server.address, f"vault:{transit.mount}/keys/kek")
    assert (facts.exportable, facts.allow_plaintext_backup, facts.imported) == (False,) * 3
    assert (facts.derived, facts.deletion_allowed) == (False, False)
    assert (facts.latest_version, facts.min_decryption_version) == (2, 2)
    assert facts.auto_rotate_seconds == 86400
    assert facts.seal_type == "shamir"
    if "ASSAY_VAULT_ADDR" not in os.environ:
        assert facts.storage_type == "file"
    assert facts.unread == ()


def test_the_check_passes_a_key_that_stays(transit: Any) -> None:
    transit.create()
    result = judged(transit)
    assert result.status is Status.PASS, result.reason
    assert result.fidelity is Fidelity.EMULATED
    assert "software, not a hardware security module" in result.reason


def test_a_key_that_may_be_exported_comes_out_and_fails(transit: Any) -> None:
    transit.create()
    transit.api("POST", "keys/kek/config", {"exportable": True, "allow_plaintext_backup": True})
    assert transit.api("GET", "export/encryption-key/kek")["data"]["keys"]
    came_out = {each.door for each in custody(transit).export_attempts if not each.refused}
    assert came_out == set(list(DOORS)[:2])
    result = judged(transit)
    assert result.status is Status.FAIL
    assert "may be exported" in result.reason
    assert len(result.findings) == 4


def test_an_imported_key_fails(transit: Any) -> None:
    public = load_pem_public_key(transit.api("GET", "wrapping_key")["data"]["public_key"].encode())
    ephemeral, material = os.urandom(32), os.urandom(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    sent = public.encrypt(ephemeral, oaep) + aes_key_wrap_with_padding(ephemeral, material)  # type: ignore[union-attr]
    transit.api(
        "POST", "keys/brought/import",
        {"ciphertext": base64.b64encode(sent).decode(), "type": "aes256-gcm96"},
    )  # fmt: skip
    found = custody(transit, "brought")
    assert found.origin.generated_inside is False
    result = judged(transit, "brought")
    assert result.status is Status.FAIL
    assert "imported" in result.reason


def test_a_derived_key_fails(transit: Any) -> None:
    transit.api("POST", "keys/derived", {"type": "aes256-gcm96", "derived": True})
    result = judged(transit, "derived")
    assert result.status is Status.FAIL
    assert "derived" in result.reason


def test_a_signing_key_has_no_data_keys_to_try(transit: Any) -> None:
    transit.api("POST", "keys/log", {"type": "ed25519"})
    found = transit.signer().custody()
    assert found.algorithm == "Ed25519"
    assert {each.door: each.answer for each in found.export_attempts} == {
        "export the key (export/signing-key)": "400: is not exportable",
        "back the key up in the clear (backup)": "500: exporting is disallowed",
    }
    assert all(each.refused for each in found.export_attempts)


@pytest.mark.parametrize(
    ("left_out", "untried"),
    [("export/encryption-key", 1), ("backup", 1), ("encrypt", 1), ("decrypt", 1)],
)
def test_a_caller_who_may_not_ask_has_not_tried(transit: Any, left_out: str, untried: int) -> None:
    transit.create()
    rest = {
        "keys": "read", "export/encryption-key": "read", "backup": "read", "encrypt": "update",
        "decrypt": "update",
    }  # fmt: skip
    del rest[left_out]
    token = transit.token(
        "\n".join(
            f'path "{transit.mount}/{path}/kek" {{ capabilities = ["{capability}"] }}'
            for path, capability in rest.items()
        )
    )
    found = custody(transit, VAULT_TOKEN=token)
    assert len(found.untried_doors) == untried
    assert "403, not allowed" in found.untried_doors[0]
    assert all(each.refused for each in found.export_attempts)
    assert judged(transit, VAULT_TOKEN=token).status is Status.ERROR


def test_export_under_a_key_of_the_caller_hangs_on_the_same_property(transit: Any) -> None:
    """Why the door is not tried: it needs a key of the caller's, and says nothing else."""
    transit.create()
    transit.api("POST", "keys/mine", {"type": "rsa-4096"})
    with pytest.raises(AssertionError, match="key is not exportable"):
        transit.api("GET", "byok-export/mine/kek")
    transit.api("POST", "keys/kek/config", {"exportable": True})
    assert transit.api("GET", "byok-export/mine/kek")["data"]["keys"]
