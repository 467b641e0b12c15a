"""What the service's TLS allows, as OpenSSL tells it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from assay.kms.errors import StartError
from assay.kms.tls import server_context


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    issued = trustme.CA().issue_cert("localhost")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return chain, key


def test_only_forward_secrecy_and_authenticated_encryption(pair: tuple[Path, Path]) -> None:
    context = server_context(*pair)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    ciphers = context.get_ciphers()
    assert {each["protocol"] for each in ciphers} == {"TLSv1.2", "TLSv1.3"}
    for each in ciphers:
        assert each["aead"], each["name"]
        assert each["protocol"] == "TLSv1.3" or each["kea"] == "kx-ecdhe", each["name"]
        assert each["auth"] != "auth-null", each["name"]
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_TICKET):
        assert context.options & option
    assert context.num_tickets == 0


def test_files_that_cannot_be_used(pair: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = pair
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    encrypted = tmp_path / "encrypted.pem"
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for certificate, private_key in (
        (chain, other),
        (chain, encrypted),
        (chain, tmp_path / "missing.pem"),
        (key, key),
        (chain, chain),
    ):
        with pytest.raises(StartError, match=r"expected a certificate in .*found: "):
            server_context(certificate, private_key)
