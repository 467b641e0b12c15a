"""The protocols of a key service and of a signing key in one, and the facts about their custody.

A key service holds a key-encryption key (KEK) and wraps data keys under it. Where the KEK lives
is the provider's own affair; what a reader may believe about it stands in `Custody`: raw facts as
the provider read them, without an opinion, so that a check can judge them again years later.

Specification: ``spec/data-keys.md``.

Example:
    >>> def wrap_and_open(service: KeyService) -> bool:
    ...     context = {"owner": "tenant-1", "class": "rows", "version": "1"}
    ...     data_key, wrapped = service.generate_data_key(context)
    ...     return service.unwrap(wrapped, context) == data_key
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from assay.core import Fidelity, Signer


@dataclass(frozen=True, slots=True)
class ExportAttempt:
    """One real attempt to get key material out, and what the provider answered.

    Attributes:
        door: what was attempted, in words ("read CKA_VALUE").
        refused: whether the material stayed inside.
        answer: the provider's own answer, without any material.
    """

    door: str
    refused: bool
    answer: str


@dataclass(frozen=True, slots=True)
class KeyOrigin:
    """Where a key was made.

    Attributes:
        generated_inside: whether the provider says that it made the key itself (CKA_LOCAL);
            None when it does not say.
        mechanism: how it was made ("AES_KEY_GEN"); None when it does not say.
    """

    generated_inside: bool | None
    mechanism: str | None


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a PKCS#11 module says about itself, its slot and its token.

    Attributes:
        module_path: the library that was loaded.
        library_manufacturer: from C_GetInfo.
        library_description: from C_GetInfo.
        library_version: from C_GetInfo, "2.6".
        token_label: from C_GetTokenInfo.
        token_manufacturer: from C_GetTokenInfo.
        token_model: from C_GetTokenInfo.
        token_serial: from C_GetTokenInfo.
        hardware_slot: whether the slot carries the flag CKF_HW_SLOT.
        hardware_mechanism: whether the mechanism of the key carries the flag CKF_HW.
        known_software: whether the names above are those of a known software token.
    """

    module_path: str
    library_manufacturer: str
    library_description: str
    library_version: str
    token_label: str
    token_manufacturer: str
    token_model: str
    token_serial: str
    hardware_slot: bool
    hardware_mechanism: bool
    known_software: bool


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the machine says about the file of an embedded key store.

    Attributes:
        path: the file.
        mode: its permission bits, octal ("0600").
        owned_by_user: whether it belongs to the user who runs the process.
        symbolic_link: whether the path is a symbolic link.
        directory_mode: permission bits of its directory, octal.
        kdf: the key derivation function, from the file's header.
        kdf_parameters: its parameters, from the file's header.
        cipher: the cipher that seals the file, from its header.
    """

    path: str
    mode: str
    owned_by_user: bool
    symbolic_link: bool
    directory_mode: str
    kdf: str
    kdf_parameters: Mapping[str, int]
    cipher: str


@dataclass(frozen=True, slots=True)
class KmsFacts:
    """What AWS KMS, or a service with its API, says of a key.

    Attributes:
        endpoint: the address that answered.
        key: the key's ARN.
        key_state: "Enabled", "Disabled", "PendingDeletion", ... (DescribeKey).
        key_manager: "CUSTOMER", or "AWS" for keys that AWS manages (DescribeKey).
        origin: where the material was made: "AWS_KMS" (inside), "EXTERNAL" (imported),
            "AWS_CLOUDHSM" or "EXTERNAL_KEY_STORE" (in a custom key store) (DescribeKey).
        custom_key_store: the id of the custom key store, when it is in one (DescribeKey).
        multi_region: whether related keys with the same material may be in other Regions.
        rotated: whether it is rotated automatically; None when that could not be read.
        rotation_days: how often; None when it is not, or that could not be read.
        policy: the key policy, JSON; None when it could not be read.
        grants: one sentence for each grant, who may do what; None when they could not be read.
        unread: one sentence for each fact that could not be read, with the reason.
    """

    endpoint: str
    key: str
    key_state: str
    key_manager: str
    origin: str
    custom_key_store: str | None
    multi_region: bool
    rotated: bool | None
    rotation_days: int | None
    policy: str | None
    grants: tuple[str, ...] | None
    unread: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TransitFacts:
    """What the transit engine of HashiCorp Vault or OpenBao says of a key; None: it does not say.

    Attributes:
        address: the server that answered.
        key: ``vault:MOUNT/keys/NAME``.
        type: "aes256-gcm96", "ed25519", ...
        exportable: whether the engine gives the key away.
        allow_plaintext_backup: whether it gives a backup in the clear away.
        deletion_allowed: whether the key can be deleted.
        derived: whether each call derives another key from it.
        imported: whether its material was brought in from outside.
        latest_version: the version that wraps.
        min_decryption_version: the oldest version that opens.
        min_available_version: the oldest version that was not trimmed; 0 when none was.
        auto_rotate_seconds: how often it is rotated; 0 when it is not.
        seal_type: what protects the server's own key: "shamir" (key shares of people), "pkcs11",
            "awskms", ...
        storage_type: where the server keeps what it encrypts ("raft", "file", "inmem", ...).
        server_version: "1.21.0".
        unread: one sentence for each fact that could not be read, with the reason.
    """

    address: str
    key: str
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


@dataclass(frozen=True, slots=True)
class Custody:
    """Raw facts about where a key lives and whether it can leave; no opinion.

    ``msgspec.to_builtins`` turns it into JSON, ``msgspec.convert`` back.

    Attributes:
        provider: "pkcs11", "aws-kms", "vault", "embedded", "memory", or the scheme of a third
            party.
        fidelity: how real the provider is.
        uri: which key, without secrets.
        algorithm: "AES-256-GCM" or "Ed25519".
        origin: where the key was made.
        attributes: what the provider says the key is and may (sensitive, extractable,
            always_sensitive, never_extractable, local, token, private, ...); None where it does
            not say.
        export_attempts: every door that was tried.
        untried_doors: one sentence for each door that could not be tried; nothing is known of it.
        token: facts about a PKCS#11 token.
        store: facts about an embedded store's file.
        kms: facts about a key in AWS KMS.
        transit: facts about a key in the transit engine of Vault.
        residual_risk: one honest sentence: what somebody could still do.
    """

    provider: str
    fidelity: Fidelity
    uri: str
    algorithm: str
    origin: KeyOrigin
    attributes: Mapping[str, bool | None]
    export_attempts: tuple[ExportAttempt, ...]
    residual_risk: str
    untried_doors: tuple[str, ...] = field(default=())
    token: TokenFacts | None = field(default=None)
    store: StoreFacts | None = field(default=None)
    kms: KmsFacts | None = field(default=None)
    transit: TransitFacts | None = field(default=None)


class KeyService(Protocol):
    """Wraps data keys under a KEK that does not leave it.

    Attributes:
        uri: which KEK, without secrets: no PIN, no passphrase, no reference to them.
        fidelity: how real the service is.
    """

    @property
    def uri(self) -> str:
        """Which KEK, without secrets."""
        ...

    @property
    def fidelity(self) -> Fidelity:
        """How real the service is."""
        ...

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Make a data key.

        Args:
            context: authenticated with the key; `unwrap` needs the same.

        Returns:
            the data key (32 bytes) and the same key wrapped (``spec/data-keys.md``: 61 bytes in
            version 1, up to 9 KiB in version 2).

        Raises:
            KeyServiceError: the service failed.
        """
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key.

        Args:
            wrapped: what `generate_data_key` returned.
            context: what was given to it.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: the service failed.
        """
        ...

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        """Wrap the same data key anew: under this KEK, in its newest version.

        A service that can do it inside does: the data key does not leave it.

        Args:
            wrapped: what `generate_data_key` or `rewrap` returned.
            context: what was given to it; it stays the same.
            wrapped_by: the service that opens it, where that is another one.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: a service failed.
        """
        ...

    def custody(self) -> Custody:
        """Look at the key and try every door by which it might leave.

        Raises:
            KeyServiceError: the service failed, so nothing can be said.
        """
        ...

    def close(self) -> None:
        """Let go of the service; it cannot be used afterwards. A second call does nothing."""
        ...


class KeySigner(Signer, Protocol):
    """An Ed25519 key in a key service.

    Attributes:
        uri: which key, without secrets.
        fidelity: how real the service is.
    """

    @property
    def uri(self) -> str:
        """Which key, without secrets."""
        ...

    @property
    def fidelity(self) -> Fidelity:
        """How real the service is."""
        ...

    def custody(self) -> Custody:
        """Look at the key and try every door by which it might leave."""
        ...

    def close(self) -> None:
        """Let go of the service; it cannot be used afterwards. A second call does nothing."""
        ...


class KeyProvider(Protocol):
    """One scheme of key URIs: opens and creates keys of one kind of key service.

    ``directory`` is where the URI was written (relative paths start there), ``environment`` the
    variables to which references may point.
    """

    def open_key_service(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> KeyService:
        """Open the KEK that a URI names."""
        ...

    def open_signer(self, uri: str, directory: Path, environment: Mapping[str, str]) -> KeySigner:
        """Open the Ed25519 key that a URI names."""
        ...

    def create_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Create a KEK; never replace one."""
        ...

    def create_signing_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Create an Ed25519 key; never replace one."""
        ...

    def key_custody(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Custody:
        """The facts about a KEK, also when it is kept so badly that it would not be opened."""
        ...

    def leaky_key(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> AbstractContextManager[str]:
        """A disposable KEK that is kept badly on purpose, beside the one that a URI names."""
        ...
