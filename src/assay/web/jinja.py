"""The only file that knows Jinja2: from a `TrustPage` to the bytes of ``index.html``.

Everything that comes from evidence is untrusted. Three layers keep it text: Jinja2 escapes every
expression, `assay.web.wording.visible` spells out characters that deceive the eye, and the
page's content security policy lets no script run but the one whose hash it names (CSP level 3).

Example:
    >>> render_index(page)[:15]                                  # doctest: +SKIP
    b'<!doctype html>'
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from assay.web.errors import RendererError
from assay.web.page import TrustPage
from assay.web.view import cards_of, overall_of
from assay.web.wording import FIDELITIES, moment, visible

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE, _SCRIPT = "index.html.j2", "stale.js"


def template_file(name: str) -> bytes:
    """The bytes of a file beside the template, the same on every machine."""
    return files(__package__).joinpath("templates", name).read_bytes()


def content_security_policy(script: str) -> str:
    """The policy that allows one style sheet, one icon and one script, by its hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src 'self'; img-src 'self'; script-src 'sha256-{digest}'"
    )


def render_index(page: TrustPage) -> bytes:
    """The page as HTML in UTF-8: the same bytes for the same page.

    Raises:
        RendererError: Jinja2 is not installed.
    """
    template = _template()
    from markupsafe import Markup

    script = template_file(_SCRIPT).decode()
    cards = cards_of(page)
    text = template.render(
        page=page,
        overall=overall_of(page),
        cards=cards,
        stale=page.is_stale,
        proven_at=moment(page.proven_at) if page.proven_at else None,
        expires_at=moment(page.expires_at),
        expires_at_ms=int(page.expires_at.timestamp() * 1000),
        built_at=moment(page.built_at),
        example=min(page.proofs, default=None),
        fidelities=FIDELITIES,
        policy=content_security_policy(script),
        # Ours, without a word of evidence in it; its hash stands in the policy.
        script=Markup(script),  # noqa: S704 - a constant file of this package
    )
    return text.encode("utf-8")


@cache
def _template() -> Template:
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as exc:
        raise RendererError(
            "expected Jinja2 to write the trust page, found none; install assay[web]"
        ) from exc
    environment = Environment(
        loader=FunctionLoader(lambda name: template_file(name).decode()),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE)


def _shown(value: object) -> object:
    """Spell out deceptive characters in every expression, before it is escaped."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value)
    return value
