"""HSTS: browsers are told to use HTTPS only, and plain HTTP leads there.

RFC 6797: one header on every HTTPS answer, with a max-age that lasts; a year is what the preload
list demands. The plain port either does not listen, or redirects to HTTPS on the same host.

Example:
    >>> HstsCheck().judge(facts).reason            # doctest: +SKIP
    'HSTS for 63072000 s at 1 addresses; plain HTTP redirects to HTTPS'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from assay.controls.asset import Asset, Endpoint
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result, Status
from assay.transport import (
    TIMED_OUT,
    HstsError,
    HttpResponse,
    HttpsObservation,
    HttpsResponse,
    RedirectObservation,
    parse_hsts,
    probe_https,
    probe_redirect,
)

_REFUSED = "connection refused"
_SHORTEST_SECONDS = 31_536_000
_REDIRECTS = {301, 302, 307, 308}


class HstsFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the endpoint answered.

    Attributes:
        https: to a request over TLS.
        http: to a request in the clear.
        http_declared: whether the programme says that there is a plain port.
    """

    https: HttpsObservation
    http: RedirectObservation
    http_declared: bool


class HstsCheck:
    """Every HTTPS answer carries HSTS, and plain HTTP redirects or does not listen."""

    id = "hsts"
    version = 1
    asset_kind = "endpoint"
    title = "asking over HTTPS and plain HTTP"
    facts = HstsFacts

    def collect(self, asset: Asset, context: Context) -> HstsFacts:
        """Ask every address once over TLS and once in the clear."""
        if not isinstance(asset, Endpoint):
            raise CollectError(f"expected an endpoint, found {asset.id}")
        url = context.value(asset.url)
        host = urlsplit(url).hostname or ""
        plain = context.value(asset.http) if asset.http else f"http://{host}/"
        ca_file = context.path(asset.ca) if asset.ca else None
        return HstsFacts(
            https=probe_https(url, ca_file=ca_file),
            http=probe_redirect(plain),
            http_declared=asset.http is not None,
        )

    def judge(self, facts: HstsFacts) -> Result:
        """Pass when every address that answers sends the header and none serves in the clear."""
        fidelity = Fidelity.EMULATED if facts.https.all_loopback else Fidelity.LIVE
        # A client cannot reach what refuses connections, so nothing travels there.
        secure = [r for r in facts.https.responses if r.error != _REFUSED]
        in_scope = len(facts.https.addresses) - len(facts.https.responses) + len(secure)
        plain = facts.http.responses
        host = urlsplit(facts.https.url).hostname or ""
        wrong = [f"{r.address}: {why}" for r in secure if r.reachable and (why := _wrong(r))]
        wrong += [
            f"{r.address}: {why}" for r in plain if r.reachable and (why := _wrong_plain(r, host))
        ]
        answering = [response for response in secure if response.reachable]
        bad = {text.partition(": ")[0] for text in wrong}
        counts = Population(in_scope, len(answering), min(len(bad), len(answering)), "addresses")
        if wrong:
            return Result(Status.FAIL, wrong[0], counts, fidelity, tuple(wrong))
        doubts = [f"{r.address}: {r.error or r.trust_reason}" for r in secure if not r.reachable]
        doubts += [
            f"{r.address}: the plain port listens and answers nothing ({r.error})"
            for r in plain
            if r.listening and not r.reachable
        ]
        there = {response.address for response in answering}
        doubts += [
            f"{r.address}: whether plain HTTP is served ({r.error})"
            for r in plain
            if not r.listening and r.error not in _shut(r.address in there)
        ]
        if len(plain) < len(facts.http.addresses) or not facts.http.addresses:
            why = facts.http.error or "not every address was asked"
            doubts.append(f"whether plain HTTP is served ({why})")
        if facts.http_declared and not any(response.reachable for response in plain):
            doubts.append("the plain port that the programme declares does not answer")
        if doubts or not answering:
            why = doubts[0] if doubts else facts.https.error or "nothing answers"
            return Result.error(
                f"could not tell: {why}",
                fidelity,
                in_scope=max(in_scope, 1),
                unit="addresses",
                findings=tuple(doubts),
            )
        seconds = min(parse_hsts(response.hsts[0]).max_age_seconds for response in answering)
        return Result.of(
            counts, fidelity, f"HSTS for {seconds} s at every address; {_plain_port(plain)}"
        )

    def violations(self) -> Sequence[Violation]:
        """No header, one that lasts too short or is malformed, and a plain port that serves."""
        return tuple(
            Violation(name, description, _site_twin(name))
            for name, description in (
                ("no-header", "answers over HTTPS carry no HSTS header"),
                ("short", "HSTS lasts an hour"),
                ("malformed", "the HSTS header has no max-age"),
                ("no-redirect", "the plain port serves pages instead of redirecting"),
            )
        )


def _shut(https_answers: bool) -> tuple[str, ...]:
    """The reasons that show a plain port to be shut.

    A packet filter drops what knocks; that is seen only at an address that answers elsewhere.
    """
    return (_REFUSED, TIMED_OUT) if https_answers else (_REFUSED,)


def _plain_port(responses: Sequence[HttpResponse]) -> str:
    """What a pass may say about the plain port."""
    if any(response.reachable for response in responses):
        return "plain HTTP redirects to HTTPS"
    if any(response.error == TIMED_OUT for response in responses):
        return "plain HTTP is dropped before it reaches a server, as seen from here"
    return "nothing listens for plain HTTP"


def _wrong(response: HttpsResponse) -> str:
    if len(response.hsts) != 1:
        return f"expected one HSTS header, found {len(response.hsts)}"
    try:
        header = parse_hsts(response.hsts[0])
    except HstsError as exc:
        return f"the HSTS header is malformed: {exc}"
    if header.max_age_seconds < _SHORTEST_SECONDS:
        return f"HSTS lasts {header.max_age_seconds} s, expected at least {_SHORTEST_SECONDS}"
    return ""


def _wrong_plain(response: HttpResponse, host: str) -> str:
    if response.status not in _REDIRECTS:
        return f"plain HTTP answers with status {response.status} instead of a redirect"
    if len(response.locations) != 1:
        return f"the redirect has {len(response.locations)} Location headers"
    try:
        target = urlsplit(response.locations[0])
        found = (target.scheme, target.hostname)
    except ValueError:
        found = ("", None)
    if found != ("https", host):
        return "plain HTTP redirects elsewhere than to HTTPS on the same host"
    return ""


def _site_twin(name: str) -> Callable[[Path, bool], AbstractContextManager[Twin]]:
    """A site on loopback, with one fault when a violation is injected."""

    @contextmanager
    def build(folder: Path, inject: bool) -> Iterator[Twin]:
        from assay.controls.twins.programme import twin_programme
        from assay.controls.twins.servers import Behaviour, https_server

        header = "Strict-Transport-Security"
        behaviours = {
            "no-header": Behaviour(headers={}),
            "short": Behaviour(headers={header: "max-age=3600"}),
            "malformed": Behaviour(headers={header: "includeSubDomains"}),
            "no-redirect": Behaviour(redirects=False),
        }
        with https_server(folder, behaviours[name] if inject else None) as site:
            asset = Endpoint(id="api", url=site.url, http=site.http, ca=str(site.ca))
            with Context(folder, twin_programme(asset), environment={}) as context:
                yield Twin(asset, context)

    return build
