"""Uniform coverage: no asset without its controls, and nothing real that the programme forgot.

Three things are reconciled: assets with the controls that apply to their kind; the tables that
the models declare with the tables that the database really has; the stores of customer data with
the applications whose write path is leak-tested. A model that is not sealed must say why, in the
class attribute ``__holds__``.

Example:
    >>> UniformCoverage().judge(facts).reason            # doctest: +SKIP
    '7 assets have every control of their kind; 5 tables are declared and real'
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from assay.controls.asset import Application, Asset, Bucket, Datastore, ProgrammeFile
from assay.controls.catalogue import load_catalogue
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.controls.scope import scope_of
from assay.core import Fidelity, Population, Result, Status


class AssetCoverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One asset and its controls.

    Attributes:
        id: the asset.
        kind: its kind.
        applied: controls of the catalogue that apply to it.
        left_out: controls for its kind that its declared facets take away, with the facet.
    """

    id: str
    kind: str
    applied: tuple[str, ...]
    left_out: dict[str, str]


class TableCoverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of one datastore.

    Attributes:
        datastore: the asset.
        sealed: tables whose models are sealed.
        explained: tables whose models say why they are not, and what they say.
        unexplained: tables whose models say nothing.
        own: tables that Assay keeps there itself.
        real: tables that the database has.
    """

    datastore: str
    sealed: tuple[str, ...]
    explained: dict[str, str]
    unexplained: tuple[str, ...]
    own: tuple[str, ...]
    real: tuple[str, ...]


class UniformCoverageFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the programme covers.

    Attributes:
        assets: every asset in scope.
        tables: every datastore's tables.
        stores: datastores and buckets that hold customer data.
        leak_tested: stores that an application in the programme writes to.
    """

    assets: tuple[AssetCoverage, ...]
    tables: tuple[TableCoverage, ...]
    stores: tuple[str, ...]
    leak_tested: tuple[str, ...]


class UniformCoverage:
    """Every asset has every control of its kind, and every real table is declared."""

    id = "uniform-coverage"
    version = 1
    asset_kind = "programme"
    title = "reconciling the programme with what is there"
    facts = UniformCoverageFacts

    def collect(self, asset: Asset, context: Context) -> UniformCoverageFacts:
        """List assets with their controls, and declared with real tables."""
        if not isinstance(asset, ProgrammeFile):
            raise CollectError(f"expected the programme, found {asset.id}")
        declared = context.programme.assets
        return UniformCoverageFacts(
            assets=_assets(context),
            tables=tuple(_tables(a, context) for a in declared if isinstance(a, Datastore)),
            stores=tuple(
                a.id
                for a in declared
                if isinstance(a, Datastore | Bucket) and a.holds == "customer-data"
            ),
            leak_tested=tuple(
                dict.fromkeys(
                    store for a in declared if isinstance(a, Application) for store in a.stores
                )
            ),
        )

    def judge(self, facts: UniformCoverageFacts) -> Result:
        """Pass when nothing is uncovered, undeclared, unexplained or missing."""
        wrong: list[str] = []
        bad: set[str] = set()
        for asset in facts.assets:
            if not asset.applied:
                wrong.append(f"{asset.id}: no control applies to this {asset.kind}")
                bad.add(asset.id)
        for store in facts.stores:
            if store not in facts.leak_tested:
                wrong.append(f"{store}: no application of the programme is leak-tested against it")
                bad.add(store)
        items = len(facts.assets)
        for tables in facts.tables:
            found = _wrong_tables(tables)
            items += len(_declared(tables) | set(tables.real))
            wrong += found.values()
            bad |= {f"{tables.datastore}.{name}" for name in found}
        tables_seen = items - len(facts.assets)
        left_out = sorted({f"{a.id} ({why})" for a in facts.assets for why in a.left_out.values()})
        note = f"; narrowed by declaration: {', '.join(left_out)}" if left_out else ""
        counts = Population(items, items, len(bad), "assets and tables")
        reason = (
            wrong[0]
            if wrong
            else f"{len(facts.assets)} assets have every control of their kind; "
            f"{tables_seen} tables are declared and real{note}"
        )
        if not facts.assets:
            return Result.error("could not tell: the programme has no asset", Fidelity.LIVE)
        if not wrong and not all(tables.real for tables in facts.tables):
            return Result.error("could not tell: a datastore has no table", Fidelity.LIVE)
        status = Status.FAIL if wrong else Status.PASS
        return Result(status, reason, counts, Fidelity.LIVE, tuple(wrong))

    def violations(self) -> Sequence[Violation]:
        """A table that nobody declared, a model that says nothing, a store nobody tests."""
        return (
            Violation(
                "forgotten-table",
                "the database has a table that no model declares",
                _forgotten_table,
            ),
            Violation(
                "silent-model",
                "a model is neither sealed nor says what it holds",
                _silent_model,
            ),
            Violation(
                "untested-store",
                "a bucket with customer data belongs to no leak-tested application",
                _untested_store,
            ),
        )


