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


def judged(secure=SECURE, plain=PLAIN, declared=True, all_loopback=False, addresses=("192.0.2.1",)):
    responses = secure if isinstance(secure, tuple) else (secure,)
    return HstsCheck().judge(
        HstsFacts(
            https=HttpsObservation("https://api.example/", addresses, all_loopback, "", responses),
            http=RedirectObservation("http://api.example/", addresses, all_loopback, "", (plain,)),
            http_declared=declared,
        )
    )


def change(facts, **changes):
    return msgspec.structs.replace(facts, **changes)


def test_header_and_redirect_pass():
    result = judged()
    assert result.status is Status.PASS
    assert "HSTS for 31536000 s" in result.reason
    assert judged(all_loopback=True).fidelity is Fidelity.EMULATED


def test_a_plain_port_that_does_not_listen_needs_no_redirect_unless_it_was_declared():
    assert judged(plain=CLOSED, declared=False).status is Status.PASS
    assert judged(plain=CLOSED, declared=True).status is Status.ERROR


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


def test_an_address_that_refuses_connections_serves_nobody():
    refusing = change(SECURE, address="192.0.2.2", reachable=False, error="connection refused")
    both = ("192.0.2.1", "192.0.2.2")
    assert judged((SECURE, refusing), addresses=both).status is Status.PASS
    assert judged(refusing, addresses=("192.0.2.2",)).status is Status.ERROR
