"""Who signed a request: AWS Signature Version 4, in the header or in the query.

Format: ``spec/kms.md``, "One request", step 2. Nothing here reads a clock or a network.

Example:
    >>> caller = verify(request, secrets.get, region="eu-central-1", now=now)     # doctest: +SKIP
    >>> caller.access_key_id                                                      # doctest: +SKIP
    'AKIDEXAMPLE'

Source: AWS IAM user guide, "Create a signed AWS API request" and "Authenticating requests: using
query parameters".
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise

from assay.kms.canonical import canonical_request, fold_headers, parse_query, signing_key
from assay.kms.errors import (
    IncompleteSignatureError,
    MissingTokenError,
    SignatureMismatchError,
    UnknownClientError,
)
from assay.kms.request import SignedRequest

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "kms"
SKEW = timedelta(seconds=300)
LONGEST_EXPIRES_SECONDS = 3600

_IN_HEADER = frozenset({"Credential", "SignedHeaders", "Signature"})
_IN_QUERY = {
    "X-Amz-Algorithm": "the algorithm",
    "X-Amz-Credential": "Credential",
    "X-Amz-Date": "the time",
    "X-Amz-Expires": "the time to expire after",
    "X-Amz-SignedHeaders": "SignedHeaders",
    "X-Amz-Signature": "Signature",
}
_MUST_BE_SIGNED = ("host", "x-amz-target")
_ONCE = ("authorization", "host", "x-amz-target", "x-amz-date", "date", "x-amz-content-sha256")
_CREDENTIAL = re.compile(
    r"([A-Za-z0-9_]{1,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request"
)
_BASIC_TIME = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z", re.ASCII
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_TIME = re.compile(
    r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r" (?:GMT|[-+]0000)"
)
_EXPIRES = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request, and when.

    Attributes:
        access_key_id: of the key whose secret made the signature.
        signed_at: the time in the signature, UTC.
        presigned: whether the signature was in the query.
    """

    access_key_id: str
    signed_at: datetime
    presigned: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature; nothing of it is believed.

    Attributes:
        access_key_id: whose secret is said to have signed.
        scope: ``DATE/REGION/SERVICE/aws4_request``.
        date: 8 digits.
        region: such as ``eu-central-1``.
        service: such as ``kms``.
        signed_headers: names in lower case, sorted, each once.
        signature: 64 hexadecimal digits, if it is one.
        timestamp: ``YYYYMMDDTHHMMSSZ``.
        signed_at: the same, as a time.
        expires_seconds: of the query form, from 1 to 3600; None in the header form.
    """

    access_key_id: str
    scope: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    timestamp: str
    signed_at: datetime
    expires_seconds: int | None


class SigningKeys:
    """Signing keys that were derived before, of one day, so that a request costs one HMAC not five.

    Args:
        limit: how many; one more makes it forget all.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._date = ""
        self._keys: dict[tuple[str, str], tuple[str, str, bytes]] = {}

    def __repr__(self) -> str:
        return f"SigningKeys({len(self._keys)} of {self._limit})"

    def of(self, claim: Claim, secret: str) -> bytes:
        """The signing key, 32 bytes, for the day, Region and service of a claim.

        A key of a later day makes it forget those of the day before; one of an earlier day, from a
        presigned request around midnight, is derived each time.
        """
        if claim.date > self._date:
            self._date, self._keys = claim.date, {}
        elif claim.date < self._date:
            return signing_key(secret, claim.date, claim.region, claim.service)
        place = claim.access_key_id, claim.region
        known = self._keys.get(place)
        if known is not None and known[0] == claim.date and known[1] == secret:
            return known[2]
        key = signing_key(secret, claim.date, claim.region, claim.service)
        if len(self._keys) >= self._limit:
            self._keys = {}
        self._keys[place] = claim.date, secret, key
        return key


_SHARED = SigningKeys()


