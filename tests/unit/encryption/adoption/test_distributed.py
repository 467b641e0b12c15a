"""A cluster that is not there is said so; one that is there is tried in the integration tests."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from assay.encryption.adoption import ClusterError
from assay.encryption.adoption import distributed as module
from assay.encryption.adoption.distributed import cluster


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:1", "tcp://127.0.0.1", ""])
def test_something_else_than_an_address_is_refused(address):
    with pytest.raises(ClusterError, match="tcp://scheduler:8786"), cluster(address):
        pass


def test_nobody_answers():
    code = (
        "from assay.encryption.adoption import ClusterError\n"
        "from assay.encryption.adoption.distributed import cluster\n"
        "try:\n"
        "    with cluster('tcp://127.0.0.1:9', timeout_seconds=0.2): print('connected')\n"
        "except ClusterError as exc: print('refused', exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused expected a scheduler at tcp://127.0.0.1:9")


def test_adoption_does_not_import_dask():
    code = "import sys, assay.encryption.adoption; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def silent():
    raise OSError("no route")


def test_a_cluster_that_is_lost_is_told_from_one_that_works():
    from distributed import KilledWorker

    client = SimpleNamespace(status="running", ncores=lambda: {"one": 1})
    watch = module._watch_over(client, patience_seconds=-1)
    watch(None)
    watch(ValueError("of the work itself"))
    with pytest.raises(ClusterError, match="died of the same batch"):
        watch(KilledWorker("batch", SimpleNamespace(address="tcp://one"), 3))
    client.ncores = dict
    with pytest.raises(ClusterError, match="workers went away"):
        watch(None)
    client.ncores = silent
    with pytest.raises(ClusterError, match="does not answer"):
        watch(None)
    client.status = "connecting"
    with pytest.raises(ClusterError, match="scheduler went away"):
        watch(None)


def test_workers_may_be_away_for_a_while():
    client = SimpleNamespace(status="running", ncores=dict)
    watch = module._watch_over(client, patience_seconds=1000)
    for _ in range(3):
        watch(None)
