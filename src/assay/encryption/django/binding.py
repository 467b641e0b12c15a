"""The keyring that a database works with; it stands beside the database's own settings.

Example:
    >>> bind(keyring)                                         # doctest: +SKIP
    >>> bind(archive_keyring, using="archive")                # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from assay.encryption.django.declared import SealedGroup
from assay.encryption.django.errors import KeyringNotBoundError, UnsupportedDatabaseError
from assay.encryption.django.rows import OwnerRows
from assay.encryption.envelope import EnvelopeOpener, EnvelopeSealer
from assay.encryption.generations import Generations
from assay.encryption.owner_keys import IndexKeys
from assay.keys import Keyring

_SETTING = "ASSAY_KEYS"
"""Under which name a database's settings hold its keys."""

SUPPORTED = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
"""The databases that sealed models work on, by Django's names of their vendors."""


class DatabaseKeys:
    """A keyring and what is derived from its keys, shared by all connections to a database.

    Args:
        keyring: has the owners' data keys.
    """

    __slots__ = ("_rows", "indexes", "keyring", "opener", "sealer")

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.sealer = EnvelopeSealer()
        self.opener = EnvelopeOpener()
        self.indexes = IndexKeys(keyring)
        self._rows: Generations[tuple[int, str], OwnerRows] = Generations(4096)

    def rows(self, group: SealedGroup, owner: str) -> OwnerRows:
        """The rows of an owner in a group."""
        place = (id(group), owner)
        rows = self._rows.young.get(place) or self._rows.get(place)
        if rows is None or rows.group is not group:
            rows = OwnerRows(self.keyring, self.opener, group, owner)
            self._rows.put(place, rows)
        return rows

    def __deepcopy__(self, memo: object) -> DatabaseKeys:
        """The same keys: Django copies settings when it clones a connection."""
        return self


def bind(keyring: Keyring, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Let the sealed models of a database seal and open with a keyring.

    Call it once, in ``AppConfig.ready``.

    Args:
        keyring: has the owners' data keys.
        using: the database's alias in ``DATABASES``.

    Raises:
        KeyringNotBoundError: there is no such database.
        UnsupportedDatabaseError: it is none that sealed models work on.
    """
    settings = _settings(using)
    reason = refusal_of(using)
    if reason is not None:
        raise UnsupportedDatabaseError(
            f"expected {reason}; keep the models that are sealed in another database"
        )
    settings[_SETTING] = DatabaseKeys(keyring)


def refusal_of(using: str) -> str | None:
    """Why sealed models do not work on a database; None when they do. It is not connected to."""
    vendor = connections[using].vendor
    if vendor in SUPPORTED:
        return None
    return f"sealed models to be on {' or '.join(SUPPORTED.values())}, found {vendor} at {using!r}"


def keys_of(using: str) -> DatabaseKeys:
    """The keys of a database.

    Raises:
        KeyringNotBoundError: `bind` was not called for it.
    """
    try:  # once for each row that is opened
        keys = connections.settings[using][_SETTING]
    except KeyError:
        keys = None
    if type(keys) is DatabaseKeys:
        return keys
    _settings(using)
    raise KeyringNotBoundError(
        f"expected a database with a keyring, found none for {using!r}; call "
        "assay.encryption.django.bind(keyring, using=…) once, in AppConfig.ready"
    )


def _settings(using: str) -> dict[str, Any]:
    found: dict[str, Any] | None = connections.settings.get(using)
    if found is None:
        raise KeyringNotBoundError(
            f"expected the alias of a database in DATABASES, found {using!r}"
        )
    return found
