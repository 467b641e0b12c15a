"""A trust page of a company that does not exist: twenty promises, every state and fidelity.

Loaded by path from the conftest of the unit tests and of the browser tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from assay.controls.catalogue import Promise, load_catalogue
from assay.controls.coverage import Outcome, assess, planned_checks
from assay.controls.scope import Scope, ScopedAsset
from assay.core import Fidelity, Population, Result, sha256_hex, to_canonical_json
from assay.web import StatementProof, TrustPage

BUILT_AT = datetime(2026, 11, 22, 9, 41, 30, tzinfo=UTC)
PROVEN_AT = datetime(2026, 11, 22, 9, 38, 12, 345678, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> \u202egnp.exe\u202c {{ 7*7 }}"

Results = Mapping[tuple[str, str], Result]


def sample_scope(organisation: str = "Northlight Research", hours: int = 24) -> Scope:
    catalogue = load_catalogue()
    customer_data = {"holds": "customer-data"}
    assets = [
        ("app-db", "datastore", {**customer_data, "reached-by": "file"}, Fidelity.LIVE),
        ("uploads", "bucket", customer_data, Fidelity.LIVE),
        ("api", "endpoint", {}, Fidelity.LIVE),
        ("admin", "endpoint", {}, Fidelity.LIVE),
        ("code", "repository", {}, Fidelity.LIVE),
        ("app", "application", {}, Fidelity.EMULATED),
        ("kek", "key", {"purpose": "encryption"}, Fidelity.EMULATED),
        ("log-key", "key", {"purpose": "signing"}, Fidelity.EMULATED),
        ("programme", "programme", {}, Fidelity.LIVE),
    ]
    return Scope(
        organisation=organisation,
        fresh_for_hours=hours,
        promises=catalogue.promises,
        controls=catalogue.controls,
        assets=tuple(
            ScopedAsset(id=id_, kind=kind, location=id_, facets=facets, fidelity=fidelity)
            for id_, kind, facets, fidelity in assets
        ),
    )


def sample_results() -> dict[tuple[str, str], Result]:
    live, emulated = Fidelity.LIVE, Fidelity.EMULATED

    def of(counts: tuple[int, int, int, str], fidelity: Fidelity, reason: str, *findings: str):
        return Result.of(Population(*counts), fidelity, reason, findings)

    return {
        ("sealed-rows", "app-db"): of(
            (412, 412, 0, "rows"), live, "every row of 6 sensitive tables opens under its key"
        ),
        ("destroyed-keys", "app-db"): Result.not_applicable("no key was ever destroyed", live),
        ("sealed-objects", "uploads"): of(
            (1_204, 1_204, 0, "objects"), live, "every object opens under its owner's key"
        ),
        ("leak-test", "app"): of(
            (96, 96, 0, "canaries"),
            emulated,
            "none of 96 planted values was found in 38 MB of raw storage and logs",
        ),
        ("tls-floor", "api"): of(
            (1, 1, 0, "endpoints"), live, "TLS 1.2 and 1.3 only; the certificate verifies"
        ),
        ("tls-floor", "admin"): of(
            (1, 1, 1, "endpoints"),
            live,
            "accepts TLS 1.0 and 1.1, which RFC 8996 retired",
            "admin:8444 completed a handshake with TLS 1.0",
            "admin:8444 completed a handshake with TLS 1.1",
        ),
        ("hsts", "api"): of((1, 1, 0, "endpoints"), live, "HSTS for two years, HTTP redirects"),
        ("hsts", "admin"): of((1, 1, 0, "endpoints"), live, "HSTS for two years, HTTP redirects"),
        ("key-custody", "kek"): of(
            (4, 4, 0, "attempts"), emulated, "4 of 4 attempts to export the key were refused"
        ),
        ("key-custody", "log-key"): of(
            (4, 4, 0, "attempts"), emulated, "4 of 4 attempts to export the key were refused"
        ),
        ("sast-bandit", "code"): Result.error(
            "could not tell: bandit read 61 of 64 files", live, in_scope=64, unit="files"
        ),
        ("uniform-coverage", "programme"): of(
            (9, 9, 0, "assets"), live, "every asset has every control that applies to its kind"
        ),
    }


def page_of(
    scope: Scope,
    results: Results,
    *,
    built_at: datetime = BUILT_AT,
    proven_at: datetime = PROVEN_AT,
    valid_until: datetime | None = None,
    unfinished_runs: tuple[str, ...] = (),
) -> TrustPage:
    """The page that follows from results; results that the plan does not name are left out."""
    outcomes, proofs = {}, {}
    for index, pair in enumerate(planned_checks(scope), start=17):
        if pair not in results:
            continue
        observation = to_canonical_json({"check": pair[0], "asset": pair[1]})
        at = proven_at + timedelta(seconds=index)
        outcomes[pair] = Outcome(results[pair], at, index, sha256_hex(observation))
        envelope = to_canonical_json({"payload": "e30=", "payloadType": f"statement {index}"})
        proof = f"c2sp.org/tlog-proof@v1\nindex {index}\n"
        proofs[index] = StatementProof(index, envelope, proof, observation)
    origin = "northlight.example/assay"
    return TrustPage(
        scope=scope,
        states=assess(scope, outcomes, load_catalogue(), now=built_at),
        origin=origin,
        size=42,
        verifier_key=f"{origin}+6cc9a1b3+AXo1v0N8rWm7Vqk8xJY3h2o1m4bGfZr5sTqK0yLwCjQe",
        checkpoint=(
            f"{origin}\n42\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
            f"\u2014 {origin} bMmhs8s2V0w1Xl1gRrZb6k0cVbYvC3Jk6mTq2mB8n1o9sJb0l2VwQm7b\n"
        ),
        built_at=built_at,
        valid_until=valid_until or proven_at + timedelta(hours=scope.fresh_for_hours),
        run="2026-11-22T09:38:12Z-5f0c9a1e",
        unfinished_runs=unfinished_runs,
        proofs=proofs,
    )


def sample_page(**changes: object) -> TrustPage:
    """All twenty promises; every state, live and emulated results, an interrupted run."""
    return page_of(
        sample_scope(),
        sample_results(),
        **{"unfinished_runs": ("2026-11-22T08:00:02Z-0a77d2c4",), **changes},  # type: ignore[arg-type]
    )


def kept_page(**changes: object) -> TrustPage:
    """Two promises, both kept on the real system."""
    scope = sample_scope()
    promises = tuple(p for p in scope.promises if p.id in {"at-rest", "hsts"})
    return page_of(replace_scope(scope, promises=promises), sample_results(), **changes)  # type: ignore[arg-type]


def replace_scope(scope: Scope, **changes: object) -> Scope:
    fields = {name: getattr(scope, name) for name in scope.__struct_fields__}
    return Scope(**{**fields, **changes})  # type: ignore[arg-type]


def hostile_page() -> TrustPage:
    """Everything that evidence can say, said with bad intent."""
    catalogue = load_catalogue()
    control = catalogue.control("static-analysis")
    frameworks = type(control.frameworks)(
        soc2={"CC8<b>": HOSTILE}, iso27001=(HOSTILE,), nist=("SA-11",), gdpr=()
    )
    fields = {name: getattr(control, name) for name in control.__struct_fields__}
    control = type(control)(**{**fields, "title": HOSTILE, "frameworks": frameworks})
    promises = (
        Promise(id='x" onclick="alert(1)', sentence=HOSTILE, controls=("static-analysis",)),
        Promise(id="twice", sentence="W" * 600, controls=("static-analysis",)),
        Promise(id="twice", sentence="\u05e9\u05dc\u05d5\u05dd\u200f", controls=(control.id,)),
    )  # fmt: skip
    base = sample_scope()
    scope = replace_scope(base, organisation=HOSTILE, promises=promises, controls=(control,))
    result = Result.of(
        Population(3, 3, 1, "<i>files</i>"), Fidelity.FIXTURE, HOSTILE + "x" * 5_000,
        (HOSTILE, "\x00\x1b[31m", "\ud800", *["y" * 900] * 40),
    )  # fmt: skip
    page = page_of(scope, {("sast-bandit", "code"): result}, unfinished_runs=(HOSTILE,) * 9)
    return replace(page, run=HOSTILE, origin=HOSTILE, unfinished_destructions=(HOSTILE,) * 9)
