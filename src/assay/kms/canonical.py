"""The canonical form of a request, which Signature Version 4 signs.

Format: ``spec/kms.md``, "One request", step 2.

Example:
    >>> parse_query("b=1&a=%20")
    [('b', '1'), ('a', ' ')]

Source: AWS IAM user guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote_from_bytes, unquote_to_bytes

from assay.kms.errors import IncompleteSignatureError, SignatureMismatchError
from assay.kms.request import SignedRequest

_BLANKS = re.compile(r"[ \t]+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key, 32 bytes, that signs for one day, Region and service.

    Source: "Create a signed AWS API request", step 4.
    """
    key = b"AWS4" + secret.encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode("ascii"), "sha256")
    return key


def fold_headers(headers: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], set[str]]:
    """Headers by name as they are signed, and the names of those that came more than once.

    Spaces and tabs around a value go, within it they become one space; values of one name are
    joined by commas in the order in which they came.
    """
    folded: dict[str, str] = {}
    repeated: set[str] = set()
    for name, sent in headers:
        value = sent.strip(" \t")
        if "  " in value or "\t" in value:
            value = _BLANKS.sub(" ", value)
        if name in folded:
            repeated.add(name)
            value = f"{folded[name]},{value}"
        folded[name] = value
    return folded, repeated


def parse_query(query: str) -> list[tuple[str, str]]:
    """The parameters of a query in their order: names and values percent-decoded, latin-1 text.

    A parameter without ``=`` has an empty value; a plus sign is a plus sign.

    Raises:
        IncompleteSignatureError: it is not percent-encoded.
    """
    if not query:
        return []
    if _BAD_ESCAPE.search(query) or not query.isascii():
        raise IncompleteSignatureError(
            "expected a percent-encoded query, found a % without two hexadecimal digits or a byte "
            "above 127"
        )
    pieces = (piece.partition("=") for piece in query.split("&") if piece)
    return [(_unquote(name), _unquote(value)) for name, _, value in pieces]


def _unquote(text: str) -> str:
    return unquote_to_bytes(text).decode("latin-1") if "%" in text else text


def canonical_request(
    request: SignedRequest,
    parameters: list[tuple[str, str]],
    headers: Mapping[str, str],
    signed_headers: tuple[str, ...],
    body_digest: str,
) -> bytes:
    """The bytes whose digest is signed.

    Method, path, query, each signed header, their names, the digest of the body: each on a line.
    The query is encoded anew (unreserved characters stay, everything else becomes ``%XX``) and
    sorted by name, then value; ``X-Amz-Signature`` is left out. The path is ``/``, the only one.

    Source: "Create a signed AWS API request", step 1.

    Raises:
        SignatureMismatchError: the path is another.
    """
    if request.path != "/":
        raise SignatureMismatchError("expected the path /, found another")
    pairs = sorted(
        (_quote(name), _quote(value)) for name, value in parameters if name != "X-Amz-Signature"
    )
    query = "&".join(f"{name}={value}" for name, value in pairs)
    lines = "\n".join([f"{name}:{headers[name]}" for name in signed_headers])
    names = ";".join(signed_headers)
    return f"{request.method}\n/\n{query}\n{lines}\n\n{names}\n{body_digest}".encode("latin-1")


def _quote(text: str) -> str:
    return quote_from_bytes(text.encode("latin-1"), safe="-_.~")
