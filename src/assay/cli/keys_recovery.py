"""``assay keys recovery``: shares that open an embedded key store when its passphrase is gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.run import AsJson
from assay.cli.screen import BROKEN, KEPT, WRONG_INPUT, err, out, print_json, report_error
from assay.core import SystemClock, WrongInputError, is_reference, resolve_reference, to_rfc3339

if TYPE_CHECKING:
    from assay.keys import GivenShare, RecoverySlot, RecoveryStatus

app = typer.Typer(
    help="Open an embedded key store without its passphrase, by shares.", no_args_is_help=True
)

Store = Annotated[Path, typer.Argument(help="The file of an embedded key store.", metavar="STORE")]
Passphrase = Annotated[
    str,
    typer.Option("--passphrase", help="env:NAME or file:PATH.", metavar="REFERENCE"),
]
Shares = Annotated[
    list[Path] | None,
    typer.Option("--share", help="A share file; again for each. Without it you are asked."),
]

_PASSPHRASE = "env:ASSAY_PASSPHRASE"  # noqa: S105 - a place, not a passphrase
_CLEARED = "\x1b[2J\x1b[3J\x1b[H"
_LARGEST_FILE = 1 << 16


@app.callback()
def recovery() -> None:
    """Open an embedded key store without its passphrase, by shares."""


@app.command("split")
def split(  # noqa: PLR0913, PLR0917 - each is an option with a name
    store: Store,
    custodian: Annotated[list[str], typer.Option(help="Who gets a share; again for each.")],
    threshold: Annotated[int, typer.Option(help="How many of them open the store.")],
    into: Annotated[
        Path | None, typer.Option(help="A directory; one file of mode 0600 for each custodian.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Write all shares to standard output, wherever it goes.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Revoke the shares that there are.")
    ] = False,
    passphrase: Passphrase = _PASSPHRASE,
    as_json: AsJson = False,
) -> int:
    """Make shares. On a terminal they are shown one at a time, when --into is not given.

    Exit code: 0 done; 2 wrong input; 3 it could not be done.
    """
    from assay.keys import split_store

    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    if into is None and not show and not interactive:
        raise WrongInputError(
            "expected --into DIRECTORY for the shares, found none, and this is no terminal where "
            "they could be shown one at a time; nothing was done"
        )
    if into is not None and show:
        raise WrongInputError("expected --into or --show, found both")
    handed: dict[str, str] = {}

    def hand_out(texts: Sequence[tuple[str, str]]) -> None:
        if into is not None:
            handed.update(_write_shares(into, texts))
        elif show:
            handed.update(texts)
        else:
            _show_one_at_a_time(texts)

    with _codes(as_json) as found:
        slot = split_store(
            store, _old(passphrase), tuple(custodian), threshold, hand_out, replace=replace
        )
        if as_json:
            print_json({**_facts(slot), "shares": handed, "exit_code": KEPT})
            return KEPT
        for name, each in handed.items():
            typer.echo(f"{name}: {each}" if into is not None else each)
        out.print(
            f"split {slot.split}: any {slot.threshold} of {len(slot.custodians)} open {store}. "
            "Rehearse it: assay keys recovery rehearse",
            soft_wrap=True,
        )
    return found.code


@app.command("rehearse")
def rehearse(store: Store, share: Shares = None, as_json: AsJson = False) -> int:
    """Show that shares would open the store; it stays as it is, and a note is kept.

    Exit code: 0 they would; 1 they would not; 2 wrong input; 3 could not tell.
    """
    from assay import keys

    with _codes(as_json, refused=BROKEN) as found:
        given = _given(store, share)
        made = keys.rehearse(store, given, SystemClock())
        if as_json:
            print_json(
                {
                    "at": to_rfc3339(made.at),
                    "split": made.split,
                    "custodians": list(made.custodians),
                    "outcome": made.outcome,
                    "exit_code": KEPT,
                }
            )
            return KEPT
        out.print(
            f"{to_rfc3339(made.at)}: {store} opens by the shares of "
            f"{', '.join(made.custodians)}. Nothing was changed.",
            soft_wrap=True,
        )
    return found.code


@app.command("status")
def status(
    store: Store,
    within_days: Annotated[
        int, typer.Option(min=1, help="How old the last rehearsal may be.")
    ] = 180,
    as_json: AsJson = False,
) -> int:
    """Who holds shares, and when they last showed that they open the store.

    Exit code: 0 rehearsed within the time; 1 a rehearsal is due; 2 wrong input; 3 could not tell.
    """
    from assay import keys

    with _codes(as_json) as found:
        told = keys.recovery_status(store)
        due = keys.what_is_due(told, SystemClock().now(), timedelta(days=within_days))
        last = told.rehearsals[-1] if told.rehearsals else None
        found.code = BROKEN if due else KEPT
        if as_json:
            rehearsal = last and {
                "at": to_rfc3339(last.at),
                "custodians": list(last.custodians),
                "outcome": last.outcome,
            }
            revoked = list(told.revoked)
            print_json(
                {
                    **_facts(told),
                    "revoked": revoked,
                    "rehearsal": rehearsal,
                    "due": due,
                    "exit_code": found.code,
                }
            )
            return found.code
        out.print(
            f"split {told.split}: any {told.threshold} of {', '.join(told.custodians)}",
            soft_wrap=True,
        )
        if last:
            who = ", ".join(last.custodians) or "nobody of this split"
            out.print(f"last rehearsal {to_rfc3339(last.at)}: {last.outcome}, {who}")
        if due:
            err.print(f"due: {due}", markup=False)
    return found.code


@app.command("restore")
def restore(
    store: Store,
    share: Shares = None,
    new_passphrase: Annotated[
        str | None,
        typer.Option(help="env:NAME or file:PATH. Without it you are asked.", metavar="REFERENCE"),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Give the store a new passphrase by shares; the old one does not open it any more.

    Exit code: 0 done; 2 wrong input, also shares that do not open it; 3 it could not be done.
    """
    from assay import keys

    with _codes(as_json) as found:
        given = _given(store, share)
        who = keys.restore_store(store, given, _new(new_passphrase))
        if as_json:
            print_json({"custodians": list(who), "exit_code": KEPT})
            return KEPT
        out.print(
            f"{store} opens under the new passphrase, by the shares of {', '.join(who)}. Shares "
            "that met on one machine should be replaced: assay keys recovery split --replace",
            soft_wrap=True,
        )
    return found.code


