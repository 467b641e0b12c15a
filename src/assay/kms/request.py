"""A request as it came in, before anything of it is believed.

Example:
    >>> request.header("x-amz-target")                                  # doctest: +SKIP
    'TrentService.Decrypt'
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
