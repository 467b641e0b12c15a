"""No traceback of this room shows a value, however much of its variables a logger prints."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from sqlalchemy import insert, select, update

import assay
from assay.core import DataKeyClass
from assay.encryption import (
    BlindIndex,
    EncryptionError,
    EnvelopeOpener,
    EnvelopeSealer,
    MalformedPayloadError,
    MemoryObjectStore,
    RowAddress,
    RowIdKind,
    SealedBucket,
    casefold,
    exact,
    open_object,
    seal_object,
)
from assay.encryption.concealment import concealed, concealed_async, forget_variables
from assay.encryption.pyarrow import SealedColumns, open_batch, seal_batch
from assay.encryption.pyarrow import sealed as column
from assay.encryption.sqlalchemy import matching, move_to_owner, open_row

SECRET = "Quartz & Obsidian"
HERE = str(Path(__file__).parent)
ROOM = str(Path(assay.__file__).parent)


class Odd:
    """What no payload can hold, and what shows itself in every list of variables."""

    def __repr__(self) -> str:
        return f"Odd({SECRET})"


def everything(library: Any, **fields: object) -> Any:
    return library.Everything(part=1, name="x", owner=uuid4(), **fields)


def document(library: Any, **fields: object) -> Any:
    return library.Document(
        **{"tenant_id": "north", "owner_email": SECRET, "text": SECRET, **fields}
    )


def flush(library: Any, instance: Any) -> None:
    with library.sessions() as session:
        session.add(instance)
        session.flush()


def without_keys(library: Any) -> None:
    with library.unbound() as session:
        session.add(document(library))
        session.flush()


def assign(library: Any, **values: object) -> None:
    instance = document(library)
    for name, value in values.items():
        setattr(instance, name, value)


def tampered(library: Any, act: Callable[[Any], object]) -> None:
    row = library.add(text=SECRET, body=SECRET)
    with library.sessions() as session:
        stored = session.get(library.Document, row)
        assert stored.body == SECRET
        cut = library.column("sealed", row)[:-1]
        library.write("UPDATE documents SET sealed = :cut", cut=cut)
        session.expire(stored, ["sealed"])
        act(stored)
        session.flush()


def stale(library: Any) -> None:
    row = library.add(text=SECRET)
    with library.sessions() as one, library.sessions() as other:
        first, second = one.get(library.Document, row), other.get(library.Document, row)
        first.text, second.text = SECRET + "1", SECRET + "2"
        one.commit()
        other.flush()


def assign_to(row: Any) -> None:
    row.text = SECRET + "!"


def change_owner(library: Any) -> None:
    row = library.add(text=SECRET)
    with library.sessions() as session:
        stored = session.get(library.Document, row)
        assert stored.text == SECRET
        stored.tenant_id = "south"
        session.flush()


def change_within(library: Any) -> None:
    with library.sessions() as session:
        stored = everything(library, mapping={"k": SECRET})
        session.add(stored)
        session.commit()
        stored.mapping["k"] = SECRET + "!"


def execute(library: Any, statement: Any, rows: Any = None) -> None:
    with library.sessions() as session:
        session.execute(statement, rows)


def read_row(library: Any) -> None:
    row = library.add(text=SECRET)
    with library.sessions() as session:
        values = dict(session.execute(select(library.Document.__table__)).mappings().one())
    assert row in values.values()
    open_row(library.keyring, library.Document, {**values, "id": uuid4(), "label": SECRET})


MAPPING = {
    "another type assigned": lambda lib: assign(lib, text=[SECRET]),
    "another type constructed": lambda lib: document(lib, text=[SECRET]),
    "no text": lambda lib: flush(lib, document(lib, text=SECRET + "\ud800")),
    "no value for a dict": lambda lib: flush(lib, everything(lib, mapping={"k": Odd()})),
    "no value for a list": lambda lib: flush(lib, everything(lib, items=[SECRET, {"k": Odd()}])),
    "a field is missing": lambda lib: flush(lib, document(lib, text=None)),
    "a key twice": lambda lib: flush(lib, document(lib, id=lib.add())),
    "nobody's": lambda lib: flush(lib, document(lib, tenant_id=None)),
    "no keys": without_keys,
    "no column takes it": lambda lib: flush(lib, document(lib, label=Odd)),
    "read of a tampered row": lambda lib: tampered(lib, lambda row: row.text),
    "change of a tampered row": lambda lib: tampered(lib, assign_to),
    "move of a tampered row": lambda lib: tampered(lib, lambda row: move_to_owner(row, "south")),
    "change of the owner": change_owner,
    "stale": stale,
    "change within": change_within,
    "comparison": lambda lib: select(lib.Document).where(lib.Document.text == SECRET),
    "pattern": lambda lib: select(lib.Document).where(lib.Document.text.like(SECRET)),
    "comparison with another type": lambda lib: lib.Document.owner_email == [SECRET],
    "update of a field": lambda lib: execute(lib, update(lib.Document).values(text=SECRET)),
    "rows of another type": lambda lib: execute(
        lib, insert(lib.Document), [{"tenant_id": "north", "owner_email": "a", "text": [SECRET]}]
    ),
    "rows of nobody": lambda lib: execute(lib, insert(lib.Document), [{"text": SECRET}]),
    "rows with a key twice": lambda lib: execute(
        lib,
        insert(lib.Document),
        [{"id": lib.add(), "tenant_id": "north", "owner_email": SECRET, "text": SECRET}],
    ),
    "search without keys": lambda lib: lib.unbound().scalars(
        select(lib.Document).where(lib.Document.owner_email == SECRET)
    ),
    "another search than matching takes": lambda lib: matching(
        lib.sessions(), select(lib.Document).where(lib.Document.owner_email != SECRET).limit(1)
    ),
    "row of another place": read_row,
    "pickle": lambda lib: pickle.dumps(document(lib)),
}


def raised(act: Callable[[], object]) -> Exception:
    try:
        act()
    except Exception as exc:  # noqa: BLE001 - whichever it is
        return exc
    raise AssertionError("expected an error, found none")


def shown(error: BaseException) -> Iterator[tuple[str, str]]:
    """File and variables of each frame, also of chained errors; of the tests' own none."""
    waiting: list[traceback.TracebackException | None] = [
        traceback.TracebackException.from_exception(error, capture_locals=True)
    ]
    while waiting:
        each = waiting.pop()
        if each is None:
            continue
        for frame in each.stack:
            if not frame.filename.startswith(HERE):
                yield frame.filename, repr(frame.locals)
        waiting += [each.__cause__, each.__context__]


