"""A table in pieces: ranges of primary keys, in their order, each about one batch of rows.

Example:
    >>> for span, rows in spans(engine, part, batch_rows=500):      # doctest: +SKIP
    ...     ...
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Engine,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from assay.core import write_atomically
from assay.database.failures import named_errors
from assay.encryption.adoption.errors import CheckpointError
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.place import Place
from assay.encryption.adoption.reading import readable_keys
from assay.encryption.errors import RowIdError

Key = tuple[object, ...]
"""A primary key: a UUID, integer or text for each of its columns."""

_FORMAT = 2
_SAVED_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of a table whose primary keys lie in a range.

    Attributes:
        after: the key before the first one; None for the beginning.
        until: the last key, which belongs to it.
    """

    after: Key | None
    until: Key


def within(part: Part, span: Span, dialect: str) -> ColumnElement[bool]:
    """The criterion for the rows of a span."""
    return and_(_beyond(part, span.after, dialect), _not_beyond(part, span.until, dialect))


def within_parameters(part: Part, dialect: str, *, first: bool) -> ColumnElement[bool]:
    """The same criterion for any span, which `span_parameters` gives its values.

    Args:
        part: whose table.
        dialect: the name of the database's dialect.
        first: whether it is for spans that begin with the table's first row.
    """
    after, until = (
        [bindparam(f"{end}_{at}", type_=c.type) for at, c in enumerate(part.keys)]
        for end in ("after", "until")
    )
    return and_(
        true() if first else _greater(part, after, dialect), ~_greater(part, until, dialect)
    )


def span_parameters(span: Span) -> dict[str, object]:
    """What the parameters of `within_parameters` stand for."""
    ends = (("after", span.after or ()), ("until", span.until))
    return {f"{end}_{at}": value for end, key in ends for at, value in enumerate(key)}


def spans(
    engine: Engine,
    part: Part,
    *,
    batch_rows: int,
    after: Key | None = None,
    wanted: ColumnElement[bool] | None = None,
) -> Iterator[tuple[Span, int]]:
    """The spans of a table, one after another, as the table is when each is asked for.

    Args:
        engine: the database.
        part: whose table.
        batch_rows: how many wanted rows a span holds at most.
        after: the key to begin behind.
        wanted: which rows count; all of them when None.

    Yields:
        a span, and how many wanted rows it had a moment ago.

    Raises:
        DatabaseError: the database does not answer.
    """
    while True:
        keys = (
            select(*part.keys)
            .where(_beyond(part, after, engine.dialect.name), true() if wanted is None else wanted)
            .order_by(*part.keys)
        )
        with (
            named_errors(f"read keys of {part.name}"),
            readable_keys(part),
            engine.connect() as connection,
        ):
            last = connection.execute(keys.offset(batch_rows - 1).limit(1)).first()
            rows = batch_rows
            if last is None:
                found = connection.execute(keys.limit(batch_rows)).all()
                rows, last = len(found), found[-1] if found else None
        if last is None:
            return
        until = tuple(last)
        yield Span(after, until), rows
        after = until


def count(engine: Engine, part: Part, wanted: ColumnElement[bool] | None = None) -> int:
    """How many rows of a table are wanted.

    Raises:
        DatabaseError: the database does not answer.
    """
    counted = select(func.count()).select_from(part.table)
    if wanted is not None:
        counted = counted.where(wanted)
    with named_errors(f"count the rows of {part.name}"), engine.connect() as connection:
        return int(connection.execute(counted).scalar_one())


def _beyond(part: Part, key: Key | None, dialect: str) -> ColumnElement[bool]:
    return true() if key is None else _greater(part, _literals(part, key), dialect)


def _not_beyond(part: Part, key: Key, dialect: str) -> ColumnElement[bool]:
    return ~_greater(part, _literals(part, key), dialect)


def _literals(part: Part, key: Key) -> list[ColumnElement[Any]]:
    return [literal(v, column.type) for v, column in zip(key, part.keys, strict=True)]


