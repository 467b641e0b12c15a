"""The programme file: what a company promises, and the assets on which it keeps the promise.

The file is YAML (``assay.yaml``). Its schema for editors is ``spec/programme.schema.json``,
written by `programme_schema`. Secrets never stand in it: they are references, ``env:NAME`` or
``file:PATH``.

Example:
    >>> programme = load_programme(Path("examples/metal/assay.yaml"))   # doctest: +SKIP
    >>> programme.organisation                                           # doctest: +SKIP
    'Metal'
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from assay.controls.asset import (
    Application,
    Asset,
    AssetId,
    Bucket,
    Datastore,
    DeclaredAsset,
    Key,
    Location,
    ProgrammeFile,
)
from assay.controls.catalogue import Catalogue, load_catalogue
from assay.controls.errors import CatalogueError, ProgrammeError
from assay.controls.key_rotation import KeyRotation
from assay.controls.yaml_source import Step, YamlSource, read_yaml
from assay.core import is_reference
from assay.ledger import VerifierKey, VerifierKeyError

KEK_ID = "kek"
FORMER_KEK_ID = "former-kek"
LOG_KEY_ID = "log-key"
PROGRAMME_ID = "programme"
_DERIVED_IDS = (KEK_ID, LOG_KEY_ID, PROGRAMME_ID)


class LogDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the log is and which key signs it.

    Attributes:
        store: the folder of the log and its artefacts, relative to the programme file.
        signer: the URI of the Ed25519 key, or a reference to it.
        origin: the log's name in its checkpoints, for example ``example.com/assay``.
    """

    store: Location
    signer: Location
    origin: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9._-]*)*$",
            description="A URL without a scheme that names the log.",
        ),
    ]


class DestructionDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may have an owner's keys destroyed, and what follows from it elsewhere.

    Attributes:
        approvers: verifier keys of the people (`assay keys shred approver` prints one); two of
            them approve each destruction.
        requester_may_approve: whether who requests a destruction may be one of the two.
        backups_kept_days: for how long backups of the key tables are kept; not known when None.
        watch_seconds: the longest ``watch_seconds`` of any keyring of the application.
    """

    approvers: Annotated[tuple[str, ...], Meta(min_length=2)]
    requester_may_approve: bool = False
    backups_kept_days: Annotated[int, Meta(ge=0, le=36600)] | None = None
    watch_seconds: Annotated[int, Meta(ge=1, le=86400)] = 10

    def people(self) -> tuple[VerifierKey, ...]:
        """The approvers' verifier keys.

        Raises:
            VerifierKeyError: one is none.
        """
        return tuple(VerifierKey.parse(text) for text in self.approvers)


class OwnPromise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A promise in the company's own words, kept by controls of the catalogue.

    Attributes:
        id: its name.
        sentence: what customers read.
        controls: ids of the controls that keep it.
    """

    id: AssetId
    sentence: Annotated[str, Meta(min_length=1, description="What customers read.")]
    controls: Annotated[tuple[str, ...], Meta(min_length=1)]


