"""Destroying an owner's keys: who asks, who approves, and what they are shown.

What is asked and approved is kept in a folder for each destruction beside the log, until the
certificate holds it; `assay.assemble.destroying` does what was approved. Specification:
``spec/destruction.md``.

Example:
    >>> owner = Owner("tenant", "north")
    >>> place = request_destruction(platform, owner, "ended", key_uri)      # doctest: +SKIP
    >>> approve_destruction(platform, place, other_uri, typed="north")      # doctest: +SKIP
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from assay.assemble import data_keys
from assay.assemble.destruction_folders import (
    CONSENT_SUFFIX,
    REQUEST,
    DestructionFolder,
    DestructionRefusedError,
    Owner,
    folder_of,
    ledger_of,
    read_folder,
    root_of,
    who_consented,
)
from assay.assemble.owners_data import held_by
from assay.assemble.platform import Platform
from assay.controls import Datastore
from assay.controls.programme import DestructionDeclaration
from assay.core import (
    AssayError,
    DataKeyClass,
    from_rfc3339,
    owner_digest,
    to_canonical_json,
    to_rfc3339,
    write_atomically,
)
from assay.evidence import (
    APPROVALS,
    DestructionRequest,
    RequestedKey,
    RequestedKeys,
    ids_of,
    sign_consent,
)
from assay.ledger import VerifierKey

if TYPE_CHECKING:
    from assay.database import SqlDataKeyTable
    from assay.keys import KeySigner


EXPIRES_AFTER = timedelta(days=7)
_MOST_KEYS = 800
"""More would not fit into one statement of the log."""


@dataclass(frozen=True)
class KeyTablePlace:
    """A key table of the programme.

    Attributes:
        id: of the first datastore that uses it.
        datastore: that datastore.
        table: the table.
    """

    id: str
    datastore: Datastore
    table: SqlDataKeyTable


def key_tables(platform: Platform) -> tuple[KeyTablePlace, ...]:
    """Every key table of the programme, once.

    Raises:
        DestructionRefusedError: the programme has no datastore.
        AssayError: one cannot be opened.
    """
    context = platform.context
    found = tuple(
        KeyTablePlace(
            each.datastores[0].id, each.datastores[0], context.key_table(each.datastores[0])
        )
        for each in data_keys.key_tables(context)
    )
    if not found:
        raise DestructionRefusedError(
            "expected a datastore with a key table in the programme, found none"
        )
    return found


def declaration_of(platform: Platform) -> DestructionDeclaration:
    """Who may have keys destroyed.

    Raises:
        DestructionRefusedError: the programme does not say.
    """
    declared = platform.context.programme.destruction
    if declared is None:
        raise DestructionRefusedError(
            f"expected {platform.path} to say who approves the destruction of keys, found no "
            "section destruction; `assay keys shred approver NAME --key URI` prints a line for its "
            "list of approvers"
        )
    return declared


def approver_line(uri: str, name: str, directory: Path, *, create: bool) -> str:
    """The verifier key of a person, for the programme's list of approvers.

    Args:
        uri: of the person's Ed25519 key.
        name: of the person, without white space and ``+``.
        directory: where relative paths in the URI start.
        create: make the key first.

    Raises:
        KeysError: there is no such key, or one that would be overwritten.
        VerifierKeyError: no such name can be.
    """
    from assay.keys import create_signing_key, open_signer

    VerifierKey(name, bytes(32))  # a name that cannot be is refused before a key is made
    if create:
        create_signing_key(uri, directory=directory, environment=os.environ)
    with closing(open_signer(uri, directory=directory, environment=os.environ)) as signer:
        return str(VerifierKey(name, signer.public_key()))


def request_destruction(
    platform: Platform, owner: Owner, reason: str, key_uri: str
) -> DestructionFolder:
    """Ask for a destruction.

    Args:
        platform: the programme.
        owner: whose keys.
        reason: why; it enters the log and must not contain the owner.
        key_uri: the key of the person who asks, one of the programme's approvers.

    Raises:
        DestructionRefusedError: it cannot be asked for.
        AssayError: a key table, a store or the key cannot be used.
    """
    with _person(platform, key_uri) as (person, signer):
        _refuse_open_request(platform, owner)
        keys = _keys_of(platform, owner.name)
        now = platform.context.clock.now()
        request = DestructionRequest(
            destruction=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
            log=platform.context.programme.log.origin,
            kind=owner.kind,
            owner=owner.name,
            salt=secrets.token_hex(32),
            reason=reason,
            requested_at=to_rfc3339(now),
            expires_at=to_rfc3339(now + EXPIRES_AFTER),
            keys=keys,
            holds=tuple(held_by(platform.context, owner.name)),
        )
        try:
            DestructionRequest.from_bytes(request.to_bytes())
        except AssayError as exc:
            raise DestructionRefusedError(str(exc)) from exc
        consent = sign_consent(request, "request", to_rfc3339(now), person, signer)
    folder = root_of(platform) / request.destruction
    folder.mkdir(mode=0o700, parents=True)
    _write(folder / f"{person.name}.request{CONSENT_SUFFIX}", msgspec.to_builtins(consent))
    # Written last: a folder without it is none.
    write_atomically(folder / REQUEST, request.to_bytes(), mode=0o600)
    return read_folder(folder)


def approve_destruction(
    platform: Platform, folder: DestructionFolder, key_uri: str, *, typed: str
) -> DestructionFolder:
    """Approve a destruction that was asked for.

    Args:
        platform: the programme.
        folder: the request, which the person was shown.
        key_uri: the key of the person, one of the programme's approvers.
        typed: the owner, as the person typed it.

    Raises:
        DestructionRefusedError: it cannot be approved, or not by this person.
        KeysError: the key cannot be used.
    """
    request = folder.request
    _require_unexpired(platform, request)
    if typed != request.owner:
        raise DestructionRefusedError(
            f"expected the {request.kind} of destruction {folder.id} to be typed exactly, found "
            "another text; nothing was approved"
        )
    with _person(platform, key_uri) as (person, signer):
        declared = declaration_of(platform)
        if person in who_consented(folder, "request") and not declared.requester_may_approve:
            raise DestructionRefusedError(
                f"expected somebody else than {person.name}, who requested it, to approve"
            )
        at = to_rfc3339(platform.context.clock.now())
        consent = sign_consent(request, "approve", at, person, signer)
    _write(folder.path / f"{person.name}{CONSENT_SUFFIX}", msgspec.to_builtins(consent))
    return read_folder(folder.path)


def withdraw_destruction(platform: Platform, folder: DestructionFolder) -> None:
    """Take back a request that was not begun.

    Raises:
        DestructionRefusedError: it was begun.
    """
    if folder.id in ledger_of(platform).destructions:
        raise DestructionRefusedError(
            f"expected a destruction that was not begun, found {folder.id} ordered in the log; "
            "finish it"
        )
    shutil.rmtree(folder.path)


def require_approved(platform: Platform, folder: DestructionFolder) -> None:
    """Make sure that the consents suffice (``spec/destruction.md``, Consent, 1 to 4).

    Raises:
        DestructionRefusedError: they do not.
    """
    request = folder.request
    _require_unexpired(platform, request)
    declared = declaration_of(platform)
    people = set(declared.people())
    log_key = platform.context.log().verifier_key.public_key
    asked, approved = who_consented(folder, "request"), who_consented(folder, "approve")
    for person in (*asked, *approved):
        if person not in people or person.public_key == log_key:
            raise DestructionRefusedError(
                f"expected consents of the programme's approvers, found one of {person.name} under "
                "a key that is none of theirs"
            )
    if len(asked) != 1:
        raise DestructionRefusedError(f"expected one person who requested, found {len(asked)}")
    counted = set(approved) if declared.requester_may_approve else set(approved) - set(asked)
    if len(counted) < APPROVALS:
        raise DestructionRefusedError(
            f"expected {APPROVALS} different people who approved destruction {folder.id}, found "
            f"{len(counted)}"
        )
    if request.key_ids != ids_of(_keys_of(platform, request.owner)):
        raise DestructionRefusedError(
            "expected the keys that stood there when the destruction was requested, found others: "
            "a key was made, rotated or destroyed since; withdraw the request and make a new one"
        )


def _write(path: Path, value: object) -> None:
    write_atomically(path, to_canonical_json(value), mode=0o600)


def _require_unexpired(platform: Platform, request: DestructionRequest) -> None:
    if from_rfc3339(request.expires_at) <= platform.context.clock.now():
        raise DestructionRefusedError(
            f"expected a request that has not expired, found {request.destruction} expired at "
            f"{request.expires_at}; make a new one"
        )


@contextmanager
def _person(platform: Platform, key_uri: str) -> Iterator[tuple[VerifierKey, KeySigner]]:
    """Which of the approvers a key belongs to."""
    from assay.keys import open_signer

    people = declaration_of(platform).people()
    context = platform.context
    uri = context.value(key_uri)
    opened = open_signer(uri, directory=Path.cwd(), environment=context.environment)
    with closing(opened) as signer:
        public = signer.public_key()
        if public == platform.context.log().verifier_key.public_key:
            raise DestructionRefusedError(
                "expected a person's own key, found the key of the log, which approves nothing"
            )
        person = next((one for one in people if one.public_key == public), None)
        if person is None:
            raise DestructionRefusedError(
                "expected the key of one of the programme's approvers "
                f"({', '.join(one.name for one in people)}), found another key"
            )
        yield person, signer


def _refuse_open_request(platform: Platform, owner: Owner) -> None:
    there = folder_of(platform, owner)
    if there is not None:
        raise DestructionRefusedError(
            f"expected no destruction of this {owner.kind} yet, found {there.id}; approve it, "
            "withdraw it, or finish it (`assay keys shred status` says where it stands)"
        )


def _keys_of(platform: Platform, owner: str) -> tuple[RequestedKeys, ...]:
    found = []
    for place in key_tables(platform):
        for key_class in DataKeyClass:
            keys = place.table.versions(owner, key_class)
            if keys:
                versions = {
                    str(key.version): RequestedKey(
                        key_id=key.key_id.hex(), created_at=to_rfc3339(key.created_at)
                    )
                    for key in keys
                }
                one = RequestedKeys(table=place.id, key_class=key_class.value, versions=versions)
                found.append(one)
    count = sum(len(each.versions) for each in found)
    if count > _MOST_KEYS:
        raise DestructionRefusedError(
            f"expected at most {_MOST_KEYS} keys of one owner, which one statement can name, found "
            f"{count}"
        )
    if found:
        return tuple(found)
    digest = owner_digest(owner)
    gone = any(
        key.owner_digest == digest
        for place in key_tables(platform)
        for key in place.table.destroyed()
    )
    raise DestructionRefusedError(
        "expected an owner with data keys, found one whose keys were destroyed"
        if gone
        else "expected an owner with data keys, found none in any key table of the programme"
    )
