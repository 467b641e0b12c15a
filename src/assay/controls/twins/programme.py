"""The smallest programme that a twin's context needs.

Example:
    >>> twin_programme().organisation
    'Twin'
"""

from __future__ import annotations

from assay.controls.asset import DeclaredAsset, Repository
from assay.controls.programme import LogDeclaration, Programme


def twin_programme(
    *assets: DeclaredAsset, keys: str = "twin:kek", signer: str = "twin:log"
) -> Programme:
    """A programme with the given assets; a repository when none is given."""
    return Programme(
        organisation="Twin",
        keys=keys,
        log=LogDeclaration(store="log", signer=signer, origin="twin.example/assay"),
        assets=assets or (Repository(id="code", path="."),),
    )
