"""Key services that keep their key well or badly, as a drill wants it.

Example:
    >>> DooredKeyService(door_open=True).custody().export_attempts[0].refused
    False
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.core import Fidelity
from assay.keys import (
    Custody,
    ExportAttempt,
    KeyOrigin,
    KeyServiceError,
    KmsFacts,
    MemoryKeyService,
    TransitFacts,
)


class TwinSigner:
    """An Ed25519 key in memory that signs a twin's log, or stands for a person."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def public_key(self) -> bytes:
        """The public key: 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature: 64 bytes."""
        return self._key.sign(message)


class DooredKeyService(MemoryKeyService):
    """A key service in memory that gives its key away when the door is open."""

    def __init__(self, *, door_open: bool) -> None:
        self._kek = os.urandom(32)
        super().__init__(self._kek, "twin")
        self._door_open = door_open

    def export(self) -> bytes:
        """The key itself.

        Raises:
            KeyServiceError: the door is shut.
        """
        if not self._door_open:
            raise KeyServiceError("the key is not extractable")
        return self._kek

    def custody(self) -> Custody:
        """Try the door, as a provider tries its own."""
        try:
            exported = self.export()
            attempt = ExportAttempt("export", refused=False, answer=f"{len(exported)} bytes")
        except KeyServiceError as exc:
            attempt = ExportAttempt("export", refused=True, answer=str(exc))
        shut = not self._door_open
        return replace(
            super().custody(),
            fidelity=Fidelity.FIXTURE,
            origin=KeyOrigin(generated_inside=True, mechanism="twin"),
            attributes={
                "sensitive": True,
                "extractable": self._door_open,
                "always_sensitive": True,
                "never_extractable": shut,
            },
            export_attempts=(attempt,),
        )


class KmsTwin(MemoryKeyService):
    """A key service that says of its key what AWS KMS says of one.

    Args:
        Origin: as in KeyMetadata.
        Principal: whom the key policy allows everything.
    """

    def __init__(
        self,
        *,
        Origin: str = "AWS_KMS",  # noqa: N803 - AWS's own names
        Principal: str = "arn:aws:iam::111122223333:root",  # noqa: N803 - as above
    ) -> None:
        super().__init__(name="kms-twin")
        self._origin = Origin
        statement = {"Effect": "Allow", "Principal": {"AWS": Principal}, "Action": "kms:*"}
        self._policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def custody(self) -> Custody:
        """What AWS KMS would say."""
        return replace(
            super().custody(),
            provider="aws-kms",
            origin=KeyOrigin(self._origin == "AWS_KMS", f"Origin {self._origin}"),
            attributes={},
            export_attempts=(
                ExportAttempt(
                    "ask for the key as a public key (GetPublicKey)",
                    refused=True,
                    answer="UnsupportedOperationException",
                ),
            ),
            kms=KmsFacts(
                endpoint="a twin",
                key=self.uri,
                key_state="Enabled",
                key_manager="CUSTOMER",
                origin=self._origin,
                custom_key_store=None,
                multi_region=False,
                rotated=True,
                rotation_days=365,
                policy=self._policy,
                grants=(),
                unread=(),
            ),
        )


class TransitTwin(MemoryKeyService):
    """A key service that says of its key what Vault's transit engine says of one.

    Args:
        property_set: which of its properties is wrong: "exportable", "allow_plaintext_backup",
            "imported"; None for a key as it should be.
    """

    def __init__(self, property_set: str | None = None) -> None:
        super().__init__(name="transit-twin")
        self._property_set = property_set

    def custody(self) -> Custody:
        """What Vault would say."""
        exportable, backup, imported = (
            self._property_set == name
            for name in ("exportable", "allow_plaintext_backup", "imported")
        )
        return replace(
            super().custody(),
            provider="vault",
            origin=KeyOrigin(not imported, "imported" if imported else None),
            attributes={},
            export_attempts=(
                ExportAttempt(
                    "export the key (export/encryption-key)",
                    refused=not exportable,
                    answer="the server did it" if exportable else "400: is not exportable",
                ),
            ),
            transit=TransitFacts(
                address="a twin",
                key=self.uri,
                type="aes256-gcm96",
                exportable=exportable,
                allow_plaintext_backup=backup,
                deletion_allowed=False,
                derived=False,
                imported=imported,
                latest_version=1,
                min_decryption_version=1,
                min_available_version=0,
                auto_rotate_seconds=0,
                seal_type="shamir",
                storage_type="raft",
                server_version="a twin",
                unread=(),
            ),
        )
