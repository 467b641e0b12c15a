"""A shop whose customers stand in the clear, and the processes that write to it.

Run as ``adoption_shop.py old|new URL FOLDER``: writes until the file ``stop-old`` or ``stop-new``
is there, then prints what it wrote last to each row.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

ROWS = 700
CREATE = """
CREATE TABLE customers (
    id UUID PRIMARY KEY, tenant TEXT NOT NULL, email TEXT NOT NULL, notes VARCHAR(200),
    born DATE, label TEXT
)"""
MODELS = """
from datetime import date
from uuid import UUID, uuid4

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.encryption.sqlalchemy import Equality, Sealed, casefold, sealed


class Base(DeclarativeBase):
    pass


class Customer(Sealed, Base):
    __tablename__ = "customers"
    __owner__ = "tenant"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant: Mapped[str]
    label: Mapped[str | None]
    email: Mapped[str] = sealed(index=Equality(casefold), plaintext="email")
    notes: Mapped[str | None] = sealed(plaintext="notes")
    born: Mapped[date | None] = sealed(plaintext="born")
"""
PROGRAMME = """
organisation: Shop
keys: "embedded:keys.json"
log: {{store: .assay, origin: shop.example/log, signer: "embedded:keys.json;object=log"}}
assets:
  - {{id: app-db, kind: datastore, url: "{url}", models: "shop:Base"{more}}}
"""


def build(folder, url, more=""):
    """The programme file and the models, with both columns written."""
    (folder / "shop.py").write_text(MODELS)
    (folder / "assay.yaml").write_text(PROGRAMME.format(url=url, more=more))


def assay(folder, environment, *words, check=None):
    done = subprocess.run(
        [sys.executable, "-m", "assay", *words, "--json"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    if check is not None:
        assert done.returncode == check, (words, done.stdout[-3000:], done.stderr[-3000:])
    return json.loads(done.stdout)


def start(folder, environment, *words):
    """A process of the shop, in the background."""
    return subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


def write_as_old_code(url, folder):
    """Plaintext only: new rows, changed notes, deleted rows. Knows of no other column."""
    import psycopg

    chance, last, deleted = random.Random(1), {}, []  # noqa: S311 - which row is written
    with psycopg.connect(url, autocommit=True) as connection:
        while not (folder / "stop-old").exists():
            key = str(uuid4())
            connection.execute(
                "INSERT INTO customers (id, tenant, email, notes) VALUES (%s, %s, %s, %s)",
                (key, chance.choice(["north", "south"]), f"{key}@old.example", "inserted"),
            )
            last[key] = "inserted"
            keys = [str(k) for (k,) in connection.execute("SELECT id FROM customers").fetchall()]
            for number in range(3):
                key = chance.choice(keys)
                notes = f"note {number} {uuid4()}"
                done = connection.execute(
                    "UPDATE customers SET notes = %s WHERE id = %s", (notes, key)
                )
                if done.rowcount:
                    last[key] = notes
            if chance.random() < 0.2:
                key = chance.choice(keys)
                connection.execute("DELETE FROM customers WHERE id = %s", (key,))
                deleted.append(key)
                last.pop(key, None)
            time.sleep(0.005)
    return {"last": last, "deleted": deleted}


def write_as_new_code(folder):
    """The sealed model, which writes both: new rows and changed e-mail addresses."""
    from sqlalchemy import select
    from sqlalchemy.orm import sessionmaker
    from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

    from assay import assemble
    from assay.encryption.sqlalchemy import bind

    sys.path.insert(0, str(folder))
    import shop

    chance, last, stale = random.Random(2), {}, 0  # noqa: S311 - which row is written
    with assemble.open_adoption(folder / "assay.yaml") as adoption:
        sessions = bind(sessionmaker(adoption.store.engine), adoption.store.keyring)
        while not (folder / "stop-new").exists():
            email = f"{uuid4()}@new.example"
            try:
                with sessions() as session:
                    keys = session.scalars(select(shop.Customer.id)).all()
                    found = session.get(shop.Customer, chance.choice(keys))
                    if found is None:
                        continue
                    key = str(found.id)
                    found.email = email
                    session.commit()
                    last[key] = email
                    added = shop.Customer(tenant="south", email=f"{uuid4()}@added.example")
                    session.add(added)
                    session.commit()
                    last[str(added.id)] = added.email
                    by_mail = shop.Customer.tenant == "south", shop.Customer.email == added.email
                    assert session.scalars(select(shop.Customer).where(*by_mail)).one() is added
            except (StaleDataError, ObjectDeletedError):
                stale += 1
            time.sleep(0.005)
    return {"last": last, "stale": stale}


if __name__ == "__main__":
    kind, url, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    wrote = write_as_old_code(url, place) if kind == "old" else write_as_new_code(place)
    print(json.dumps(wrote))
