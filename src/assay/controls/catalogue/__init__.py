"""The catalogue: which controls keep which promise, and which check proves which control.

The two YAML files beside this module are the only place where control ids, checks and framework
ids are joined. Framework titles are in our own words; the ids are the frameworks' own.

Example:
    >>> catalogue = load_catalogue()
    >>> catalogue.promise("hsts").controls
    ('https-only-browsers',)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from assay.controls.asset import KINDS
from assay.controls.errors import CatalogueError
from assay.controls.yaml_source import read_yaml
from assay.core import Fidelity

T = TypeVar("T")


class Frameworks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ids of a control in the frameworks that auditors use.

    Attributes:
        soc2: SOC 2 criteria, each with a short name of ours.
        iso27001: ISO/IEC 27001:2022 Annex A controls, or clauses ("cl. 9.1").
        nist: NIST SP 800-53 revision 5 controls.
        gdpr: articles of Regulation (EU) 2016/679.
    """

    soc2: dict[str, str]
    iso27001: tuple[str, ...]
    nist: tuple[str, ...]
    gdpr: tuple[str, ...]


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A safeguard that keeps promises.

    Attributes:
        id: its name.
        title: what holds when it works, in one line.
        applies_to: for each kind of asset the id of the check, or None where no check exists.
        where: facets that an asset must have for the control to apply to it.
        fidelity: the weakest fidelity that proves it; None when each is shown for what it is.
        frameworks: see `Frameworks`.
    """

    id: str
    title: str
    applies_to: dict[str, str | None]
    where: dict[str, str] = msgspec.field(default_factory=dict)
    fidelity: Fidelity | None = None
    frameworks: Frameworks

    def applies(self, kind: str, facets: Mapping[str, str]) -> bool:
        """Whether it applies to an asset of a kind that has the facets."""
        return kind in self.applies_to and all(
            facets.get(name) == value for name, value in self.where.items()
        )


class Promise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sentence made to customers, and the controls that all must hold for it.

    Attributes:
        id: its name.
        sentence: what customers read.
        controls: ids of the controls that keep it.
    """

    id: str
    sentence: str
    controls: Annotated[tuple[str, ...], Meta(min_length=1)]


class Catalogue(msgspec.Struct, frozen=True):
    """All promises and controls that ship with Assay.

    Attributes:
        promises: in the order in which they are shown.
        controls: in the order in which they are shown.
    """

    promises: tuple[Promise, ...]
    controls: tuple[Control, ...]

    def promise(self, promise_id: str) -> Promise:
        """The promise of that id.

        Raises:
            CatalogueError: there is none.
        """
        for promise in self.promises:
            if promise.id == promise_id:
                return promise
        known = ", ".join(promise.id for promise in self.promises)
        raise CatalogueError(f"expected a promise of the catalogue ({known}), found {promise_id}")

    def control(self, control_id: str) -> Control:
        """The control of that id.

        Raises:
            CatalogueError: there is none.
        """
        for control in self.controls:
            if control.id == control_id:
                return control
        known = ", ".join(control.id for control in self.controls)
        raise CatalogueError(f"expected a control of the catalogue ({known}), found {control_id}")


@cache
def load_catalogue() -> Catalogue:
    """Read the two files of the catalogue.

    Raises:
        ProgrammeError: a file is malformed.
        CatalogueError: they contradict each other.
    """
    promises = _read("promises.yaml", tuple[Promise, ...])
    controls = _read("controls.yaml", tuple[Control, ...])
    catalogue = Catalogue(promises, controls)
    _refuse_contradictions(catalogue)
    return catalogue


def refuse_unknown_checks(catalogue: Catalogue, kinds: Mapping[str, str]) -> None:
    """Refuse a catalogue that names checks which do not exist or look at another kind of asset.

    Args:
        catalogue: the catalogue.
        kinds: for each check the kind of asset that it looks at.

    Raises:
        CatalogueError: at the first contradiction.
    """
    for control in catalogue.controls:
        for kind, check in control.applies_to.items():
            if check is not None and kinds.get(check) != kind:
                raise CatalogueError(
                    f"expected control {control.id} to name a check for the kind {kind}, found "
                    f"{check}, which looks at {kinds.get(check, 'nothing: it does not exist')}"
                )


def _read(name: str, kind: type[T]) -> T:
    resource = files(__package__).joinpath(name)
    return read_yaml(Path(name), resource.read_text(encoding="utf-8")).decode(kind)


def _refuse_contradictions(catalogue: Catalogue) -> None:
    _refuse_duplicates([promise.id for promise in catalogue.promises])
    _refuse_duplicates([control.id for control in catalogue.controls])
    for promise in catalogue.promises:
        for control_id in promise.controls:
            catalogue.control(control_id)
    for control in catalogue.controls:
        unknown = set(control.applies_to) - set(KINDS)
        if unknown or not control.applies_to:
            raise CatalogueError(
                f"expected kinds of assets ({', '.join(KINDS)}) at control {control.id}, "
                f"found {', '.join(sorted(unknown)) or 'none'}"
            )


def _refuse_duplicates(ids: Collection[str]) -> None:
    for name in ids:
        if list(ids).count(name) > 1:
            raise CatalogueError(f"expected each id once in the catalogue, found {name} twice")
