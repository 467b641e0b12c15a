"""TLS floor: an endpoint refuses every protocol below TLS 1.2 and proves who it is.

Every address of the host is probed with every version, by sslyze. RFC 8996 retires TLS 1.0 and
1.1; RFC 9325 (BCP 195) section 4.1 forbids suites without encryption or authentication and RC4.

Example:
    >>> TlsFloor().judge(facts).reason            # doctest: +SKIP
    'TLS 1.2 and TLS 1.3 only, with a certificate that verifies, at 127.0.0.1'
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from assay.controls.asset import Asset, Endpoint
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result, Status
from assay.transport import TlsObservation, TlsServer, Trust, VersionState, probe_tls, sslyze_tool

_FLOOR = ("TLS 1.2", "TLS 1.3")
_BELOW = ("SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1")
_FORBIDDEN_IN_SUITES = ("_NULL_", "_anon_", "_EXPORT_", "_RC4_", "_DES_", "_3DES_")


class TlsFloor:
    """Nothing below TLS 1.2, and a certificate that verifies, at every address."""

    id = "tls-floor"
    version = 1
    asset_kind = "endpoint"
    title = "trying every TLS version"
    facts = TlsObservation

    def collect(self, asset: Asset, context: Context) -> TlsObservation:
        """Probe every address of the endpoint."""
        if not isinstance(asset, Endpoint):
            raise CollectError(f"expected an endpoint, found {asset.id}")
        host, port = split_endpoint(context.value(asset.url))
        return probe_tls(
            host,
            port,
            tool=sslyze_tool(context.tools),
            ca_file=context.path(asset.ca) if asset.ca else None,
        )

    def judge(self, facts: TlsObservation) -> Result:
        """Fail on an old version, a forbidden suite or a certificate that does not verify."""
        fidelity = Fidelity.EMULATED if facts.all_loopback else Fidelity.LIVE
        # A client cannot reach what refuses connections, so nothing travels there.
        servers = [s for s in facts.servers if s.reachable or not _refuses_connections(s)]
        wrong = {server.address: _wrong(server) for server in servers}
        doubts = {server.address: _doubts(server) for server in servers}
        in_scope = len(servers) + len(facts.addresses) - len(facts.servers)
        counts = Population(
            in_scope=in_scope,
            evaluated=sum(not doubts[s.address] or bool(wrong[s.address]) for s in servers),
            failed=sum(bool(found) for found in wrong.values()),
            unit="addresses",
        )
        findings = tuple(f"{a}: {text}" for a, found in wrong.items() for text in found)
        if findings:
            return Result(Status.FAIL, findings[0], counts, fidelity, findings)
        unsure = [f"{a}: {text}" for a, found in doubts.items() for text in found]
        if unsure or not any(server.reachable for server in servers):
            why = unsure[0] if unsure else facts.error or "nothing answers at any address"
            return Result.error(
                f"could not tell: {why}",
                fidelity,
                in_scope=max(in_scope, 1),
                unit="addresses",
                findings=tuple(unsure),
            )
        spoken = [v for v in _FLOOR if any(v in _accepted(server) for server in servers)]
        where = ", ".join(server.address for server in servers)
        reason = f"{' and '.join(spoken)} only, with a certificate that verifies, at {where}"
        return Result.of(counts, fidelity, reason)

    def violations(self) -> Sequence[Violation]:
        """Old versions, and certificates that do not verify."""
        return (
            Violation("tls-1.0", "the server also accepts TLS 1.0", _server_twin("tls-1.0")),
            Violation("tls-1.1", "the server also accepts TLS 1.1", _server_twin("tls-1.1")),
            Violation("expired", "the certificate has expired", _server_twin("expired")),
        )


def split_endpoint(url: str) -> tuple[str, int]:
    """Host and port of an ``https`` URL.

    Raises:
        CollectError: it is another kind of URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "https" or not parts.hostname:
        raise CollectError("expected an https:// URL with a host, found another one")
    return parts.hostname, port


def _refuses_connections(server: TlsServer) -> bool:
    return server.error == "connection refused"


def _accepted(server: TlsServer) -> list[str]:
    return [v.version for v in server.versions if v.state is VersionState.ACCEPTED]


def _wrong(server: TlsServer) -> list[str]:
    wrong = [f"accepts {version}" for version in _accepted(server) if version not in _FLOOR]
    weak = sorted(
        {
            suite
            for version in server.versions
            for suite in version.suites
            if any(part in f"{suite}_" for part in _FORBIDDEN_IN_SUITES)
        }
    )
    if weak:
        wrong.append(f"accepts the cipher suites {', '.join(weak)}")
    check = server.check
    if check is not None and check.chain is Trust.REFUSED:
        wrong.append(f"the certificate does not verify ({check.chain_reason})")
    if check is not None and check.name is Trust.REFUSED:
        wrong.append(f"the certificate is for another name ({check.name_reason})")
    return wrong


def _doubts(server: TlsServer) -> list[str]:
    if not server.reachable:
        return [server.error or "it answers no handshake"]
    doubts = [
        f"whether {version.version} is accepted ({version.error or 'no answer'})"
        for version in server.versions
        if version.state is VersionState.UNKNOWN
    ]
    if not set(_accepted(server)) & set(_FLOOR):
        doubts.append("no version was accepted")
    untried = {*_BELOW, *_FLOOR} - {version.version for version in server.versions}
    if untried:
        doubts.append(f"whether {', '.join(sorted(untried))} is accepted (not tried)")
    check = server.check
    if check is None or Trust.UNKNOWN in {check.chain, check.name}:
        doubts.append("whether its certificate verifies")
    if not server.answers_afterwards:
        doubts.append("it stopped answering during the probe")
    return doubts


def _server_twin(name: str) -> Callable[[Path, bool], AbstractContextManager[Twin]]:
    """A server on loopback, with one weakness when a violation is injected."""

    @contextmanager
    def build(folder: Path, inject: bool) -> Iterator[Twin]:
        from assay.controls.twins.programme import twin_programme
        from assay.controls.twins.servers import Behaviour, https_server

        behaviours = {
            "tls-1.0": Behaviour(minimum=ssl.TLSVersion.TLSv1),
            "tls-1.1": Behaviour(minimum=ssl.TLSVersion.TLSv1_1),
            "expired": Behaviour(days_valid=-1),
        }
        with https_server(folder, behaviours[name] if inject else None) as site:
            asset = Endpoint(id="api", url=site.url, http=site.http, ca=str(site.ca))
            with Context(folder, twin_programme(asset), environment={}) as context:
                yield Twin(asset, context)

    return build
