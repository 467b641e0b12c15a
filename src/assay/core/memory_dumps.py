"""Keeps the memory of this process out of core dumps, and away from other processes of its user.

What the kernel writes when a process crashes holds every key that was in its memory, and lies on a
disk for years. Nothing here hides memory from root, from swap, or from the hypervisor.

Sources: setrlimit(2), ``RLIMIT_CORE``; prctl(2), ``PR_SET_DUMPABLE``; core(5): a pattern that
begins with a pipe ignores the limit, but not the attribute.

Example:
    >>> forbid_core_dumps()                                            # doctest: +SKIP
    CoreDumps(limit_bytes=0, dumpable=False)
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from dataclasses import dataclass

from assay.core.errors import CoreDumpError

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


@dataclass(frozen=True, slots=True)
class CoreDumps:
    """What the kernel may write of the memory of this process.

    Attributes:
        limit_bytes: the largest core file that it may allow itself (hard limit); -1 for no limit.
        dumpable: whether it may be dumped and traced at all; None where the system has no such
            attribute (it is Linux's).
    """

    limit_bytes: int
    dumpable: bool | None


def forbid_core_dumps() -> CoreDumps:
    """Let no core dump be written of this process, nor by what it forks.

    On Linux no other process of the same user can read its memory or trace it either; a debugger
    or a profiler needs CAP_SYS_PTRACE then. A program that it executes is dumpable again, but has
    the limit of 0. Call it before keys are read.

    Returns:
        What holds from now on, as the kernel answers it.

    Raises:
        CoreDumpError: the kernel refused.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as exc:
        raise CoreDumpError(
            f"expected to set the largest core file to 0 bytes, found: {exc}"
        ) from exc
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)
    found = core_dumps()
    if found.limit_bytes != 0 or found.dumpable:
        raise CoreDumpError(f"expected no core dumps of this process, found {found}")
    return found


def core_dumps() -> CoreDumps:
    """What holds now.

    Raises:
        CoreDumpError: the kernel did not say.
    """
    dumpable = _prctl(_PR_GET_DUMPABLE, 0) != 0 if sys.platform == "linux" else None
    return CoreDumps(resource.getrlimit(resource.RLIMIT_CORE)[1], dumpable)


def _prctl(option: int, argument: int) -> int:
    # Python's library has no prctl; the call takes five words and touches no memory of ours.
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    answer = int(libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero))
    if answer < 0:
        why = os.strerror(ctypes.get_errno())
        raise CoreDumpError(f"expected an answer of prctl({option}), found: {why}")
    return answer
