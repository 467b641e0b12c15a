"""A small company whose tenants can be destroyed: two datastores, a bucket, three people."""

from __future__ import annotations

import importlib
import io
import json
import secrets
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from assay.cli import main
from assay.core import DataKeyClass
from assay.database import SqlDataKeyTable, open_engine
from assay.encryption import seal_object
from assay.encryption.sqlalchemy import bind
from assay.keys import Keyring, open_key_service

PASSPHRASE = "correct horse battery staple"
TENANTS = ("north", "south")

MODELS = """
import sqlite3
from pathlib import Path

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.encryption.sqlalchemy import Equality, Sealed, casefold, sealed


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    __tablename__ = "notes"
    __owner__ = "tenant_id"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = sealed(index=Equality(casefold))
    text: Mapped[str] = sealed()


class Other(DeclarativeBase):
    pass


class Bill(Sealed, Other):
    __tablename__ = "bills"
    __owner__ = "tenant_id"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str] = mapped_column(String(100))
    amount: Mapped[int] = sealed()


def index(environment):
    folder = Path(__file__).parent / "uploads"
    return [(p.parent.name, "uploads", p.name, f"{p.parent.name}/{p.name}")
            for p in sorted(folder.glob("*/*"))]
"""


@dataclass
class Company:
    """The company while its test runs.

    Attributes:
        folder: where its programme file is.
        module: the name of its models' module.
        app_url: the database of notes and their keys.
    """

    folder: Path
    module: str
    app_url: str
    engines: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """Let go of every database."""
        for engine in self.engines:
            engine.dispose()

    def engine(self, name: str) -> Any:
        engine = open_engine(self.url(name))
        self.engines.append(engine)
        return engine

    @property
    def config(self) -> str:
        return str(self.folder / "assay.yaml")

    @property
    def store(self) -> Path:
        return self.folder / "log"

    @property
    def log_key(self) -> str:
        return str(self.store / "log.vkey")

    def key(self, name: str) -> str:
        return f"embedded:{self.folder}/{name}.keys?object={name}&passphrase-source=env:SHRED_PASSPHRASE"

    def run(self, *words: str) -> int:
        return main([*words, "-c", self.config])

    def request(self, owner: str = "north", kind: str = "tenant", by: str = "linus") -> str:
        """Request; returns the id."""
        before = {path.name for path in self.folders()}
        code = self.run(
            "keys", "shred", f"--{kind}", owner, "--reason", "the contract ended", "--key",
            self.key(by),
        )  # fmt: skip
        assert code == 3
        (made,) = {path.name for path in self.folders()} - before
        return made

    def approve(self, destruction: str, name: str, owner: str = "north") -> int:
        words = ["keys", "shred", "approve", destruction, "--key", self.key(name)]
        return self.run(*words, "--confirm", owner)

    def approved(self, owner: str = "north") -> str:
        """Request, and have two people approve."""
        made = self.request(owner)
        assert self.approve(made, "ada", owner) == 0
        assert self.approve(made, "grace", owner) == 0
        return made

    def shred(self, owner: str = "north", *more: str) -> int:
        return self.run("keys", "shred", "--tenant", owner, *more)

    def folders(self) -> Sequence[Path]:
        root = self.store / "destructions"
        return sorted(root.iterdir()) if root.is_dir() else []

    def certificate(self, destruction: str) -> Path:
        return self.store / "destructions" / destruction / "certificate.json"

    def url(self, name: str) -> str:
        return self.app_url if name == "app" else f"sqlite:///{self.folder / 'billing.db'}"

    def models(self) -> Any:
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        return importlib.import_module(self.module)

    def keyring(self, name: str = "app", **options: Any) -> Keyring:
        """The keyring of one of the two applications; its engine lives as long."""
        service = open_key_service(
            f"embedded:{self.folder}/keys.json?passphrase-source=env:SHRED_PASSPHRASE",
            directory=self.folder, environment={"SHRED_PASSPHRASE": PASSPHRASE},
        )  # fmt: skip
        return Keyring(service, SqlDataKeyTable(self.engine(name)), **options)

    def table(self, name: str = "app") -> SqlDataKeyTable:
        return SqlDataKeyTable(self.engine(name))

    def rows(self, owner: str = "north") -> int:
        """How many notes of an owner open."""
        models = self.models()
        sessions = sessionmaker(self.engine("app"))
        bind(sessions, self.keyring())
        with sessions() as session:
            found = session.query(models.Note).filter_by(tenant_id=owner).all()
            return len([note.text for note in found])

    def write(self) -> None:
        """Notes, bills and uploads of both tenants."""
        models = self.models()
        notes, bills = self.engine("app"), self.engine("billing")
        models.Base.metadata.create_all(notes)
        models.Other.metadata.create_all(bills)
        app, billing = self.keyring("app"), self.keyring("billing")
        for engine, keyring, make in (
            (notes, app, lambda n, t: models.Note(
                id=n, tenant_id=t, email=f"{t}@example.com", text=f"note {n} of {t}")),
            (bills, billing, lambda n, t: models.Bill(id=n, tenant_id=t, amount=n)),
        ):  # fmt: skip
            sessions: sessionmaker[Session] = sessionmaker(engine)
            bind(sessions, keyring)
            with sessions() as session:
                for number in range(6):
                    session.add(make(number, TENANTS[number % 2]))
                session.commit()
        for tenant in TENANTS:
            (self.folder / "uploads" / tenant).mkdir(parents=True)
            with (self.folder / "uploads" / tenant / "1.txt").open("wb") as target:
                seal_object(
                    app, io.BytesIO(b"upload " * 9), target, owner=tenant, bucket="uploads",
                    key="1.txt",
                )  # fmt: skip
        self.close()


