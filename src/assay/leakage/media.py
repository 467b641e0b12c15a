"""The media that are searched, and the positive control that each of them gets.

A medium is a named set of files and folders: the database files, the bucket, the logs. On each, a
`LeakyTwin` writes a control file with a control canary in the forms that the search claims to
find. When the search does not find them, it says nothing about the medium.

Specification: ``spec/leak-test.md``, "Positive control".

Example:
    >>> with LeakyTwin(Path("logs"), control) as twin:                   # doctest: +SKIP
    ...     search = search_files([Medium("logs", (Path("logs"),))], matcher)
    >>> missing_forms(search, "logs", canary=0)                          # doctest: +SKIP
    ()
"""

from __future__ import annotations

import base64
import fcntl
import gzip
import json
import os
import secrets
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from assay.leakage.canaries import Canary
from assay.leakage.errors import ControlError
from assay.leakage.observation import Search

_CONTROL_PREFIX = "assay-leak-control-"


@dataclass(frozen=True, slots=True)
class Medium:
    """A named set of files.

    Attributes:
        name: how it is called in the result ("database files", "logs").
        roots: files, and folders that are searched with all that is below them.
    """

    name: str
    roots: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One thing that was found below a root of a medium.

    Attributes:
        path: where it is.
        shown: the path as it stands in the result: from the root's own name on.
        size_bytes: its size when it was listed; 0 when it cannot be searched.
        obstacle: why it cannot be searched (``missing: …``, ``unreadable: …``, ``special: …``),
            or empty.
    """

    path: Path
    shown: str
    size_bytes: int
    obstacle: str


def list_files(medium: Medium) -> tuple[ListedFile, ...]:
    """Every file of a medium, in a stable order.

    Symbolic links are followed (a tablespace may be one), each folder once. What cannot be
    searched (a missing root, an unreadable folder, a socket) is listed with its reason.

    Args:
        medium: what to list.
    """
    seen: set[tuple[int, int]] = set()
    return tuple(item for root in medium.roots for item in _walk(root, root.name, seen))


def _walk(path: Path, shown: str, seen: set[tuple[int, int]]) -> Iterator[ListedFile]:
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            yield _listed(path, shown, status)
            return
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        names = sorted(entry.name for entry in os.scandir(path))
    except OSError as exc:
        kind = "missing" if isinstance(exc, FileNotFoundError) else "unreadable"
        yield ListedFile(path, shown, 0, f"{kind}: {exc.strerror}")
        return
    for name in names:
        yield from _walk(path / name, f"{shown}/{name}", seen)


def _listed(path: Path, shown: str, status: os.stat_result) -> ListedFile:
    if stat.S_ISREG(status.st_mode):
        return ListedFile(path, shown, status.st_size, "")
    kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
    return ListedFile(path, shown, 0, f"special: {kind} holds no bytes at rest")


def _shifted_base64(value: str, offset: int) -> bytes:
    return base64.b64encode(b"#" * offset + value.encode() + b"#")


_FORMS: Mapping[str, Callable[[str], bytes]] = {
    "UTF-8": lambda value: value.encode("utf-8"),
    "UTF-16LE": lambda value: f"={value}=".encode("utf-16-le"),
    "UTF-16BE": lambda value: f"={value}=".encode("utf-16-be"),
    "hex lower": lambda value: value.encode().hex().encode(),
    "base64 offset 0": lambda value: _shifted_base64(value, 0),
    "base64 offset 1": lambda value: _shifted_base64(value, 1),
    "base64 offset 2": lambda value: _shifted_base64(value, 2),
    "JSON escapes lower": lambda value: (
        json.dumps({"text": "".join(chr(ord(char) + 0xE000) for char in value)})
        .replace("\\ue0", "\\u00")
        .encode()
    ),
    "gzip": lambda value: gzip.compress(value.encode(), mtime=0),
    "zlib": lambda value: zlib.compress(value.encode()),
    "line breaks": lambda value: _wrapped(base64.b64encode(b"#" * 30 + value.encode() + b"#" * 30)),
}

CONTROL_FORMS = tuple(_FORMS)
"""What a control file holds, each under the name by which a `Hit` shows that it was found: the
transform, or the outermost container."""


def _wrapped(encoded: bytes) -> bytes:
    return b"\r\n".join(encoded[n : n + 20] for n in range(0, len(encoded), 20))


class LeakyTwin:
    """Writes a control file into a folder while the block runs, and always removes it.

    The file holds the control canary once in each of the `CONTROL_FORMS`. The kernel's lock on
    it tells a living control from one whose process was killed; such leftovers are removed when
    the next control is written.

    Args:
        folder: where a leak would have to be seen; it must exist and be writable.
        canary: the control canary, which is planted nowhere else.

    Attributes:
        path: the control file.
    """

    def __init__(self, folder: Path, canary: Canary) -> None:
        self.path = folder / f"{_CONTROL_PREFIX}{secrets.token_hex(8)}.log"
        self._value = canary.value
        self._descriptor = -1

    def __enter__(self) -> LeakyTwin:
        """Write the control file.

        Raises:
            ControlError: the folder does not take the file; nothing is left there.
        """
        _remove_leftovers(self.path.parent)
        content = b"".join(
            b"%s: %s\n" % (name.encode(), write(self._value)) for name, write in _FORMS.items()
        )
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            with open(self._descriptor, "wb", closefd=False) as file:
                file.write(content)
                file.flush()
                os.fsync(self._descriptor)
        except OSError as exc:
            self._remove()
            raise ControlError(
                f"expected to write a control file into {self.path.parent}: {exc.strerror}"
            ) from exc
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the control file.

        Raises:
            ControlError: it is still there.
        """
        self._remove()
        if self.path.exists():
            raise ControlError(f"expected to remove the control file {self.path}; remove it")

    def _remove(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{_CONTROL_PREFIX}*.log"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def missing_forms(search: Search, medium: str, canary: int) -> tuple[str, ...]:
    """The forms of a control that a search did not find in a medium; none is good.

    Pure: it can be repeated on a recorded search.

    Args:
        search: what was found.
        medium: the name of the medium.
        canary: the index of the control canary.
    """
    found = {
        hit.container.partition(" > ")[0] or hit.transform
        for hit in search.hits
        if hit.medium == medium and hit.canary == canary
    }
    return tuple(form for form in CONTROL_FORMS if form not in found)
