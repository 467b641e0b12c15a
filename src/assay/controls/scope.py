"""The scope: promises, controls and assets of one run, frozen so that anyone can read it later.

It is made from the programme and the catalogue, goes into the evidence as an artefact, and is
all that coverage and the trust page need to know: no file of the company, no catalogue of a
later version.

Example:
    >>> scope = Scope.from_bytes(bundle.artefact(run.scope))         # doctest: +SKIP
    >>> [promise.id for promise in scope.promises][:2]               # doctest: +SKIP
    ['at-rest', 'row-encryption']
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from assay.controls.asset import Asset, Datastore, kind_of
from assay.controls.catalogue import Catalogue, Control, Promise
from assay.controls.context import Context
from assay.controls.errors import ObservationError
from assay.controls.programme import OwnPromise
from assay.core import (
    AssayError,
    Fidelity,
    from_canonical_json,
    sha256_hex,
    to_canonical_json,
)


class ScopedAsset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An asset as evidence names it: no resolved reference, no secret.

    Attributes:
        id: its id in the programme.
        kind: its kind.
        location: where it is, in the words of the programme file.
        facets: the properties that controls asked for.
        fidelity: how real the programme says it is.
    """

    id: str
    kind: str
    location: str
    facets: dict[str, str]
    fidelity: Fidelity


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a run was about.

    Attributes:
        organisation: the company's name.
        fresh_for_hours: a proof that is older no longer counts.
        promises: the promises made.
        controls: the controls that keep them.
        assets: everything in scope.
    """

    organisation: str
    fresh_for_hours: int
    promises: tuple[Promise, ...]
    controls: tuple[Control, ...]
    assets: tuple[ScopedAsset, ...]

    def to_bytes(self) -> bytes:
        """The one canonical encoding."""
        return to_canonical_json(msgspec.to_builtins(self, str_keys=True))

    @classmethod
    def from_bytes(cls, data: bytes) -> Scope:
        """Read what `to_bytes` wrote.

        Raises:
            ObservationError: it is something else.
        """
        try:
            return msgspec.convert(from_canonical_json(data), cls, strict=True)
        except (AssayError, msgspec.ValidationError) as exc:
            raise ObservationError(f"expected a scope, found something else: {exc}") from exc

    @property
    def digest(self) -> str:
        """The SHA-256 of the canonical encoding, in hexadecimal."""
        return sha256_hex(self.to_bytes())

    def control(self, control_id: str) -> Control:
        """The control of that id.

        Raises:
            ObservationError: the scope names a control that it does not hold.
        """
        for control in self.controls:
            if control.id == control_id:
                return control
        raise ObservationError(f"expected the scope to hold control {control_id}, found none")

    def covered_by(self, control: Control) -> tuple[ScopedAsset, ...]:
        """The assets that a control applies to."""
        return tuple(a for a in self.assets if control.applies(a.kind, a.facets))


def scope_of(context: Context, catalogue: Catalogue, programme_name: str) -> Scope:
    """The scope of a programme.

    Args:
        context: the programme and its surroundings.
        catalogue: the promises and controls on offer.
        programme_name: the file's name, as evidence shall name it.

    Raises:
        CatalogueError: the programme names a promise or control that does not exist.
    """
    programme = context.programme
    promises = tuple(
        Promise(id=entry.id, sentence=entry.sentence, controls=entry.controls)
        if isinstance(entry, OwnPromise)
        else catalogue.promise(entry)
        for entry in (
            [promise.id for promise in catalogue.promises]
            if programme.promises == "all"
            else programme.promises
        )
    )
    needed = {control_id for promise in promises for control_id in promise.controls}
    for control_id in sorted(needed):
        catalogue.control(control_id)
    return Scope(
        organisation=programme.organisation,
        fresh_for_hours=programme.fresh_for_hours,
        promises=promises,
        controls=tuple(control for control in catalogue.controls if control.id in needed),
        assets=tuple(_scoped(asset, context) for asset in programme.in_scope(programme_name)),
    )


def _scoped(asset: Asset, context: Context) -> ScopedAsset:
    return ScopedAsset(
        id=asset.id,
        kind=kind_of(asset),
        location=asset.location(),
        facets={**asset.facets(), **_reach(asset, context)},
        fidelity=asset.fidelity,
    )


def _reach(asset: Asset, context: Context) -> Mapping[str, str]:
    """Whether a datastore is a file or a server; a URL that cannot be read counts as a server."""
    if not isinstance(asset, Datastore):
        return {}
    try:
        url = context.value(asset.url)
    except AssayError:
        url = ""
    return {"reached-by": "file" if url.startswith("sqlite") else "network"}
