"""A key in the transit engine of HashiCorp Vault or OpenBao, as the key custody check judges it.

A key that may be exported or backed up in the clear leaves by a door that is open; one that was
imported existed elsewhere; one that is derived is another key for each context that a caller names.

Source: Vault's HTTP API, transit, "Create key" and "Read key".

Example:
    >>> wrong_in_transit(transit_key_of(facts))                    # doctest: +SKIP
    ([], [])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from assay.keys import TransitFacts


class TransitKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key in the transit engine of HashiCorp Vault or OpenBao; None where it does not say.

    Attributes:
        address: the server that answered.
        type: "aes256-gcm96", ...
        exportable: whether the engine gives the key away.
        allow_plaintext_backup: whether it gives a backup in the clear away.
        deletion_allowed: whether the key can be deleted.
        derived: whether each call derives another key from it.
        imported: whether its material was brought in from outside.
        latest_version: the version that wraps.
        min_decryption_version: the oldest version that opens.
        min_available_version: the oldest version that was not trimmed.
        auto_rotate_seconds: how often it is rotated; 0 when it is not.
        seal_type: what protects the server's own key.
        storage_type: where the server keeps what it encrypts.
        server_version: of the server.
        unread: what could not be read, with the reason.
    """

    address: str
    type: str
    exportable: bool | None
    allow_plaintext_backup: bool | None
    deletion_allowed: bool | None
    derived: bool | None
    imported: bool | None
    latest_version: int
    min_decryption_version: int | None
    min_available_version: int | None
    auto_rotate_seconds: int | None
    seal_type: str
    storage_type: str
    server_version: str
    unread: tuple[str, ...]


def transit_key_of(transit: TransitFacts) -> TransitKey:
    """What the key service read, as it is kept with the other facts."""
    return TransitKey(**{name: getattr(transit, name) for name in TransitKey.__struct_fields__})


def wrong_in_transit(key: TransitKey) -> tuple[list[str], list[str]]:
    """What is wrong with a key in Vault's transit engine, and what it does not say."""
    properties = {
        "exportable": (key.exportable, "the key may be exported"),
        "allow_plaintext_backup": (
            key.allow_plaintext_backup,
            "the key may be backed up in the clear",
        ),
        "imported": (key.imported, "the key's material was made elsewhere and imported"),
        "derived": (
            key.derived,
            "the key is derived: each call names the context of the key that it uses",
        ),
    }
    wrong = [f"{words} ({name})" for name, (has, words) in properties.items() if has]
    silent = [name for name, (has, _) in properties.items() if has is None]
    return wrong, [f"the transit engine does not say {', '.join(silent)}"] if silent else []


def kept_in_transit(key: TransitKey) -> str:
    """Why a key is well kept, as far as that goes."""
    where = " and keeps everything in memory" if key.storage_type == "inmem" else ""
    return (
        f"{key.address} says that it made the key, cannot export it or back it up in the clear"
        f"{where}; it is software, not a hardware security module"
    )
