"""``assay keys status``, ``rewrap`` and ``rotate``: data keys, how they are and what is due."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.run import AsJson, Programme
from assay.cli.screen import BROKEN, COULD_NOT_TELL, KEPT, STYLES, out, print_json, shown_progress
from assay.core import DataKeyClass

if TYPE_CHECKING:
    from rich.table import Table

    from assay.assemble import DataKeyStatus, FoundKeyTable
    from assay.keys import ClassStatus, KekStatus, OwnerKeyStatus

OwnerNames = Annotated[
    list[str] | None,
    typer.Option("--owner", help="This owner's keys; may be given again.", metavar="NAME"),
]
AllOwners = Annotated[
    bool, typer.Option("--owners", help="Show every owner's keys by name; they may be people.")
]
To = Annotated[
    str | None,
    typer.Option("--to", help="Under this KEK, not the programme's.", metavar="URI"),
]
Formers = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        help="A KEK that may have wrapped keys; may be given again.",
        metavar="URI",
    ),
]
Every = Annotated[
    bool,
    typer.Option(
        "--every", help="Also keys under that KEK: it has a new version that only it can tell."
    ),
]
Classes = Annotated[
    list[DataKeyClass] | None,
    typer.Option("--class", help="Only keys of this class; may be given again."),
]
OnlyDue = Annotated[bool, typer.Option("--due", help="Only what is due.")]
MadeBefore = Annotated[
    str | None,
    typer.Option(
        "--made-before",
        help="Only where the newest version is older, 2026-01-31T12:00:00Z.",
        metavar="TIME",
    ),
]

_DAY_SECONDS = 86_400


def status(
    programme: Programme = Path("assay.yaml"),
    owner: OwnerNames = None,
    owners: AllOwners = False,
    as_json: AsJson = False,
) -> int:
    """Show the data keys of a programme: how many, how old, how much used, and what is due.

    Exit code: 0 nothing is due; 1 something is; 2 wrong input; 3 could not tell.
    """
    from assay import assemble

    found = assemble.data_key_status(programme, owners=owner or (), all_owners=owners)
    code = BROKEN if found.due else COULD_NOT_TELL if found.unknown else KEPT
    if as_json:
        print_json({**_status_to_json(found), "exit_code": code})
        return code
    _print_status(found)
    return code


def rewrap(
    programme: Programme = Path("assay.yaml"),
    to: To = None,
    former: Formers = None,
    every: Every = False,
    as_json: AsJson = False,
) -> int:
    """Wrap every data key anew, under the programme's KEK in its newest version; no row changes.

    Each new form is opened before it takes the old one's place. Stop it whenever you like, and
    start it again.

    Exit code: 0 every data key is under the KEK; 1 some are not; 2 wrong input; 3 it could not go
    on, or there is no data key.
    """
    from assay import assemble

    with shown_progress("Wrapping", as_json=as_json) as progress:
        kek, reports = assemble.rewrap_data_keys(
            programme, to=to, formers=former or (), every=every, progress=progress
        )
    unfinished = any(report.refused or report.left for _, report in reports)
    seen = sum(report.done + report.already for _, report in reports)
    code = BROKEN if unfinished else KEPT if seen else COULD_NOT_TELL
    if as_json:
        tables = [
            {
                "key_table": place.name,
                "datastores": [each.id for each in place.datastores],
                "done": report.done,
                "already": report.already,
                "lost_races": report.lost,
                "refused": dict(report.refused),
                "left": report.left,
            }
            for place, report in reports
        ]
        print_json({"kek": kek, "key_tables": tables, "exit_code": code})
        return code
    _say(f"KEK: {kek}")
    for place, report in reports:
        _say(
            f"{place.users}: {report.done} data keys wrapped anew, {report.already} were already, "
            f"{report.left} left"
        )
        for reason, count in report.refused.items():
            _say(f"  REFUSED: {count}: {reason}")
        if report.left:
            _say("  keys are still made under another KEK; see to it, and run this again")
    if not seen and not unfinished:
        _say("could not tell: there is no data key")
    return code


def rotate(  # noqa: PLR0913, PLR0917 - each is an option with a name
    programme: Programme = Path("assay.yaml"),
    classes: Classes = None,
    owner: OwnerNames = None,
    due: OnlyDue = False,
    made_before: MadeBefore = None,
    as_json: AsJson = False,
) -> int:
    """Make new versions of data keys: of all, of those chosen, or of those that are due.

    Let a scheduler run it daily with --due. Rows stay under their versions until they are written,
    or until `assay rekey` moves them.

    Exit code: 0 they are made; 2 wrong input; 3 it could not go on, or there is no data key.
    """
    from assay import assemble

    before = None if made_before is None else _moment(made_before)
    with shown_progress("Rotating", as_json=as_json) as progress:
        choice = assemble.Choice(frozenset(classes or ()), frozenset(owner or ()), due, before)
        reports = assemble.rotate_data_keys(programme, choice, progress=progress)
    seen = sum(sum(each.made.values()) + each.kept + each.overtaken for _, each in reports)
    code = KEPT if seen else COULD_NOT_TELL
    if as_json:
        tables = [
            {
                "key_table": place.name,
                "datastores": [each.id for each in place.datastores],
                "made": {kind.value: count for kind, count in report.made.items()},
                "kept": report.kept,
                "overtaken": report.overtaken,
                "destroyed": report.destroyed,
            }
            for place, report in reports
        ]
        print_json({"key_tables": tables, "exit_code": code})
        return code
    for place, report in reports:
        made = ", ".join(f"{count} {kind.value}" for kind, count in report.made.items())
        _say(f"{place.users}: new versions: {made or 'none'}; left as they are: {report.kept}")
    if any(report.made for _, report in reports):
        _say("rows move when they are written; `assay rekey` moves the rest")
    if not seen:
        _say("could not tell: there is no data key")
    return code


def _moment(text: str) -> datetime:
    from assay.core import WrongInputError

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise WrongInputError(
            "expected a time with its zone, such as 2026-01-31T12:00:00Z, for --made-before, found "
            f"{text!r}"
        )
    return moment


def _status_to_json(found: DataKeyStatus) -> dict[str, object]:
    from assay.core import to_rfc3339
    from assay.keys import MOST_NONCE_PREFIXES

    made_at = found.kek.version.made_at
    return {
        "at": to_rfc3339(found.at),
        "kek": {
            "uri": found.kek.uri,
            "fidelity": found.kek.fidelity and str(found.kek.fidelity),
            "version": found.kek.version.number,
            "version_made_at": made_at and to_rfc3339(made_at),
            "wraps_at_least": found.kek.wraps,
            "wraps_at_most": MOST_NONCE_PREFIXES,
        },
        "key_tables": [_table_to_json(each) for each in found.tables],
        "due": list(found.due),
        "unknown": list(found.unknown),
    }


def _table_to_json(found: FoundKeyTable) -> dict[str, object]:
    from assay.core import to_rfc3339

    return {
        "key_table": found.place.name,
        "datastores": [each.id for each in found.place.datastores],
        "classes": {
            kind.value: {
                "owners": each.owners,
                "keys": each.keys,
                "most_versions": each.most_versions,
                "oldest": to_rfc3339(each.oldest),
                "newest": to_rfc3339(each.newest),
                "most_messages": each.most.messages,
                "most_nonce_prefixes": each.most.nonce_prefixes,
                "share_of_limit": each.share,
                "due": dict(each.due),
            }
            for kind, each in found.status.classes.items()
        },
        "wrapped_by": dict(found.status.wrapped_by),
        "to_rewrap": found.status.outdated,
        "index_keys_settle_at": found.settle_at and to_rfc3339(found.settle_at),
        "destroyed": found.status.destroyed,
        "destroyed_and_back": found.status.returned,
        "owners": [
            {
                "owner": each.owner,
                "class": each.key_class.value,
                "version": each.version,
                "made_at": to_rfc3339(each.made_at),
                "messages": each.uses.messages,
                "nonce_prefixes": each.uses.nonce_prefixes,
                "share_of_limit": each.share,
                "due": each.due,
            }
            for each in found.owners
        ],
    }


def _print_status(found: DataKeyStatus) -> None:
    from assay.core import to_rfc3339

    _say(f"KEK: {_kek_line(found.kek, found.at)}")
    for each in found.tables:
        _say(f"{each.place.users}: data keys in {each.place.name}")
        _print_classes(each.status.classes.items(), found.at)
        for kek, count in each.status.wrapped_by.items():
            if kek != found.kek.uri:
                _say(f"  {count} wrapped by {kek}")
        if each.settle_at is not None:
            _say(f"  new index keys are written under from {to_rfc3339(each.settle_at)}")
        _print_owners(each.owners, found.at)
    for sentence in found.due:
        out.print("DUE:", style=STYLES["broken"], end=" ")
        _say(sentence)
    for sentence in found.unknown:
        out.print("could not tell:", style=STYLES["error"], end=" ")
        _say(sentence)
    if not found.due and not found.unknown:
        _say("nothing is due")


def _kek_line(kek: KekStatus, at: datetime) -> str:
    from assay.keys import MOST_NONCE_PREFIXES

    pieces = [kek.uri]
    if kek.fidelity is not None:
        pieces.append(f"fidelity {kek.fidelity}")
    version, made_at = kek.version.number, kek.version.made_at
    pieces.append("version not told" if version is None else f"version {version}")
    pieces.append("age not told" if made_at is None else f"{_age(made_at, at)} old")
    share = kek.wraps / MOST_NONCE_PREFIXES
    pieces.append(f"wraps {kek.wraps} keys or more ({share:.2%} of 2^32)")
    return ", ".join(pieces)


def _print_classes(classes: Iterable[tuple[DataKeyClass, ClassStatus]], at: datetime) -> None:
    shown = _table("class", "owners", "keys", "versions", "oldest", "newest", "used", "due")
    for kind, each in classes:
        shown.add_row(
            kind.value,
            str(each.owners),
            str(each.keys),
            str(each.most_versions),
            _age(each.oldest, at),
            _age(each.newest, at),
            "-" if kind is DataKeyClass.INDEXES else f"{each.share:.2%}",
            str(sum(each.due.values())),
        )
    if shown.row_count:
        out.print(shown)


def _print_owners(owners: Sequence[OwnerKeyStatus], at: datetime) -> None:
    from rich.text import Text

    shown = _table("owner", "class", "version", "age", "messages", "prefixes", "used", "due")
    for each in owners:
        shown.add_row(
            Text(each.owner),
            each.key_class.value,
            str(each.version),
            _age(each.made_at, at),
            str(each.uses.messages),
            str(each.uses.nonce_prefixes),
            f"{each.share:.2%}",
            each.due or "",
        )
    if shown.row_count:
        out.print(shown)


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    shown = Table(box=None, pad_edge=True, header_style="bold")
    shown.add_column(first)
    for heading in others:
        shown.add_column(heading, justify="right")
    return shown


def _age(made_at: datetime, at: datetime) -> str:
    days = int((at - made_at).total_seconds() // _DAY_SECONDS)
    return "1 day" if days == 1 else f"{max(days, 0)} days"


def _say(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)