def verify(
    request: SignedRequest,
    secret_of: Callable[[str], str | None],
    *,
    region: str,
    now: datetime,
    keys: SigningKeys = _SHARED,
) -> Caller:
    """Tell who signed a request, or refuse it.

    Args:
        request: as it came in.
        secret_of: the secret access key of an access key id; None when there is none, or it was
            disabled.
        region: the Region that the signature must be for.
        now: the server's time, with a time zone.
        keys: signing keys that were derived before.

    Raises:
        MissingTokenError: there is no signature.
        IncompleteSignatureError: a part is missing, came twice, or cannot be read; or both forms
            came at once.
        SignatureMismatchError: it is for another Region, service or day, is too old or from the
            future, leaves out what must be signed, or was made of another request or secret.
        UnknownClientError: nobody has this access key, or a session token came with it.
    """
    headers, repeated = fold_headers(request.headers)
    parameters = parse_query(request.query)
    claim = claim_of(headers, repeated, parameters)
    _check_scope(claim, region)
    _check_time(claim, now)
    _check_signed(claim, headers)
    body_digest = _body_digest(request.body, headers, parameters)
    secret = secret_of(claim.access_key_id)
    if secret is None:
        raise UnknownClientError("expected an access key of this service, found another or none")
    canonical = canonical_request(request, parameters, headers, claim.signed_headers, body_digest)
    digest = sha256(canonical).hexdigest()
    to_sign = f"{ALGORITHM}\n{claim.timestamp}\n{claim.scope}\n{digest}".encode("ascii")
    expected = hmac.digest(keys.of(claim, secret), to_sign, "sha256").hex()
    if not hmac.compare_digest(expected.encode("ascii"), claim.signature.encode("latin-1")):
        raise SignatureMismatchError(
            "expected the signature of this request by the secret access key, found another; check "
            "the secret, and that nothing on the way changes the request"
        )
    return Caller(claim.access_key_id, claim.signed_at, claim.expires_seconds is not None)


def claim_of(
    headers: Mapping[str, str], repeated: set[str], parameters: list[tuple[str, str]]
) -> Claim:
    """What a request says of its signature.

    Raises:
        MissingTokenError: nothing.
        IncompleteSignatureError: a part is missing, came twice, or cannot be read; or both forms
            came at once.
        UnknownClientError: a session token came with it; this service issues none.
    """
    lowered = {name.lower() for name, _ in parameters} if parameters else frozenset()
    if "x-amz-security-token" in headers or "x-amz-security-token" in lowered:
        raise UnknownClientError(
            "expected an access key of this service, found a session token with it; this service "
            "issues none"
        )
    for name in repeated:
        if name in _ONCE:
            raise IncompleteSignatureError(f"expected one header {name}, found several")
    in_query = any(name in _IN_QUERY for name, _ in parameters)
    if "authorization" in headers:
        if in_query:
            raise IncompleteSignatureError(
                "expected a signature in the header or in the query, found both"
            )
        return _claim_in_header(headers)
    if not in_query:
        raise MissingTokenError(
            "expected a signature (AWS Signature Version 4) in the header Authorization or in the "
            "query, found none"
        )
    return _claim_in_query(parameters)


