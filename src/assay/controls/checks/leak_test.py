"""Leak test: values written through the application are found nowhere in its raw storage.

Canaries go in through the application's own write path. Then every file of its databases, buckets
and logs is searched for them, whole and in pieces, in some dozens of encodings and inside
compressed members. On each medium a control canary is written in the clear as well: where it is
not found, the search saw nothing and the result is an error.

Specification: ``spec/leak-test.md``.

Example:
    >>> LeakTest().judge(facts).reason            # doctest: +SKIP
    '5 canaries written by 12 paths are nowhere in 31 files (4 194 304 bytes)'
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from assay.controls.asset import Application, Asset, Bucket, Datastore
from assay.controls.check import Twin, Violation
from assay.controls.context import Context
from assay.controls.errors import CollectError
from assay.core import Fidelity, Population, Result, Status

if TYPE_CHECKING:
    from assay.leakage import Canary, Medium, Search

_FIELDS = ("text", "email", "name", "file", "metadata")
_PLACES_SHOWN = 10
_LOGS = "logs "
_A_TABLE = "a row of a table"

Plant = Callable[[Mapping[str, str], Mapping[str, str]], Sequence[str]]
"""Writes values by kind through the application; returns the paths by which it did, in words."""


class MediumFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was searched on one medium.

    Attributes:
        name: the asset or folder.
        files: how many files were listed.
        searched: how many were searched from end to end.
        files_with_hits: in how many a canary was found.
        bytes_read: bytes that were searched.
        expanded_bytes: bytes that came out of compressed members, and were searched.
        control_missing: forms in which the control canary was written and not found.
        gaps: files that were not, or not wholly, searched, with the reason.
        hits: places where a canary was found.
        places: the first of them: file, field, encoding; never a value.
    """

    name: str
    files: int
    searched: int
    files_with_hits: int
    bytes_read: int
    expanded_bytes: int
    control_missing: tuple[str, ...]
    gaps: tuple[str, ...]
    hits: int
    places: tuple[str, ...]


class LeakTestFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was written and searched.

    Attributes:
        engine: what searched.
        patterns: how many byte strings it searched for.
        fields: kinds of values that were written.
        paths: by which paths the application wrote them.
        media: what was searched.
    """

    engine: str
    patterns: int
    fields: tuple[str, ...]
    paths: tuple[str, ...]
    media: tuple[MediumFacts, ...]


class LeakTest:
    """Canaries through the application, then a search of everything it writes to."""

    id = "leak-test"
    version = 1
    asset_kind = "application"
    title = "writing canaries and searching the raw storage"
    facts = LeakTestFacts

    def collect(self, asset: Asset, context: Context) -> LeakTestFacts:
        """Write canaries through the application, add controls, search every medium."""
        from assay.leakage import CanaryKind, load_matcher, make_canaries, patterns, search_files

        if not isinstance(asset, Application):
            raise CollectError(f"expected an application, found {asset.id}")
        names = _media_names(asset)
        kinds = {f: CanaryKind.EMAIL if f == "email" else CanaryKind.TEXT for f in _FIELDS}
        controls = {f"control {name}": CanaryKind.TEXT for name in names}
        canaries = make_canaries({**kinds, **controls}, secrets.SystemRandom())
        matcher = load_matcher(patterns(canaries))
        plant = cast("Plant", context.load(asset.plant))
        paths = plant({c.field: c.value for c in canaries[: len(_FIELDS)]}, context.environment)
        with ExitStack() as controlled:
            media = [
                controlled.enter_context(
                    _controlled(name, canaries, len(_FIELDS) + number, asset, context)
                )
                for number, name in enumerate(names)
            ]
            search = search_files([m.medium for m in media], matcher, context.progress)
        return LeakTestFacts(
            engine=search.engine,
            patterns=search.patterns,
            fields=_FIELDS,
            paths=tuple(paths),
            media=tuple(
                _medium_facts(search, medium.medium.name, medium.missing(search), canaries)
                for medium in media
            ),
        )

    def judge(self, facts: LeakTestFacts) -> Result:
        """Fail on any canary; error where a control was not found or a file not searched."""
        files = sum(medium.files for medium in facts.media)
        counts = Population(
            in_scope=files,
            evaluated=sum(medium.searched for medium in facts.media),
            failed=min(
                sum(medium.files_with_hits for medium in facts.media),
                sum(medium.searched for medium in facts.media),
            ),
            unit="files",
        )
        places = tuple(
            f"{medium.name}: {place}" for medium in facts.media for place in medium.places
        )
        hits = sum(medium.hits for medium in facts.media)
        if hits:
            reason = f"found {hits} times in the clear, first in {places[0]}"
            return Result(Status.FAIL, reason, counts, Fidelity.LIVE, places)
        trouble = [
            f"{medium.name}: the control canary was not found as {', '.join(missing)}"
            for medium in facts.media
            if (missing := medium.control_missing)
        ]
        trouble += [f"{medium.name}: {gap}" for medium in facts.media for gap in medium.gaps]
        trouble += [f"{m.name}: nothing was read" for m in facts.media if not m.bytes_read]
        if not facts.fields:
            trouble.append("no canary was written")
        if not facts.paths:
            trouble.append("the application wrote the canaries by no path")
        if trouble or not facts.media:
            return Result.error(
                f"could not tell: {trouble[0] if trouble else 'no medium was searched'}",
                Fidelity.LIVE,
                in_scope=files,
                unit="files",
                findings=tuple(trouble),
            )
        size = sum(medium.bytes_read + medium.expanded_bytes for medium in facts.media)
        reason = (
            f"{len(facts.fields)} canaries, written by {len(facts.paths)} paths, are nowhere in "
            f"{files} files of {len(facts.media)} media ({size} bytes); the control was found on "
            "each of them"
        )
        return Result.of(counts, Fidelity.LIVE, reason)

    def violations(self) -> Sequence[Violation]:
        """Four ways in which applications leak."""
        return (
            Violation("log-line", "the application logs a customer's e-mail address", _log_line),
            Violation(
                "plaintext-column", "a column in the database keeps a copy in the clear", _column
            ),
            Violation(
                "compressed-upload", "an upload is kept compressed but not sealed", _compressed
            ),
            Violation("encoded-log", "a base64 copy of a text is written to a file", _encoded),
        )


def _media_names(asset: Application) -> tuple[str, ...]:
    return (*asset.stores, *(f"{_LOGS}{number}" for number, _ in enumerate(asset.logs, 1)))


@dataclass(frozen=True)
class _Controlled:
    """A medium that holds a control canary in the clear.

    Attributes:
        medium: what is searched.
        missing: the forms of the control that a search did not find.
    """

    medium: Medium
    missing: Callable[[Search], tuple[str, ...]]


@contextmanager
def _controlled(
    name: str,
    canaries: Sequence[Canary],
    control: int,
    application: Application,
    context: Context,
) -> Iterator[_Controlled]:
    """Write the control canary, in a table or in a file, for as long as the block runs."""
    from assay.database import leaky_table, storage_files
    from assay.leakage import LeakyTwin, Medium, missing_forms

    asset = next((a for a in context.programme.assets if a.id == name), None)
    if isinstance(asset, Datastore):
        engine = context.engine(asset.url)

        with leaky_table(engine, [canaries[control].value]):
            files = storage_files(engine).files
            wanted = {_A_TABLE, *(_part_of_database(p.name) for p in files if _holds_bytes(p))}

            def missing_row(search: Search) -> tuple[str, ...]:
                hits = [h for h in search.hits if h.medium == name and h.canary == control]
                return tuple(sorted(wanted - {_part_of_database(hit.path) for hit in hits}))

            yield _Controlled(Medium(name, files), missing_row)
        return
    if isinstance(asset, Bucket):
        folder = context.path(asset.url)
    else:
        folder = context.path(application.logs[int(name.removeprefix(_LOGS)) - 1])
    if not folder.is_dir():
        raise CollectError(f"expected a folder for {name}, found none")
    with LeakyTwin(folder, canaries[control]):
        yield _Controlled(
            Medium(name, (folder,)), lambda search: missing_forms(search, name, control)
        )


def _holds_bytes(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # a server removes files at any time
        return False


def _part_of_database(file_name: str) -> str:
    """Which of the two places that a row is written to a database's file belongs to."""
    is_log = re.fullmatch(r".*-wal|[0-9A-F]{24}|ib_logfile\d+", file_name)
    return "a row in the write-ahead log" if is_log else _A_TABLE


