"""Which version of a KEK wraps, where a key service can tell.

Example:
    >>> service = MemoryKeyService()
    >>> kek_version(service)
    KekVersion(number=None, made_at=None)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from assay.keys.service import KeyService
from assay.keys.succession import successor_of


@dataclass(frozen=True, slots=True)
class KekVersion:
    """The version of a KEK that wraps now.

    Attributes:
        number: which one; None when the service does not tell.
        made_at: since when it is there; None when the service does not tell.
    """

    number: int | None = None
    made_at: datetime | None = None


@runtime_checkable
class VersionedKek(Protocol):
    """What a key service is that tells of the versions of its KEK."""

    def kek_version(self) -> KekVersion:
        """The version that wraps now; asks the service.

        Raises:
            KeyServiceError: the service failed.
        """
        ...

    def is_older_version(self, wrapped: bytes) -> bool:
        """Whether an older version of this KEK wraps a data key; False where nobody can tell.

        Args:
            wrapped: what this KEK wrapped.
        """
        ...


def kek_version(service: KeyService) -> KekVersion:
    """The version of a service's KEK that wraps now, as far as the service tells.

    Raises:
        KeyServiceError: the service failed.
    """
    own = successor_of(service)
    return own.kek_version() if isinstance(own, VersionedKek) else KekVersion()


def wrapped_by_older_version(service: KeyService, wrapped: bytes) -> bool:
    """Whether an older version of a service's KEK wraps a data key, where the service can tell."""
    own = successor_of(service)
    return isinstance(own, VersionedKek) and own.is_older_version(wrapped)