def make_company(folder: Path, app_url: str | None = None, *, more: str = "") -> Company:
    """Write programme, models, keys, people and data into an empty folder."""
    folder.chmod(0o700)
    module = f"shred_models_{secrets.token_hex(6)}"
    (folder / f"{module}.py").write_text(MODELS)
    company = Company(folder, module, app_url or f"sqlite:///{folder / 'app.db'}")
    for name in ("ada", "grace", "linus"):
        words = ["keys", "shred", "approver", name, "--key", company.key(name), "--create"]
        assert main([*words, "--json"]) == 0
    lines = [approver_line(company, name) for name in ("ada", "grace", "linus")]
    programme = f"""\
        organisation: Small
        keys: "embedded:keys.json?passphrase-source=env:SHRED_PASSPHRASE"
        log: {{store: log, signer: "embedded:keys.json?object=log&passphrase-source=env:SHRED_PASSPHRASE", origin: small.example/assay}}
        assets:
          - {{id: app-db, kind: datastore, url: "env:SHRED_APP_URL", models: "{module}:Base"}}
          - {{id: billing, kind: datastore, url: "sqlite:///billing.db", models: "{module}:Other"}}
          - {{id: uploads, kind: bucket, url: "file:uploads", index: "{module}:index", store: app-db}}
        promises: [privacy, row-encryption]
        destruction:
          watch_seconds: 1
          backups_kept_days: 30
          approvers: {json.dumps(lines)}
        """
    (folder / "assay.yaml").write_text(textwrap.dedent(programme) + more)
    for name in ("app.db", "billing.db"):
        (folder / name).touch()
    assert company.run("keys", "create") == 0
    company.write()
    return company


def approver_line(company: Company, name: str) -> str:
    from assay import assemble

    return assemble.approver_line(company.key(name), name, company.folder, create=False)


def key_ids(company: Company, owner: str, name: str = "app") -> set[bytes]:
    table = company.table(name)
    return {key.key_id for c in DataKeyClass for key in table.versions(owner, c)}
