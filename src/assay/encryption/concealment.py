"""Tracebacks keep their lines and lose their variables, so that no log shows what was sealed.

Loggers and error trackers print tracebacks with the local variables of each frame. The frames of
this room hold values in the clear, so their variables are let go before an error leaves it. The
application's own frames are its own, and so are those of a library that the application gave values
in the clear to, such as ``session.execute(insert(Model), rows)``.

Example:
    >>> @concealed
    ... def insert(document: dict[str, str]) -> None:
    ...     raise ValueError("no connection")
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def concealed(method: Callable[P, R]) -> Callable[P, R]:
    """The method, whose errors carry no local variables."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except Exception as exc:
            forget_variables(exc)
            del args, kwargs
            raise

    return call


def concealed_async(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """The coroutine method, whose errors carry no local variables."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        """As the method, which is awaited within."""
        try:
            return await method(*args, **kwargs)
        except Exception as exc:
            forget_variables(exc)
            del args, kwargs
            raise

    return call


def forget_variables(error: BaseException) -> None:
    """Let go of the local variables of all frames that have ended, also of chained errors."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        waiting += [each.__cause__, each.__context__]
