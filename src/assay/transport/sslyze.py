"""Which protocol versions and cipher suites a server takes, asked by sslyze.

sslyze runs in a hash-locked environment of its own, is asked for JSON, and must say that it is
the pinned version. It exits with 0 for a server that it could not reach, so its exit code is
never looked at: each server and each version must be in its report.

Specification: https://nabla-c0d3.github.io/sslyze/documentation/

Example:
    >>> tool = sslyze_tool(tools_home())
    >>> probe_tls("localhost", 8443, tool=tool, ca_file=Path("ca.pem"))  # doctest: +SKIP
    TlsObservation(host='localhost', port=8443, ..., servers=(TlsServer(...),))
"""

from __future__ import annotations

import ssl
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from assay.core import PinnedTool
from assay.transport.addresses import MOST_ADDRESSES, check_host, resolve
from assay.transport.errors import TrustStoreError, UrlError
from assay.transport.handshake import (
    TIMED_OUT,
    CertificateCheck,
    Trust,
    check_certificate,
    connection_reason,
)
from assay.transport.observation import TlsObservation, TlsServer
from assay.transport.sslyze_report import ScannedServer, read_report

VERSION = "6.3.1"
"""The only version of sslyze that is trusted; `sslyze.txt` installs it."""

_SCANS = ("sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "certinfo")
_CONNECT_SECONDS = 3.0


def sslyze_tool(home: Path) -> PinnedTool:
    """The pinned sslyze.

    Args:
        home: the folder in which tool environments are kept.
    """
    return PinnedTool("sslyze", VERSION, Path(__file__).with_name("sslyze.txt"), home)


def probe_tls(
    host: str,
    port: int,
    *,
    tool: PinnedTool,
    ca_file: Path | None = None,
    timeout_seconds: float = 60.0,
) -> TlsObservation:
    """Look at every address of a host: versions, suites, certificate, trust.

    Addresses that accept no connection, or do not answer a handshake in time, are not handed to
    sslyze, which would try for long; they are in the observation with the reason.

    Args:
        host: a name, or an address without brackets.
        port: the port that speaks TLS from the first byte.
        tool: the pinned sslyze.
        ca_file: authorities in PEM form; None for the system's.
        timeout_seconds: after which sslyze is stopped.

    Raises:
        ToolError: sslyze is not installed, or did not end in time.
        TlsReportError: sslyze reported something else than it was asked.
        TrustStoreError: the file of authorities cannot be used.
        UrlError: the host cannot be probed.
    """
    host = check_host(host)
    if not 0 < port < 65536:
        raise UrlError(f"expected a port from 1 to 65535, found {port}")
    if ca_file is not None and not ca_file.is_file():
        raise TrustStoreError(f"expected certificates in PEM form in {ca_file}, found no file")
    tool.executable("python")  # 0. without the tool nothing is known, reachable or not
    resolved = resolve(host, port)
    probed = resolved.addresses[:MOST_ADDRESSES]
    shake = partial(_first_contact, host, port, ca_file)
    with ThreadPoolExecutor(MOST_ADDRESSES) as pool:
        # 1. Which addresses answer, and may they be trusted?
        checks = dict(zip(probed, pool.map(shake, probed), strict=True))
        answering = [a for a, check in checks.items() if isinstance(check, CertificateCheck)]
        # 2. What do those that answer accept?
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        scanned, version = _scan(tool, name, answering, ca_file, timeout_seconds)
        # 3. Are they still there? One that blocked the prober half-way refused nothing.
        after = dict(zip(answering, pool.map(shake, answering), strict=True))
    return TlsObservation(
        host=host,
        port=port,
        addresses=resolved.addresses,
        all_loopback=resolved.all_loopback,
        error=resolved.error,
        tool_version=version,
        openssl_version=ssl.OPENSSL_VERSION,
        servers=tuple(
            _server(address, checks[address], scanned.get(address), after.get(address))
            for address in probed
        ),
    )


def _first_contact(
    host: str, port: int, ca_file: Path | None, address: str
) -> CertificateCheck | str:
    """What a client makes of an address, or why it answers no handshake."""
    try:
        check = check_certificate(host, address, port, ca_file, _CONNECT_SECONDS)
    except OSError as exc:
        return connection_reason(exc)
    if check.chain is Trust.UNKNOWN and check.chain_reason == TIMED_OUT:
        return "connected, but no answer to a TLS handshake in time"
    return check


def _scan(
    tool: PinnedTool,
    name: str,
    addresses: list[str],
    ca_file: Path | None,
    timeout_seconds: float,
) -> tuple[dict[str, ScannedServer], str]:
    if not addresses:
        return {}, ""
    arguments = ["-I", "-m", "sslyze", "--mozilla_config=disable", "--json_out=-"]
    arguments += [f"--{scan}" for scan in _SCANS]
    if ca_file is not None:
        arguments.append(f"--certinfo_ca_file={ca_file.absolute()}")
    arguments += [f"{name}{{{address}}}" for address in addresses]
    with tempfile.TemporaryDirectory() as empty:
        output = tool.run(
            "python", arguments, directory=Path(empty), timeout_seconds=timeout_seconds
        )
    return read_report(output.stdout, tool.version, addresses), tool.version


def _server(
    address: str,
    check: CertificateCheck | str,
    scanned: ScannedServer | None,
    after: CertificateCheck | str | None,
) -> TlsServer:
    if not isinstance(check, CertificateCheck) or scanned is None:
        return TlsServer(address, reachable=False, error=str(check))
    if scanned.error:
        hint = f" ({check.chain_reason})" if check.chain_reason else ""
        return TlsServer(address, reachable=False, error=f"{scanned.error}{hint}", check=check)
    return TlsServer(
        address=address,
        reachable=True,
        error="",
        versions=scanned.versions,
        certificates=scanned.certificates,
        check=check,
        client_certificate=scanned.client_certificate,
        answers_afterwards=isinstance(after, CertificateCheck) and after.chain == check.chain,
    )
