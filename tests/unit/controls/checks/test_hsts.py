import msgspec
import pytest

from assay.controls.checks.hsts import HstsCheck, HstsFacts
from assay.core import Fidelity, Status
from assay.transport import HttpResponse, HttpsObservation, HttpsResponse, RedirectObservation

YEAR = "max-age=31536000"
SECURE = HttpsResponse(
    address="192.0.2.1", reachable=True, error="", trust="verified", trust_reason="",
    tls_version="TLSv1.3", cipher="x", status=200, hsts=(YEAR,),
)  # fmt: skip
PLAIN = HttpResponse(
    address="192.0.2.1", reachable=True, listening=True, error="", status=308,
    locations=("https://api.example/",), hsts=(),
)  # fmt: skip
CLOSED = HttpResponse("192.0.2.1", False, False, "connection refused", 0, (), ())


def judged(secure=SECURE, plain=PLAIN, declared=True, **changes):
    secure = secure if isinstance(secure, tuple) else (secure,)
    plain = plain if isinstance(plain, tuple) else (plain,)
    loopback, error = changes.get("all_loopback", False), changes.get("error", "")
    addresses = changes.get("addresses", ("192.0.2.1",))
    plain_addresses = changes.get("plain_addresses", tuple(r.address for r in plain))
    return HstsCheck().judge(
        HstsFacts(
            https=HttpsObservation("https://api.example/", addresses, loopback, error, secure),
            http=RedirectObservation(
                "http://api.example/", plain_addresses, loopback, error, plain
            ),
            http_declared=declared,
        )
    )


def change(facts, **changes):
    return msgspec.structs.replace(facts, **changes)


def test_header_and_redirect_pass():
    result = judged()
    assert result.status is Status.PASS
    assert "HSTS for 31536000 s" in result.reason
    assert result.fidelity is Fidelity.LIVE
    assert result.reason.endswith("plain HTTP redirects to HTTPS")
    assert judged(all_loopback=True).fidelity is Fidelity.EMULATED


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_each_redirect_counts(status):
    assert judged(plain=change(PLAIN, status=status)).status is Status.PASS


def test_the_shortest_header_is_the_one_that_is_told():
    longer = change(SECURE, address="192.0.2.2", hsts=("max-age=63072000",))
    result = judged((SECURE, longer), addresses=("192.0.2.1", "192.0.2.2"))
    assert "HSTS for 31536000 s" in result.reason
    assert result.population.evaluated == 2


def test_a_plain_port_that_does_not_listen_needs_no_redirect_unless_it_was_declared():
    assert judged(plain=CLOSED, declared=False).status is Status.PASS
    closed = judged(plain=CLOSED, declared=False)
    assert closed.reason.endswith("nothing listens for plain HTTP")
    assert judged(plain=CLOSED, declared=True).status is Status.ERROR
    half = (PLAIN, change(CLOSED, address="192.0.2.2"))
    assert judged(plain=half).status is Status.PASS


def test_what_did_not_answer_is_not_counted_as_evaluated():
    silent = change(SECURE, address="192.0.2.2", reachable=False, error="timed out")
    result = judged((change(SECURE, hsts=()), silent), addresses=("192.0.2.1", "192.0.2.2"))
    assert result.status is Status.FAIL
    assert (result.population.in_scope, result.population.evaluated) == (2, 1)


@pytest.mark.parametrize(
    "headers",
    [(), (YEAR, YEAR), ("max-age=31535999",), ("includeSubDomains",), ("",), ("max-age=1e9",),
     ("max-age=31536000; max-age=1",)],
)  # fmt: skip
def test_each_header_that_protects_nobody_fails(headers):
    assert judged(change(SECURE, hsts=headers)).status is Status.FAIL


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 200},
        {"status": 404},
        {"locations": ()},
        {"locations": ("https://api.example/", "https://api.example/")},
        {"locations": ("http://api.example/",)},
        {"locations": ("https://evil.example/",)},
        {"locations": ("/",)},
        {"locations": ("https://[",)},
    ],
)
def test_each_plain_answer_that_leads_elsewhere_fails(changes):
    assert judged(plain=change(PLAIN, **changes)).status is Status.FAIL


def test_what_does_not_answer_could_not_be_told():
    silent = change(SECURE, reachable=False, error="timed out", status=0, hsts=())
    assert judged(silent).status is Status.ERROR
    assert judged(()).status is Status.ERROR
    mute = change(PLAIN, reachable=False, error="timed out", status=0)
    assert judged(plain=mute, declared=False).status is Status.ERROR
    other = change(silent, address="192.0.2.2")
    assert judged((SECURE, other), addresses=("192.0.2.1", "192.0.2.2")).status is Status.ERROR


def test_a_plain_port_that_was_not_asked_could_not_be_told():
    lost = judged(plain=(), plain_addresses=(), error="the name does not resolve", declared=False)
    assert lost.status is Status.ERROR
    assert "the name does not resolve" in lost.reason
    more = judged(plain_addresses=("192.0.2.1", "192.0.2.9"), declared=False)
    assert more.status is Status.ERROR
    assert "not every address was asked" in more.reason


def test_a_plain_port_is_shut_only_when_that_was_seen():
    assert judged(plain=CLOSED, declared=False).reason.endswith("nothing listens for plain HTTP")
    dropped = change(CLOSED, error="timed out")
    result = judged(plain=dropped, declared=False)
    assert result.status is Status.PASS
    assert result.reason.endswith("dropped before it reaches a server, as seen from here")
    lost = change(CLOSED, error="no route to host")
    result = judged(plain=lost, declared=False)
    assert result.status is Status.ERROR
    assert "whether plain HTTP is served (no route to host)" in result.reason
    elsewhere = change(dropped, address="192.0.2.9")  # nothing shows that it is up at all
    assert judged(plain=elsewhere, declared=False).status is Status.ERROR


def test_what_could_not_be_told_is_said_with_what_was_seen():
    refused = change(SECURE, reachable=False, trust_reason="expired")
    assert "192.0.2.1: expired" in judged(refused).reason
    two = tuple(change(refused, address=f"192.0.2.{n}", error="reset") for n in (1, 2))
    result = judged(two, addresses=("192.0.2.1", "192.0.2.2"))
    assert (result.population.in_scope, result.population.evaluated) == (2, 0)
    assert result.findings == ("192.0.2.1: reset", "192.0.2.2: reset")
    assert "nothing answers" in judged((), addresses=()).reason
    assert judged((), addresses=()).population.in_scope == 1
    assert "no such host" in judged((), addresses=(), error="no such host").reason


def test_an_address_that_was_not_asked_is_missed():
    result = judged(addresses=("192.0.2.1", "192.0.2.9"))
    assert (result.status, result.population.in_scope) == (Status.ERROR, 2)


def test_an_address_that_refuses_connections_serves_nobody():
    refusing = change(SECURE, address="192.0.2.2", reachable=False, error="connection refused")
    both = ("192.0.2.1", "192.0.2.2")
    assert judged((SECURE, refusing), addresses=both).status is Status.PASS
    assert judged(refusing, addresses=("192.0.2.2",)).status is Status.ERROR
