"""The query of a key URI that has one: ``name=value&name=value``, each option once.

Everything that is not known is refused by name rather than overlooked.

Example:
    >>> read_options("object=kek", ("object",), "embedded", lambda name: None)
    {'object': 'kek'}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import unquote_to_bytes

from assay.keys.errors import KeyUriError


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