def conceals(error: Exception) -> bool:
    frames = list(shown(error))
    assert SECRET not in f"{error} {error!r}"
    return not [1 for file, variables in frames if file.startswith(ROOM) and SECRET in variables]


@pytest.mark.parametrize("case", MAPPING)
def test_errors_of_the_mapping(library: Any, caplog: pytest.LogCaptureFixture, case: str) -> None:
    caplog.set_level(logging.DEBUG)
    library.engine.echo = "debug"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        error = raised(lambda: MAPPING[case](library))
    assert conceals(error)
    said = [record.getMessage() for record in caplog.records] + [str(w.message) for w in warned]
    assert not [line for line in said if SECRET in line]


@pytest.mark.parametrize(
    "case", ["a key twice", "no column takes it", "stale", "a field is missing"]
)
def test_not_even_frames_of_the_libraries_show_what_instances_hold(library: Any, case: str) -> None:
    error = raised(lambda: MAPPING[case](library))
    assert not [file for file, variables in shown(error) if SECRET in variables]


KEY_PLACE = RowAddress("tenant-1", "notes", "default", b"7")


@pytest.mark.parametrize(
    "fields", [{"text": SECRET + "\ud800"}, {"text": SECRET, "odd": Odd()}, {"": SECRET}]
)
@pytest.mark.parametrize("padded", [True, False])
def test_errors_of_the_sealer(key: Any, fields: dict[str, object], *, padded: bool) -> None:
    error = raised(lambda: EnvelopeSealer().seal(key, KEY_PLACE, fields, padded=padded))
    assert isinstance(error, EncryptionError)
    assert conceals(error)


def test_errors_of_the_opener(key: Any) -> None:
    sealed = EnvelopeSealer().seal_payload(key, KEY_PLACE.associated_data(), SECRET.encode())
    error = raised(lambda: EnvelopeOpener().open(key, KEY_PLACE, sealed))
    assert isinstance(error, MalformedPayloadError)
    assert conceals(error)