class Programme(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole programme.

    Attributes:
        organisation: the company's name, as customers know it.
        keys: the URI of the key service's KEK, or a reference to it.
        former_keys: the same of KEKs before it, while they still wrap data keys.
        log: see `LogDeclaration`.
        assets: the things in scope.
        promises: ``all`` of the catalogue, or a list of ids and promises of one's own.
        fresh_for_hours: a proof that is older no longer counts.
        key_rotation: when data keys are due for a new version.
        destruction: who may have an owner's keys destroyed; nobody when it is not declared.
    """

    organisation: Annotated[str, Meta(min_length=1, max_length=200)]
    keys: Location
    log: LogDeclaration
    assets: Annotated[tuple[DeclaredAsset, ...], Meta(min_length=1)]
    promises: Literal["all"] | Annotated[tuple[str | OwnPromise, ...], Meta(min_length=1)] = "all"
    fresh_for_hours: Annotated[int, Meta(ge=1, le=24 * 366)] = 24 * 7
    former_keys: tuple[Location, ...] = ()
    key_rotation: KeyRotation = KeyRotation()
    destruction: DestructionDeclaration | None = None

    def in_scope(self, name: str) -> tuple[Asset, ...]:
        """All assets: those declared, the keys that the programme uses, and the file itself.

        Args:
            name: the programme file's name.
        """
        return (
            *self.assets,
            Key(id=KEK_ID, uri=self.keys, purpose="encryption"),
            *(
                Key(id=f"{FORMER_KEK_ID}-{number}", uri=uri, purpose="encryption")
                for number, uri in enumerate(self.former_keys, 1)
            ),
            Key(id=LOG_KEY_ID, uri=self.log.signer, purpose="signing"),
            ProgrammeFile(id=PROGRAMME_ID, path=name),
        )


def load_programme(path: Path) -> Programme:
    """Read and check a programme file.

    Raises:
        ProgrammeError: with file, line and column, and what was expected there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ProgrammeError(
            path, 0, 0, "expected a programme file, found none; `assay init` proposes one"
        ) from exc
    except OSError as exc:
        raise ProgrammeError(path, 0, 0, f"expected a readable file: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ProgrammeError(path, 0, 0, "expected text in UTF-8, found other bytes") from exc
    source = read_yaml(path, text)
    programme = source.decode(Programme)
    _check_ids(programme, source)
    _check_links(programme, source)
    _check_secrets(programme, source)
    _check_destruction(programme, source)
    _check_promises(programme, source, load_catalogue())
    return programme


def programme_schema() -> bytes:
    """The JSON Schema (draft 2020-12) of the programme file, as indented text for editors."""
    (reference,), definitions = msgspec.json.schema_components(
        [Programme], ref_template="#/$defs/{name}"
    )
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Assay programme file",
        **reference,
        "$defs": {name: _described(definition) for name, definition in definitions.items()},
    }
    return (json.dumps(schema, indent=2, sort_keys=True) + "\n").encode()


def _described(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition with a docstring's first sentence, spelled alike by every Python."""
    if "description" not in definition:
        return definition
    summary = inspect.cleandoc(definition["description"]).partition("\n")[0]
    return {**definition, "description": summary}


def _check_ids(programme: Programme, source: YamlSource) -> None:
    seen: dict[str, int] = {}
    for number, asset in enumerate(programme.assets):
        place: list[Step] = ["assets", number, "id"]
        if asset.id in _DERIVED_IDS or asset.id.startswith(f"{FORMER_KEK_ID}-"):
            raise source.error(
                place, f"expected another id than {asset.id}: it names an asset of Assay's own"
            )
        if asset.id in seen:
            line, _ = source.place(["assets", seen[asset.id], "id"])
            raise source.error(
                place, f"expected an id of its own, found {asset.id} again (first on line {line})"
            )
        seen[asset.id] = number
    promised: set[str] = set()
    for number, promise in enumerate(_listed(programme)):
        name = promise if isinstance(promise, str) else promise.id
        if name in promised:
            raise source.error(
                ["promises", number], f"expected each promise once, found {name} again"
            )
        promised.add(name)


def _check_links(programme: Programme, source: YamlSource) -> None:
    stores = {a.id for a in programme.assets if isinstance(a, Datastore | Bucket)}
    datastores = {a.id for a in programme.assets if isinstance(a, Datastore)}
    for number, asset in enumerate(programme.assets):
        if isinstance(asset, Application):
            for position, store in enumerate(asset.stores):
                if store not in stores:
                    raise source.error(
                        ["assets", number, "stores", position],
                        f"expected the id of a datastore or bucket "
                        f"({', '.join(sorted(stores)) or 'none is declared'}), found {store}",
                    )
        if isinstance(asset, Bucket):
            if asset.store is not None and asset.store not in datastores:
                raise source.error(
                    ["assets", number, "store"],
                    f"expected the id of a datastore, found {asset.store}",
                )
            if asset.store is None and len(datastores) != 1:
                raise source.error(
                    ["assets", number],
                    "expected the field store: the id of the datastore whose key table seals "
                    f"these objects; found {len(datastores)} datastores to choose from",
                )


def _check_secrets(programme: Programme, source: YamlSource) -> None:
    located: list[tuple[list[Step], str]] = [
        (["keys"], programme.keys),
        (["log", "signer"], programme.log.signer),
    ]
    for position, uri in enumerate(programme.former_keys):
        located.append((["former_keys", position], uri))
    for number, asset in enumerate(programme.assets):
        for field in ("url", "key_table", "http"):
            value = getattr(asset, field, None)
            if value is not None:
                located.append((["assets", number, field], value))
    for steps, value in located:
        if is_reference(value) and value.startswith("env:"):
            continue
        if _holds_secret(value):
            raise source.error(
                steps,
                "expected no secret in this file, found a password or PIN in a URL; "
                "move the URL into a variable and write env:NAME here",
            )


def _check_destruction(programme: Programme, source: YamlSource) -> None:
    declared = programme.destruction
    if declared is None:
        return
    names: set[str] = set()
    keys: set[bytes] = set()
    for number, text in enumerate(declared.approvers):
        place: list[Step] = ["destruction", "approvers", number]
        try:
            person = VerifierKey.parse(text)
        except VerifierKeyError as exc:
            raise source.error(
                place, f"{exc}; `assay keys shred approver NAME --key URI` prints the line"
            ) from exc
        if person.name in names or person.public_key in keys:
            raise source.error(
                place,
                f"expected each person's name and key once, found {person.name} again",
            )
        names.add(person.name)
        keys.add(person.public_key)
    if len(names) < 3 and not declared.requester_may_approve:
        raise source.error(
            ["destruction", "approvers"],
            "expected three people or more, found two: who requests may not approve, unless "
            "requester_may_approve is true",
        )


def _check_promises(programme: Programme, source: YamlSource, catalogue: Catalogue) -> None:
    for number, entry in enumerate(_listed(programme)):
        try:
            if isinstance(entry, str):
                catalogue.promise(entry)
                continue
            if any(entry.id == promise.id for promise in catalogue.promises):
                raise source.error(
                    ["promises", number, "id"],
                    f"expected an id of its own, found {entry.id}, a promise of the catalogue",
                )
            for control_id in entry.controls:
                catalogue.control(control_id)
        except CatalogueError as exc:
            raise source.error(["promises", number], str(exc)) from exc


def _holds_secret(url: str) -> bool:
    try:
        if urlsplit(url).password:
            return True
    except ValueError:
        return True
    lowered = url.lower()
    return any(mark in lowered for mark in ("pin-value=", "password=", "passphrase="))


def _listed(programme: Programme) -> Sequence[str | OwnPromise]:
    return () if programme.promises == "all" else programme.promises
