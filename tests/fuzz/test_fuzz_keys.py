"""Whatever bytes come in, the parsers of the room ``keys`` raise its own errors or nothing.

Runs under hypothesis with pytest; with atheris: ``python tests/fuzz/test_fuzz_keys.py NAME``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from assay.core import from_canonical_json
from assay.keys import KeysError
from assay.keys.aws_kms_uri import parse_aws_kms_uri, parse_key_arn
from assay.keys.embedded_format import parse_keys, parse_store
from assay.keys.embedded_slots import RecoverySlot, parse_slotted
from assay.keys.embedded_uri import parse_embedded_uri
from assay.keys.pkcs11_uri import parse_pkcs11_uri
from assay.keys.recovery_shares import GivenShare, read_share, write_share
from assay.keys.rehearsals import read_rehearsals, write_rehearsals
from assay.keys.service_wrapping import join_service_wrapped, split_service_wrapped
from assay.keys.vault_uri import parse_key_path, parse_vault_uri
from assay.keys.wrapping import unwrap_with

VECTORS = Path(__file__).parents[1] / "vectors"
STORE = json.loads((VECTORS / "embedded-key-store.json").read_bytes())["accepted"][0]
WRAPPED = bytes.fromhex(
    json.loads((VECTORS / "data-keys.json").read_bytes())["accepted"][0]["wrapped"]
)
RECOVERY = json.loads((VECTORS / "embedded-recovery.json").read_bytes())["accepted"][0]
NOTES = (
    b'{"format":"assay recovery rehearsals","rehearsals":[{"at":"2026-01-02T03:04:05.000006Z",'
    b'"custodians":["ada"],"outcome":"opened","split":7}],"store":"AAAAAAAAAAAAAAAAAAAAAA==",'
    b'"version":1}'
)
KEYS = b'{"kek":{"material":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","type":"aes-256"}}'


def fuzz_wrapped(data: bytes) -> None:
    """A wrapped data key from a table that somebody altered."""
    try:
        unwrap_with(AESGCM(bytes(32)), data, {"owner": "a"})
    except KeysError:
        return
    raise AssertionError("bytes opened that nobody wrapped")


def fuzz_service_wrapped(data: bytes) -> None:
    """The same of a key service; what is accepted is written and read back the same."""
    try:
        parts = split_service_wrapped(data)
    except KeysError:
        return
    assert join_service_wrapped(parts.kek, parts.ciphertext) == data


def fuzz_store(data: bytes) -> None:
    """The header of a key store."""
    try:
        header = parse_store(data)
    except KeysError:
        return
    assert header.parameters.n <= 2**18
    assert from_canonical_json(header.associated_data()) is not None


def fuzz_keys(data: bytes) -> None:
    """What a key store seals."""
    try:
        keys = parse_keys(data)
    except KeysError:
        return
    assert all(len(key.material) == 32 for key in keys.values())


def fuzz_slotted(data: bytes) -> None:
    """A key store of version 2, before anything of it is opened."""
    try:
        store = parse_slotted(data)
    except KeysError:
        return
    assert store.passphrase.parameters.n <= 2**18
    assert store.recovery is None or 2 <= store.recovery.threshold <= 16


def fuzz_share(data: bytes) -> None:
    """A share; a file that is accepted is written and read back the same."""
    try:
        share = read_share(GivenShare("it", data.decode("utf-8", "surrogatepass")))
    except (KeysError, UnicodeDecodeError):
        return
    assert 2 <= share.threshold <= 16
    if share.store is None:
        return
    assert share.count is not None
    assert share.custodian is not None
    slot = RecoverySlot(share.split, share.threshold, (share.custodian,) * share.count)
    assert write_share(share.store, slot, share.index, share.words).encode() == data


def fuzz_rehearsals(data: bytes) -> None:
    """Notes of rehearsals; what is accepted is written and read back the same."""
    try:
        found = read_rehearsals(data, bytes(16))
    except KeysError:
        return
    assert write_rehearsals(bytes(16), found) == data


def fuzz_pkcs11_uri(data: bytes) -> None:
    """A PKCS#11 URI; what is accepted is written and read back the same."""
    try:
        uri = parse_pkcs11_uri(data.decode("utf-8", "surrogatepass"))
    except (KeysError, UnicodeDecodeError):
        return
    assert parse_pkcs11_uri(uri.with_query()) == uri


def fuzz_embedded_uri(data: bytes) -> None:
    """The URI of a key store; what is accepted is written and read back the same."""
    try:
        uri = parse_embedded_uri(data.decode("utf-8", "surrogatepass"))
    except (KeysError, UnicodeDecodeError):
        return
    assert parse_embedded_uri(uri.with_query()) == uri