def test_errors_of_an_index(keyring: Any) -> None:
    key = keyring.current("north", DataKeyClass.INDEXES)
    for transform, value in ((exact, [SECRET]), (casefold, SECRET.encode()), (exact, Odd())):
        assert conceals(raised(lambda: BlindIndex("t", "f", transform).compute(key, value)))  # noqa: B023 - called at once


class Failing(MemoryObjectStore):
    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        del key, data, if_absent
        raise OSError("the disk is full")


def test_errors_of_objects(keyring: Any) -> None:
    body = (SECRET * 200_000).encode()  # four chunks: an inner one is altered below
    bucket = SealedBucket(Failing(), keyring, name="uploads")
    assert conceals(raised(lambda: bucket.put("o", body, owner="north")))
    sealed = BytesIO()
    names = {"owner": "north", "bucket": "uploads", "key": "o"}
    seal_object(keyring, BytesIO(body), sealed, **names)

    class Full:
        def write(self, data: bytes) -> None:
            if len(data) > 100:
                raise OSError("the disk is full")

    assert conceals(raised(lambda: seal_object(keyring, BytesIO(body), Full(), **names)))
    cut = BytesIO(sealed.getvalue()[:-1])
    assert conceals(raised(lambda: list(open_object(keyring, cut, **names))))
    altered = bytearray(sealed.getvalue())
    altered[1_500_000] ^= 1
    store = MemoryObjectStore()
    store.put("o", bytes(altered))
    bucket = SealedBucket(store, keyring, name="uploads")
    for act in (
        lambda: list(bucket.get("o", owner="north")),
        lambda: bucket.read("o", 0, 1_600_000, owner="north"),
        lambda: bucket.open("o", owner="north").read(0, 1_600_000),
        lambda: bucket.copy("o", "p", owner="north"),
        lambda: bucket.move("o", "p", owner="north"),
    ):
        assert conceals(raised(act))


def test_errors_of_batches(keyring: Any) -> None:
    declared = SealedColumns(
        "papers", {"id": RowIdKind.INTEGER}, "tenant", {"text": column(pa.string())}
    )
    batch = pa.record_batch({"id": [1, 2], "tenant": ["north"] * 2, "text": [SECRET] * 2})

    class NoKeys:
        def current(self, *_: object) -> Any:
            raise OSError("the key service is away")

    assert conceals(raised(lambda: seal_batch(batch, declared, NoKeys())))
    stored = seal_batch(batch, declared, keyring)
    first = stored.column("sealed")[0].as_py()
    place = stored.schema.names.index("sealed")
    swapped = stored.set_column(place, "sealed", pa.array([first, first]))
    assert conceals(raised(lambda: open_batch(swapped, declared, keyring)))


def test_what_was_forgotten_keeps_its_lines() -> None:
    def inner() -> None:
        secret = SECRET
        raise ValueError(len(secret))

    @concealed
    def outer(value: str) -> None:
        try:
            inner()
        except ValueError as exc:
            raise TypeError(len(value)) from exc

    error = raised(lambda: outer(SECRET))
    assert isinstance(error.__cause__, ValueError)
    lines = "".join(traceback.format_exception(error))
    assert "in inner" in lines
    assert "in outer" in lines
    printed = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert SECRET not in "".join(printed.format())
    error.__cause__.__context__ = error  # a ring of errors has an end all the same
    forget_variables(error)


def test_causes_and_contexts_are_forgotten_each_for_itself() -> None:
    def failing() -> None:
        secret = SECRET
        raise ValueError(len(secret))

    cause = raised(failing)
    with_cause, with_context = TypeError(), TypeError()
    with_cause.__cause__, with_context.__context__ = cause, raised(failing)
    for error in (with_cause, with_context):
        forget_variables(error)
        chained = error.__cause__ or error.__context__
        assert chained is not None
        printed = traceback.TracebackException.from_exception(chained, capture_locals=True)
        assert SECRET not in "".join(printed.format())


async def _failing(value: str) -> None:
    raise ValueError(len(value))


def test_coroutines_forget_as_well() -> None:
    coroutine = concealed_async(_failing)(SECRET)
    error = raised(lambda: coroutine.send(None))  # type: ignore[attr-defined]  # it is a coroutine
    printed = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert SECRET not in "".join(printed.format())
