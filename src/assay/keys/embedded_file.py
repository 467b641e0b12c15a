"""An embedded key store on disk: who may read it, and how a key is added.

Specification: ``spec/embedded-key-store.md``, "The file on disk".

Example:
    >>> add_key(Path("keys.json"), "kek", "aes-256", passphrase)        # doctest: +SKIP
    >>> read_key(Path("keys.json"), "kek", "aes-256", passphrase)       # doctest: +SKIP
    StoredKey(type='aes-256')
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.core import exclusive_lock, flush_directory, write_atomically
from assay.keys.embedded_format import (
    LARGEST_FILE_BYTES,
    MATERIAL_BYTES,
    NONCE_BYTES,
    SALT_BYTES,
    ScryptParameters,
    StoredKey,
    seal_store,
)
from assay.keys.embedded_slots import add_to_slotted, is_slotted, open_any_store, passphrase_cost
from assay.keys.errors import (
    KeyExistsError,
    KeyNotFoundError,
    KeyStoreError,
    KeyStorePermissionError,
    PassphraseError,
)
from assay.keys.service import StoreFacts

SHORTEST_PASSPHRASE = 12
_MODE = 0o600


def read_store_file(path: Path) -> bytes:
    """The bytes of a store that only its owner can read.

    Raises:
        KeyNotFoundError: there is no such file.
        KeyStorePermissionError: a symbolic link, no regular file, or a mode wider than 0600.
        KeyStoreError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as exc:
        raise _no_store(path) from exc
    except OSError as exc:
        if path.is_symlink():
            raise KeyStorePermissionError(
                f"expected the key store {path} to be a file, found a symbolic link; name the "
                "file itself"
            ) from exc
        raise KeyStoreError(f"expected to read the key store {path}: {exc.strerror}") from exc
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyStorePermissionError(f"expected the key store {path} to be a regular file")
        mode = stat.S_IMODE(found.st_mode)
        if mode & ~_MODE:
            raise KeyStorePermissionError(
                f"expected the key store {path} with mode 0600 or less, found {mode:04o}: others "
                f"may read or run it. Make new keys if they could, and run: chmod 600 {path}"
            )
        return file.read(LARGEST_FILE_BYTES + 1)


