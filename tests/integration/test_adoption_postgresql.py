"""A table in the clear is sealed on a real PostgreSQL while old and new code write to it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import adoption_shop as shop  # noqa: E402 - a program of these tests, not a package

KILLS = 3


@pytest.fixture
def environment(fresh_postgresql_url):
    secrets = {"ASSAY_PASSPHRASE": "a passphrase of this test", "SHOP_DB": fresh_postgresql_url}
    return {**os.environ, **secrets}


@pytest.fixture
def folder(tmp_path, fresh_postgresql_url, environment):
    shop.build(tmp_path, "env:SHOP_DB")
    with psycopg.connect(fresh_postgresql_url, autocommit=True) as connection:
        connection.execute(shop.CREATE)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO customers (id, tenant, email, notes, born) VALUES (%s, %s, %s, %s, %s)",
                [
                    (uuid4(), ("north", "south")[n % 2], f"Person-{n}@example.com", f"n {n}", "1815-12-10")
                    for n in range(shop.ROWS)
                ],
            )  # fmt: skip
    shop.assay(tmp_path, environment, "keys", "create", check=0)
    return tmp_path


def kill_sometime(process, url, chance):
    """Once rows are being sealed. The parent alone is killed: its workers end by themselves."""
    begin = sealed_rows(url)
    deadline = time.monotonic() + 60
    while sealed_rows(url) <= begin + 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 0.4))
    assert process.poll() is None, "the backfill was at its end before it was killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()


def sealed_rows(url):
    with psycopg.connect(url) as connection:
        counted = connection.execute("SELECT count(*) FROM customers WHERE sealed IS NOT NULL")
        return counted.fetchone()[0]


def workers_of(folder):
    """Processes that still run in the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def ended(process, folder, kind):
    (folder / f"stop-{kind}").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(output)


def test_a_table_is_sealed_while_old_and_new_code_write(folder, environment, fresh_postgresql_url):
    url, chance = fresh_postgresql_url, random.Random(7)  # noqa: S311 - when to kill
    planned(folder, environment, url)
    expanded = shop.assay(folder, environment, "seal", "expand", "--apply", check=0)
    assert [each["written"] for each in expanded["migrations"]] == [True]
    program = str(HERE / "adoption_shop.py")
    old = shop.start(folder, environment, program, "old", url, str(folder))
    new = shop.start(folder, environment, program, "new", url, str(folder))
    try:
        backfill = (
            "-m",
            "assay",
            "seal",
            "backfill",
            "--batch",
            "20",
            "--workers",
            "2",
            "--rate",
            "100",
        )
        for _ in range(KILLS):
            kill_sometime(shop.start(folder, environment, *backfill), url, chance)
        assert old.poll() is None
        old_wrote = ended(old, folder, "old")
        sealed = shop.assay(folder, environment, "seal", "backfill", "--workers", "2", check=0)
        assert sealed["parts"][0]["left"] == 0
        # New code keeps writing both while every row is compared.
        verified = shop.assay(folder, environment, "seal", "verify", "--workers", "2", check=0)
        rekeyed_while_it_is_written(folder, environment, url, chance)
        assert new.poll() is None
        new_wrote = ended(new, folder, "new")
    finally:
        for process in (old, new):
            process.kill()
            process.wait()
    part = verified["parts"][0]
    assert part["rows"] == part["equal"] > shop.ROWS
    assert len(old_wrote["last"]) > 20
    assert len(new_wrote["last"]) > 20
    moved = shop.assay(folder, environment, "rekey", "--workers", "1", check=0)
    assert moved["parts"][0]["left"] == 0
    assert len(envelope_keys(url)) == 2  # one of each tenant
    shop.assay(folder, environment, "seal", "verify", "--workers", "1", check=0)
    compare_every_row(folder, url, environment, old_wrote, new_wrote)
    contract(folder, environment, url)
    deadline = time.monotonic() + 20
    while workers_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_of(folder) == []


def envelope_keys(url):
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT DISTINCT substr(sealed, 3, 16) FROM customers").fetchall()
    return {bytes(key) for (key,) in rows}


