"""Sealed objects: every object in a bucket opens under its owner's key, and nothing else is there.

What the application believes to be stored is reconciled with what really lies in the bucket: an
object that nobody knows is as wrong as one that does not open.

Specification: ``spec/sealed-object.md``.

Example:
    >>> SealedObjects().judge(facts).population            # doctest: +SKIP
    Population(in_scope=12, evaluated=12, failed=0, unit='objects')
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from assay.controls.asset import Asset, Bucket
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result, Status, sha256_hex

if TYPE_CHECKING:
    from assay.keys import Keyring

_NAMED = 5

Index = Callable[[Mapping[str, str]], Iterable[tuple[str, str, str, str]]]
"""Lists (owner, bucket, object key, path under the bucket) of all that should be stored."""


class SealedObjectsFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was read in one bucket.

    Attributes:
        listed: how many objects the application believes to be stored.
        stored: how many files lie in the bucket.
        opened: how many listed objects opened from end to end.
        bytes_opened: bytes of plaintext that came out of them, and were dropped.
        refused: for each reason how many listed objects did not open.
        unlisted: how many files no listed object accounts for.
        unlisted_names: SHA-256 of the first of their paths, since names may be personal data.
    """

    listed: int
    stored: int
    opened: int
    bytes_opened: int
    refused: dict[str, int]
    unlisted: int
    unlisted_names: tuple[str, ...]


class SealedObjects:
    """Every stored object opens under its owner's key, and every file is accounted for."""

    id = "sealed-objects"
    version = 1
    asset_kind = "bucket"
    title = "opening every sealed object"
    facts = SealedObjectsFacts

    def collect(self, asset: Asset, context: Context) -> SealedObjectsFacts:
        """List what should be there and what is, and open every object."""
        if not isinstance(asset, Bucket):
            raise CollectError(f"expected a bucket, found {asset.id}")
        folder = _folder(asset, context)
        listed = list(cast("Index", context.load(asset.index))(context.environment))
        stored = set(_files_below(folder))
        keyring = context.keyring(context.datastore_of(asset))
        refused: Counter[str] = Counter()
        bytes_opened = 0
        for number, (owner, bucket, key, path) in enumerate(listed):
            context.progress.advance(number, len(listed), f"object {number + 1}")
            reason, size = _try_object(keyring, (owner, bucket, key), folder / path)
            refused.update([reason] if reason else [])
            bytes_opened += size
        unlisted = sorted(stored - {path for *_, path in listed})
        return SealedObjectsFacts(
            listed=len(listed),
            stored=len(stored),
            opened=len(listed) - refused.total(),
            bytes_opened=bytes_opened,
            refused=dict(sorted(refused.items())),
            unlisted=len(unlisted),
            unlisted_names=tuple(sha256_hex(path.encode()) for path in unlisted[:_NAMED]),
        )

    def judge(self, facts: SealedObjectsFacts) -> Result:
        """Pass when every listed object opened and nothing else lies there."""
        wrong = [
            f"refused objects: {count} ({why})" for why, count in sorted(facts.refused.items())
        ]
        if facts.unlisted:
            wrong.append(f"files in the bucket that belong to no known object: {facts.unlisted}")
        items = facts.listed + facts.unlisted
        bad = facts.listed - facts.opened + facts.unlisted
        counts = Population(items, items, bad, "objects")
        if wrong:
            return Result(Status.FAIL, wrong[0], counts, Fidelity.LIVE, tuple(wrong))
        reason = f"all {facts.opened} objects ({facts.bytes_opened} bytes) open under their keys"
        return Result.of(counts, Fidelity.LIVE, reason)

    def violations(self) -> Sequence[Violation]:
        """An object in the clear, one that was altered, and one that nobody knows."""
        return (
            Violation("plain-object", "an object is stored as it came, unsealed", _plain_object),
            Violation("altered-object", "one bit of a sealed object is flipped", _altered_object),
            Violation(
                "unknown-object", "a file lies in the bucket that no object accounts for", _unknown
            ),
        )


def _folder(asset: Bucket, context: Context) -> Path:
    if "://" in context.value(asset.url):
        raise CollectError(
            f"expected a bucket of the form file:PATH for {asset.id}, found another kind; "
            "other stores cannot be checked yet"
        )
    folder = context.path(asset.url)
    if not folder.is_dir():
        raise CollectError(f"expected a folder for {asset.id}, found none")
    return folder


def _files_below(folder: Path) -> Iterator[str]:
    """Everything in a bucket that is no folder, links to folders included, by its path there.

    Raises:
        CollectError: a folder cannot be read, so that nobody knows what lies in it.
    """

    def refuse(error: OSError) -> None:
        raise CollectError(
            f"expected to read every folder of the bucket, found one closed: {error.strerror}"
        ) from error

    for at, folders, names in os.walk(folder, onerror=refuse):
        links = [name for name in folders if Path(at, name).is_symlink()]
        yield from (Path(at, name).relative_to(folder).as_posix() for name in (*names, *links))


def _try_object(keyring: Keyring, address: tuple[str, str, str], path: Path) -> tuple[str, int]:
    """Why an object does not open (empty when it does), and how many bytes it holds."""
    from assay.encryption import EncryptionError, open_object
    from assay.keys import KeysError

    if not path.is_file():
        return "not stored", 0
    try:
        with path.open("rb") as source:
            owner, bucket, key = address
            pieces = open_object(keyring, source, owner=owner, bucket=bucket, key=key)
            return "", sum(len(piece) for piece in pieces)
    except (EncryptionError, KeysError) as exc:
        return type(exc).__name__, 0


@contextmanager
def _plain_object(folder: Path, inject: bool) -> Iterator[Twin]:
    from assay.controls.twins.company import company

    with company(folder) as twin:
        if inject:
            (folder / "uploads-1" / "1.txt").write_text("as it came, for all to read" * 4)
        yield Twin(twin.bucket, twin.context)


@contextmanager
def _altered_object(folder: Path, inject: bool) -> Iterator[Twin]:
    from assay.controls.twins.company import company

    with company(folder) as twin:
        path = folder / "uploads-1" / "2.txt"
        if inject:
            altered = bytearray(path.read_bytes())
            altered[-1] ^= 1
            path.write_bytes(altered)
        yield Twin(twin.bucket, twin.context)


@contextmanager
def _unknown(folder: Path, inject: bool) -> Iterator[Twin]:
    from assay.controls.twins.company import company

    with company(folder) as twin:
        if inject:
            (folder / "uploads-1" / "export.csv").write_text("name,email\n")
        yield Twin(twin.bucket, twin.context)
