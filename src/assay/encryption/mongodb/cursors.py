"""Cursors that open each document when it is read.

Example:
    >>> for document in collection.find({"tenant_id": "north"}).sort("created").limit(10):  # doctest: +SKIP
    ...     print(document["text"])
"""  # noqa: E501 - an example

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

from assay.encryption.concealment import concealed, concealed_async
from assay.encryption.mongodb.declaration import SealedDocument
from assay.encryption.mongodb.errors import UnsupportedOperationError
from assay.encryption.mongodb.options import refuse_order

Document = dict[str, Any]
Open = Callable[[Mapping[str, Any]], Document]


class _Cursor:
    """What both cursors share: a cursor of the driver, and how its documents are opened."""

    def __init__(self, cursor: Any, declared: SealedDocument, opened: Open) -> None:
        self._cursor = cursor
        self._declared = declared
        self._open = opened

    def sort(self, key_or_list: Any, direction: int | None = None) -> Self:
        """Sort by fields in the clear.

        Raises:
            SealedExpressionError: by a sealed field.
        """
        refuse_order(self._declared, key_or_list, "a sort")
        self._cursor.sort(key_or_list, direction)
        return self

    def limit(self, limit: int) -> Self:
        """At most this many documents."""
        self._cursor.limit(limit)
        return self

    def skip(self, skip: int) -> Self:
        """Leave out the first documents."""
        self._cursor.skip(skip)
        return self

    def batch_size(self, batch_size: int) -> Self:
        """How many documents come in one answer of the server."""
        self._cursor.batch_size(batch_size)
        return self

    def hint(self, index: Any) -> Self:
        """Which index of the server to use."""
        self._cursor.hint(index)
        return self

    def max_time_ms(self, max_time_ms: int | None) -> Self:
        """How many milliseconds the server may take."""
        self._cursor.max_time_ms(max_time_ms)
        return self

    @property
    def alive(self) -> bool:
        """Whether more documents may come."""
        return bool(self._cursor.alive)

    def __getattr__(self, name: str) -> NoReturn:
        refuse_attribute(type(self).__name__, name, hasattr(type(self._cursor), name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._declared.name}>"


class SealedCursor(_Cursor):
    """The documents that a ``find`` or an aggregation matches, opened one by one."""

    def __iter__(self) -> Self:
        return self

    @concealed
    def __next__(self) -> Document:
        return self._open(next(self._cursor))

    @concealed
    def to_list(self) -> list[Document]:
        """All documents."""
        return [self._open(stored) for stored in self._cursor]

    def close(self) -> None:
        """Let the server forget the cursor."""
        self._cursor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


class AsyncSealedCursor(_Cursor):
    """The documents that a ``find`` or an aggregation matches, opened one by one."""

    def __aiter__(self) -> Self:
        return self

    @concealed_async
    async def __anext__(self) -> Document:
        return self._open(await anext(self._cursor))

    @concealed_async
    async def to_list(self) -> list[Document]:
        """All documents."""
        return [self._open(stored) async for stored in self._cursor]

    async def close(self) -> None:
        """Let the server forget the cursor."""
        await self._cursor.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()


def refuse_attribute(where: str, name: str, is_known: bool) -> NoReturn:
    """Refuse what pymongo has and sealed collections do not.

    Args:
        where: stands in the message.
        name: of the attribute.
        is_known: whether pymongo has it.

    Raises:
        UnsupportedOperationError: pymongo has it.
        AttributeError: nobody has.
    """
    if is_known and not name.startswith("_"):
        raise UnsupportedOperationError(
            f"expected an operation that a {where} has, found {name!r} of pymongo, which would "
            "pass sealed fields by; see docs/mongodb.md for what there is instead"
        )
    raise AttributeError(f"{where} has no attribute {name!r}")
