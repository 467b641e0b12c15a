"""URIs of keys in the transit engine of HashiCorp Vault or OpenBao.

::

    vault:MOUNT/keys/NAME?address=https://vault.example:8200&token-source=file:token

================ ===============================================================================
option           meaning
================ ===============================================================================
address          the server: ``https://HOST[:PORT]``, or ``http://`` on this machine; without it
                 the variable VAULT_ADDR
namespace        the namespace in which the mount is
ca               a file with the certificates to trust, relative to where the URI stands
token-source     where the token is: ``env:NAME`` or ``file:PATH``, such as the file that an agent
                 keeps fresh; ``env:VAULT_TOKEN`` when neither it nor an AppRole is named
role-id-source   where the role id of an AppRole is; with secret-id-source, instead of a token
secret-id-source where its secret id is
approle          the mount of the AppRole method, ``approle`` when it is not said
deadline         how long a call may take with all its attempts, in whole seconds: 1 to 300,
                 default 10
================ ===============================================================================

Credentials never stand in a URI, which is written into files and logs.

Example:
    >>> parse_vault_uri("vault:transit/keys/kek").name
    'kek'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from assay.core import is_reference
from assay.keys.errors import KeyUriError
from assay.keys.uri_options import (
    DEFAULT_DEADLINE_SECONDS,
    is_safe_endpoint,
    read_deadline,
    read_options,
)

SCHEME = "vault"
DEFAULT_TOKEN_SOURCE = "env:VAULT_TOKEN"  # noqa: S105 - a place, not a token
DEFAULT_APPROLE = "approle"

_SOURCES = ("token-source", "role-id-source", "secret-id-source")
_OPTIONS = ("address", "namespace", "ca", *_SOURCES, "approle", "deadline")
_MOUNT = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9_])?"
_PATH = re.compile(rf"{_MOUNT}(?:/{_MOUNT}){{0,7}}")
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?"
_KEY = re.compile(rf"({_PATH.pattern})/keys/({_NAME})")
_SECRET = re.compile(r"token|secret|role-?_?id|password|passphrase|credential", re.IGNORECASE)
_SAFE = "/:@!$'()*+,;=~"


@dataclass(frozen=True, slots=True)
class VaultUri:
    """A parsed URI; options that it does not name are None.

    Attributes:
        mount: where the transit engine is mounted, without slashes around it.
        name: the key's name in it.
        address: as written.
        namespace: as written, without a slash at its end.
        ca: as written.
        token_source: the reference to the token.
        role_id_source: the reference to the role id.
        secret_id_source: the reference to the secret id.
        approle: the mount of the AppRole method.
        deadline_seconds: 1 to 300.
    """

    mount: str
    name: str
    address: str | None = None
    namespace: str | None = None
    ca: str | None = None
    token_source: str | None = None
    role_id_source: str | None = None
    secret_id_source: str | None = None
    approle: str | None = None
    deadline_seconds: int = DEFAULT_DEADLINE_SECONDS

    def without_options(self) -> str:
        """Which key, and nothing else."""
        return f"{SCHEME}:{self.mount}/keys/{self.name}"

    def with_query(self) -> str:
        """The whole URI."""
        values = {
            "address": self.address,
            "namespace": self.namespace,
            "ca": self.ca,
            "token-source": self.token_source,
            "role-id-source": self.role_id_source,
            "secret-id-source": self.secret_id_source,
            "approle": self.approle,
            "deadline": str(self.deadline_seconds),
        }
        query = "&".join(
            f"{name}={quote(value, safe=_SAFE)}"
            for name, value in values.items()
            if value is not None
        )
        return f"{self.without_options()}?{query}"


def parse_key_path(text: str) -> tuple[str, str] | None:
    """Mount and name of ``MOUNT/keys/NAME``; None when the text is something else."""
    found = _KEY.fullmatch(text)
    if found is None or any(part in {"sys", "auth", "cubbyhole", "identity"} for part in
                            found[1].split("/")[:1]):  # fmt: skip
        return None
    return found[1], found[2]


def parse_vault_uri(uri: str) -> VaultUri:
    """Read a URI.

    Raises:
        KeyUriError: malformed, an option twice or unknown, or credentials in the URI.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme != SCHEME or not colon:
        raise KeyUriError(f"expected a URI that begins with {SCHEME}:, found another")
    path, _, query = rest.partition("?")
    options = read_options(query, _OPTIONS, SCHEME, _refuse_secret)
    key = parse_key_path(path)
    if key is None:
        raise KeyUriError(
            f"expected {SCHEME}:MOUNT/keys/NAME, such as {SCHEME}:transit/keys/kek, found "
            "something else"
        )
    namespace = options.get("namespace")
    parsed = VaultUri(
        *key,
        address=options.get("address"),
        namespace=namespace.removesuffix("/") if namespace else None,
        ca=options.get("ca"),
        token_source=options.get("token-source"),
        role_id_source=options.get("role-id-source"),
        secret_id_source=options.get("secret-id-source"),
        approle=options.get("approle"),
        deadline_seconds=read_deadline(options.get("deadline"), SCHEME),
    )
    _refuse_unsafe(parsed)
    _refuse_contradiction(parsed)
    return parsed


def _refuse_unsafe(uri: VaultUri) -> None:
    if uri.address is not None:
        require_safe_address(uri.address)
    for option, value in (("namespace", uri.namespace), ("approle", uri.approle)):
        if value is not None and not _PATH.fullmatch(value):
            raise KeyUriError(
                f"expected {option}= in the {SCHEME} URI to be a path of letters, digits, dashes "
                "and underscores, found something else"
            )
    for option, value in zip(
        _SOURCES, (uri.token_source, uri.role_id_source, uri.secret_id_source), strict=True
    ):
        if value is not None and not is_reference(value):
            raise KeyUriError(
                f"expected {option}=env:NAME or {option}=file:PATH in the {SCHEME} URI, found "
                "something else"
            )


def _refuse_contradiction(uri: VaultUri) -> None:
    role = uri.role_id_source is not None
    if role != (uri.secret_id_source is not None) or (uri.approle is not None and not role):
        raise KeyUriError(
            f"expected both role-id-source= and secret-id-source= in the {SCHEME} URI of an "
            "AppRole, found one of them missing"
        )
    if role and uri.token_source is not None:
        raise KeyUriError(
            f"expected either token-source= or an AppRole in the {SCHEME} URI, found both"
        )


def require_safe_address(address: str) -> str:
    """The address, when it is safe to send a token to.

    Raises:
        KeyUriError: it is not ``https://HOST[:PORT]``, or ``http://`` on this machine.
    """
    if not is_safe_endpoint(address):
        raise KeyUriError(
            f"expected https://HOST[:PORT] as the address of the {SCHEME} server (http:// only for "
            "this machine), found something else"
        )
    return address


def _refuse_secret(name: str) -> None:
    if name not in _SOURCES and _SECRET.search(name):
        raise KeyUriError(
            f"expected no credentials in the {SCHEME} URI, found {name[:40]!r}; keep them "
            f"elsewhere and name the place: {', '.join(f'{each}=' for each in _SOURCES)}"
        )
