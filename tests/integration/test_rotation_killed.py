"""`assay rekey --rotate-rows --rotate-indexes`, killed wherever it is, while the application writes.

Whatever the moment: every row opens, is found by its index, and the next run goes on.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy
from sqlalchemy import text

from . import adoption_shop as shop

HERE = Path(__file__).parent
KILLS = 3

READER = """
import json, sys
from pathlib import Path
from sqlalchemy import select
from sqlalchemy.orm import sessionmaker
from assay import assemble
from assay.encryption.sqlalchemy import bind

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
import shop

found, searched = {}, 0
with assemble.open_adoption(folder / "assay.yaml") as adoption:
    sessions = bind(sessionmaker(adoption.store.engine), adoption.store.keyring)
    with sessions() as session:
        rows = session.scalars(select(shop.Customer)).all()
        for row in rows:
            found[str(row.id)] = [row.email, row.notes]
        for row in rows[::7]:
            email = row.email
            where = shop.Customer.tenant == row.tenant, shop.Customer.email == email
            if session.scalars(select(shop.Customer).where(*where)).one_or_none() is None:
                with sessions() as again:  # the application may have changed it since
                    assert again.get(shop.Customer, row.id).email != email, "not found by its index"
            else:
                searched += 1
print(json.dumps({"rows": found, "searched": searched}))
"""


def read_all(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder)],
        env=environment, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("fresh_postgresql_url"))
    return f"sqlite:///{tmp_path / 'shop.db'}"


def test_a_rotation_that_is_killed_loses_no_key_and_goes_on(url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "ASSAY_PASSPHRASE": "a passphrase of this test", "SHOP_DB": url}
    shop.build(tmp_path, "env:SHOP_DB")
    written = fill(url)
    shop.assay(tmp_path, environment, "keys", "create", check=0)
    shop.assay(tmp_path, environment, "seal", "expand", "--apply", check=0)
    shop.assay(tmp_path, environment, "seal", "backfill", "--workers", "1", check=0)
    words = ("rekey", "--rotate-rows", "--rotate-indexes", "--batch", "25", "--workers", "1")
    began = time.monotonic()
    shop.assay(tmp_path, environment, *words)
    whole_seconds = time.monotonic() - began
    writer = shop.start(
        tmp_path, environment, str(HERE / "adoption_shop.py"), "new", url, str(tmp_path)
    )
    chance, killed = random.Random(5), 0  # noqa: S311 - when to kill
    try:
        for turn in range(KILLS):
            process = shop.start(tmp_path, environment, "-m", "assay", *words)
            # Somewhere in its time, each turn in another part of it.
            time.sleep(whole_seconds * (turn + chance.random()) / KILLS)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()
            found = read_all(tmp_path, environment)
            assert found["rows"].keys() >= written.keys()
            assert found["searched"] > 10
        assert writer.poll() is None, "the application ended by itself"
        (tmp_path / "stop-new").touch()
        told = json.loads(writer.communicate(timeout=60)[0])
    finally:
        writer.kill()
        writer.wait()
    assert killed >= KILLS - 1, "hardly any run was killed before its end"
    moved = shop.assay(tmp_path, environment, "rekey", "--workers", "1")
    assert moved["exit_code"] in {0, 1}, moved
    assert all(part["left"] == 0 and part["refused"] == {} for part in moved["parts"])
    found = read_all(tmp_path, environment)["rows"]
    for key, (email, notes) in written.items():
        assert found[key][1] == notes
        assert found[key][0] == told["last"].get(key, email)
    assert all(found[key][0] == email for key, email in told["last"].items())
    assert len(told["last"]) > 10


def fill(url: str) -> dict[str, tuple[str, str]]:
    """Rows in the clear; what they hold, by primary key."""
    rows = {uuid4(): (f"Person-{n}@example.com", f"note {n}") for n in range(150)}
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    kind = sqlalchemy.Uuid()
    insert = text("INSERT INTO customers (id, tenant, email, notes) VALUES (:k, :t, :e, :n)")
    with engine.begin() as connection:
        connection.execute(text(shop.CREATE))
        connection.execute(
            insert.bindparams(sqlalchemy.bindparam("k", type_=kind)),
            [
                {"k": key, "t": ("north", "south")[at % 2], "e": email, "n": notes}
                for at, (key, (email, notes)) in enumerate(rows.items())
            ],
        )
    engine.dispose()
    return {str(key): values for key, values in rows.items()}