def _claim_in_header(headers: Mapping[str, str]) -> Claim:
    algorithm, _, rest = headers["authorization"].partition(" ")
    _check_algorithm(algorithm)
    parts: dict[str, str] = {}
    for piece in rest.split(","):
        name, equals, value = piece.strip(" ").partition("=")
        if not equals or name not in _IN_HEADER or name in parts:
            raise IncompleteSignatureError(
                "expected Credential=…, SignedHeaders=… and Signature=… in Authorization, each "
                "once, found another part, or one twice"
            )
        parts[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if name not in parts:
            raise IncompleteSignatureError(f"expected {name} in Authorization, found none")
    timestamp = headers.get("x-amz-date") or _basic(headers.get("date", ""))
    return _claim(
        parts["Credential"], parts["SignedHeaders"], parts["Signature"], timestamp, expires=None
    )


def _claim_in_query(parameters: list[tuple[str, str]]) -> Claim:
    parts: dict[str, str] = {}
    for name, value in parameters:
        if name in _IN_QUERY:
            if name in parts:
                raise IncompleteSignatureError(f"expected {name} once in the query, found several")
            parts[name] = value
    for name in _IN_QUERY:
        if name not in parts:
            raise IncompleteSignatureError(f"expected {name} in the query, found none")
    _check_algorithm(parts["X-Amz-Algorithm"])
    expires = parts["X-Amz-Expires"]
    if not _EXPIRES.fullmatch(expires) or not 1 <= int(expires) <= LONGEST_EXPIRES_SECONDS:
        raise IncompleteSignatureError(
            f"expected X-Amz-Expires from 1 to {LONGEST_EXPIRES_SECONDS} seconds, found another"
        )
    return _claim(
        parts["X-Amz-Credential"],
        parts["X-Amz-SignedHeaders"],
        parts["X-Amz-Signature"],
        parts["X-Amz-Date"],
        expires=int(expires),
    )


def _check_algorithm(name: str) -> None:
    if name != ALGORITHM:
        raise IncompleteSignatureError(f"expected the algorithm {ALGORITHM}, found another")


def _claim(
    credential: str, signed_headers: str, signature: str, timestamp: str, *, expires: int | None
) -> Claim:
    match = _CREDENTIAL.fullmatch(credential)
    if match is None:
        raise IncompleteSignatureError(
            "expected a credential ACCESS-KEY-ID/YYYYMMDD/REGION/SERVICE/aws4_request, found "
            "another form"
        )
    access_key_id, date, region, service = match.groups()
    names = tuple(signed_headers.split(";"))
    if any(one >= other for one, other in pairwise(names)):
        raise IncompleteSignatureError(
            "expected the names of signed headers sorted, each once, found another order"
        )
    scope = credential[len(access_key_id) + 1 :]
    return Claim(
        access_key_id,
        scope,
        date,
        region,
        service,
        names,
        signature,
        timestamp,
        _time(timestamp),
        expires,
    )


def _basic(http_time: str) -> str:
    """The header Date, which may stand in for X-Amz-Date, in the form of X-Amz-Date."""
    match = _HTTP_TIME.fullmatch(http_time)
    if match is None or match[2] not in _MONTHS:
        return http_time
    day, month, year, hour, minute, second = match.groups()
    return f"{year}{_MONTHS.index(month) + 1:02}{day}T{hour}{minute}{second}Z"


def _time(timestamp: str) -> datetime:
    match = _BASIC_TIME.fullmatch(timestamp)
    try:
        if match is not None:
            year, month, day, hour, minute, second = map(int, match.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        pass
    raise IncompleteSignatureError(
        "expected the time of the signature as YYYYMMDDTHHMMSSZ in X-Amz-Date, found none or "
        "another form"
    )


def _check_scope(claim: Claim, region: str) -> None:
    for what, expected, found in (
        ("Region", region, claim.region),
        ("service", SERVICE, claim.service),
        ("day", claim.timestamp[:8], claim.date),
    ):
        if found != expected:
            raise SignatureMismatchError(
                f"expected a signature for the {what} {expected}, found one for {found}"
            )


def _check_time(claim: Claim, now: datetime) -> None:
    age = now - claim.signed_at
    longest = SKEW if claim.expires_seconds is None else timedelta(seconds=claim.expires_seconds)
    if -SKEW <= age <= longest:
        return
    what = "is from the future" if age < -SKEW else "has expired"
    raise SignatureMismatchError(
        f"expected a signature of now, found one that {what}: it is of {claim.timestamp}, and the "
        f"server's time is {now.astimezone(UTC):%Y%m%dT%H%M%SZ}; check the clocks"
    )


def _check_signed(claim: Claim, headers: Mapping[str, str]) -> None:
    for name in _MUST_BE_SIGNED:
        if name not in claim.signed_headers:
            raise SignatureMismatchError(f"expected {name} among the signed headers, found it not")
    for name in claim.signed_headers:
        if name not in headers:
            raise SignatureMismatchError(
                "expected every signed header in the request, found one missing; their names are "
                "in lower case"
            )


def _body_digest(body: bytes, headers: Mapping[str, str], parameters: list[tuple[str, str]]) -> str:
    digest = sha256(body).hexdigest()
    told = [value for name, value in parameters if name.lower() == "x-amz-content-sha256"]
    if "x-amz-content-sha256" in headers:
        told.append(headers["x-amz-content-sha256"])
    if any(value != digest for value in told):
        raise SignatureMismatchError(
            "expected the SHA-256 of the body in X-Amz-Content-Sha256, found another value; an "
            "unsigned body is not accepted"
        )
    return digest
