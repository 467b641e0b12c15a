"""A folder that is replaced as a whole, and only when it is ours to replace.

All files are written into a new folder beside the old one and flushed to the disk; then the two
folders change places in one step of the file system (``renameat2`` with ``RENAME_EXCHANGE`` on
Linux, ``renamex_np`` with ``RENAME_SWAP`` on macOS). Whatever goes wrong before, the old page
stays; nobody ever sees half a page.

A marker file lists what was written. A folder without it, or with one file more than it lists, is
somebody's work and is refused.

Example:
    >>> replace_folder(Path("trust"), {"index.html": b"..."})    # doctest: +SKIP
    (PosixPath('trust/index.html'),)
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from assay.core import flush_directory
from assay.web.errors import FolderRefusedError

MARKER = ".assay-trust-page"
_FIRST_LINE = "assay trust page 1"
_LEFT_BY_FILE_BROWSERS = {".DS_Store"}
_EXCHANGE = 2  # RENAME_EXCHANGE in linux/fs.h, RENAME_SWAP in macOS' stdio.h
_AT_FDCWD = -100  # linux/fcntl.h
_CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def replace_folder(directory: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write files into a folder so that it holds all of them, or what it held before.

    Args:
        directory: the folder; a link to a folder stays a link to it.
        files: relative paths with ``/`` between their parts, and all bytes of each file.

    Returns:
        the paths of the files, in the order given.

    Raises:
        FolderRefusedError: the folder holds what `replace_folder` did not write.
        OSError: for example a full disk; the old folder is untouched and nothing is left behind.
    """
    target = directory.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(target.parent):
        _refuse_what_is_not_ours(target)
        fresh = _beside(target)
        try:
            _write(fresh, files)
            _put_in_place(fresh, target)
        finally:
            # After the exchange this is the old page; after a failure, the unfinished one.
            shutil.rmtree(fresh, ignore_errors=True)
        flush_directory(target.parent)
        _remove_leftovers(target)
    return tuple(directory / name for name in files)


@contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """Wait until no other build works in the same parent folder; the kernel frees the lock."""
    descriptor = os.open(parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_what_is_not_ours(target: Path) -> None:
    if not target.exists() or _is_empty(target):
        return
    foreign = _foreign_entries(target)
    if foreign is None:
        raise FolderRefusedError(
            f"expected {target} to be missing, empty or a trust page, found something else there; "
            "nothing in it was touched, choose another folder"
        )
    if foreign:
        raise FolderRefusedError(
            f"expected only the files of a trust page in {target}, found "
            f"{', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}, which would be "
            "lost; move them away, nothing was touched"
        )


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _foreign_entries(folder: Path) -> list[str] | None:
    """What the marker does not list; None when there is no marker, so that all is foreign."""
    try:
        first, *names = (folder / MARKER).read_text(encoding="utf-8").splitlines() or [""]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeDecodeError):
        return None
    if first != _FIRST_LINE:
        return None
    known = {MARKER, *names, *(str(Path(name).parent) for name in names)}
    found = (path for path in folder.rglob("*") if path.name not in _LEFT_BY_FILE_BROWSERS)
    return sorted({path.relative_to(folder).as_posix() for path in found} - known)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    # The marker comes first: should this be interrupted, the rest is known to be ours.
    marker = "\n".join([_FIRST_LINE, *files]) + "\n"
    folder.mkdir(mode=0o755)
    for name, data in {MARKER: marker.encode(), **files}.items():
        path = folder / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    for subfolder in {(folder / name).parent for name in files}:
        flush_directory(subfolder)
    flush_directory(folder)


def _put_in_place(fresh: Path, target: Path) -> None:
    if not target.exists() or _is_empty(target):
        fresh.rename(target)
        return
    if _exchange(fresh, target):
        return
    # `_remove_leftovers` clears the old page away once the new one is there for good.
    aside = _beside(target)
    target.rename(aside)
    try:
        fresh.rename(target)
    except BaseException:
        aside.rename(target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*paths, _EXCHANGE)
        else:
            failed = libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE)
    except AttributeError:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _remove_leftovers(target: Path) -> None:
    """Remove what an interrupted build left beside the page, once the new page is in place."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}\.tmp")
    for path in target.parent.iterdir():
        if pattern.fullmatch(path.name) and (_is_empty(path) or _foreign_entries(path) == []):
            shutil.rmtree(path, ignore_errors=True)
