"""Errors of looking at connections.

::

    TransportError
    ├── UrlError                     a URL that cannot be probed
    ├── TrustStoreError              the file of trusted authorities cannot be used
    ├── TlsReportError               sslyze's report is not what the pinned version writes
    └── HstsError                    a Strict-Transport-Security header that clients must ignore
        ├── HstsSyntaxError          not the grammar of RFC 6797 section 6.1
        ├── HstsDuplicateError       a directive stands twice
        ├── HstsMaxAgeError          max-age is missing or is not a number of seconds
        └── HstsValueError           a directive that takes no value has one

A server that cannot be reached is not an error of this kind: it is a fact in the observation.
"""

from __future__ import annotations

from assay.core import AssayError


class TransportError(AssayError):
    """Anything that `assay.transport` refuses or cannot do."""


class UrlError(TransportError):
    """A URL or host name that cannot be probed."""


class TrustStoreError(TransportError):
    """The file of trusted certificate authorities is missing or holds none."""


class TlsReportError(TransportError):
    """The report of sslyze is not what the pinned version writes, or is of another version."""


class HstsError(TransportError):
    """A Strict-Transport-Security header that clients must ignore (RFC 6797 section 8.1)."""


class HstsSyntaxError(HstsError):
    """The header does not follow the grammar of RFC 6797 section 6.1."""


class HstsDuplicateError(HstsError):
    """A directive stands more than once (section 6.1, rule 2)."""


class HstsMaxAgeError(HstsError):
    """The directive max-age is missing or is not a number of seconds (section 6.1.1)."""


class HstsValueError(HstsError):
    """A directive that takes no value has one (section 6.1.2)."""