def _greater(part: Part, values: Sequence[ColumnElement[Any]], dialect: str) -> ColumnElement[bool]:
    """Whether a row's key comes after another one, as the primary key's index orders them."""
    if len(values) == 1:
        return part.keys[0] > values[0]
    if dialect != "mariadb":
        return tuple_(*part.keys) > tuple_(*values)
    # MariaDB uses no index for the comparison of rows of values.
    steps = []
    for at, (column, value) in enumerate(zip(part.keys, values, strict=True)):
        equal = [c == v for c, v in zip(part.keys[:at], values[:at], strict=True)]
        steps.append(and_(*equal, column > value))
    return or_(*steps)


class Checkpoint:
    """How far a sweep has come, in a file. It only spares work; losing it loses nothing.

    A JSON object: ``format`` 2, ``part``, ``dialect`` and ``place`` (see `Place`), ``after`` (the
    key) and ``digest``, the SHA-256 of the object without it.

    Args:
        path: the file; readable by its owner only, because a primary key may tell something.
        part: what is worked on.
        place: which database has it.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        path: Path,
        part: Part,
        place: Place,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._part = part
        self._place = place
        self._monotonic = monotonic
        self._due = monotonic()

    def load(self) -> Key | None:
        """The last key before which all is done, or None.

        Raises:
            CheckpointError: the file is of another table or form, damaged, or cannot be read.
        """
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            after = tuple(_key_from_json(piece) for piece in document["after"])
            found = "one of another database, table or release, or a damaged one"
            if document == self._document(after):
                found = "keys of another number or kind"
                if len(after) == len(self._part.keys):
                    self._part.model.row_id_of(after)
                    return after
        except FileNotFoundError:
            return None
        except OSError as exc:
            found = f"one that cannot be read ({type(exc).__name__})"
        except (ValueError, KeyError, TypeError, RecursionError):
            found = "something else"
        except RowIdError:
            pass
        raise CheckpointError(
            f"expected the checkpoint of {self._part.name} of this database in {self._path}, found "
            f"{found}; delete it, and the work begins with the first row"
        )

    def save(self, after: Key) -> None:
        """Everything up to this key is done. Written once a second: it is flushed to the disk.

        Raises:
            CheckpointError: it cannot be written.
        """
        if self._monotonic() < self._due:
            return
        self._due = self._monotonic() + _SAVED_EVERY_SECONDS
        content = json.dumps(self._document(after)).encode()
        with kept_in(self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._path, content, mode=0o600)

    def clear(self) -> None:
        """The sweep came to its end.

        Raises:
            CheckpointError: the file cannot be removed.
        """
        with kept_in(self._path):
            self._path.unlink(missing_ok=True)

    def _document(self, after: Key) -> dict[str, object]:
        document: dict[str, object] = {
            "format": _FORMAT,
            "part": self._part.name,
            "dialect": self._place.dialect,
            "place": self._place.identity,
            "after": [_key_to_json(piece) for piece in after],
        }
        return {**document, "digest": sha256(json.dumps(document).encode()).hexdigest()}


@contextmanager
def kept_in(path: Path) -> Iterator[None]:
    """Write what is known of a part, or remove it.

    Raises:
        CheckpointError: the file system refuses.
    """
    try:
        yield
    except OSError as exc:
        raise CheckpointError(
            f"expected to keep how far the work is in {path}, found {type(exc).__name__}: "
            f"{exc.strerror}; make the folder writable and run this step again: rows that are done "
            "stay done"
        ) from exc


def _key_to_json(piece: object) -> object:
    return {"uuid": str(piece)} if isinstance(piece, UUID) else piece


def _key_from_json(piece: object) -> object:
    if isinstance(piece, dict):
        return UUID(str(piece["uuid"]))
    if type(piece) in (int, str):
        return piece
    raise ValueError("neither a UUID, an integer nor text")


def shown_keys(keys: Sequence[Key]) -> list[str]:
    """Keys to find rows by. Those of text are left out: they may be what is to be protected."""
    return [
        "/".join(str(piece) for piece in key)
        for key in keys
        if all(type(piece) in (int, UUID) for piece in key)
    ]


def key_of(row: Any, part: Part) -> Key:
    """The primary key of a row that begins with its columns."""
    return tuple(row[: len(part.keys)])
