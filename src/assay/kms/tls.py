"""TLS of the service: 1.2 or newer, forward secrecy and authenticated encryption only.

Format: ``spec/kms.md``, "One request", step 1.

Example:
    >>> tls = server_context(Path("chain.pem"), Path("key.pem"))        # doctest: +SKIP
    >>> tls.minimum_version                                             # doctest: +SKIP
    <TLSVersion.TLSv1_2: 771>

Source: RFC 9325 (BCP 195), sections 3.1, 3.2, 3.3 and 4.1.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from assay.kms.errors import StartError

# Of TLS 1.2; those of TLS 1.3 are all ephemeral and authenticated.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(certificate: Path, private_key: Path) -> ssl.SSLContext:
    """What a server needs for TLS.

    No compression, no renegotiation, and no session tickets: the key that seals tickets would live
    as long as the process, and every session of TLS 1.2 with it.

    Args:
        certificate: PEM, the server's own first, then those that lead to the authority's.
        private_key: PEM, not encrypted.

    Raises:
        StartError: a file cannot be read, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, private_key, password=_no_password)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not such a pair"
        raise StartError(
            f"expected a certificate in {certificate} and its private key, not encrypted, in "
            f"{private_key} (PEM), found: {reason}"
        ) from exc
    return context


def _no_password() -> str:
    """Instead of the question on the terminal that OpenSSL would ask, and wait."""
    raise ValueError("the private key is encrypted")
