"""Errors of the trust page.

::

    WebError
    ├── TrustPageError       what shall be shown contradicts itself, or lacks its proof
    ├── FolderRefusedError   the folder holds something that is not a trust page
    └── RendererError        the part that fills in templates is not installed
"""

from __future__ import annotations

from assay.core import AssayError


class WebError(AssayError):
    """Anything that `assay.web` refuses or cannot do."""


class TrustPageError(WebError):
    """The states, the results and the proofs of a page do not fit together."""


class FolderRefusedError(WebError):
    """The folder for the page is in use for something else; nothing in it was touched."""


class RendererError(WebError):
    """Jinja2, which fills in the templates, is missing."""
