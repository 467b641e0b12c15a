"""The durable state of the service, and the transaction in which every answer is decided.

Four tables, made by `Store.create`:

==================== =====================================================================
table                holds
==================== =====================================================================
assay_kms_service    one row: format, account, Region, generation, and the handle of the key
                     of the token that seals the secrets of access keys
assay_kms_records    keys, aliases, grants, principals, access keys: kind, id, JSON
assay_kms_uses       how often each backing key encrypted, by its handle
assay_kms_events     the audit trail: chain, number, JSON, digest
==================== =====================================================================

Several processes may share a database (SQLite on one machine, PostgreSQL on many). The generation
counts changes of the records. A transaction reads it first, under a lock that it holds to its end,
so what it decides upon is the newest; a process that is behind loads the records anew.

Specification: ``spec/kms.md``, "One request", step 6.

Example:
    >>> with store.transaction() as transaction:                        # doctest: +SKIP
    ...     transaction.put(record)
    ...     transaction.record_event(event)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    String,
    Table,
    Text,
    bindparam,
    delete,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from assay.database import DatabaseError
from assay.kms.errors import InternalError
from assay.kms.records import (
    AccessKeyRecord,
    AliasRecord,
    GrantRecord,
    KeyRecord,
    PrincipalRecord,
)
from assay.kms.state import State

FORMAT = 1
_EVENT_LABEL = b"assay kms event v1"
_NO_DIGEST = bytes(32)
_PAGE = 1000

Record: TypeAlias = KeyRecord | AliasRecord | GrantRecord | PrincipalRecord | AccessKeyRecord

_KINDS: Mapping[str, type[Record]] = {
    "key": KeyRecord,
    "alias": AliasRecord,
    "grant": GrantRecord,
    "principal": PrincipalRecord,
    "access-key": AccessKeyRecord,
}
_NAMES = {
    KeyRecord: ("key", "key_id", "keys"),
    AliasRecord: ("alias", "name", "aliases"),
    GrantRecord: ("grant", "grant_id", "grants"),
    PrincipalRecord: ("principal", "arn", "principals"),
    AccessKeyRecord: ("access-key", "access_key_id", "access_keys"),
}

_tables = MetaData()
_SERVICE = Table(
    "assay_kms_service",
    _tables,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("format", Integer, nullable=False),
    Column("account", String(12), nullable=False),
    Column("region", String(64), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("seal_handle", LargeBinary, nullable=False),
)
_RECORDS = Table(
    "assay_kms_records",
    _tables,
    Column("kind", String(16), nullable=False),
    Column("id", String(512), nullable=False),
    Column("record", Text, nullable=False),
    PrimaryKeyConstraint("kind", "id"),
)
_USES = Table(
    "assay_kms_uses",
    _tables,
    Column("handle", LargeBinary(16), primary_key=True),
    Column("uses", BigInteger, nullable=False),
)
_EVENTS = Table(
    "assay_kms_events",
    _tables,
    Column("chain", String(36), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain", "number"),
)


# Made once: what every transaction runs.
_GENERATION = select(_SERVICE.c.generation).with_for_update()  # SQLite has one writer anyway
_WAIT_FOR_DISK = text("SET LOCAL synchronous_commit = on")
_ADD_EVENTS = insert(_EVENTS)
_COUNT_USES = (
    update(_USES)
    .where(_USES.c.handle == bindparam("of"))
    .values(uses=_USES.c.uses + bindparam("more"))
    .returning(_USES.c.uses)
)


def event_digest(before: bytes, canonical: bytes) -> bytes:
    """The digest of an event in its chain: SHA-256 of label, digest before, and its JSON."""
    return hashlib.sha256(_EVENT_LABEL + before + canonical).digest()


class Store:
    """The state in a database. One transaction at a time; the caller sees to that.

    Args:
        engine: of SQLite (in a file) or PostgreSQL, for this store alone.
        chain: the id of this process's chain of events, new for each process.

    Raises:
        InternalError: there is no state, or one of another format.
    """

    def __init__(self, engine: Engine, chain: str) -> None:
        self._engine = engine
        self._chain = chain
        _begin_as_writer(engine)
        with _named("read the state"), engine.connect() as connection:
            if not inspect(connection).has_table(_SERVICE.name):
                raise InternalError(
                    "expected the state of a key management service in the database, found none; "
                    "make it with `assay kms init`"
                )
            row = connection.execute(select(_SERVICE)).one()
        if row.format != FORMAT:
            raise InternalError(f"expected state of format {FORMAT}, found {row.format}")
        self.seal_handle = bytes(row.seal_handle)
        self._state = State(row.account, row.region)
        self._generation = -1
        self._number = 0
        self._digest = _NO_DIGEST

    @staticmethod
    def create(engine: Engine, *, account: str, region: str, seal_handle: bytes) -> None:
        """Make the state of a new service.

        Raises:
            InternalError: there is one, or it cannot be made.
        """
        Store.refuse_existing(engine)
        with _named("make the state"), engine.begin() as connection:
            _tables.create_all(connection)
            connection.execute(
                insert(_SERVICE).values(
                    id=1, format=FORMAT, account=account, region=region, generation=0,
                    seal_handle=seal_handle,
                )
            )  # fmt: skip

    @staticmethod
    def refuse_existing(engine: Engine) -> None:
        """Refuse a database in which a service has its state.

        Raises:
            InternalError: there is one; it was not touched.
        """
        with _named("look into the database"), engine.connect() as connection:
            if inspect(connection).has_table(_SERVICE.name):
                raise InternalError(
                    "expected a database without the state of a key management service, found one; "
                    "it was not touched"
                )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Decide, change and record; all of it is durable when the block has ended.

        Raises:
            InternalError: the database failed. Nothing of the block has happened.
        """
        try:
            with _named("commit what was decided"), self._engine.begin() as connection:
                generation = self._lock(connection)
                if generation != self._generation:
                    self._load(connection)
                    self._generation = generation
                transaction = Transaction(connection, self._state)
                yield transaction
                number, digest = self._write_events(connection, transaction.events)
                transaction.write_uses()
                if transaction.changed:
                    generation += 1
                    connection.execute(update(_SERVICE).values(generation=generation))
        except BaseException:
            self._generation = -1  # the copy may hold what was not committed
            raise
        self._generation, self._number, self._digest = generation, number, digest

    def events(self) -> Iterator[tuple[str, int, str, bytes]]:
        """The audit trail: chain, number, JSON, digest; chain by chain, in order.

        It is read in pages, between which the service goes on.
        """
        chains = select(_EVENTS.c.chain).distinct().order_by(_EVENTS.c.chain)
        for chain in self._rows(chains):
            last = 0
            while True:
                wanted = (
                    select(_EVENTS)
                    .where(_EVENTS.c.chain == chain.chain, _EVENTS.c.number > last)
                    .order_by(_EVENTS.c.number)
                    .limit(_PAGE)
                )
                page = self._rows(wanted)
                for row in page:
                    yield row.chain, row.number, row.event, bytes(row.digest)
                if len(page) < _PAGE:
                    break
                last = page[-1].number

    def _rows(self, wanted: Select[Any]) -> Sequence[Any]:
        with _named("read the audit trail"), self._engine.connect() as connection:
            return connection.execute(wanted).all()

    def _lock(self, connection: Connection) -> int:
        """The generation, which nobody changes before this transaction ends."""
        if connection.dialect.name == "postgresql":
            connection.execute(_WAIT_FOR_DISK)
        return int(connection.execute(_GENERATION).scalar_one())

    def _load(self, connection: Connection) -> None:
        state = State(self._state.account, self._state.region)
        for row in connection.execute(select(_RECORDS)):
            record = msgspec.json.decode(row.record, type=_KINDS[row.kind])
            _, key, held = _NAMES[type(record)]
            getattr(state, held)[getattr(record, key)] = record
        for row in connection.execute(select(_USES)):
            state.uses[bytes(row.handle)] = row.uses
        self._state = state

    def _write_events(
        self, connection: Connection, events: Sequence[Mapping[str, Any]]
    ) -> tuple[int, bytes]:
        number, digest, rows = self._number, self._digest, []
        for each in events:
            canonical = msgspec.json.encode(each, order="sorted")
            number, digest = number + 1, event_digest(digest, canonical)
            text_of = canonical.decode()
            rows.append(
                {"chain": self._chain, "number": number, "event": text_of, "digest": digest}
            )
        if rows:
            connection.execute(_ADD_EVENTS, rows)
        return number, digest


