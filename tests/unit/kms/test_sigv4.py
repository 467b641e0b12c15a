"""Who signed a request: vectors, botocore as the signer, and everything that is refused."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from assay.kms import sigv4
from assay.kms.canonical import canonical_request, fold_headers, parse_query, signing_key
from assay.kms.errors import (
    IncompleteSignatureError,
    RequestError,
    SignatureMismatchError,
    UnknownClientError,
)
from assay.kms.request import SignedRequest
from assay.kms.sigv4 import Caller, SigningKeys, verify

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "kms-sigv4.json").read_bytes())
REGION, SECRETS = VECTORS["region"], VECTORS["secrets"]
SECRET = SECRETS["AKIDEXAMPLE"]
NOW = datetime(2026, 11, 26, 23, 58, 30, tzinfo=UTC)


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


def of_vector(case: dict[str, Any]) -> tuple[SignedRequest, datetime]:
    sent = case["request"]
    headers = tuple((name, value) for name, value in sent["headers"])
    now = datetime.strptime(case["now"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    body = sent["body"].encode()
    return SignedRequest(sent["method"], sent["path"], sent["query"], headers, body), now


def check(request: SignedRequest, now: datetime = NOW, region: str = REGION) -> Caller:
    return verify(request, SECRETS.get, region=region, now=now, keys=SigningKeys())


def sign(
    *,
    headers: list[tuple[str, str]] | None = None,
    query: str = "",
    body: bytes = b"{}",
    expires: int | None = None,
    at: datetime = NOW,
) -> SignedRequest:
    """A request as botocore signs it; the query form with an empty body, as botocore sends it."""
    request = AWSRequest("POST", "https://localhost:8443/" + (f"?{query}" if query else ""))
    request.headers["X-Amz-Target"] = "TrentService.Encrypt"
    for name, value in headers or []:
        request.headers[name] = value
    credentials = Credentials("AKIDEXAMPLE", SECRET)
    with patch("botocore.auth.get_current_datetime", return_value=at):
        if expires is None:
            request.data = body
            SigV4Auth(credentials, "kms", REGION).add_auth(request)
        else:
            body = b""
            SigV4QueryAuth(credentials, "kms", REGION, expires=expires).add_auth(request)
    sent = [("host", "localhost:8443")]
    sent += [(name.lower(), value) for name, value in request.headers.items()]
    return SignedRequest("POST", "/", request.url.partition("?")[2], tuple(sent), body)


def with_header(request: SignedRequest, name: str, value: str) -> SignedRequest:
    kept = tuple(each for each in request.headers if each[0] != name)
    return replace(request, headers=(*kept, (name, value)))


# Vectors


@pytest.mark.parametrize("case", VECTORS["accepted"], ids=named)
def test_what_is_signed_is_accepted(case: dict[str, Any]) -> None:
    request, now = of_vector(case)
    caller = check(request, now)
    expected = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    assert caller == Caller("AKIDEXAMPLE", expected, case["name"].startswith("query"))


@pytest.mark.parametrize("case", VECTORS["accepted"], ids=named)
def test_the_canonical_form_is_botocores(case: dict[str, Any]) -> None:
    request, _ = of_vector(case)
    headers, repeated = fold_headers(request.headers)
    parameters = parse_query(request.query)
    claim = sigv4.claim_of(headers, repeated, parameters)
    digest = case["canonical"].rpartition("\n")[2]
    found = canonical_request(request, parameters, headers, claim.signed_headers, digest)
    assert found.decode() == case["canonical"]


@pytest.mark.parametrize("case", VECTORS["refused"], ids=named)
def test_what_is_not_is_refused(case: dict[str, Any]) -> None:
    request, now = of_vector(case)
    with pytest.raises(RequestError) as refused:
        check(request, now)
    assert type(refused.value).__name__ == case["error"]
    assert SECRET not in str(refused.value)
    for part in ("expected ", "found "):
        assert part in str(refused.value)


@pytest.mark.parametrize("name", ["header", "query"])
@pytest.mark.parametrize("place", range(64))
def test_each_digit_of_the_signature_counts(name: str, place: int) -> None:
    request, now = of_vector(next(case for case in VECTORS["accepted"] if case["name"] == name))
    check(request, now)
    authorization = request.header("authorization") or request.query
    start = authorization.index("Signature=") + len("Signature=") + place
    digit = authorization[start]
    for other in ("0" if digit != "0" else "1", digit.upper() if digit.isalpha() else "g", "%"):
        altered = authorization[:start] + other + authorization[start + 1 :]
        if name == "header":
            forged = with_header(request, "authorization", altered)
        else:
            forged = replace(request, query=altered)
        with pytest.raises((SignatureMismatchError, IncompleteSignatureError)):
            check(forged, now)


# botocore as the signer

_NAMES = st.from_regex(r"x-[a-z0-9_.!#$%&'*+^`|~-]{1,12}", fullmatch=True).filter(
    lambda name: name not in {"x-amzn-trace-id", "x-amz-target", "x-amz-date"}
)
_VALUES = st.text(st.sampled_from([*map(chr, range(0x21, 0x7F)), " ", "\t"]), max_size=30)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=6)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_PAIRS = st.lists(st.tuples(_TEXT, _TEXT), max_size=6)


def encoded(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in pairs)


@given(_HEADERS, _PAIRS, st.binary(max_size=40))
def test_whatever_botocore_signs_in_the_header_is_accepted(
    headers: list[tuple[str, str]], pairs: list[tuple[str, str]], body: bytes
) -> None:
    request = sign(headers=headers, query=encoded(pairs), body=body)
    assert check(request) == Caller("AKIDEXAMPLE", NOW, presigned=False)


@given(_HEADERS, _PAIRS, st.integers(1, 3600))
def test_whatever_botocore_signs_in_the_query_is_accepted(
    headers: list[tuple[str, str]], pairs: list[tuple[str, str]], expires: int
) -> None:
    request = sign(headers=headers, query=encoded(pairs), expires=expires)
    assert check(request) == Caller("AKIDEXAMPLE", NOW, presigned=True)


@given(_HEADERS, st.binary(min_size=1, max_size=40), st.data())
def test_whatever_changes_on_the_way_is_refused(
    headers: list[tuple[str, str]], body: bytes, data: st.DataObject
) -> None:
    request = sign(headers=headers, query="a=1&b=2", body=body)
    signed = [place for place, each in enumerate(request.headers) if each[0] != "authorization"]
    place = data.draw(st.sampled_from(signed))
    name, value = request.headers[place]
    other = data.draw(
        _VALUES.filter(lambda text: " ".join(text.split()) != " ".join(value.split()))
    )
    altered = list(request.headers)
    altered[place] = name, other
    for forged in (
        replace(request, headers=tuple(altered)),
        replace(request, headers=(*request.headers[:place], *request.headers[place + 1 :])),
        replace(request, body=data.draw(st.binary(max_size=40).filter(lambda each: each != body))),
        replace(request, query="a=1&b=3"),
        replace(request, query="a=1"),
        replace(request, method="PUT"),
    ):
        with pytest.raises(RequestError):
            check(forged)


# Time, names and secrets


@pytest.mark.parametrize("expires", [None, 1, 900, 3600])
def test_the_limits_of_time(expires: int | None) -> None:
    at = NOW.replace(microsecond=0)
    request = sign(expires=expires, at=at)
    longest = timedelta(seconds=expires or 300)
    tick = timedelta(microseconds=1)
    check(request, at + longest)
    check(request, at - timedelta(seconds=300))
    with pytest.raises(SignatureMismatchError, match="has expired"):
        check(request, at + longest + tick)
    with pytest.raises(SignatureMismatchError, match="from the future"):
        check(request, at - timedelta(seconds=300) - tick)


def test_the_clock_may_have_another_zone() -> None:
    from zoneinfo import ZoneInfo

    now = NOW.astimezone(ZoneInfo("Asia/Kathmandu"))
    assert check(sign(), now).signed_at == NOW
    with pytest.raises(SignatureMismatchError, match="20261127T000331Z"):
        check(sign(), now + timedelta(seconds=301))


TODAY = f"20261126/{REGION}/kms/aws4_request"
USUAL = ("host", "x-amz-date", "x-amz-target")


def signed_by_hand(scope: str = TODAY, names: tuple[str, ...] = USUAL) -> SignedRequest:
    """A request with a signature that fits, also such as botocore would not make."""
    request = with_header(sign(), "authorization", "")
    headers, _ = fold_headers(request.headers)
    canonical = canonical_request(request, [], headers, names, sha256(request.body).hexdigest())
    digest = sha256(canonical).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
    key = signing_key(SECRET, *scope.split("/")[:3])
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"Credential=AKIDEXAMPLE/{scope}"
    value = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return with_header(request, "authorization", value)


@pytest.mark.parametrize(
    ("scope", "what"),
    [
        (f"20261125/{REGION}/kms/aws4_request", "day 20261126"),
        (f"20261126/{REGION}/sts/aws4_request", "service kms"),
        ("20261126/eu-west-1/kms/aws4_request", f"Region {REGION}"),
    ],
)
def test_a_key_of_another_scope_signs_nothing(scope: str, what: str) -> None:
    """Whoever got hold of the signing key of another day, service or Region."""
    check(signed_by_hand())
    with pytest.raises(SignatureMismatchError, match=f"expected a signature for the {what}"):
        check(signed_by_hand(scope))


@pytest.mark.parametrize("name", ["host", "x-amz-target"])
def test_a_signature_that_leaves_out_what_must_be_signed(name: str) -> None:
    left = tuple(each for each in USUAL if each != name)
    with pytest.raises(SignatureMismatchError, match=f"expected {name} among the signed headers"):
        check(signed_by_hand(names=left))


def test_an_access_key_that_nobody_has() -> None:
    with pytest.raises(UnknownClientError):
        verify(sign(), lambda _: None, region=REGION, now=NOW)
    with pytest.raises(SignatureMismatchError, match="secret access key"):
        verify(sign(), lambda _: SECRET + "x", region=REGION, now=NOW)


def test_the_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with pytest.raises(SignatureMismatchError):
        check(sign())
    assert compared[0][0] == compared[0][1]


def test_nothing_tells_the_signature_that_was_expected() -> None:
    request = sign()
    signature = request.headers[-1][1][-64:]
    forged = with_header(request, "authorization", request.headers[-1][1][:-64] + "0" * 64)
    with pytest.raises(SignatureMismatchError) as refused:
        check(forged)
    assert signature not in f"{refused.value!r} {refused.value}"
    claim = sigv4.claim_of(*fold_headers(request.headers), [])
    keys = SigningKeys()
    key = keys.of(claim, SECRET)
    for shown in (repr(request), repr(claim), repr(keys)):
        assert not any(text in shown for text in (signature, SECRET, key.hex(), repr(key)[2:-1]))


# Signing keys


def claim(date: str, access_key_id: str = "A", region: str = REGION) -> sigv4.Claim:
    scope = f"{date}/{region}/kms/aws4_request"
    return sigv4.Claim(access_key_id, scope, date, region, "kms", (), "", "", NOW, None)


def test_signing_keys_are_kept_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[tuple[str, ...]] = []

    def derive(*of: str) -> bytes:
        derived.append(of)
        return signing_key(*of)

    monkeypatch.setattr(sigv4, "signing_key", derive)
    keys = SigningKeys(limit=3)
    first = keys.of(claim("20261126"), "s")
    assert keys.of(claim("20261126"), "s") == first == signing_key("s", "20261126", REGION, "kms")
    assert len(derived) == 1
    for other, secret in (
        (claim("20261126"), "another"),
        (claim("20261126", region="eu-west-1"), "another"),
        (claim("20261126", "B"), "another"),
        (claim("20261125"), "another"),
        (claim("20261127"), "another"),
    ):
        before = len(derived)
        assert keys.of(other, secret) == signing_key(secret, other.date, other.region, "kms")
        assert len(derived) == before + 1
    assert repr(keys) == "SigningKeys(1 of 3)", "the day before was forgotten"
    for number in range(10):
        keys.of(claim("20261127", str(number)), "s")
        assert len(keys._keys) <= 3
