import msgspec
import pytest

from assay.controls.checks.uniform_coverage import (
    AssetCoverage,
    TableCoverage,
    UniformCoverage,
    UniformCoverageFacts,
)
from assay.core import Status

TABLES = TableCoverage(
    datastore="app-db",
    sealed=("notes",),
    explained={"settings": "names of features"},
    unexplained=(),
    own=("assay_data_keys",),
    real=("assay_data_keys", "notes", "settings"),
)
FACTS = UniformCoverageFacts(
    assets=(
        AssetCoverage("app-db", "datastore", ("rows",), {}),
        AssetCoverage("api", "endpoint", ("tls-floor",), {"narrow": "holds: no-customer-data"}),
    ),
    tables=(TABLES,),
    stores=("app-db",),
    leak_tested=("app-db",),
)


def judged(facts=FACTS, **changes):
    return UniformCoverage().judge(msgspec.structs.replace(facts, **changes))


def with_tables(**changes):
    return judged(tables=(msgspec.structs.replace(TABLES, **changes),))


def test_everything_covered():
    result = judged()
    assert result.status is Status.PASS
    assert (result.population.in_scope, result.population.failed) == (5, 0)
    assert result.reason == (
        "2 assets have every control of their kind; 3 tables are declared and real; "
        "narrowed by declaration: api (holds: no-customer-data)"
    )
    assert "narrowed" not in judged(assets=FACTS.assets[:1]).reason


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"real": (*TABLES.real, "export_2019")}, "export_2019"),
        ({"real": ("assay_data_keys", "notes")}, "settings"),
        ({"unexplained": ("settings",), "explained": {}}, "settings"),
    ],
)
def test_each_table_that_does_not_add_up_fails(changes, named):
    result = with_tables(**changes)
    assert result.status is Status.FAIL
    assert named in result.reason
    assert result.population.failed == 1


def test_an_asset_without_a_control_fails():
    orphan = AssetCoverage("legacy", "bucket", (), {})
    result = judged(assets=(*FACTS.assets, orphan))
    assert result.status is Status.FAIL
    assert "legacy" in result.reason
    assert (result.population.in_scope, result.population.failed) == (6, 1)


def test_a_store_outside_the_leak_test_fails():
    result = judged(stores=("app-db", "uploads"))
    assert (result.status, result.population.failed) == (Status.FAIL, 1)


def test_a_database_without_tables_could_not_be_told():
    result = with_tables(sealed=(), explained={}, real=())
    assert result.status is Status.ERROR
    empty = msgspec.structs.replace(TABLES, datastore="other", sealed=(), explained={}, real=())
    assert judged(tables=(TABLES, empty)).status is Status.ERROR
    assert with_tables(real=()).status is Status.FAIL, "declared tables are missing"


def test_a_declared_table_that_is_missing_is_in_scope():
    result = with_tables(real=("assay_data_keys", "notes"))
    assert (result.population.in_scope, result.population.failed) == (5, 1)


def test_a_programme_without_assets_could_not_be_told():
    result = judged(assets=(), tables=(), stores=())
    assert result.status is Status.ERROR
    assert "no asset" in result.reason
