"""The trust page: a static page on which every promise carries its own proof.

    >>> from pathlib import Path
    >>> from assay.web import TrustPage, build_trust_page
    >>> build_trust_page(page, Path("trust"))[0]                 # doctest: +SKIP
    PosixPath('trust/index.html')

The page needs no server of its own, no script and nothing from elsewhere. Jinja2 (the extra
``web``) is imported when a page is built, not before.
"""

from assay.web.build import build_trust_page
from assay.web.errors import FolderRefusedError, RendererError, TrustPageError, WebError
from assay.web.page import StatementProof, TrustPage
from assay.web.verified import trust_page_of

__all__ = [
    "FolderRefusedError",
    "RendererError",
    "StatementProof",
    "TrustPage",
    "TrustPageError",
    "WebError",
    "build_trust_page",
    "trust_page_of",
]
