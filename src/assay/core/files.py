"""Files that are either wholly there or not there, and locks between processes.

Example:
    >>> write_atomically(Path("head"), b"17")          # doctest: +SKIP
    >>> with exclusive_lock(Path(".lock"), "the log"):  # doctest: +SKIP
    ...     ...
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from assay.core.errors import LockHeldError


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader, or a machine that dies, sees all of it or the old one.

    The bytes go to a temporary file beside it, are flushed to the disk (fsync), and are renamed;
    then the directory is flushed as well.

    Args:
        path: where the file shall be; its directory must exist.
        data: all of its bytes.
        mode: permission bits of the new file.

    Raises:
        OSError: for example a full disk; the old file is untouched and no temporary file is left.
    """
    with atomic_file(path, mode=mode) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name only when the block ends without an error.

    Args:
        path: where the file shall be; its directory must exist.
        mode: permission bits of the new file.

    Raises:
        OSError: for example a full disk. Then, and when the block raises, the old file is
            untouched and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Flush a directory's own entries to the disk, so that a rename survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_lock(path: Path, subject: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock between processes (and threads) on this machine while the block runs.

    The lock is the kernel's (flock): it ends with the process that holds it, however it ends.

    Args:
        path: the lock file; created when missing, never removed.
        subject: what is locked, for the error message.
        wait: wait for the holder instead of refusing.

    Raises:
        LockHeldError: another process holds it and ``wait`` is false.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as exc:
            raise LockHeldError(
                f"expected to be the only one who works on {subject}, found another process "
                f"that holds {path}; wait for it to end, nothing was changed"
            ) from exc
        yield
    finally:
        os.close(descriptor)
