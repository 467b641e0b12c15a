"""The same work on a Dask cluster. Needs ``assay[distributed]``; imported by nothing else.

Each worker opens the database and the keys by itself, so it needs the programme file and the
application's code at the same path, and the environment variables that the programme names. Only
ranges of primary keys and counts travel between the machines: no key, and no value.

Example:
    >>> with cluster("tcp://scheduler:8786") as (executor, workers, watch):   # doctest: +SKIP
    ...     executor.submit(job, span)
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from assay.encryption.adoption.errors import ClusterError
from assay.encryption.adoption.sweep import Watch

_CONNECT_SECONDS = 10.0
_ADDRESS = re.compile(r"(tcp|tls)://[^/\s]+:\d+")


@contextmanager
def cluster(
    address: str, *, timeout_seconds: float = _CONNECT_SECONDS
) -> Iterator[tuple[Executor, int, Watch]]:
    """The executor of a running cluster, how many things it does at once, and who watches it.

    Args:
        address: of the scheduler, for example ``tcp://127.0.0.1:8786``.
        timeout_seconds: how long it may take to answer, and how long it may be without workers.

    Raises:
        ClusterError: the package is missing, nobody answers, or there are no workers.
    """
    try:
        from distributed import Client
    except ImportError as exc:
        raise ClusterError(
            "expected the package distributed, found none; install assay[distributed]"
        ) from exc
    if not _ADDRESS.fullmatch(address):
        raise ClusterError(
            "expected the address of a scheduler such as tcp://scheduler:8786, found another form"
        )
    try:
        connect: Any = Client
        client = connect(address, set_as_default=False, timeout=timeout_seconds)
    except (OSError, TimeoutError, ValueError) as exc:
        raise ClusterError(
            f"expected a scheduler at {address}, found nobody who answers "
            f"({type(exc).__name__}); start it, or leave out --scheduler to work on this machine"
        ) from exc
    with client:
        workers = sum(client.ncores().values())
        if not workers:
            raise ClusterError(
                f"expected workers of the scheduler at {address}, found none; start some, with "
                "the application's code and variables, as `dask worker`"
            )
        # Each batch is to run although one that looks the same has run before.
        yield client.get_executor(pure=False), workers, _watch_over(client, timeout_seconds)


def _watch_over(client: Any, patience_seconds: float) -> Watch:
    from distributed import KilledWorker

    missing_since: float | None = None

    def watch(ended_with: Exception | None) -> None:
        nonlocal missing_since
        if client.status != "running":
            raise _lost("its scheduler went away")
        if isinstance(ended_with, KilledWorker):
            raise _lost("several workers died of the same batch")
        try:
            at_work = ended_with is not None or client.ncores()
        except (OSError, TimeoutError) as exc:  # before the client has noticed it
            raise _lost("its scheduler does not answer") from exc
        if at_work:
            missing_since = None
            return
        now = time.monotonic()
        missing_since = now if missing_since is None else missing_since
        if now - missing_since > patience_seconds:
            raise _lost("its workers went away")

    return watch


def _lost(what: str) -> ClusterError:
    return ClusterError(
        f"expected the cluster to live until the end, found that {what}; what is written stays "
        "written: start the cluster anew and run this step again"
    )
