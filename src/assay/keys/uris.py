"""Key URIs: which provider holds a key, in one visible table.

=============== ===============================================================
scheme          example
=============== ===============================================================
``pkcs11``      ``pkcs11:token=assay;object=kek?pin-source=env:ASSAY_PIN``
``aws-kms``     ``aws-kms:alias/kek?region=eu-central-1`` (``assay[aws]``)
``vault``       ``vault:transit/keys/kek?address=https://…`` (``assay[vault]``)
``embedded``    ``embedded:keys.json?object=kek``
=============== ===============================================================

A third party adds a scheme with a Python entry point in the group ``assay.keys``, named like the
scheme, whose object makes a `KeyProvider` when it is called. The schemes above cannot be replaced.

Example:
    >>> service = open_key_service("pkcs11:token=assay;object=kek", directory=Path("."),
    ...                            environment=os.environ)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from assay.keys.errors import KeyServiceError, KeyUriError
from assay.keys.service import Custody, KeyProvider, KeyService, KeySigner
from assay.keys.token_keys import KeyToken

ENTRY_POINTS = "assay.keys"


def _pkcs11() -> KeyProvider:
    # Imported here, so that whoever seals under another provider needs no PKCS#11 library.
    from assay.keys.pkcs11_service import Pkcs11Provider

    return Pkcs11Provider()


def _aws_kms() -> KeyProvider:
    try:
        from assay.keys.aws_kms_service import AwsKmsProvider
    except ModuleNotFoundError as exc:
        raise KeyServiceError(str(exc)) from exc

    return AwsKmsProvider()


def _vault() -> KeyProvider:
    try:
        from assay.keys.vault_service import VaultProvider
    except ModuleNotFoundError as exc:
        raise KeyServiceError(str(exc)) from exc

    return VaultProvider()


def _embedded() -> KeyProvider:
    from assay.keys.embedded import EmbeddedProvider

    return EmbeddedProvider()


SCHEMES: Mapping[str, Callable[[], KeyProvider]] = {
    "pkcs11": _pkcs11,
    "aws-kms": _aws_kms,
    "vault": _vault,
    "embedded": _embedded,
}
"""Scheme -> what makes its provider."""


def open_key_service(uri: str, *, directory: Path, environment: Mapping[str, str]) -> KeyService:
    """Open the KEK that a URI names.

    Args:
        uri: see the table above.
        directory: where the URI was written; relative paths in it start there.
        environment: the variables to which its references may point, usually ``os.environ``.

    Raises:
        KeyUriError: the URI is malformed, or its scheme unknown.
        SecretReferenceError: the reference to the PIN or passphrase leads nowhere.
        KeyNotFoundError: no such key.
        KeysError: what the provider refuses.
    """
    return _provider(uri).open_key_service(uri, directory, environment)


def open_signer(uri: str, *, directory: Path, environment: Mapping[str, str]) -> KeySigner:
    """Open the Ed25519 key that a URI names; arguments and errors as in `open_key_service`."""
    return _provider(uri).open_signer(uri, directory, environment)


def longest_signed_bytes(uri: str) -> int | None:
    """How long a message the signing keys of a URI's scheme take at most; None: of any length.

    A provider says so by an attribute of this name.

    Raises:
        KeyUriError: the scheme is unknown.
    """
    longest: int | None = getattr(_provider(uri), "longest_signed_bytes", None)
    return longest


def create_key(uri: str, *, directory: Path, environment: Mapping[str, str]) -> None:
    """Create a KEK (AES-256) where the URI says; arguments as in `open_key_service`.

    Raises:
        KeyExistsError: a key of that name is there; it was not overwritten.
        KeysError: as in `open_key_service`.
    """
    _provider(uri).create_key(uri, directory, environment)


def create_signing_key(uri: str, *, directory: Path, environment: Mapping[str, str]) -> None:
    """Create an Ed25519 key where the URI says; arguments and errors as in `create_key`."""
    _provider(uri).create_signing_key(uri, directory, environment)


def key_custody(uri: str, *, directory: Path, environment: Mapping[str, str]) -> Custody:
    """The raw facts about a KEK; arguments as in `open_key_service`.

    Unlike ``open_key_service(...).custody()`` it also tells of a key that is kept so badly that
    it would not be opened, such as a key store that others may read.

    Raises:
        KeysError: nothing can be said, for example because there is no such key.
    """
    return _provider(uri).key_custody(uri, directory, environment)


def leaky_key(
    uri: str, *, directory: Path, environment: Mapping[str, str]
) -> AbstractContextManager[str]:
    """A disposable KEK that is kept badly on purpose, for a drill that must catch it.

    Args:
        uri: the KEK beside which it is made; that one is not touched.
        directory: as in `open_key_service`.
        environment: as in `open_key_service`.

    Returns:
        a context manager that gives the twin's URI, and destroys the twin at the end.
    """
    return _provider(uri).leaky_key(uri, directory, environment)


def open_token(uri: str, *, directory: Path, environment: Mapping[str, str]) -> KeyToken:
    """Open a token for the keys of a service.

    Args:
        uri: a PKCS#11 URI of a token alone:
            ``pkcs11:token=assay?module-path=/usr/lib/...&pin-source=env:ASSAY_PIN``.
        directory: as in `open_key_service`.
        environment: as in `open_key_service`.

    Raises:
        KeyUriError: the URI is malformed, names a key, or has another scheme.
        SecretReferenceError: the reference to the PIN leads nowhere.
        KeyAccessError: the PIN was refused.
        KeyServiceError: no such token, or it failed.
    """
    from assay.keys.pkcs11_token import open_pkcs11_token

    return open_pkcs11_token(uri, directory, environment)


def initialise_token(module: Path, *, label: str, so_pin: str, user_pin: str) -> None:
    """Initialise a new PKCS#11 token in a free slot, for set-ups on a software token.

    No PIN stands on a command line: it is done in this process. SoftHSM puts the token where
    ``SOFTHSM2_CONF`` of the process says.

    Args:
        module: the PKCS#11 library.
        label: 1 to 32 bytes.
        so_pin: the security officer's PIN, at least 4 characters.
        user_pin: the user's PIN, at least 4 characters.

    Raises:
        KeyExistsError: a token of that label is there; it was not touched.
        KeyServiceError: the token refused.
    """
    from assay.keys import pkcs11_sharing

    pkcs11_sharing.initialise_token(module, label=label, so_pin=so_pin, user_pin=user_pin)


def _provider(uri: str) -> KeyProvider:
    scheme, colon, _ = uri.partition(":")
    if not colon:
        raise KeyUriError("expected a key URI such as pkcs11:… or embedded:…, found no scheme")
    make = SCHEMES.get(scheme)
    if make is not None:
        return make()
    # Only here: it is slow to import, and who uses the schemes above never needs it.
    from importlib.metadata import entry_points

    others = entry_points(group=ENTRY_POINTS)
    for entry in others:
        if entry.name == scheme:
            provider: KeyProvider = entry.load()()
            return provider
    known = ", ".join(sorted({*SCHEMES, *(entry.name for entry in others)}))
    raise KeyUriError(f"expected a key URI with one of the schemes {known}, found {scheme[:40]!r}")
