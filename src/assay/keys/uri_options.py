"""The query of a key URI that has one: ``name=value&name=value``, each option once.

Everything that is not known is refused by name rather than overlooked.

Example:
    >>> read_options("object=kek", ("object",), "embedded", lambda name: None)
    {'object': 'kek'}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote_to_bytes

from assay.keys.errors import KeyUriError

DEFAULT_DEADLINE_SECONDS = 10
LONGEST_DEADLINE_SECONDS = 300

_HOST = r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_ENDPOINT = re.compile(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?/?")
_LOOPBACK = re.compile(r"localhost|\[::1\]|127(?:\.[0-9]{1,3}){3}", re.IGNORECASE)


def read_options(
    query: str, known: Sequence[str], scheme: str, refuse_secret: Callable[[str], None]
) -> dict[str, str]:
    """The options of a URI, decoded.

    Args:
        query: what stands after the question mark.
        known: the names that the scheme has.
        scheme: for messages.
        refuse_secret: raises for the name of an option that would put a secret into the URI.

    Raises:
        KeyUriError: an option is unknown, stands twice, has no value or is not UTF-8 text.
    """
    found: dict[str, str] = {}
    for piece in query.split("&") if query else ():
        name, _, value = piece.partition("=")
        refuse_secret(name)
        if name not in known:
            raise KeyUriError(
                f"expected one of {', '.join(known)} in the {scheme} URI, found {name[:40]!r}"
            )
        if name in found:
            raise KeyUriError(f"expected {name} once in the {scheme} URI, found it twice")
        if not value:
            raise KeyUriError(f"expected a value for {name} in the {scheme} URI, found none")
        found[name] = decoded(name, value, scheme)
    return found


def decoded(name: str, text: str, scheme: str) -> str:
    """A percent-encoded part of a URI as text.

    Raises:
        KeyUriError: it is not UTF-8, or has a NUL.
    """
    try:
        value = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:  # bytes that are not UTF-8, or a surrogate that stands alone
        value = "\0"
    if "\0" in value:
        raise KeyUriError(
            f"expected {name} in the {scheme} URI to be percent-encoded UTF-8 text, found other "
            "bytes"
        )
    return value


def is_safe_endpoint(address: str) -> bool:
    """Whether an address is ``https://HOST[:PORT]``, or ``http://`` on this machine."""
    found = _ENDPOINT.fullmatch(address)
    if found is None or (found[3] is not None and not 1 <= int(found[3]) <= 65535):
        return False
    return found[1] == "https" or _LOOPBACK.fullmatch(found[2]) is not None


def read_deadline(text: str | None, scheme: str) -> int:
    """The option ``deadline``: whole seconds from 1 to 300, 10 when it is not said.

    Raises:
        KeyUriError: anything else.
    """
    if text is None:
        return DEFAULT_DEADLINE_SECONDS
    seconds = int(text) if re.fullmatch(r"[1-9][0-9]{0,2}", text) else 0
    if not 1 <= seconds <= LONGEST_DEADLINE_SECONDS:
        raise KeyUriError(
            f"expected deadline= in whole seconds from 1 to {LONGEST_DEADLINE_SECONDS} in the "
            f"{scheme} URI, found something else"
        )
    return seconds
