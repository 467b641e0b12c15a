"""The executor that work runs on unless another is given: processes of this machine.

Example:
    >>> with process_pool(2) as executor:                          # doctest: +SKIP
    ...     executor.submit(job, span)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait


@contextmanager
def process_pool(workers: int) -> Iterator[Executor]:
    """Processes that start afresh, so that no open database and no lock is inherited.

    Args:
        workers: how many, at least one.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise


def _begin() -> None:
    """Leave interrupts to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    # A parent that was killed closes no queue: its workers would wait for work for ever.
    wait([sentinel])
    os._exit(1)
