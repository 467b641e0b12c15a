"""Attempts at one call of a key service: with random pauses, and within one deadline.

An attempt may take at most the shares of the deadline for connecting and for the answer, and none
begins that could not end within the deadline.

Source: "Error retries and exponential backoff in AWS" (full jitter).

Example:
    >>> within_deadline(10, lambda: "answered")
    'answered'
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_before_delay
from tenacity.wait import wait_random_exponential

CONNECT_SHARE = 0.1
ANSWER_SHARE = 0.3
_BEGIN_SHARE = 1 - CONNECT_SHARE - ANSWER_SHARE
_SHORTEST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


class TryAgainError(Exception):
    """An attempt that failed in a way in which the next one may not.

    Attributes:
        answer: what the service said, or why it did not, in a word.
    """

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.answer = answer


def within_deadline(
    deadline_seconds: int, attempt: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """What the first attempt returns that does not raise `TryAgainError`.

    Args:
        deadline_seconds: for all attempts and pauses.
        attempt: is called with the other arguments.
        args: passed on.
        kwargs: passed on.

    Raises:
        TryAgainError: of the last attempt.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(TryAgainError),
        stop=stop_before_delay(_BEGIN_SHARE * deadline_seconds),
        wait=wait_random_exponential(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS),
        reraise=True,
    )
    return retrying(attempt, *args, **kwargs)


def ended_in_tls(error: BaseException) -> bool:
    """Whether the other side was gone before TLS was, which tells nothing of its certificate.

    Args:
        error: of a client, with the one of ``ssl`` somewhere below it: as its cause, its context,
            its argument, or as clients of urllib3 carry it.
    """
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return True
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            carried = getattr(one, "kwargs", None)
            below = carried.get("error") if isinstance(carried, dict) else None
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), below]
            waiting += one.args
    return False
