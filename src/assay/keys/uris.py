"""Key URIs: which provider holds a key, in one visible table.

Example:
    >>> service = open_key_service("pkcs11:token=assay;object=kek", directory=Path("."),
    ...                            environment=os.environ)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from assay.keys.service import KeyService, KeySigner


def open_key_service(uri: str, *, directory: Path, environment: Mapping[str, str]) -> KeyService:
    """Open the KEK that a URI names."""
    raise NotImplementedError


def open_signer(uri: str, *, directory: Path, environment: Mapping[str, str]) -> KeySigner:
    """Open the Ed25519 key that a URI names."""
    raise NotImplementedError


def create_key(uri: str, *, directory: Path, environment: Mapping[str, str]) -> None:
    """Create a KEK (AES-256) where the URI says."""
    raise NotImplementedError


def create_signing_key(uri: str, *, directory: Path, environment: Mapping[str, str]) -> None:
    """Create an Ed25519 key where the URI says."""
    raise NotImplementedError
