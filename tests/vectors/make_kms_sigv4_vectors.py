"""Writes ``kms-sigv4.json``: ``python tests/vectors/make_kms_sigv4_vectors.py``.

botocore signs, at a fixed time, and tells the canonical request; what is refused is one of these
requests with one thing changed. The derived key is the example of AWS's documentation.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS_KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # AWS's example
REGION, HOST = "us-east-1", "kms.example.com"
SIGNED_AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
BODY = '{"KeyId":"alias/example","Plaintext":"c2VjcmV0"}'
USUAL = [("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", "TrentService.Encrypt")]
UNSIGNED = "UNSIGNED-PAYLOAD"

Pairs = list[tuple[str, str]]


def time_text(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def signed(
    *,
    headers: Pairs | None = None,
    query: str = "",
    body: str = BODY,
    expires: int | None = None,
    region: str = REGION,
    service: str = "kms",
    token: str | None = None,
    host: str = HOST,
    target: bool = True,
) -> dict[str, Any]:
    """A request that botocore signed, and its canonical form."""
    request = AWSRequest("POST", f"https://{host}/" + (f"?{query}" if query else ""))
    for name, value in [*USUAL[: 2 if target else 1], *(headers or [])]:
        request.headers[name] = value
    credentials = Credentials(ACCESS_KEY, SECRET, token)
    kept: list[str] = []

    class Keeping:
        def canonical_request(self, signed_request: AWSRequest) -> str:
            kept.append(super().canonical_request(signed_request))  # type: ignore[misc]
            return kept[-1]

        def payload(self, signed_request: AWSRequest) -> str:  # of the query form as well
            return SigV4Auth.payload(self, AWSRequest("POST", "https://x/", data=body))  # type: ignore[arg-type]

    with patch("botocore.auth.get_current_datetime", return_value=SIGNED_AT):
        if expires is None:
            type("Header", (Keeping, SigV4Auth), {})(credentials, service, region).add_auth(request)
        else:
            type("Query", (Keeping, SigV4QueryAuth), {})(
                credentials, service, region, expires=expires
            ).add_auth(request)
    fields = [(name.lower(), value) for name, value in request.headers.items()]
    return {
        "request": {
            "method": "POST",
            "path": "/",
            "query": request.url.partition("?")[2],
            "headers": [["host", host], *map(list, fields)],
            "body": body,
        },
        "canonical": kept[-1],
    }


def accepted() -> list[dict[str, Any]]:
    def case(name: str, after: int = 0, **options: Any) -> dict[str, Any]:
        return {
            "name": name,
            "now": time_text(SIGNED_AT + timedelta(seconds=after)),
            **signed(**options),
        }

    odd = [("My-Header2", '  "a   b \t c"  '), ("My-Header1", "value2"), ("My-Header1", "value1"),
           ("My-Header1", ""), ("My-Header3", "")]  # fmt: skip
    mixed = "Param-3=Value3&Param=b&Param=a&%E1%88%B4=bar&empty=&none&%20=%2B%2F%3D&Z-._~=1&a=z"
    cases = [
        case("header"),
        case("header, 300 seconds old", 300),
        case("header, 300 seconds early", -300),
        case("header, no body", body=""),
        case("header, odd values", headers=odd),
        case("header, parameters in the query", query=mixed),
        case("header, Date instead of X-Amz-Date", headers=[("Date", "now")]),
        case("header, digest of the body", headers=[("X-Amz-Content-SHA256", sha256_of(BODY))]),
        case("query", expires=300),
        case("query, an hour old", 3600, expires=3600),
        case("query, expires after a second", 1, expires=1),
        case("query, 300 seconds early", -300, expires=60),
        case("query, parameters", query="b=%2F&a=&%E1%88%B4=bar", expires=60),
        case("query, odd values", headers=odd, expires=60),
    ]
    compact = json.loads(json.dumps(cases[0]))
    compact["name"] = "header, no blanks after commas, other order"
    authorization = next(f for f in compact["request"]["headers"] if f[0] == "authorization")
    algorithm, _, parts = authorization[1].partition(" ")
    authorization[1] = f"{algorithm} {','.join(reversed(parts.split(', ')))}"
    return [*cases, compact]


def sha256_of(body: str) -> str:
    return sha256(body.encode()).hexdigest()


def refused(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is refused, and by which error."""
    mismatch, incomplete = "SignatureMismatchError", "IncompleteSignatureError"
    unknown, missing = "UnknownClientError", "MissingTokenError"
    header = next(each for each in given if each["name"] == "header")
    query = next(each for each in given if each["name"] == "query")
    cases: list[dict[str, Any]] = []

    def add(name: str, error: str, request: dict[str, Any], after: int = 0) -> None:
        now = time_text(SIGNED_AT + timedelta(seconds=after))
        cases.append({"name": name, "error": error, "now": now, "request": request})

    def sub(name: str, error: str, old: str, new: str, base: dict[str, Any] = header) -> None:
        text = json.dumps(base["request"])
        assert old in text, (name, old)
        add(name, error, json.loads(text.replace(old, new)))

    def change(name: str, error: str, base: dict[str, Any] = header, **fields: Any) -> None:
        add(name, error, {**base["request"], **fields})

    def more(name: str, error: str, *fields: list[str], base: dict[str, Any] = header) -> None:
        change(name, error, base, headers=[*base["request"]["headers"], *fields])

    def less(name: str, error: str, *names: str, base: dict[str, Any] = header) -> None:
        kept = [field for field in base["request"]["headers"] if field[0] not in names]
        change(name, error, base, headers=kept)

    authorization = next(f[1] for f in header["request"]["headers"] if f[0] == "authorization")
    signature = authorization[-64:]
    flipped = ("0" if signature[0] != "0" else "1") + signature[1:]

    # The request is another.
    change("another body", mismatch, body=BODY + " ")
    change("another body, query", mismatch, query, body="")
    sub("another host", mismatch, HOST, "kms.example.net")
    sub("another action", mismatch, "TrentService.Encrypt", "TrentService.Decrypt")
    sub("another action, query", mismatch, "TrentService.Encrypt", "TrentService.Decrypt", query)
    sub("another content type", mismatch, "x-amz-json-1.1", "x-amz-json-1.0")
    change("another method", mismatch, method="PUT")
    change("another path", mismatch, path="/other")
    change("a path that would be normalised", mismatch, path="/./")
    change("no path", mismatch, path="")
    change("a parameter more", mismatch, query="a=b")
    change("a parameter more, query", mismatch, query, query=query["request"]["query"] + "&a=b")
    sub("another second", mismatch, '"20150830T123600Z"', '"20150830T123601Z"')
    sub("another second, query", mismatch, "20150830T123600Z", "20150830T123601Z", query)
    sub("another time to expire", mismatch, "Expires=300", "Expires=3000", query)
    less("a signed header is missing", mismatch, "content-type")
    more("a signed header came twice", mismatch, ["content-type", "application/x-amz-json-1.1"])

    # The signature is another.
    sub("the first digit of the signature", mismatch, signature, flipped)
    sub("the signature cut", mismatch, signature, signature[:-1])
    sub("the signature in capitals", mismatch, signature, signature.upper())
    sub("no digits of the signature", mismatch, signature, "")
    sub("a signature that is not ASCII", mismatch, signature, "\u00e9" * 64)
    add("another Region", mismatch, signed(region="us-east-2")["request"])
    add("another service", mismatch, signed(service="s3")["request"])
    add("another Region, query", mismatch, signed(region="us-east-2", expires=60)["request"])
    sub("another day in the scope", mismatch, "/20150830/", "/20150829/")
    sub("another Region in the scope only", mismatch, "/us-east-1/", "/us-east-2/")
    sub("another access key", unknown, "AKIDEXAMPLE", "AKIDOTHER")
    sub("an access key of a prefix", unknown, "AKIDEXAMPLE", "AKIDEXAMPL")

    # The time.
    add("header, 301 seconds old", mismatch, header["request"], 301)
    add("header, 301 seconds early", mismatch, header["request"], -301)
    add("query, 301 seconds early", mismatch, query["request"], -301)
    add("query, expired", mismatch, query["request"], 301)
    add("X-Amz-Expires 0", incomplete, signed(expires=0)["request"])
    add("X-Amz-Expires 3601", incomplete, signed(expires=3601)["request"])
    for value in ("-1", "%2B60", "1.5", "", "60s", "0x10", "1e3", "%D9%A3", "9" * 4000):
        sub(f"X-Amz-Expires {value[:8]}", incomplete, "Expires=300", f"Expires={value}", query)
    for value in ("20150830T123600", "20150830T126000Z", "20151330T123600Z", "now", "2015083OT123600Z",
                  "2015-08-30T12:36:00Z", "00000830T123600Z"):  # fmt: skip
        sub(f"X-Amz-Date {value}", incomplete, '"20150830T123600Z"', f'"{value}"')
    less("no time", incomplete, "x-amz-date")

    # What must be signed.
    sub("host is not among the signed headers", mismatch, "content-type;host;", "content-type;")
    sub(
        "the action is not among the signed headers",
        mismatch,
        ";x-amz-date;x-amz-target",
        ";x-amz-date",
    )
    add("nobody signed the action", mismatch, signed(target=False)["request"])
    add("nobody signed the action, query", mismatch, signed(target=False, expires=60)["request"])
    unsigned_target = signed(target=False)["request"]
    unsigned_target["headers"].append(["x-amz-target", "TrentService.Decrypt"])
    add("the action came unsigned", mismatch, unsigned_target)
    sub("signed headers in another order", incomplete, "content-type;host", "host;content-type")
    sub("a signed header named twice", incomplete, "content-type;host", "content-type;host;host")
    sub("a signed header in capitals", mismatch, "=content-type;host", "=Content-Type;host")
    sub("no signed headers", mismatch, "content-type;host;x-amz-date;x-amz-target", "")
    more("an unsigned body", mismatch, ["x-amz-content-sha256", UNSIGNED])
    add("an unsigned body, signed so", mismatch,
        signed(headers=[("X-Amz-Content-SHA256", UNSIGNED)])["request"])  # fmt: skip
    add("an unsigned body, query", mismatch,
        signed(query=f"X-Amz-Content-Sha256={UNSIGNED}", expires=60)["request"])  # fmt: skip
    more("the digest of another body", mismatch, ["x-amz-content-sha256", sha256_of("")])

    # Forms.
    less("not signed", missing, "authorization")
    change("not signed, query", missing, query, query="")
    for scheme in ("Basic", "AWS4-ECDSA-P256-SHA256", "aws4-hmac-sha256", "AWS4-HMAC-SHA256,", ""):
        sub(f"the scheme {scheme}", incomplete, "AWS4-HMAC-SHA256", scheme)
    sub("another algorithm, query", incomplete, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", query)
    for part in ("Credential", "SignedHeaders", "Signature"):
        sub(f"no {part}", incomplete, f"{part}=", f"X{part}=")
        sub(f"no equals sign after {part}", incomplete, f"{part}=", part)
        sub(f"{part} in small letters", incomplete, f"{part}=", f"{part.lower()}=")
        sub(f"{part} twice", incomplete, f"{part}=", f"{part}=a, {part}=")
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"):
        sub(f"no X-Amz-{name}", incomplete, f"X-Amz-{name}=", f"X-Amz-X{name}=", query)
        sub(
            f"X-Amz-{name} twice",
            incomplete,
            f"X-Amz-{name}=",
            f"X-Amz-{name}=a&X-Amz-{name}=",
            query,
        )
    sub("one part more", incomplete, "SignedHeaders=", "Other=a, SignedHeaders=")
    sub("a credential of four parts", incomplete, "/us-east-1", "")
    sub("a credential of six parts", incomplete, "/us-east-1", "/us-east-1/a")
    sub("another end of the scope", incomplete, "aws4_request", "aws5_request")
    sub("an access key id that is none", incomplete, "AKIDEXAMPLE", "AKID EXAMPLE")
    sub(
        "a query that is not encoded", incomplete, "X-Amz-Algorithm", "%zz=1&X-Amz-Algorithm", query
    )
    sub(
        "a query that ends in a percent sign",
        incomplete,
        "X-Amz-Algorithm",
        "a=%&X-Amz-Algorithm",
        query,
    )
    for name in ("authorization", "host", "x-amz-date", "x-amz-target"):
        value = next(f[1] for f in header["request"]["headers"] if f[0] == name)
        more(f"{name} twice", incomplete, [name, value])
    change("both forms", incomplete, query=query["request"]["query"])
    change("both forms, half of one", incomplete, query="X-Amz-Signature=" + signature)
    add("a session token", unknown, signed(token="a-token")["request"])
    add("a session token, query", unknown, signed(token="a-token", expires=60)["request"])
    more("a session token that is not signed", unknown, ["x-amz-security-token", "a"])
    return cases


def lines_of(vectors: dict[str, Any]) -> str:
    """JSON with a line for each case."""
    parts = []
    for name, value in vectors.items():
        if isinstance(value, list):
            cases = ",\n    ".join(json.dumps(case) for case in value)
            parts.append(f'  "{name}": [\n    {cases}\n  ]')
        else:
            parts.append(f'  "{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    given = accepted()
    vectors = {
        "source": "requests signed by botocore in the manner of AWS's test suite for Signature "
        "Version 4; the signing key is the example of AWS's documentation",
        "region": REGION,
        "secrets": {ACCESS_KEY: SECRET},
        "signing_keys": [
            {
                "secret": SECRET,
                "date": "20120215",
                "region": "us-east-1",
                "service": "iam",
                "key": "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d",
            }
        ],
        "accepted": given,
        "refused": refused(given),
    }
    path = Path(__file__).with_name("kms-sigv4.json")
    path.write_text(lines_of(vectors))


if __name__ == "__main__":
    main()
