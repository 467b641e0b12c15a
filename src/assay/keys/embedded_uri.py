"""URIs of embedded key stores: ``embedded:PATH?object=NAME&passphrase-source=REFERENCE``.

Specification: ``spec/embedded-key-store.md``, "URI".

Example:
    >>> parse_embedded_uri("embedded:keys.json")
    EmbeddedUri(path='keys.json', object='kek', passphrase_source='env:ASSAY_PASSPHRASE')
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from assay.core import is_reference
from assay.keys.embedded_format import NAME
from assay.keys.errors import KeyUriError
from assay.keys.uri_options import decoded, read_options

DEFAULT_OBJECT = "kek"
DEFAULT_PASSPHRASE_SOURCE = "env:ASSAY_PASSPHRASE"  # noqa: S105 - a place, not a passphrase

_OPTIONS = ("object", "passphrase-source")
_SAFE = "/:@!$'()*+,;=~"


@dataclass(frozen=True, slots=True)
class EmbeddedUri:
    """A parsed URI.

    Attributes:
        path: the file, as written.
        object: the key's name in it.
        passphrase_source: the reference to the passphrase.
    """

    path: str
    object: str = DEFAULT_OBJECT
    passphrase_source: str = DEFAULT_PASSPHRASE_SOURCE

    def without_secrets(self) -> str:
        """The file and the key's name, without the reference to the passphrase."""
        return f"embedded:{quote(self.path, safe=_SAFE)}?object={self.object}"

    def with_query(self) -> str:
        """The whole URI."""
        return f"{self.without_secrets()}&passphrase-source={quote(self.passphrase_source, _SAFE)}"


def parse_embedded_uri(uri: str) -> EmbeddedUri:
    """Read a URI.

    Raises:
        KeyUriError: malformed, an option twice or unknown, or a passphrase in the URI.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme != "embedded" or not colon:
        raise KeyUriError("expected a URI that begins with embedded:, found another")
    path, _, query = rest.partition("?")
    if not path:
        raise KeyUriError("expected the path of a key store after embedded:, found none")
    options = read_options(query, _OPTIONS, "embedded", _refuse_secret)
    parsed = EmbeddedUri(
        decoded("path", path, "embedded"),
        options.get("object", DEFAULT_OBJECT),
        options.get("passphrase-source", DEFAULT_PASSPHRASE_SOURCE),
    )
    if not NAME.fullmatch(parsed.object):
        raise KeyUriError(
            "expected object= to name a key with 1 to 64 letters, digits, dots, underscores and "
            "dashes, found another name"
        )
    if not is_reference(parsed.passphrase_source):
        raise KeyUriError(
            "expected passphrase-source=env:NAME or passphrase-source=file:PATH in the embedded "
            "URI, found something else"
        )
    return parsed


def _refuse_secret(name: str) -> None:
    if name == "passphrase":
        raise KeyUriError(
            "expected no passphrase in the embedded URI, found one; keep it elsewhere and "
            "name the place: passphrase-source=env:NAME or passphrase-source=file:PATH"
        )
