"""A tiny company: one SQLite database with sealed notes, one bucket folder, one log folder.

Example:
    >>> with company(Path("/tmp/twin")) as twin:            # doctest: +SKIP
    ...     execute(twin, "UPDATE notes SET label = 'x'")
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from assay.controls.asset import Application, Bucket, Datastore
from assay.controls.context import Context
from assay.controls.twins.keys import TwinSigner
from assay.controls.twins.programme import twin_programme
from assay.database import SqlDataKeyTable, open_engine
from assay.encryption import seal_object
from assay.encryption.sqlalchemy import Equality, Sealed, bind, casefold, sealed
from assay.keys import Keyring, MemoryKeyService
from assay.ledger import FileLog

PEOPLE = {
    "north": ("ada@twin.example", "Ada writes about engines"),
    "south": ("grace@twin.example", "Grace writes about compilers"),
}
"""For each tenant the e-mail address and the text of its note."""


class TwinContext(Context):
    """A context whose company code is given as objects instead of modules."""

    def __init__(
        self, directory: Path, *, objects: Mapping[str, object], bucket_count: int
    ) -> None:
        buckets = [
            Bucket(id=f"uploads-{n}", url=f"file:uploads-{n}", index="twin:index")
            for n in range(1, bucket_count + 1)
        ]
        datastore = Datastore(
            id="db", url="sqlite:///twin.db", key_table="sqlite:///keys.db", models="twin:Base"
        )
        application = Application(
            id="app", plant="twin:plant", stores=("db", "uploads-1"), logs=("logs",)
        )
        programme = twin_programme(datastore, *buckets, application)
        super().__init__(directory, programme, environment={}, key_service=MemoryKeyService())
        self._objects = objects
        self.signer_of_log = TwinSigner()

    def log(self) -> FileLog:
        """The twin's log, signed by a key in memory."""
        declared = self.programme.log
        folder = self.path(declared.store) / "log"
        return FileLog(folder, declared.origin, self.signer_of_log)

    def load(self, name: str) -> object:
        """One of the objects that the twin was given."""
        return self._objects[name]


@dataclass(frozen=True)
class Company:
    """The twin company while it exists.

    Attributes:
        context: where checks observe it.
        datastore: its database.
        bucket: its bucket.
        application: its application.
        folder: where all of it lies.
    """

    context: TwinContext
    datastore: Datastore
    bucket: Bucket
    application: Application
    folder: Path


@contextmanager
def company(
    folder: Path,
    *,
    silent_model: bool = False,
    second_bucket: bool = False,
    leak: Callable[[Path, Mapping[str, str]], None] | None = None,
) -> Iterator[Company]:
    """The twin company, with two notes, two uploads and a log.

    Args:
        folder: an empty folder.
        silent_model: leave out what the unsealed model says of itself.
        second_bucket: declare a bucket that no application is tested against.
        leak: called with the folder and the canaries whenever the application writes them, to
            write them somewhere in the clear as well.
    """
    models = _models(silent=silent_model)
    objects: dict[str, object] = {"twin:Base": models.base}
    context = TwinContext(folder, objects=objects, bucket_count=2 if second_bucket else 1)
    with context:
        for name in ("uploads-1", "uploads-2", "logs"):
            (folder / name).mkdir()
        for name in ("twin.db", "keys.db"):
            (folder / name).touch()
        engine = open_engine(f"sqlite:///{folder / 'twin.db'}")
        keys_engine = open_engine(f"sqlite:///{folder / 'keys.db'}")
        keyring = Keyring(context.key_service(), SqlDataKeyTable(keys_engine))
        models.base.metadata.create_all(engine)
        application = _TwinApplication(folder, models, sessionmaker(engine), keyring, leak)
        objects["twin:index"] = application.index
        objects["twin:plant"] = application.plant
        for tenant, (email, body) in PEOPLE.items():
            application.write(tenant, email, body)
        try:
            datastore, bucket, *_ = context.programme.assets
            yield Company(
                context,
                _typed(datastore, Datastore),
                _typed(bucket, Bucket),
                _typed(context.programme.assets[-1], Application),
                folder,
            )
        finally:
            engine.dispose()
            keys_engine.dispose()


def execute(twin: Company, statement: str) -> None:
    """Run one statement in the twin's database, past every mapping."""
    with twin.context.engine(twin.datastore.url).begin() as connection:
        connection.execute(text(statement))


class _TwinApplication:
    """What writes: rows, objects and log lines."""

    def __init__(
        self,
        folder: Path,
        models: _Models,
        sessions: sessionmaker[Session],
        keyring: Keyring,
        leak: Callable[[Path, Mapping[str, str]], None] | None,
    ) -> None:
        self._folder = folder
        self._models = models
        self._sessions = sessions
        self._keyring = keyring
        self._leak = leak
        self._count = 0
        bind(sessions, keyring)

    def write(self, tenant: str, email: str, body: str) -> None:
        """Write one note, one object and one log line."""
        self._count += 1
        number = self._count
        with self._sessions() as session:
            session.add(
                self._models.note(
                    id=number, tenant_id=tenant, label="note", author_email=email, text=body
                )
            )
            session.commit()
        key = f"{number}.txt"
        with (self._folder / "uploads-1" / key).open("wb") as target:
            seal_object(
                self._keyring,
                io.BytesIO(body.encode()),
                target,
                owner=tenant,
                bucket="uploads-1",
                key=key,
            )
        with (self._folder / "logs" / "app.log").open("a", encoding="utf-8") as log:
            log.write(f"note {number} written for {tenant}\n")

    def index(self, environment: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
        """What the application believes is in its bucket: owner, bucket, key, path."""
        del environment
        tenants = [*PEOPLE, *["north"] * (self._count - len(PEOPLE))]
        return [
            (tenant, "uploads-1", f"{number}.txt", f"{number}.txt")
            for number, tenant in enumerate(tenants, 1)
        ]

    def plant(self, values: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
        """Write canaries the way the application writes everything."""
        del environment
        self.write("north", values["email"], " ".join(values.values()))
        if self._leak is not None:
            self._leak(self._folder, values)
        return ["a note", "an upload"]


@dataclass(frozen=True)
class _Models:
    """The twin's models; SQLAlchemy itself refers to them only weakly."""

    base: Any
    note: Any
    setting: Any


def _models(*, silent: bool) -> _Models:
    class Base(DeclarativeBase):
        pass

    class Note(Sealed, Base):
        __tablename__ = "notes"
        __owner__ = "tenant_id"

        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        tenant_id: Mapped[str]
        label: Mapped[str]
        author_email: Mapped[str] = sealed(index=Equality(casefold))
        text: Mapped[str] = sealed()

    class Setting(Base):
        __tablename__ = "settings"
        __holds__ = "" if silent else "names of features that are switched on"

        name: Mapped[str] = mapped_column(primary_key=True)

    return _Models(Base, Note, Setting)


def _typed(asset: object, kind: type[Any]) -> Any:
    if not isinstance(asset, kind):
        raise TypeError(f"expected {kind.__name__}, found {type(asset).__name__}")
    return asset
