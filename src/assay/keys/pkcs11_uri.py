"""The PKCS#11 URI scheme (RFC 7512): which key on which token, and where its PIN comes from.

What Assay takes of the RFC: the path attributes ``token``, ``serial``, ``manufacturer``,
``model`` (which token), ``object``, ``id``, ``type`` (which key), and the query attributes
``module-path`` and ``pin-source``. Everything else is refused by name rather than overlooked, and
``pin-value`` above all: a URI is written into files and logs.

``pin-source`` is a reference, ``env:NAME`` or ``file:PATH``.

Example:
    >>> parse_pkcs11_uri("pkcs11:token=assay;object=kek").object
    'kek'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from assay.core import is_reference
from assay.keys.errors import KeyServiceError, KeyUriError
from assay.keys.token_keys import KeyType

DEFAULT_PIN_SOURCE = "env:ASSAY_PIN"
MODULE_VARIABLE = "ASSAY_PKCS11_MODULE"
SOFTHSM_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/opt/local/lib/softhsm/libsofthsm2.so",
)
"""Where packages of Debian, Fedora, Homebrew and MacPorts put SoftHSM2, the default module."""

_PATH_ATTRIBUTES = ("token", "manufacturer", "serial", "model", "object", "id", "type")
_QUERY_ATTRIBUTES = ("module-path", "pin-source")
_KEY_TYPES = ("secret-key", "private")
# RFC 7512 section 2.3: unreserved, pk11-res-avail and what path or query add; else %XX.
_UNRESERVED = r"A-Za-z0-9\-._~:\[\]@!$'()*+,="
_PATH_VALUE = re.compile(rf"(?:[{_UNRESERVED}&]|%[0-9A-Fa-f]{{2}})*")
_QUERY_VALUE = re.compile(rf"(?:[{_UNRESERVED}/?|]|%[0-9A-Fa-f]{{2}})*")
_SAFE_IN_PATH = "-._~:[]@!$'()*+,=&"
_SAFE_IN_QUERY = "-._~:[]@!$'()*+,=/?|"


@dataclass(frozen=True, slots=True)
class TokenSelector:
    """Which token: all that is given must agree."""

    label: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None

    def fits(self, other: TokenSelector) -> bool:
        """Whether a token, all of whose values are given, agrees."""
        pairs = (
            (self.label, other.label),
            (self.serial, other.serial),
            (self.manufacturer, other.manufacturer),
            (self.model, other.model),
        )
        return all(wanted in {None, found} for wanted, found in pairs)


@dataclass(frozen=True, slots=True)
class KeySelector:
    """Which key: its type, and its label, its id or both."""

    label: str | None
    id: bytes | None
    key_type: KeyType

    def name(self) -> str:
        """What a message calls it: its label, else its id in hexadecimal."""
        return self.label or (self.id or b"").hex()


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A parsed URI; attributes that it does not name are None.

    Attributes:
        token: the token's label.
        manufacturer: the token's manufacturer.
        serial: the token's serial number.
        model: the token's model.
        object: the key's label (CKA_LABEL).
        id: the key's id (CKA_ID).
        type: "secret-key" or "private".
        module_path: the PKCS#11 library, as written.
        pin_source: the reference to the PIN.
    """

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    object: str | None = None
    id: bytes | None = None
    type: str | None = None
    module_path: str | None = None
    pin_source: str = DEFAULT_PIN_SOURCE

    def token_selector(self) -> TokenSelector:
        """Which token."""
        return TokenSelector(self.token, self.serial, self.manufacturer, self.model)

    def key_selector(self, key_type: KeyType) -> KeySelector:
        """Which key on it."""
        return KeySelector(self.object, self.id, key_type)

    def without_secrets(self) -> str:
        """The path of the URI: which key, without module and PIN source."""
        values = {name: getattr(self, name) for name in _PATH_ATTRIBUTES}
        return "pkcs11:" + ";".join(
            f"{name}={quote(value, safe=_SAFE_IN_PATH)}"
            for name, value in values.items()
            if value is not None
        )

    def with_query(self) -> str:
        """The whole URI, with module and PIN source."""
        values = {"module-path": self.module_path, "pin-source": self.pin_source}
        return f"{self.without_secrets()}?" + "&".join(
            f"{name}={quote(value, safe=_SAFE_IN_QUERY)}"
            for name, value in values.items()
            if value is not None
        )


