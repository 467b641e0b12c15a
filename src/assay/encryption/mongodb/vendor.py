"""What sealed collections need to know of the driver, handed in by ``pymongo.py``.

Example:
    >>> Call("count_documents", ({"status": "open"},)).method
    'count_documents'
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a bulk.

    Attributes:
        method: the method of a collection that does the same.
        arguments: by position.
        options: by name.
    """

    method: str
    arguments: tuple[Any, ...] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Vendor:
    """The driver's types, as far as sealing must know them.

    Attributes:
        plain: turns a value of ``_id`` or of the owner field into UUID, int, str or the 12 bytes
            of an ObjectId; raises `RowIdError` for binary data, which could be taken for one.
        new_object_id: makes an ObjectId.
        duplicate_key: the error of a write that a unique index refuses.
        read_write: takes a write of a bulk apart.
        make_write: puts one together.
    """

    plain: Callable[[object], object]
    new_object_id: Callable[[], object]
    duplicate_key: type[Exception]
    read_write: Callable[[object], Write]
    make_write: Callable[[Write], object]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the driver, in sealed form; its answer is sent into the plan.

    Attributes:
        method: of the driver's collection; the answer of ``find`` is the list of all documents.
        arguments: by position.
        options: by name.
        from_primary: what is read must be the newest, whatever the collection's read preference.
    """

    method: str
    arguments: tuple[Any, ...] = field(default=(), repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    from_primary: bool = False


Plan: TypeAlias = Generator[Call, Any, R]
"""An operation without I/O: it yields calls, is sent their answers, and returns its result."""


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did.

    Attributes:
        matched: how many documents there were to update.
        modified: how many were changed.
        upserted_id: the ``_id`` of the document that was inserted instead, or None.
    """

    matched: int
    modified: int
    upserted_id: object = None


def run(plan: Plan[R], perform: Callable[[Call], Any]) -> R:
    """Run a plan to its end."""
    step, answer = plan.send, None
    while True:
        try:
            call = step(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # what the generator returns
        try:
            answer, step = perform(call), plan.send
        except Exception as exc:  # noqa: BLE001 - the plan decides what it means
            answer, step = exc, plan.throw


async def run_async(plan: Plan[R], perform: Callable[[Call], Awaitable[Any]]) -> R:
    """Run a plan to its end, with a driver that is awaited."""
    step, answer = plan.send, None
    while True:
        try:
            call = step(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # what the generator returns
        try:
            answer, step = await perform(call), plan.send
        except Exception as exc:  # noqa: BLE001 - the plan decides what it means
            answer, step = exc, plan.throw
