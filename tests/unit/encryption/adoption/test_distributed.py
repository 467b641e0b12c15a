"""A cluster that is not there is said so; one that is there is tried in the integration tests."""

import subprocess
import sys

import pytest

from assay.encryption.adoption import ClusterError
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
