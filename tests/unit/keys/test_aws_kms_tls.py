"""Whom a key service by boto3 believes to be AWS KMS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.kms_front import KmsFront

from assay.core import Fidelity
from assay.keys import KeyServiceError, KeyServiceUnavailableError

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    return ca


def context(ca: trustme.CA, name: str) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(found)
    return found


@pytest.fixture
def tls(kms: Any, moto_server: tuple[str, int], authority: trustme.CA) -> Iterator[KmsFront]:
    with KmsFront(moto_server, tls=context(authority, "127.0.0.1")) as front:
        yield front


def test_a_certificate_of_the_ca_that_is_named_is_believed(kms: Any, tls: KmsFront) -> None:
    kms.create()
    service = kms.service(endpoint=tls.endpoint, ca="ca.pem")
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert service.unwrap(wrapped, CONTEXT) == data_key
    assert service.fidelity is Fidelity.EMULATED


@pytest.mark.parametrize("ca", ["other.pem", ""])
def test_a_certificate_of_another_ca_is_not_believed(kms: Any, tls: KmsFront, ca: str) -> None:
    kms.create()
    with pytest.raises(KeyServiceError, match="that is trusted and valid"):
        kms.service(endpoint=tls.endpoint, ca=ca)
    assert not tls.calls


def test_a_certificate_for_another_name_is_not_believed(
    kms: Any, moto_server: tuple[str, int], authority: trustme.CA
) -> None:
    kms.create()
    with KmsFront(moto_server, tls=context(authority, "kms.example")) as front:
        with pytest.raises(KeyServiceError, match="that is trusted and valid"):
            kms.service(endpoint=front.endpoint, ca="ca.pem")
        assert not front.calls


def test_an_older_version_of_tls_is_not_spoken(
    kms: Any, moto_server: tuple[str, int], authority: trustme.CA
) -> None:
    old = context(authority, "127.0.0.1")
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    kms.create()
    with KmsFront(moto_server, tls=old) as front:
        with pytest.raises(KeyServiceError):
            kms.service(endpoint=front.endpoint, ca="ca.pem", deadline="2")
        assert not front.calls


def test_a_file_that_holds_no_certificates_is_named(
    kms: Any, tls: KmsFront, tmp_path: Path
) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    kms.create()
    with pytest.raises(KeyServiceError):
        kms.service(endpoint=tls.endpoint, ca="bad.pem")


def test_a_service_that_ends_while_it_greets_is_asked_again(
    kms: Any, authority: trustme.CA
) -> None:
    """As one that is killed in the middle of a handshake, which is no wrong certificate."""
    greeted = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    greeted.append(connection.recv(4096))

        thread = threading.Thread(target=greet)
        thread.start()
        endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with pytest.raises(KeyServiceUnavailableError, match="an end of the connection"):
                kms.service(endpoint=endpoint, ca="ca.pem", deadline="1")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert len(greeted) > 1