class Transaction:
    """One transaction.

    Attributes:
        state: the newest; changes show in it at once.
        events: what is recorded at the end.
        changed: whether records were changed.
    """

    def __init__(self, connection: Connection, state: State) -> None:
        self._connection = connection
        self._used: dict[bytes, int] = {}
        self.state = state
        self.events: list[Mapping[str, Any]] = []
        self.changed = False

    def put(self, record: Record) -> None:
        """Store a record in place of the one with its id."""
        kind, key, held = _NAMES[type(record)]
        name, written = getattr(record, key), msgspec.json.encode(record).decode()
        known: dict[str, Record] = getattr(self.state, held)
        here = (_RECORDS.c.kind == kind) & (_RECORDS.c.id == name)
        if name in known:
            self._connection.execute(update(_RECORDS).where(here).values(record=written))
        else:
            self._connection.execute(insert(_RECORDS).values(kind=kind, id=name, record=written))
        known[name] = record
        self._note_change()

    def remove(self, record: Record) -> None:
        """Remove a record."""
        kind, key, held = _NAMES[type(record)]
        name = getattr(record, key)
        here = (_RECORDS.c.kind == kind) & (_RECORDS.c.id == name)
        self._connection.execute(delete(_RECORDS).where(here))
        del getattr(self.state, held)[name]
        self._note_change()

    def _note_change(self) -> None:
        self.state.note_change()
        self.changed = True

    def count_use(self, handle: bytes) -> None:
        """One more encryption under a backing key; written at the end."""
        self.state.uses[handle] = self.state.uses.get(handle, 0) + 1
        self._used[handle] = self._used.get(handle, 0) + 1

    def write_uses(self) -> None:
        """Write what was counted, and learn what others counted."""
        for handle, more in self._used.items():
            counted = {"of": handle, "more": more}
            found = self._connection.execute(_COUNT_USES, counted).scalar_one_or_none()
            if found is None:
                self._connection.execute(insert(_USES).values(handle=handle, uses=more))
            self.state.uses[handle] = more if found is None else found

    def record_event(self, event: Mapping[str, Any]) -> None:
        """Record an event: text, numbers, lists and mappings, as JSON has them."""
        self.events.append(event)


def _begin_as_writer(engine: Engine) -> None:
    """SQLite: take the lock of the writer at the beginning, not at the first change."""
    if engine.dialect.name != "sqlite":
        return

    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # pysqlite shall not begin transactions by itself

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """The database's errors by the service's name, without the driver's words."""
    try:
        yield
    except (SQLAlchemyError, DatabaseError) as exc:
        raise InternalError(f"expected to {what}, found {type(exc).__name__}") from exc