def fuzz_aws_kms_uri(data: bytes) -> None:
    """The URI of a key in AWS KMS; what is accepted is written and read back the same."""
    try:
        uri = parse_aws_kms_uri(data.decode("utf-8", "surrogatepass"))
    except (KeysError, UnicodeDecodeError):
        return
    assert parse_aws_kms_uri(uri.with_query()) == uri
    assert parse_aws_kms_uri(uri.without_options()).key_asked == uri.key_asked
    assert str(parse_key_arn(uri.key) or uri.key) == uri.key


def fuzz_vault_uri(data: bytes) -> None:
    """The URI of a key in Vault; what is accepted is written and read back the same."""
    try:
        uri = parse_vault_uri(data.decode("utf-8", "surrogatepass"))
    except (KeysError, UnicodeDecodeError):
        return
    assert parse_vault_uri(uri.with_query()) == uri
    named = uri.without_options().removeprefix("vault:")
    assert parse_key_path(named) == (uri.mount, uri.name)
    assert named.isascii()
    assert not set(named) & set(" ?#%\\\n")


SEEDS: dict[Callable[[bytes], None], tuple[bytes, ...]] = {
    fuzz_wrapped: (WRAPPED,),
    fuzz_service_wrapped: (b"\x02\x00\x09aws-kms:a\xff", b"\x02\xff\xff"),
    fuzz_store: (STORE["file"].encode(), b"[" * 3000, b'{"n":' + b"1" * 5000 + b"}"),
    fuzz_keys: (KEYS, b'{"a":' * 3000, b'"\\ud800"', b"1e999", b"NaN"),
    fuzz_slotted: (RECOVERY["file"].encode(), b"[" * 3000),
    fuzz_share: (
        RECOVERY["shares"][0].encode(),
        RECOVERY["shares"][1].rpartition("words ")[2].encode(),
        b"\xed\xa0\x80",
    ),
    fuzz_rehearsals: (NOTES, b"[" * 3000, b'{"version":1e999}'),
    fuzz_pkcs11_uri: (b"pkcs11:token=a%20b;object=k;id=%00?pin-source=file:/p&module-path=/m",),
    fuzz_aws_kms_uri: (
        b"aws-kms:arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
        b"?region=eu-west-1&endpoint=https://[::1]:1&ca=%41&profile=p&deadline=9",
        b"aws-kms:alias/a?deadline=10&endpoint=http://127.0.0.1",
        b"aws-kms:1234abcd-12ab-34cd-56ef-1234567890ab?region=cn-north-1",
    ),
    fuzz_vault_uri: (
        b"vault:a/b/keys/k.1?address=https://v:8200&namespace=n/m/&token-source=file:/p&deadline=9",
        b"vault:transit/keys/k?role-id-source=env:R&secret-id-source=file:s%20t&approle=a&ca=%41",
    ),
    fuzz_embedded_uri: (b"embedded:/a%3Fb?object=k&passphrase-source=env:A%26B",),
}


def altered(seed: bytes) -> st.SearchStrategy[bytes]:
    """A seed with a piece replaced: gets past the first check more often than random bytes."""
    place = st.integers(0, len(seed))
    return st.builds(
        lambda start, end, piece: seed[: min(start, end)] + piece + seed[max(start, end) :],
        place,
        place,
        st.binary(max_size=8),
    )


@pytest.mark.parametrize("fuzz", SEEDS, ids=lambda fuzz: fuzz.__name__)
@given(data=st.data())
def test_the_parser_raises_only_its_own_errors(
    fuzz: Callable[[bytes], None], data: st.DataObject
) -> None:
    seed = data.draw(st.sampled_from(SEEDS[fuzz]))
    fuzz(data.draw(st.one_of(st.binary(), altered(seed))))


@pytest.mark.parametrize(
    ("fuzz", "seed"),
    [(fuzz, seed) for fuzz, seeds in SEEDS.items() for seed in seeds],
    ids=lambda value: value.__name__ if callable(value) else str(len(value)),
)
def test_the_seeds_themselves(fuzz: Callable[[bytes], None], seed: bytes) -> None:
    fuzz(seed)


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found] # not in the lock; whoever fuzzes installs it

    targets = {target.__name__: target for target in SEEDS}
    chosen = targets[sys.argv.pop(1)]
    atheris.Setup(sys.argv, chosen)
    atheris.Fuzz()