def rekeyed_while_it_is_written(folder, environment, url, chance):
    """Killed once, taken up again; the writer may go on with the older key for a while."""
    before = envelope_keys(url)
    words = ("-m", "assay", "rekey", "--rotate-rows", "--batch", "20", "--rate", "200")
    process = shop.start(folder, environment, *words, "--workers", "1")
    deadline = time.monotonic() + 60
    while not envelope_keys(url) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 0.4))
    assert process.poll() is None, "it was at its end before it was killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    moved = shop.assay(folder, environment, "rekey", "--workers", "1")
    assert moved["exit_code"] in {0, 1}
    assert moved["parts"][0]["moved"] > 200
    assert moved["parts"][0]["refused"] == {}


def planned(folder, environment, url):
    """What holds the plaintext is found, and nothing is changed."""
    made = (
        "CREATE INDEX by_email ON customers (email)",
        "CREATE VIEW mails AS SELECT lower(email) AS mail FROM customers",
        "CREATE VIEW labels AS SELECT label FROM customers",
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER mine BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION mine()",
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "SELECT pg_create_physical_replication_slot('replica')",
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in made:
            connection.execute(statement)
        found = shop.assay(folder, environment, "seal", "plan", "--rate", "100", check=1)
        connection.execute("DROP VIEW mails")
        connection.execute("SELECT pg_drop_replication_slot('replica')")
    (part,) = found["parts"]
    assert {(each["kind"], each["name"]) for each in part["holders"]} == {
        ("index", "by_email"), ("view", "mails"), ("trigger", "mine"),
        ("publication", "everything"), ("replication slot", "replica"),
    }  # fmt: skip
    assert len(part["blockers"]) == 1
    assert (part["stage"], part["rows"], part["backfill_seconds"]) == (
        "expand",
        shop.ROWS,
        shop.ROWS / 100,
    )
    assert part["table_bytes"] > 50 * shop.ROWS
    assert shop.assay(folder, environment, "seal", "plan", check=0)["parts"][0]["blockers"] == []


def contract(folder, environment, url):
    """The columns go, and with them every byte of their values in the raw files."""
    early = shop.assay(folder, environment, "seal", "contract", "--apply", check=2)
    assert "plaintext" in early["error"]["message"]
    models = (folder / "shop.py").read_text()
    (folder / "shop.py").write_text(models.replace("plaintext=", "retired="))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE customers")
        before = connection.execute("SELECT count(*) FROM customers").fetchone()
    done = shop.assay(folder, environment, "seal", "contract", "--apply", check=0)
    (part,) = done["parts"]
    assert part["before"]["found"] > 20
    # A file of the write-ahead log has a name of 24 digits, one of a table its number.
    assert {len(place) > 20 for place in part["before"]["places"]} == {True, False}
    assert (part["after"]["found"], part["after"]["gaps"]) == (0, [])
    assert part["after"]["files"] > 500
    assert len(part["cleaned"]) == 3
    assert part["remains"] == [
        "backups, snapshots and freed disk blocks from before hold the plaintext until they go"
    ]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == before
        names = "SELECT column_name FROM information_schema.columns WHERE table_name = 'customers'"
        left = {name for (name,) in connection.execute(names)}
        assert left == {"id", "tenant", "label", "sealed", "email_index"}
        with pytest.raises(psycopg.errors.NotNullViolation):
            connection.execute("UPDATE customers SET sealed = NULL")


def compare_every_row(folder, url, environment, old_wrote, new_wrote):
    """Nothing was lost, overwritten or doubled, and each envelope holds what stands in the clear."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id::text, email, notes FROM customers").fetchall()
    found = {key: (email, notes) for key, email, notes in rows}
    deleted = set(old_wrote["deleted"])
    for key, notes in old_wrote["last"].items():
        assert found[key][1] == notes
    for key, email in new_wrote["last"].items():
        if key not in deleted:
            assert found[key][0] == email
    assert not deleted & set(found)
    script = (
        "import json, shop, sys\nfrom pathlib import Path\nfrom sqlalchemy import select, text\n"
        "from assay import assemble\nfrom assay.encryption.sqlalchemy import open_row\n"
        "with assemble.open_adoption(Path('assay.yaml')) as adoption:\n"
        "    with adoption.store.engine.connect() as connection:\n"
        "        rows = connection.execute(text('SELECT * FROM customers')).mappings().all()\n"
        "    opened = {str(r['id']): open_row(adoption.store.keyring, shop.Customer, r) for r in rows}\n"
        "print(json.dumps({k: [v['email'], v['notes']] for k, v in opened.items()}))\n"
    )
    process = shop.start(folder, {**environment, "PYTHONPATH": str(folder)}, "-c", script)
    output, _ = process.communicate(timeout=60)
    assert {key: tuple(value) for key, value in json.loads(output).items()} == found


@pytest.fixture
def cluster(folder, environment):
    """A scheduler and two worker processes, as they are started on machines."""
    program = str(Path(sys.executable).with_name("dask"))
    where = folder / "scheduler.json"
    named = ["--scheduler-file", str(where)]
    commands = [
        [program, "scheduler", *named, "--port", "0", "--host", "127.0.0.1", "--no-dashboard"],
        *(
            [program, "worker", *named, "--nthreads", "1", "--no-nanny", "--no-dashboard",
             "--host", "127.0.0.1", "--local-directory", str(folder / name)]
            for name in ("one", "two")
        ),
    ]  # fmt: skip
    with (folder / "cluster.log").open("wb") as log:
        started = [
            subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            for command in commands
        ]
        try:
            deadline = time.monotonic() + 60
            while (folder / "cluster.log").read_text().count("Registered to") < 2:
                assert time.monotonic() < deadline, (folder / "cluster.log").read_text()
                time.sleep(0.1)
            yield json.loads(where.read_text())["address"], started
        finally:
            # A worker that is asked to end may wait for a scheduler that has ended already.
            for process in started:
                process.kill()
            for process in started:
                process.wait()


def test_two_workers_of_a_cluster_share_the_work(
    folder, environment, fresh_postgresql_url, cluster
):
    address, (_, *workers) = cluster
    shop.assay(folder, environment, "seal", "expand", "--apply", check=0)
    words = ("--scheduler", address, "--batch", "20")
    sealed = shop.assay(folder, environment, "seal", "backfill", *words, check=0)
    assert (sealed["parts"][0]["sealed"], sealed["parts"][0]["left"]) == (shop.ROWS, 0)
    # Each process counts the envelopes of a key from 0 after 12 random bytes of its own.
    with psycopg.connect(fresh_postgresql_url) as connection:
        asked = "SELECT count(DISTINCT substr(sealed, 3, 28)) FROM customers"
        segments = connection.execute(asked).fetchone()[0]
    assert segments == len(workers) * 2  # two tenants, two processes
    verified = shop.assay(folder, environment, "seal", "verify", *words, check=0)
    assert verified["parts"][0]["equal"] == shop.ROWS
    moved = shop.assay(folder, environment, "rekey", "--rotate-rows", *words, check=0)
    assert moved["parts"][0]["moved"] == shop.ROWS


@pytest.mark.parametrize("victims", [slice(0, 1), slice(1, 3)], ids=["scheduler", "workers"])
def test_a_cluster_that_dies_is_named_and_loses_nothing(
    folder, environment, fresh_postgresql_url, cluster, victims
):
    address, started = cluster
    shop.assay(folder, environment, "seal", "expand", "--apply", check=0)
    words = ("seal", "backfill", "--scheduler", address, "--batch", "5", "--rate", "100")
    backfill = shop.start(folder, environment, "-m", "assay", *words, "--json")
    deadline = time.monotonic() + 60
    while not sealed_rows(fresh_postgresql_url):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for process in started[victims]:
        process.kill()
    printed, _ = backfill.communicate(timeout=90)
    assert backfill.returncode == 3
    assert json.loads(printed)["error"]["type"] == "ClusterError"
    assert 0 < sealed_rows(fresh_postgresql_url) < shop.ROWS
    rest = shop.assay(folder, environment, "seal", "backfill", "--workers", "1", check=0)
    assert rest["parts"][0]["left"] == 0
    assert sealed_rows(fresh_postgresql_url) == shop.ROWS
