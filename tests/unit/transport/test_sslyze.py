from __future__ import annotations

import re
import socket
from pathlib import Path

import msgspec
import pytest

from assay.core import ToolError
from assay.transport import (
    TlsObservation,
    TlsServer,
    TrustStoreError,
    UrlError,
    probe_tls,
    sslyze_tool,
)


def test_the_lock_installs_exactly_the_trusted_version() -> None:
    tool = sslyze_tool(Path("home"))
    lock = tool.requirements.read_text()
    assert f"\nsslyze=={tool.version} \\\n    --hash=sha256:" in lock
    requirements = re.findall(r"^[a-z].*", lock, re.MULTILINE)
    assert all(re.match(r"[a-z0-9-]+==\S+( ;.*)? \\$", line) for line in requirements)
    assert "http" not in lock, "a lock names no host"


def test_without_the_tool_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="assay scan setup"):
        probe_tls("localhost", 443, tool=sslyze_tool(tmp_path))


def test_a_name_that_does_not_resolve_is_a_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    tool = sslyze_tool(tmp_path)
    (tool.environment / "bin").mkdir(parents=True)
    (tool.environment / "bin" / "python").touch()
    (tool.environment / "complete").touch()
    found = probe_tls("nowhere.example", 443, tool=tool)
    assert not found.reachable
    assert found.servers == ()
    assert "does not resolve" in found.error


@pytest.mark.parametrize(("host", "port"), [("--x", 443), ("a", 0), ("a", 65536)])
def test_what_cannot_be_probed_is_refused(tmp_path: Path, host: str, port: int) -> None:
    with pytest.raises(UrlError):
        probe_tls(host, port, tool=sslyze_tool(tmp_path))


def test_a_missing_file_of_authorities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrustStoreError):
        probe_tls("a", 443, tool=sslyze_tool(tmp_path), ca_file=tmp_path / "none")


def test_a_recorded_observation_with_a_misspelt_field_is_refused() -> None:
    found = TlsObservation("a", 443, (), False, "", "", "", (TlsServer("b", True, ""),))
    recorded = msgspec.json.encode(found)
    assert msgspec.json.decode(recorded, type=TlsObservation) == found
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(recorded.replace(b'"versions"', b'"versionz"'), type=TlsObservation)
