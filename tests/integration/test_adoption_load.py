"""Several processes write and count while rows are sealed, rekeyed and stripped of their plaintext.

Whatever is killed meanwhile, every count is exact afterwards, no row is lost or doubled, and all
that a writer ever sees is a row that another one changed first.
"""

from __future__ import annotations

import multiprocessing
import random
import secrets
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from assay.assemble import search_storage
from assay.core import DataKeyClass, SystemClock
from assay.encryption.adoption import (
    VERSION_TABLE,
    Adoption,
    Crew,
    CrewError,
    Options,
    Terms,
    Versions,
    process_pool,
    run_backfill,
    run_contract,
    run_expand,
    run_rekey,
    run_verify,
)
from assay.encryption.sqlalchemy import open_row

sys.path.insert(0, str(Path(__file__).parent))
import adoption_counters as counters
import adoption_shop as shop

ROWS, KILLS, RACES = 120, 2, 6


class Shop:
    """A shop with customers in the clear."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url
        self.mark = secrets.token_hex(8)
        self.stores = {stage: counters.open_store(url, stage) for stage in ("plaintext", "retired")}
        self.engine = self.stores["plaintext"].engine
        self.versions = Versions(folder / "versions", apply=True, table=VERSION_TABLE)
        self.emails = {str(uuid4()): f"person-{n}@{self.mark}.example" for n in range(ROWS)}
        self.shared = list(self.emails)[: counters.SHARED]
        made = {"b": "1815-12-10", "n": f"of {self.mark}, {counters.SAID}0"}
        with self.engine.begin() as connection:
            connection.execute(text(shop.CREATE))
            connection.execute(
                text("INSERT INTO customers VALUES (:k, :t, :e, :n, :b, NULL)"),
                [
                    {"k": key, "t": ("north", "south")[n % 2], "e": email, **made}
                    for n, (key, email) in enumerate(self.emails.items())
                ],
            )
        run_expand(self.adoption("plaintext"), self.versions, ())

    def adoption(self, stage):
        return Adoption(self.stores[stage], "db", self.folder / "state", SystemClock())

    def run(self, step, stage, *more):
        """A step in this process."""
        adoption = self.adoption(stage)
        with ThreadPoolExecutor(1) as executor:
            crew = Crew(adoption.store, executor, Options(batch_rows=60))  # open for long
            (report,) = step(adoption, crew, *more)
        return report

    def run_and_kill(self, kill, step, stage, *more):
        """A step in processes, of which some are killed while they work."""
        opener = partial(counters.open_store, self.url, stage)
        with process_pool(2) as executor:
            crew = Crew(opener, executor, Options(batch_rows=5), kill)
            with pytest.raises(CrewError):
                step(self.adoption(stage), crew, *more)
        assert kill.killed

    def ask(self, statement):
        with self.engine.connect() as connection:
            return connection.execute(text(statement)).scalar_one()

    def is_exact(self, stage, did):
        """No row lost or doubled, every one opens, and each count is what was counted."""
        model, keyring = counters.models(stage).Customer, self.stores[stage].keyring
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT * FROM customers")).mappings().all()
        found = {}
        for row in rows:
            opened = open_row(keyring, model, row)
            found[str(row["id"])] = opened["email"], int(opened["notes"].rpartition(" ")[2])
        counted, emails = Counter(), dict(self.emails)
        for each in did:
            counted.update(each["counted"])
            emails.update(each["emails"])
        assert len(rows) == len(found)
        assert found == {key: (email, counted[key]) for key, email in emails.items()}
        assert all(counted[key] for key in self.shared)


@pytest.fixture(params=["postgresql", "mariadb"])
def customers(request, tmp_path):
    found = Shop(tmp_path, request.getfixturevalue(f"fresh_{request.param}_url"))
    yield found
    for store in found.stores.values():
        store.engine.dispose()


class Kill:
    """Kills one worker or both a moment after a batch, while others are under way."""

    def __init__(self, chance):
        self._chance, self._waits = chance, chance.randrange(2, 6)
        self.killed = 0

    def advance(self, _done, _total, _what):
        self._waits -= 1
        if self._waits:
            return
        time.sleep(self._chance.uniform(0, 0.02))
        pool = [each for each in multiprocessing.active_children() if type(each) is SpawnProcess]
        for process in pool[: self._chance.choice([1, 2])]:
            process.kill()
            self.killed += 1


def raced(step):
    """A step again and again, until writers were faster with a row; with how many."""
    overtaken, rounds, deadline = 0, 0, time.monotonic() + 30
    while (not overtaken or rounds < RACES) and time.monotonic() < deadline:
        tally = step().tally
        assert tally.refused == {}
        overtaken += tally.passed_over
        rounds += 1
    return overtaken


def test_backfills_that_are_killed_again_and_again_lose_nothing(customers):
    chance = random.Random(11)  # noqa: S311 - when and whom to kill
    with counters.writing(customers.url, "plaintext", ["old", "a", "b"], customers.shared) as did:
        for _ in range(KILLS):
            customers.run_and_kill(Kill(chance), run_backfill, "plaintext", ())
        assert customers.ask("SELECT count(*) FROM customers WHERE sealed IS NOT NULL")
        overtaken = raced(lambda: customers.run(run_backfill, "plaintext", ()))
    assert overtaken
    assert sum(each["stale"] for each in did)
    assert not any(each["gave_way"] for each in did)
    report = customers.run(run_backfill, "plaintext", ())
    assert (report.left, report.tally.refused) == (0, {})
    verified = customers.run(run_verify, "plaintext", ())
    assert verified.passed
    assert verified.tally.rows == customers.ask("SELECT count(*) FROM customers")
    customers.is_exact("plaintext", did)


def envelope_keys(customers):
    with customers.engine.connect() as connection:
        asked = text("SELECT DISTINCT substr(sealed, 3, 16) FROM customers")
        return {bytes(key) for key in connection.execute(asked).scalars()}


def test_rekeying_that_is_killed_again_and_again_loses_nothing(customers):
    chance = random.Random(12)  # noqa: S311 - when and whom to kill
    customers.run(run_backfill, "plaintext", ())
    older = envelope_keys(customers)
    with counters.writing(customers.url, "retired", ["a", "b", "c"], customers.shared) as did:
        for _ in range(KILLS):
            customers.run_and_kill(Kill(chance), run_rekey, "retired", (), [DataKeyClass.ROWS])
        assert envelope_keys(customers) & older
    assert sum(each["stale"] for each in did)
    assert not any(each["gave_way"] for each in did)
    report = customers.run(run_rekey, "retired", (), [])
    assert (report.left, report.tally.refused) == (0, {})
    assert report.tally.done
    assert len(envelope_keys(customers)) == 2  # the newest of each tenant
    assert not envelope_keys(customers) & older
    customers.is_exact("retired", did)


def test_the_plaintext_goes_and_keys_change_while_processes_write(customers):
    customers.run(run_backfill, "plaintext", ())
    assert customers.run(run_verify, "plaintext", ()).passed
    terms = Terms(timedelta(hours=1), search_storage, binary_logs=True)
    with counters.writing(customers.url, "retired", ["a", "b", "c"], customers.shared) as did:
        contracted = customers.run(run_contract, "retired", customers.versions, (), terms)
        overtaken = raced(lambda: customers.run(run_rekey, "retired", (), [DataKeyClass.ROWS]))
        rows = customers.ask("SELECT count(*) FROM customers")
        deadline = time.monotonic() + 30
        while (more := customers.ask("SELECT count(*) FROM customers") - rows) < 9:
            if time.monotonic() > deadline:
                break  # whoever writes no more says why
            time.sleep(0.02)
    assert more >= 9
    assert overtaken
    if customers.engine.dialect.name == "postgresql":
        assert not any(each["gave_way"] for each in did)
    assert contracted.shown_gone, contracted
    assert len(contracted.remains) == 1, contracted  # of which no command reaches
    assert len(contracted.before.found) > 20
    customers.is_exact("retired", did)
    found = search_storage(customers.engine, [customers.mark])
    assert (found.places, found.gaps) == ((), ())