def parse_pkcs11_uri(uri: str) -> Pkcs11Uri:
    """Read a PKCS#11 URI.

    Raises:
        KeyUriError: malformed, an attribute twice or unknown, a PIN in the URI, or too little to
            name one token and one key.
    """
    parsed = _parse(uri)
    if parsed.object is None and parsed.id is None:
        raise KeyUriError("expected object= or id= in the pkcs11 URI, found neither")
    if parsed.type not in {None, *_KEY_TYPES}:
        raise KeyUriError(
            f"expected type=secret-key or type=private in the pkcs11 URI, found {parsed.type!r}"
        )
    return parsed


def parse_token_uri(uri: str) -> Pkcs11Uri:
    """Read a PKCS#11 URI that names a token, and no key on it.

    Raises:
        KeyUriError: as `parse_pkcs11_uri`, or it names a key.
    """
    parsed = _parse(uri)
    if (parsed.object, parsed.id, parsed.type) != (None, None, None):
        raise KeyUriError(
            "expected a pkcs11 URI of a token alone, found object=, id= or type=; leave them out"
        )
    return parsed


def _parse(uri: str) -> Pkcs11Uri:
    scheme, colon, rest = uri.partition(":")
    if scheme != "pkcs11" or not colon:
        raise KeyUriError("expected a URI that begins with pkcs11:, found another")
    path, _, query = rest.partition("?")
    values = _attributes(path, ";", _PATH_VALUE, _PATH_ATTRIBUTES, "path")
    options = _attributes(query, "&", _QUERY_VALUE, _QUERY_ATTRIBUTES, "query")
    texts = {name: _text(name, value) for name, value in values.items() if name != "id"}
    parsed = Pkcs11Uri(
        **texts,
        id=values.get("id"),
        module_path=_text("module-path", options["module-path"])
        if "module-path" in options
        else None,
        pin_source=_text("pin-source", options["pin-source"])
        if "pin-source" in options
        else DEFAULT_PIN_SOURCE,
    )
    if parsed.token is None and parsed.serial is None:
        raise KeyUriError("expected token= or serial= in the pkcs11 URI, found neither")
    if not is_reference(parsed.pin_source):
        raise KeyUriError(
            "expected pin-source=env:NAME or pin-source=file:PATH in the pkcs11 URI, found "
            "something else"
        )
    return parsed


def _attributes(
    text: str, separator: str, allowed: re.Pattern[str], known: tuple[str, ...], part: str
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for piece in text.split(separator) if text else ():
        name, equals, value = piece.partition("=")
        if name == "pin-value":
            raise KeyUriError(
                "expected no PIN in the pkcs11 URI, found pin-value; keep the PIN elsewhere and "
                "name the place: pin-source=env:NAME or pin-source=file:PATH"
            )
        if name not in known:
            raise KeyUriError(
                f"expected one of {', '.join(known)} in the {part} of the pkcs11 URI, found "
                f"{name[:40]!r}"
            )
        if name in found:
            raise KeyUriError(f"expected {name} once in the pkcs11 URI, found it twice")
        if not equals or not value:
            raise KeyUriError(f"expected a value for {name} in the pkcs11 URI, found none")
        if not allowed.fullmatch(value):
            raise KeyUriError(
                f"expected the value of {name} in the pkcs11 URI to be percent-encoded (RFC 7512 "
                "section 2.3), found a character that must be written as %XX"
            )
        found[name] = unquote_to_bytes(value)
    return found


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise KeyUriError(
            f"expected the value of {name} in the pkcs11 URI to be UTF-8, found other bytes"
        ) from exc


def find_module(uri: Pkcs11Uri, directory: Path, environment: Mapping[str, str]) -> Path:
    """The PKCS#11 library to load.

    ``module-path`` of the URI (relative to ``directory``); else ``ASSAY_PKCS11_MODULE``; else
    SoftHSM2 where packages put it.

    Raises:
        KeyServiceError: there is no such file.
    """
    chosen = uri.module_path or environment.get(MODULE_VARIABLE)
    if chosen:
        path = directory / chosen
        if not path.is_file():
            raise KeyServiceError(f"expected a PKCS#11 library at {path}, found no file there")
        return path
    for candidate in map(Path, SOFTHSM_MODULES):
        if candidate.is_file():
            return candidate
    raise KeyServiceError(
        "expected a PKCS#11 library, found none: name it in the URI (module-path=) or in "
        f"{MODULE_VARIABLE}, or install SoftHSM2 (package softhsm2)"
    )
