"""Vault over TLS, when the other side goes away."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from assay.keys import KeyServiceUnavailableError
from assay.keys.attempts import ended_in_tls
from assay.keys.vault import Vault
from assay.keys.vault_uri import parse_vault_uri


def test_a_server_that_ends_while_it_greets_is_asked_again(tmp_path: Path) -> None:
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
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        uri = f"vault:transit/keys/kek?address={address}&deadline=2"
        vault = Vault(parse_vault_uri(uri), tmp_path, {"VAULT_TOKEN": "not-a-real-one"})
        try:
            with pytest.raises(KeyServiceUnavailableError):
                vault.call("GET", "transit/keys/kek", "vault:transit/keys/kek")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert len(greeted) > 1


def test_an_end_is_found_wherever_a_client_carries_it() -> None:
    def chained(error: Exception) -> Exception:
        outer = RuntimeError("outer")
        outer.__context__ = ValueError(error)
        return outer

    assert ended_in_tls(chained(ssl.SSLEOFError()))
    assert ended_in_tls(ssl.SSLZeroReturnError())
    assert not ended_in_tls(chained(ssl.SSLCertVerificationError()))
    ring = RuntimeError("ring")
    ring.__context__ = RuntimeError("other")
    ring.__context__.__context__ = ring
    assert not ended_in_tls(ring)