def _medium_facts(
    search: Search, name: str, missing: tuple[str, ...], canaries: Sequence[Canary]
) -> MediumFacts:
    from assay.leakage import FileState

    medium = next(medium for medium in search.media if medium.name == name)
    files = [file for file in search.files if file.medium == name]
    leaks = [h for h in search.hits if h.medium == name and h.canary < len(_FIELDS)]
    return MediumFacts(
        name=name,
        files=medium.files,
        searched=medium.searched,
        files_with_hits=len({hit.path for hit in leaks}),
        bytes_read=medium.bytes_read,
        expanded_bytes=medium.expanded_bytes,
        control_missing=missing,
        gaps=tuple(
            f"{file.path} is {file.state.value} ({'; '.join(file.reasons)})"
            for file in files
            if file.state is not FileState.SEARCHED
        ),
        hits=len(leaks),
        places=tuple(
            f"{hit.path}, the {canaries[hit.canary].field} canary as {hit.transform}"
            + (f" in {hit.container}" if hit.container else "")
            for hit in leaks[:_PLACES_SHOWN]
        ),
    )


def _leaking(
    leak: Callable[[Path, Mapping[str, str]], None],
) -> Callable[[Path, bool], AbstractContextManager[Twin]]:
    """The twin company, whose application also leaks in one way when a violation is injected."""

    @contextmanager
    def build(folder: Path, inject: bool) -> Iterator[Twin]:
        from assay.controls.twins.company import company

        with company(folder, leak=leak if inject else None) as twin:
            yield Twin(twin.application, twin.context)

    return build


def _leak_log_line(folder: Path, values: Mapping[str, str]) -> None:
    with (folder / "logs" / "app.log").open("a", encoding="utf-8") as log:
        log.write(f"mail sent to {values['email'].upper()}\n")


def _leak_column(folder: Path, values: Mapping[str, str]) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "twin.db")) as connection:
        connection.execute("UPDATE notes SET label = ?", (values["name"],))
        connection.commit()


def _leak_compressed(folder: Path, values: Mapping[str, str]) -> None:
    import gzip

    (folder / "uploads-1" / "draft.gz").write_bytes(gzip.compress(values["text"].encode() * 20))


def _leak_encoded(folder: Path, values: Mapping[str, str]) -> None:
    import base64

    encoded = base64.b64encode(b"x" + values["text"].encode())
    (folder / "logs" / "queue.json").write_bytes(b'{"body": "' + encoded + b'"}')


_log_line = _leaking(_leak_log_line)
_column = _leaking(_leak_column)
_compressed = _leaking(_leak_compressed)
_encoded = _leaking(_leak_encoded)
