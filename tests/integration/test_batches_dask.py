"""Batches are sealed and opened in other processes by Dask; each opens the keyring for itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
from pathlib import Path

import dask
import pyarrow as pa

from assay.core import DataKeyClass
from assay.database import SqlDataKeyTable, open_engine
from assay.encryption import casefold
from assay.encryption.index_kinds import Equality
from assay.encryption.pyarrow import BatchOpener, BatchSealer, RowIdKind, SealedColumns, sealed
from assay.keys import Keyring, create_key, open_key_service

HERE = Path(__file__).parent


def open_keyring():
    service = open_key_service("embedded:keys.json", directory=HERE, environment=os.environ)
    (HERE / f"opened-{os.getpid()}").touch()
    return Keyring(service, SqlDataKeyTable(open_engine(f"sqlite:///{HERE}/keys.db")))


DOCUMENTS = SealedColumns(
    table="documents",
    key={"id": RowIdKind.INTEGER},
    owner="tenant",
    fields={"text": sealed(pa.string(), index=Equality(casefold))},
)


def in_this_process(_batch):
    return os.getpid()


def mapped(function, parts):
    made = [dask.delayed(function)(part) for part in parts]
    return dask.compute(*made, scheduler="processes", num_workers=2)


if __name__ == "__main__":
    create_key("embedded:keys.json", directory=HERE, environment=os.environ)
    batches = [
        pa.record_batch({"id": [n], "tenant": [f"t{n % 3}"], "text": [f"Dear Ada {n}"]})
        for n in range(6)
    ]
    stored = mapped(BatchSealer(DOCUMENTS, open_keyring), batches)
    assert all(b"Dear Ada" not in each.serialize().to_pybytes() for each in stored)
    assert list(mapped(BatchOpener(DOCUMENTS, open_keyring), stored)) == batches
    assert os.getpid() not in mapped(in_this_process, batches)
    opened = {int(each.name.split("-")[1]) for each in HERE.glob("opened-*")}
    assert opened and os.getpid() not in opened
    print("mapped", len(stored))
"""


def test_dask_maps_batches(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={**os.environ, "ASSAY_PASSPHRASE": "a long passphrase of this test"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "mapped 6\n"
