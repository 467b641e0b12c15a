"""Keys of the transit engine: what it says of one, which are usable, and how one is made.

A KEK is an ``aes256-gcm96`` key, a signing key an ``ed25519`` key; neither is derived, for such a
key needs a context of another kind with every call.

Source: Vault's HTTP API, transit, "Read key" and "Create key".

Example:
    >>> read_key(vault, "transit", "kek").type                     # doctest: +SKIP
    'aes256-gcm96'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assay.keys.errors import KeyExistsError, KeyNotFoundError, KeyServiceError, KeyUriError
from assay.keys.vault import Vault
from assay.keys.vault_uri import SCHEME

KEK_TYPE = "aes256-gcm96"
SIGNING_TYPE = "ed25519"


@dataclass(frozen=True, slots=True)
class TransitKey:
    """What transit says of a key; None where it does not say.

    Attributes:
        mount: of the engine.
        name: of the key.
        type: "aes256-gcm96", "ed25519", ...
        derived: whether each call needs a context for derivation.
        exportable: whether the engine gives the key away.
        allow_plaintext_backup: whether it gives a backup in the clear away.
        deletion_allowed: whether the key can be deleted.
        imported: whether its material was brought in from outside.
        latest_version: the one that wraps and signs.
        min_decryption_version: the oldest that opens.
        min_available_version: the oldest that was not trimmed.
        auto_rotate_seconds: how often it is rotated; 0 when it is not.
        public_keys: version -> public key in base64, for signing keys.
    """

    mount: str
    name: str
    type: str
    derived: bool | None
    exportable: bool | None
    allow_plaintext_backup: bool | None
    deletion_allowed: bool | None
    imported: bool | None
    latest_version: int
    min_decryption_version: int | None
    min_available_version: int | None
    auto_rotate_seconds: int | None
    public_keys: Mapping[str, str]

    @property
    def uri(self) -> str:
        """``vault:MOUNT/keys/NAME``."""
        return f"{SCHEME}:{self.mount}/keys/{self.name}"

    @classmethod
    def parse(cls, mount: str, name: str, said: Mapping[str, Any]) -> TransitKey:
        """From the answer to reading a key.

        Raises:
            KeyServiceError: it is not such an answer, or one for another key.
        """
        kind, latest = said.get("type"), said.get("latest_version")
        if said.get("name") != name or not isinstance(kind, str) or type(latest) is not int:
            raise KeyServiceError(
                f"expected the server to describe the key {SCHEME}:{mount}/keys/{name}, found "
                "something else; check address= and mount"
            )
        versions = said.get("keys")
        return cls(
            mount=mount,
            name=name,
            type=kind,
            derived=_flag(said, "derived"),
            exportable=_flag(said, "exportable"),
            allow_plaintext_backup=_flag(said, "allow_plaintext_backup"),
            deletion_allowed=_flag(said, "deletion_allowed"),
            imported=_flag(said, "imported_key"),
            latest_version=latest,
            min_decryption_version=_number(said, "min_decryption_version"),
            min_available_version=_number(said, "min_available_version"),
            auto_rotate_seconds=_number(said, "auto_rotate_period"),
            public_keys={
                str(version): str(each.get("public_key"))
                for version, each in (versions if isinstance(versions, dict) else {}).items()
                if isinstance(each, dict)
            },
        )


def read_key(vault: Vault, mount: str, name: str) -> TransitKey:
    """Ask for a key.

    Raises:
        KeyNotFoundError: no such key or mount.
        KeyServiceError: the service failed.
    """
    said = vault.call("GET", f"{mount}/keys/{name}", f"{SCHEME}:{mount}/keys/{name}")
    return TransitKey.parse(mount, name, said)


def require_usable(key: TransitKey, kind: str) -> TransitKey:
    """The key, when it is of the kind that is wanted and needs no context of its own.

    Raises:
        KeyUriError: it is another.
    """
    if key.type != kind or key.derived is not False:
        raise KeyUriError(
            f"expected a key of the type {kind} and derived=False, found {key.uri} of the type "
            f"{key.type} and derived={key.derived}; name another key"
        )
    return key


def create_transit_key(vault: Vault, mount: str, name: str, kind: str) -> TransitKey:
    """Make a key that cannot be exported or backed up in the clear.

    Raises:
        KeyExistsError: a key of that name is there; it was not overwritten.
        KeyServiceError: the service failed.
    """
    try:
        read_key(vault, mount, name)
    except KeyNotFoundError:
        return make_transit_key(vault, mount, name, kind)
    raise KeyExistsError(
        f"expected no key {SCHEME}:{mount}/keys/{name}, found one; it was not overwritten"
    )


def make_transit_key(vault: Vault, mount: str, name: str, kind: str, **options: bool) -> TransitKey:
    """Make a key; the server leaves one that is there as it is.

    Args:
        vault: the server.
        mount: of the engine.
        name: of the key.
        kind: its type.
        options: as the API names them.

    Raises:
        KeyServiceError: the service failed, or the key that is there is another.
    """
    asked = {"type": kind, "derived": False, "exportable": False, **options}
    path = f"{mount}/keys/{name}"
    vault.call("POST", path, f"{SCHEME}:{path}", asked)
    made = read_key(vault, mount, name)
    if (made.type, made.derived, made.exportable) != tuple(
        asked[option] for option in ("type", "derived", "exportable")
    ):
        raise KeyExistsError(
            f"expected to be the only one who makes {made.uri}, found another key made in the same "
            "moment; it was not overwritten"
        )
    return made


def delete_transit_key(vault: Vault, key: TransitKey) -> None:
    """Delete a key, and with it everything that it wraps.

    Raises:
        KeyServiceError: the service failed.
    """
    path = f"{key.mount}/keys/{key.name}"
    vault.call("POST", f"{path}/config", key.uri, {"deletion_allowed": True})
    vault.call("DELETE", path, key.uri)


def _flag(said: Mapping[str, Any], name: str) -> bool | None:
    value = said.get(name)
    return value if isinstance(value, bool) else None


def _number(said: Mapping[str, Any], name: str) -> int | None:
    value = said.get(name)
    return value if type(value) is int else None
