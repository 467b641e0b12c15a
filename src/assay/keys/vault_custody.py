"""What the transit engine says of a key, and how it answers whoever wants more than he may have.

1. export the key (``export/encryption-key`` or ``export/signing-key``);
2. back it up in the clear (``backup``);
3. open a data key without its encryption context, and under another one (``decrypt``), after it
   was seen to open under its own.

Only an answer that is about the key counts as a refusal; a caller who is not allowed to ask leaves
the door untried. What ``byok-export`` does, export under a key that the caller brought, hangs on
the same property ``exportable`` as door 1.

Source: Vault's HTTP API, transit and ``sys/seal-status``.

Example:
    >>> custody_of(vault, read_key(vault, "transit", "kek")).transit.exportable   # doctest: +SKIP
    False
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from assay.core import Fidelity
from assay.keys.errors import KeyServiceError
from assay.keys.service import Custody, ExportAttempt, KeyOrigin, TransitFacts
from assay.keys.vault import Refusal, Vault
from assay.keys.vault_keys import KEK_TYPE, SIGNING_TYPE, TransitKey
from assay.keys.vault_uri import SCHEME
from assay.keys.wrapping import wrap_associated_data

_ALGORITHMS = {KEK_TYPE: "AES-256-GCM", SIGNING_TYPE: "Ed25519"}
_GENERATED_INSIDE = {False: True, True: False, None: None}
_EXPORT_REFUSED = ("is not exportable",)
_BACKUP_REFUSED = ("exporting is disallowed", "plaintext backup is disallowed")
_STAYS_SHUT = ("message authentication failed",)


def custody_of(vault: Vault, key: TransitKey) -> Custody:
    """Read what can be read of a key, and try what can be tried.

    Raises:
        KeyServiceError: the service failed, so nothing can be said.
    """
    doors = _Doors(vault, key)
    doors.export()
    if key.type == KEK_TYPE and key.derived is False:
        doors.open_without_context()
    facts = _facts(vault, key)
    return Custody(
        provider=SCHEME,
        fidelity=Fidelity.EMULATED,
        uri=key.uri,
        algorithm=_ALGORITHMS.get(key.type, key.type),
        origin=KeyOrigin(_GENERATED_INSIDE[key.imported], "imported" if key.imported else None),
        attributes={},
        export_attempts=tuple(doors.attempts),
        untried_doors=tuple(doors.untried),
        residual_risk=(
            "The server keeps the key in its memory, in software. Whoever may write the key's "
            "configuration can make it exportable, a root token can do everything, and whoever has "
            f"the storage and what opens the seal ({facts.seal_type}) has the key."
        ),
        transit=facts,
    )


class _Doors:
    """The attempts at one key."""

    def __init__(self, vault: Vault, key: TransitKey) -> None:
        self._vault, self._key = vault, key
        self.attempts: list[ExportAttempt] = []
        self.untried: list[str] = []

    def export(self) -> None:
        """Doors 1 and 2."""
        key = self._key
        kind = "signing-key" if key.type == SIGNING_TYPE else "encryption-key"
        for door, says_no, path in (
            (f"export the key (export/{kind})", _EXPORT_REFUSED, f"export/{kind}"),
            ("back the key up in the clear (backup)", _BACKUP_REFUSED, "backup"),
        ):
            answer = self._vault.ask("GET", f"{key.mount}/{path}/{key.name}", key.uri)
            self._judge(door, says_no, answer)

    def open_without_context(self) -> None:
        """Door 3."""
        context = {"assay": "custody", "probe": secrets.token_hex(8)}
        ciphertext = self._data_key(context)
        path = f"{self._key.mount}/decrypt/{self._key.name}"
        if isinstance(ciphertext, Refusal):
            self.untried.append(
                f"open a data key under another context (decrypt): {_said(ciphertext)} when one "
                "should be made and opened under its own; allow the token update on encrypt and "
                "decrypt"
            )
            return
        for door, other in (
            ("open a data key without its context (decrypt)", {}),
            (
                "open a data key under another context (decrypt)",
                {"associated_data": _bound({**context, "probe": "another"})},
            ),
        ):
            sent = {"ciphertext": ciphertext, **other}
            answer = self._vault.ask("POST", path, self._key.uri, sent)
            self._judge(door, _STAYS_SHUT, answer)

    def _judge(
        self, door: str, says_no: tuple[str, ...], answer: Mapping[str, Any] | Refusal
    ) -> None:
        if not isinstance(answer, Refusal):
            self.attempts.append(ExportAttempt(door, refused=False, answer="the server did it"))
        elif answer.says(*says_no):
            phrase = next(each for each in says_no if answer.says(each))
            said = f"{answer.status}: {phrase}"
            self.attempts.append(ExportAttempt(door, refused=True, answer=said))
        else:
            hint = "; allow the token to ask" if answer.status == 403 else ""
            self.untried.append(f"{door}: {_said(answer)}, which says nothing of the key{hint}")

    def _data_key(self, context: Mapping[str, str]) -> str | Refusal:
        """A wrapped data key that was seen to open under its context."""
        key, bound = self._key, _bound(context)
        data_key = base64.b64encode(secrets.token_bytes(32)).decode()
        made = self._vault.ask(
            "POST",
            f"{key.mount}/encrypt/{key.name}",
            key.uri,
            {"plaintext": data_key, "associated_data": bound, "convergent_encryption": True},
        )
        if isinstance(made, Refusal):
            return made
        ciphertext = str(made.get("ciphertext"))
        opened = self._vault.ask(
            "POST",
            f"{key.mount}/decrypt/{key.name}",
            key.uri,
            {"ciphertext": ciphertext, "associated_data": bound},
        )
        if isinstance(opened, Refusal):
            return opened
        if opened.get("plaintext") != data_key:
            raise KeyServiceError(
                f"expected {self._vault.address} to open the data key that it wrapped, found "
                "another"
            )
        return ciphertext


def _facts(vault: Vault, key: TransitKey) -> TransitFacts:
    status = vault.ask("GET", "sys/seal-status", key.uri)
    unread = (f"sys/seal-status: {_said(status)}",) if isinstance(status, Refusal) else ()
    said: Mapping[str, Any] = {} if isinstance(status, Refusal) else status
    return TransitFacts(
        address=vault.address,
        key=key.uri,
        type=key.type,
        exportable=key.exportable,
        allow_plaintext_backup=key.allow_plaintext_backup,
        deletion_allowed=key.deletion_allowed,
        derived=key.derived,
        imported=key.imported,
        latest_version=key.latest_version,
        min_decryption_version=key.min_decryption_version,
        min_available_version=key.min_available_version,
        auto_rotate_seconds=key.auto_rotate_seconds,
        seal_type=_word(said, "type"),
        storage_type=_word(said, "storage_type"),
        server_version=_word(said, "version"),
        unread=unread,
    )


def _bound(context: Mapping[str, str]) -> str:
    return base64.b64encode(wrap_associated_data(context)).decode()


def _said(refusal: Refusal) -> str:
    return "403, not allowed" if refusal.status == 403 else str(refusal.status)


def _word(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) and value else "not said"
