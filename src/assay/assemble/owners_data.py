"""What is sealed for an owner, and whether it can still be read (``spec/destruction.md``, step 7).

Example:
    >>> [held.count for held in held_by(context, "north")]           # doctest: +SKIP
    [412, 3]
    >>> refused_readings(context, "north", destroyed)                # doctest: +SKIP
    [Reading(place='app-db/notes', kind='rows', found=412, attempted=100, ...)]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from assay.assemble.data_keys import key_tables
from assay.controls import Bucket, Context, Datastore
from assay.core import AssayError, DataKeyClass, OwnerDestroyedError
from assay.evidence import Held, Reading

if TYPE_CHECKING:
    from assay.encryption.sqlalchemy import SealedTable
    from assay.keys import Keyring

SAMPLED = 100
"""How many rows of a table, and objects of a bucket, are tried."""

_Index = Callable[[Mapping[str, str]], Iterable[tuple[str, str, str, str]]]
_Row = Mapping[str, Any]


class StillReadableError(AssayError):
    """Something opened after its key was destroyed."""


class ReadingUndecidedError(AssayError):
    """Something was refused, but not because its key is gone; so nothing is proven."""


def held_by(context: Context, owner: str) -> Iterator[Held]:
    """What is sealed for an owner in each sealed table and each bucket.

    Raises:
        AssayError: a store cannot be read.
    """
    for datastore in _assets(context, Datastore):
        for table in _tables(context, datastore):
            count = sum(1 for _ in _rows(context, datastore, table, owner) or ())
            yield Held(place=f"{datastore.id}/{table.name}", kind="rows", count=count)
    for bucket in _assets(context, Bucket):
        yield Held(place=bucket.id, kind="objects", count=len(_objects(context, bucket, owner)))


def refused_readings(
    context: Context, owner: str, destroyed: Iterable[tuple[DataKeyClass, bytes]]
) -> list[Reading]:
    """Try to read everything of an owner, with keys fetched anew.

    Args:
        context: the programme and its surroundings.
        owner: whose keys were destroyed.
        destroyed: class and key id of each destroyed key.

    Raises:
        StillReadableError: something opened.
        ReadingUndecidedError: something was refused for another reason than its missing key.
        AssayError: a store cannot be read.
    """
    keys = list(destroyed)
    readings: list[Reading] = []
    for place in key_tables(context):
        readings += _try_keys(context, place.datastores[0], owner, keys)
    for datastore in _assets(context, Datastore):
        for table in _tables(context, datastore):
            readings.append(_try_rows(context, datastore, table, owner))
    readings += [_try_objects(context, bucket, owner) for bucket in _assets(context, Bucket)]
    return readings


def _try_keys(
    context: Context,
    datastore: Datastore,
    owner: str,
    keys: list[tuple[DataKeyClass, bytes]],
) -> Iterator[Reading]:
    """Each destroyed key by its id, and a key for new data, in one key table."""
    keyring = context.keyring(datastore)
    refused: Counter[str] = Counter()
    for key_class, key_id in keys:
        asked = partial(keyring.by_id, owner, key_class, key_id)
        refused[_refusal(datastore.id, asked)] += 1
    yield _reading(datastore.id, "keys", len(keys), refused)
    answer = _refusal(datastore.id, lambda: keyring.current(owner, DataKeyClass.ROWS))
    yield _reading(datastore.id, "sealing", 1, Counter([answer]))


def _try_rows(context: Context, datastore: Datastore, table: SealedTable, owner: str) -> Reading:
    place = f"{datastore.id}/{table.name}"
    rows = _rows(context, datastore, table, owner)
    if rows is None:
        return _reading(place, "rows", 0, Counter(), "the database has no such table")
    keyring = context.keyring(datastore)
    refused: Counter[str] = Counter()
    found = 0
    for row in rows:
        found += 1
        if refused.total() < SAMPLED:
            refused.update(_try_row(place, table, row, keyring))
    why = "" if refused or not found else "no row of this owner has an envelope"
    return _reading(place, "rows", found, refused, why)


def _try_row(place: str, table: SealedTable, row: _Row, keyring: Keyring) -> list[str]:
    """Why a row does not open; empty when it has no envelope at all."""
    from assay.encryption.sqlalchemy import open_row

    answers = [
        _refusal(place, partial(open_row, keyring, table.models[group], row, group))
        for group, column in table.groups.items()
        if row.get(column) is not None
    ]
    return answers[:1]


def _try_objects(context: Context, bucket: Bucket, owner: str) -> Reading:
    if "://" in context.value(bucket.url):
        why = "objects of other stores than folders cannot be opened from here"
        found = len(_objects(context, bucket, owner))
        return _reading(bucket.id, "objects", found, Counter(), why)
    folder = context.path(bucket.url)
    keyring = context.keyring(context.datastore_of(bucket))
    refused: Counter[str] = Counter()
    listed = _objects(context, bucket, owner)
    for name, key, path in listed:
        if refused.total() >= SAMPLED or not (folder / path).is_file():
            continue
        with (folder / path).open("rb") as source:
            read = partial(_read_object, keyring, source, owner, (name, key))
            refused[_refusal(bucket.id, read)] += 1
    why = "" if refused or not listed else "none of the objects is stored any more"
    return _reading(bucket.id, "objects", len(listed), refused, why)


def _read_object(keyring: Keyring, source: BinaryIO, owner: str, address: tuple[str, str]) -> None:
    from assay.encryption import open_object

    bucket, key = address
    for _ in open_object(keyring, source, owner=owner, bucket=bucket, key=key):
        pass


def _refusal(place: str, read: Callable[[], object]) -> str:
    """The name of the error by which a reading was refused for want of its key.

    Raises:
        StillReadableError: it was not refused.
        ReadingUndecidedError: it was refused for another reason.
    """
    from assay.keys import UnknownDataKeyError

    try:
        read()
    except AssayError as exc:
        chain: BaseException | None = exc
        while chain is not None:
            if isinstance(chain, UnknownDataKeyError | OwnerDestroyedError):
                return type(exc).__name__
            chain = chain.__cause__
        raise ReadingUndecidedError(
            f"expected {place} to refuse because the key is gone, found another reason, which "
            f"proves nothing: {type(exc).__name__}: {exc}"
        ) from exc
    raise StillReadableError(
        f"expected {place} to refuse every reading after the destruction, found something that "
        "opened: a copy of the key is there; the destruction is not complete"
    )


def _reading(
    place: str,
    kind: Literal["keys", "sealing", "rows", "objects"],
    found: int,
    refused: Counter[str],
    untried: str = "",
) -> Reading:
    return Reading(
        place=place,
        kind=kind,
        found=found,
        attempted=refused.total(),
        refused=dict(sorted(refused.items())),
        untried=untried,
    )


def _assets(context: Context, kind: type[Any]) -> list[Any]:
    return [asset for asset in context.programme.assets if isinstance(asset, kind)]


def _tables(context: Context, datastore: Datastore) -> list[SealedTable]:
    from assay.encryption.sqlalchemy import sealed_tables

    return sealed_tables(context.load(datastore.models))


def _rows(
    context: Context, datastore: Datastore, table: SealedTable, owner: str
) -> Iterator[_Row] | None:
    """An owner's rows as they are stored; None when there is no such table."""
    from sqlalchemy import inspect

    from assay.database import raw_joined_rows, raw_rows, real_tables

    engine = context.engine(datastore.url)
    if table.name not in real_tables(engine):
        return None
    schema, _, plain = table.name.rpartition(".")
    listed = inspect(engine).get_columns(plain, schema or None)
    columns = [str(column["name"]) for column in listed]
    if table.owner_table == table.name:
        stored, known = raw_rows(engine, table.name, columns), columns
    else:  # the owner stands in the parent's table
        own = [table.owner_column]
        stored = raw_joined_rows(engine, table.name, columns, table.owner_table, own)
        known = [*columns, *own]
    return _of_owner(table, (dict(zip(known, row, strict=True)) for row in stored), owner)


def _of_owner(table: SealedTable, rows: Iterator[_Row], owner: str) -> Iterator[_Row]:
    from assay.encryption.sqlalchemy import owner_of_row

    return (row for row in rows if owner_of_row(table.model, row) == owner)


def _objects(context: Context, bucket: Bucket, owner: str) -> list[tuple[str, str, str]]:
    """Bucket, key and path of an owner's objects, as the application lists them."""
    index = cast("_Index", context.load(bucket.index))
    return [
        (name, key, path) for whose, name, key, path in index(context.environment) if whose == owner
    ]