def read_badly_kept_file(path: Path) -> bytes:
    """The bytes of a store however it is kept, to tell about its custody; not for use.

    Raises:
        KeyNotFoundError: there is no such file.
        KeyStoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError as exc:
        raise _no_store(path) from exc
    except OSError as exc:
        raise KeyStoreError(f"expected to read the key store {path}: {exc.strerror}") from exc


def pick_key(data: bytes, path: Path, name: str, key_type: str, passphrase: str) -> StoredKey:
    """One key of an opened store.

    Raises:
        KeyNotFoundError: no key of that name, or one of another type.
        KeyStoreError: the store does not open, see `open_store`.
    """
    keys = open_any_store(data, passphrase)
    key = keys.get(name)
    if key is None:
        raise KeyNotFoundError(
            f"expected the key {name} in {path}, found only {', '.join(sorted(keys))}; create it"
        )
    if key.type != key_type:
        raise KeyNotFoundError(
            f"expected the key {name} in {path} to be {key_type}, found {key.type}"
        )
    return key


def read_key(path: Path, name: str, key_type: str, passphrase: str) -> StoredKey:
    """One key of a store file; raises what `read_store_file` and `pick_key` raise."""
    return pick_key(read_store_file(path), path, name, key_type, passphrase)


def add_key(
    path: Path,
    name: str,
    key_type: str,
    passphrase: str,
    parameters: ScryptParameters | None = None,
) -> None:
    """Make a random key and add it; a new store is made when there is none.

    Args:
        path: the file; its directory must exist.
        name: of the key.
        key_type: "aes-256" or "ed25519".
        passphrase: opens the store; at least 12 characters for a new one.
        parameters: cost of the key derivation, for the whole store from now on.

    Raises:
        KeyExistsError: a key of that name is there; nothing was changed.
        PassphraseError: too short for a new store, or not the one of this store.
        KeyStoreError: the store cannot be read or written.
    """
    with locked_store(path):
        keys = _keys_of(path, passphrase)
        if name in keys:
            raise KeyExistsError(
                f"expected no key {name} in {path}, found one; it was not overwritten"
            )
        keys[name] = StoredKey(key_type, os.urandom(MATERIAL_BYTES))
        sealed = _resealed(path, keys, passphrase, parameters or ScryptParameters())
        if len(sealed) > LARGEST_FILE_BYTES:
            raise KeyStoreError(f"expected room for another key in {path}, found none")
        write_atomically(path, sealed, mode=_MODE)


@contextmanager
def locked_store(path: Path) -> Iterator[None]:
    """Be the only one who writes to a store, or to what lies beside it.

    Raises:
        KeyStoreError: something could not be written.
    """
    try:
        with exclusive_lock(
            path.with_name(f"{path.name}.lock"), f"the key store {path}", wait=True
        ):
            yield
    except OSError as exc:
        raise KeyStoreError(f"expected to write the key store {path}: {exc.strerror}") from exc


def replace_proven(path: Path, data: bytes, prove: Callable[[bytes], None]) -> None:
    """Replace a store after what lies on the disk was read back and proven to open.

    Args:
        path: the store; the old file stays until the new one is proven, also when the process
            or the machine dies.
        data: the new bytes.
        prove: is given the bytes that were read back, and raises when they are not right.

    Raises:
        KeyStoreError: it could not be written, or was too large.
    """
    if len(data) > LARGEST_FILE_BYTES:
        raise KeyStoreError(f"expected a key store of at most {LARGEST_FILE_BYTES} bytes")
    new = path.with_name(f".{path.name}.new")
    try:
        write_atomically(new, data, mode=_MODE)
        prove(read_store_file(new))
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def _resealed(
    path: Path, keys: dict[str, StoredKey], passphrase: str, cost: ScryptParameters
) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    if path.exists() and is_slotted(old := read_store_file(path)):
        return add_to_slotted(old, passphrase, keys, nonce)
    return seal_store(keys, passphrase, cost, os.urandom(SALT_BYTES), nonce)


def _keys_of(path: Path, passphrase: str) -> dict[str, StoredKey]:
    if path.is_symlink() or path.exists():
        return open_any_store(read_store_file(path), passphrase)
    refuse_short(passphrase)
    return {}


def refuse_short(passphrase: str) -> None:
    """Raise `PassphraseError` for a new passphrase that is too short."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise PassphraseError(
            f"expected a passphrase of at least {SHORTEST_PASSPHRASE} characters for a new key "
            "store, found a shorter one"
        )


def store_facts(path: Path, data: bytes) -> StoreFacts:
    """What the machine says about the file, and its header about its sealing.

    Args:
        path: the file.
        data: its bytes.

    Raises:
        KeyStoreFormatError: the bytes are no key store.
        KeyStoreError: the file went away.
    """
    cost = passphrase_cost(data)
    try:
        found, directory = path.lstat(), path.parent.stat()
    except OSError as exc:
        raise KeyStoreError(f"expected to look at the key store {path}: {exc.strerror}") from exc
    return StoreFacts(
        path=str(path),
        mode=f"{stat.S_IMODE(found.st_mode):04o}",
        owned_by_user=found.st_uid == os.geteuid(),
        symbolic_link=stat.S_ISLNK(found.st_mode),
        directory_mode=f"{stat.S_IMODE(directory.st_mode):04o}",
        kdf="scrypt",
        kdf_parameters={"n": cost.n, "r": cost.r, "p": cost.p},
        cipher="AES-256-GCM",
    )


def _no_store(path: Path) -> KeyNotFoundError:
    return KeyNotFoundError(
        f"expected a key store at {path}, found no file; make the keys with `assay keys create`"
    )