@app.command("revoke")
def revoke(store: Store, passphrase: Passphrase = _PASSPHRASE, as_json: AsJson = False) -> int:
    """Let no share open the store any more. Older copies of the file still open by them.

    Exit code: 0 done; 2 wrong input; 3 it could not be done.
    """
    from assay import keys

    with _codes(as_json) as found:
        slot = keys.revoke_shares(store, _old(passphrase))
        if as_json:
            print_json({"revoked": slot.split, "exit_code": KEPT})
            return KEPT
        out.print(f"split {slot.split} is revoked: no share opens {store}", soft_wrap=True)
    return found.code


class _Code:
    code = KEPT


@contextmanager
def _codes(as_json: bool, *, refused: int = WRONG_INPUT) -> Iterator[_Code]:
    """Tell what was refused, with the code that this group of verbs gives it."""
    from assay import keys

    found = _Code()
    try:
        yield found
    except keys.ShareError as exc:
        report_error(exc, as_json=as_json, code=refused)
        found.code = refused
    except (
        keys.KeyNotFoundError,
        keys.PassphraseError,
        keys.NoRecoveryError,
        keys.RecoveryExistsError,
    ) as exc:
        report_error(exc, as_json=as_json, code=WRONG_INPUT)
        found.code = WRONG_INPUT


def _given(store: Path, files: list[Path] | None) -> list[GivenShare]:
    from assay.keys import GivenShare, recovery_status

    threshold = recovery_status(store).threshold
    if files:
        return [GivenShare(str(path), _read(path)) for path in files]
    if not sys.stdin.isatty():
        raise WrongInputError(
            f"expected --share FILE, {threshold} times, found none, and this is no terminal where "
            "you could be asked"
        )
    return [
        GivenShare(
            f"share {at}",
            typer.prompt(f"Words of share {at} of {threshold} (hidden)", hide_input=True, err=True),
        )
        for at in range(1, threshold + 1)
    ]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8 text"
        raise WrongInputError(f"expected the share file {path}: {why}") from None


def _old(reference: str) -> str:
    if reference == _PASSPHRASE and "ASSAY_PASSPHRASE" not in os.environ and sys.stdin.isatty():
        return str(typer.prompt("Passphrase (hidden)", hide_input=True, err=True))
    return _resolved(reference, "--passphrase")


def _new(reference: str | None) -> str:
    if reference is not None:
        return _resolved(reference, "--new-passphrase")
    if not sys.stdin.isatty():
        raise WrongInputError(
            "expected --new-passphrase env:NAME or file:PATH, found none, and this is no terminal "
            "where you could be asked"
        )
    return str(
        typer.prompt("New passphrase (hidden)", hide_input=True, confirmation_prompt=True, err=True)
    )


def _resolved(reference: str, option: str) -> str:
    if not is_reference(reference):
        raise WrongInputError(f"expected {option} env:NAME or file:PATH, found another form")
    return resolve_reference(reference, Path.cwd(), os.environ)


def _write_shares(folder: Path, texts: Sequence[tuple[str, str]]) -> dict[str, str]:
    written: list[Path] = []
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, text in texts:
            path = folder / f"{name}.share"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            written.append(path)
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                file.write(text)
                file.flush()
                os.fsync(descriptor)
    except OSError as exc:
        for path in written:
            path.unlink()
        raise WrongInputError(
            f"expected to write a new file {exc.filename or folder}: {exc.strerror}; no share was "
            "kept and the store is as it was"
        ) from exc
    return {name: str(path) for (name, _), path in zip(texts, written, strict=True)}


def _show_one_at_a_time(texts: Sequence[tuple[str, str]]) -> None:
    for name, text in texts:
        typer.prompt(f"{name}, and nobody else: press Enter", default="", show_default=False)
        words = text.rpartition("words ")[2].split()
        typer.echo(text.rpartition("words ")[0])
        for at in range(0, len(words), 3):
            row = enumerate(words[at : at + 3], at + 1)
            typer.echo("".join(f"{place:>4} {word:<14}" for place, word in row).rstrip())
        typer.prompt("Written down? Press Enter", default="", show_default=False)
        typer.echo(_CLEARED, nl=False)


def _facts(found: RecoverySlot | RecoveryStatus) -> dict[str, object]:
    return {
        "split": found.split,
        "threshold": found.threshold,
        "custodians": list(found.custodians),
    }
