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
    assert "narrowed by declaration: api (holds: no-customer-data)" in result.reason


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


def test_an_asset_without_a_control_fails():
    orphan = AssetCoverage("legacy", "bucket", (), {})
    result = judged(assets=(*FACTS.assets, orphan))
    assert result.status is Status.FAIL
    assert "legacy" in result.reason


def test_a_store_outside_the_leak_test_fails():
    assert judged(stores=("app-db", "uploads")).status is Status.FAIL


def test_a_database_without_tables_could_not_be_told():
    result = with_tables(sealed=(), explained={}, real=())
    assert result.status is Status.ERROR
