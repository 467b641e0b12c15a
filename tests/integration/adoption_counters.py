"""Processes that write to the shop's customers (`adoption_shop`), and count what they did.

Each inserts customers, counts up in their notes and deletes some of its own. All of them count up
in the same few rows too, each until it has worked.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from types import ModuleType
from uuid import UUID, uuid4

import adoption_shop as shop
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from assay.database import SqlDataKeyTable, open_engine
from assay.encryption.adoption import Store
from assay.encryption.sqlalchemy import bind
from assay.keys import Keyring, MemoryKeyService

SHARED = 6
"""Rows in which every process counts."""
SAID = "visits so far: "
_LAST_SECONDS = 120.0
_DEADLOCK = 1213
"""MariaDB's word to a transaction that has read a table and would write it, when somebody waits for
the whole table; PostgreSQL lets it write first."""


def models(stage):
    """The shop's models, whose columns in the clear are "plaintext" or "retired"."""
    name = f"shop_{stage}"
    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)
        exec(shop.MODELS.replace("plaintext=", f"{stage}="), module.__dict__)  # noqa: S102 - ours
    return sys.modules[name]


def open_store(url, stage):
    """The store in any process."""
    engine = open_engine(url)
    keyring = Keyring(MemoryKeyService(bytes(32)), SqlDataKeyTable(engine))
    return Store(engine, keyring, models(stage).Base)


class OldCode:
    """Knows of no sealed column."""

    def __init__(self, url):
        self.engine = open_engine(url)

    def run(self, statement, **values):
        with self.engine.begin() as connection:
            return connection.execute(text(statement), values)

    def insert(self, key, email):
        self.run(
            "INSERT INTO customers (id, tenant, email, notes) VALUES (:k, 'north', :e, :n)",
            k=key, e=email, n=f"{SAID}0",
        )  # fmt: skip

    def count(self, key):
        with self.engine.connect() as connection:
            asked = text("SELECT notes FROM customers WHERE id = :k")
            before = connection.execute(asked, {"k": key}).scalar_one()
        changed = "UPDATE customers SET notes = :n WHERE id = :k AND notes = :before"
        if not self.run(changed, k=key, n=one_more(before), before=before).rowcount:
            raise StaleDataError

    def delete(self, key):
        assert self.run("DELETE FROM customers WHERE id = :k", k=key).rowcount == 1


class NewCode:
    """The sealed model, whatever it says of the columns in the clear."""

    def __init__(self, url, stage):
        store = open_store(url, stage)
        self.sessions = bind(sessionmaker(store.engine), store.keyring)
        self.customer = models(stage).Customer

    def insert(self, key, email):
        with self.sessions.begin() as session:
            session.add(self.customer(id=UUID(key), tenant="south", email=email, notes=f"{SAID}0"))

    def count(self, key):
        with self.sessions.begin() as session:
            found = session.get_one(self.customer, UUID(key))
            by_mail = self.customer.tenant == found.tenant, self.customer.email == found.email
            assert session.scalars(select(self.customer).where(*by_mail)).one() is found
            found.notes = one_more(found.notes)

    def delete(self, key):
        with self.sessions.begin() as session:
            session.delete(session.get_one(self.customer, UUID(key)))


def one_more(said):
    before, _, number = said.rpartition(" ")
    return f"{before} {int(number) + 1}"


class Patience:
    """Tries again what another writer was faster with; how often, and for which reason."""

    def __init__(self):
        self.stale = self.gave_way = 0

    def until_it_works(self, work, *given):
        while True:
            try:
                return work(*given)
            except StaleDataError:
                self.stale += 1
            except OperationalError as exc:
                if exc.orig.args[0] != _DEADLOCK:
                    raise
                self.gave_way += 1


def write_and_count(code, name, shared, stop):
    """Write until told to stop: what was counted, inserted and deleted, and what was tried again."""
    chance, counted, emails = random.Random(name), Counter(), {}  # noqa: S311 - which row is written
    deleted, patience, deadline = [], Patience(), time.monotonic() + _LAST_SECONDS
    while not stop.is_set() and time.monotonic() < deadline:
        added = str(uuid4())
        emails[added] = f"{added}@{name}.example"
        patience.until_it_works(code.insert, added, emails[added])
        for key in (*chance.sample(shared, 3), chance.choice(list(emails))):
            patience.until_it_works(code.count, key)
            counted[key] += 1
        if chance.random() < 0.3:
            deleted.append(chance.choice(list(emails)))
            patience.until_it_works(code.delete, deleted[-1])
            del emails[deleted[-1]]
        time.sleep(0.03)
    return {"counted": counted, "emails": emails, "deleted": deleted, **vars(patience)}


def _work(place, name, shared, stop, pipe):
    try:
        url, stage = place
        code = OldCode(url) if name == "old" else NewCode(url, stage)
        pipe.send(write_and_count(code, name, shared, stop))
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


@contextmanager
def writing(url, stage, names, shared):
    """Processes that write while the block runs; "old" is code that knows of no sealed column.

    Yields:
        an empty list, which has what each of them did once the block is left.
    """
    context, did, started = multiprocessing.get_context("fork"), [], []
    stop = context.Event()
    for name in names:
        ours, theirs = context.Pipe(duplex=False)
        given = ((url, stage), name, shared, stop, theirs)
        started.append((context.Process(target=_work, args=given), ours))
    try:
        for process, _ in started:
            process.start()
        yield did
        stop.set()
        for _, pipe in started:
            assert pipe.poll(60)
            told = pipe.recv()
            assert isinstance(told, dict), told
            did.append(told)
    finally:
        stop.set()
        for process, pipe in started:
            process.join(10)
            process.kill()
            process.join()
            pipe.close()