def _declared(tables: TableCoverage) -> set[str]:
    return {*tables.sealed, *tables.explained, *tables.unexplained}


def _wrong_tables(tables: TableCoverage) -> dict[str, str]:
    """For each table that is not as it should be, a sentence."""
    wrong: dict[str, str] = {}
    for name in tables.unexplained:
        wrong[name] = (
            f"{tables.datastore}: the model of table {name} is neither sealed nor says in "
            "__holds__ what it holds"
        )
    for name in sorted(set(tables.real) - _declared(tables) - set(tables.own)):
        wrong[name] = f"{tables.datastore}: table {name} exists, and no model declares it"
    for name in sorted(_declared(tables) - set(tables.real)):
        wrong[name] = f"{tables.datastore}: table {name} is declared, and does not exist"
    return wrong


def _assets(context: Context) -> tuple[AssetCoverage, ...]:
    scope = scope_of(context, load_catalogue(), "programme")
    return tuple(
        AssetCoverage(
            id=asset.id,
            kind=asset.kind,
            applied=tuple(c.id for c in scope.controls if c.applies(asset.kind, asset.facets)),
            left_out={
                control.id: ", ".join(f"{k}: {asset.facets.get(k)}" for k in control.where)
                for control in scope.controls
                if asset.kind in control.applies_to
                and not control.applies(asset.kind, asset.facets)
            },
        )
        for asset in scope.assets
    )


def _tables(asset: Datastore, context: Context) -> TableCoverage:
    from assay.database import KEY_TABLE_NAMES, real_tables
    from assay.encryption.sqlalchemy import sealed_tables

    base: Any = context.load(asset.models)
    sealed = {table.name for table in sealed_tables(base)}
    said = {
        str(mapper.local_table.name): str(getattr(mapper.class_, "__holds__", "")).strip()
        for mapper in base.registry.mappers
    }
    unmapped = {str(table.name): "" for table in base.metadata.tables.values()}
    others = {n: why for n, why in {**unmapped, **said}.items() if n not in sealed}
    return TableCoverage(
        datastore=asset.id,
        sealed=tuple(sorted(sealed)),
        explained={name: why for name, why in sorted(others.items()) if why},
        unexplained=tuple(sorted(name for name, why in others.items() if not why)),
        own=KEY_TABLE_NAMES,
        real=tuple(sorted(real_tables(context.engine(asset.url)))),
    )


@contextmanager
def _forgotten_table(folder: Path, inject: bool) -> Iterator[Twin]:
    from assay.controls.twins.company import company, execute

    with company(folder) as twin:
        if inject:
            execute(twin, "CREATE TABLE exported_customers (email TEXT)")
        yield Twin(ProgrammeFile(id="programme", path="twin"), twin.context)


@contextmanager
def _silent_model(folder: Path, inject: bool) -> Iterator[Twin]:
    from assay.controls.twins.company import company

    with company(folder, silent_model=inject) as twin:
        yield Twin(ProgrammeFile(id="programme", path="twin"), twin.context)


@contextmanager
def _untested_store(folder: Path, inject: bool) -> Iterator[Twin]:
    from assay.controls.twins.company import company

    with company(folder, second_bucket=inject) as twin:
        yield Twin(ProgrammeFile(id="programme", path="twin"), twin.context)
