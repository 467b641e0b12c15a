"""A request as it came in, before anything of it is believed, and the answer to it.

Example:
    >>> request.header("x-amz-target")                                  # doctest: +SKIP
    'TrentService.Decrypt'
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from assay.kms.errors import KmsError


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request.

    Attributes:
        method: "POST".
        path: percent-encoded as it was sent, without the query ("/").
        query: as it was sent, without the question mark.
        headers: names in lower case, in the order in which they came; latin-1 text.
        body: all of it.
        source: the IP address that sent it.
    """

    method: str
    path: str
    query: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    source: str = ""

    def header(self, name: str) -> str | None:
        """The value of a header that came once; None when it did not come, or more than once."""
        values = [value for each, value in self.headers if each == name]
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back for a request.

    Attributes:
        status: the HTTP status.
        body: JSON.
        request_id: a UUID, told to the client and found in the audit trail.
        error: the name of the error on the wire; None when there is none.
    """

    status: int
    body: bytes = field(repr=False)
    request_id: str
    error: str | None = None

    @classmethod
    def of_error(cls, error: KmsError, request_id: str) -> Answer:
        """The answer that tells a client of an error: its code, its message, its status."""
        body = msgspec.json.encode({"__type": error.code, "message": str(error)})
        return cls(error.status, body, request_id, error.code)
