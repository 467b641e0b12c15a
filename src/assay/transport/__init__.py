"""How systems talk: TLS versions, certificates, HSTS, redirects, as plain facts.

Example:
    >>> tool = sslyze_tool(tools_home())
    >>> tls = probe_tls("localhost", 8443, tool=tool, ca_file=Path("ca.pem"))
    >>> [(item.version, item.state.value) for item in tls.servers[0].versions]
    [('SSL 2.0', 'rejected'), ..., ('TLS 1.2', 'accepted'), ('TLS 1.3', 'accepted')]
    >>> https = probe_https("https://localhost:8443/", ca_file=Path("ca.pem"))
    >>> parse_hsts(https.responses[0].hsts[0]).max_age_seconds
    31536000

Every address of a host is looked at. What could not be seen is in the observation with its
reason, and never left out.
"""

from assay.transport.errors import (
    HstsDuplicateError,
    HstsError,
    HstsMaxAgeError,
    HstsSyntaxError,
    HstsValueError,
    TlsReportError,
    TransportError,
    TrustStoreError,
    UrlError,
)
from assay.transport.handshake import TIMED_OUT, CertificateCheck, Trust
from assay.transport.hsts import Hsts, parse_hsts
from assay.transport.https import probe_https, probe_redirect
from assay.transport.observation import (
    Certificate,
    HttpResponse,
    HttpsObservation,
    HttpsResponse,
    RedirectObservation,
    TlsObservation,
    TlsServer,
    TlsVersion,
    VersionState,
)
from assay.transport.sslyze import probe_tls, sslyze_tool

__all__ = [
    "TIMED_OUT",
    "Certificate",
    "CertificateCheck",
    "Hsts",
    "HstsDuplicateError",
    "HstsError",
    "HstsMaxAgeError",
    "HstsSyntaxError",
    "HstsValueError",
    "HttpResponse",
    "HttpsObservation",
    "HttpsResponse",
    "RedirectObservation",
    "TlsObservation",
    "TlsReportError",
    "TlsServer",
    "TlsVersion",
    "TransportError",
    "Trust",
    "TrustStoreError",
    "UrlError",
    "VersionState",
    "parse_hsts",
    "probe_https",
    "probe_redirect",
    "probe_tls",
    "sslyze_tool",
]
