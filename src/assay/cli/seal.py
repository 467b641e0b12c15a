"""``assay seal``: from a plaintext table in production to a sealed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.run import AsJson, Programme
from assay.cli.screen import (
    BROKEN,
    COULD_NOT_TELL,
    KEPT,
    out,
    print_json,
    shown_progress,
)

if TYPE_CHECKING:
    from assay.encryption.adoption import (
        BackfillReport,
        ContractReport,
        Plan,
        Searched,
        Tally,
        VerifyReport,
    )

app = typer.Typer(help="From a plaintext table to a sealed one.", no_args_is_help=True)

StoreId = Annotated[
    str | None, typer.Option("--store", help="The datastore; needed when there are several.")
]
Tables = Annotated[
    list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")
]
VersionsFolder = Annotated[
    Path, typer.Option("--versions", help="The folder of Alembic versions.", metavar="FOLDER")
]
Apply = Annotated[bool, typer.Option("--apply", help="Apply the migrations as well.")]
VersionTable = Annotated[
    str, typer.Option("--version-table", help="Where Alembic keeps the database's version.")
]
BatchRows = Annotated[int, typer.Option("--batch", min=1, help="Rows of one transaction.")]
Rate = Annotated[
    float | None, typer.Option("--rate", min=0.1, help="At most so many rows a second.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes; as many as processors, up to 4.")
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="Work on this Dask cluster.", metavar="tcp://HOST:PORT"),
]
FreshHours = Annotated[
    float, typer.Option("--fresh-hours", min=0, help="How old the verification may be.")
]
WithoutSearch = Annotated[
    bool, typer.Option("--without-search", help="The raw files cannot be read from here.")
]
PurgeBinaryLogs = Annotated[
    bool,
    typer.Option(
        "--purge-binary-logs",
        help="On MariaDB, delete the binary logs of the whole server, which hold the plaintext.",
    ),
]
_FOLDER = Path("migrations/versions")
_ASSUMED_ROWS_PER_SECOND = 1000.0


@app.callback()
def seal() -> None:
    """From a plaintext table in production to a sealed one, while the application keeps writing."""


@app.command("plan")
def plan(
    programme: Programme = Path("assay.yaml"),
    store: StoreId = None,
    table: Tables = None,
    rate: Rate = None,
    as_json: AsJson = False,
) -> int:
    """Say what will be done, what holds the plaintext, and what stands in the way.

    Exit code: 0 nothing stands in the way; 1 something does; 2 there is nothing to seal; 3 the
    database does not answer.
    """
    from assay import assemble
    from assay.encryption.adoption import run_plan

    with assemble.open_adoption(programme, store) as adoption:
        plans = run_plan(adoption, table or ())
    code = BROKEN if any(each.blockers for each in plans) else KEPT
    rows_per_second = rate or _ASSUMED_ROWS_PER_SECOND
    if as_json:
        print_json({"parts": [_plan_to_json(p, rows_per_second) for p in plans], "exit_code": code})
        return code
    for each in plans:
        _print_plan(each, rows_per_second)
    return code


def _plan_to_json(plan: Plan, rows_per_second: float) -> dict[str, object]:
    document = {**asdict(plan), "stage": plan.stage.name.lower()}
    return {**document, "backfill_seconds": plan.seconds_at(rows_per_second)}


def _print_plan(plan: Plan, rows_per_second: float) -> None:
    out.print(f"{plan.part}: next is {plan.stage.value}")
    out.print(f"  {', '.join(plan.columns)} -> {', '.join(plan.sealed_columns)}", soft_wrap=True)
    seconds = plan.seconds_at(rows_per_second)
    out.print(
        f"  {plan.rows} rows, {plan.unsealed} of them not sealed: "
        f"{seconds:.0f} s at {rows_per_second:g} rows a second"
    )
    out.print(f"  {plan.table_bytes} bytes now, about {plan.added_bytes} more while both are there")
    for holder in plan.holders:
        out.print(f"  held by {holder.kind} {holder.name}", soft_wrap=True, markup=False)
    for blocker in plan.blockers:
        out.print(f"  IN THE WAY: {blocker}", soft_wrap=True, markup=False)


@app.command("expand")
def expand(  # noqa: PLR0913, PLR0917 - each is an option with a name
    programme: Programme = Path("assay.yaml"),
    store: StoreId = None,
    table: Tables = None,
    versions: VersionsFolder = _FOLDER,
    apply: Apply = False,
    version_table: VersionTable = "alembic_version",
    as_json: AsJson = False,
) -> int:
    """Write the migrations that add sealed columns, and the trigger that keeps them true.

    Exit code: 0 written (and applied); 2 there is nothing to seal, or the table cannot be sealed
    as it is; 3 a migration could not be written or applied.
    """
    from assay import assemble
    from assay.encryption.adoption import (
        Versions,
        run_expand,
    )

    with assemble.open_adoption(programme, store) as adoption:
        wanted = Versions(versions, apply=apply, table=version_table)
        migrations = run_expand(adoption, wanted, table or ())
    if as_json:
        listed = [
            {"path": str(each.path), "revision": each.revision, "written": each.written}
            for each in migrations
        ]
        print_json({"migrations": listed, "applied": apply, "exit_code": KEPT})
        return KEPT
    for each in migrations:
        found = "written" if each.written else "there already"
        out.print(f"{each.path}: {found}{', applied' if apply else ''}", soft_wrap=True)
    return KEPT


@app.command("backfill")
def backfill(  # noqa: PLR0913, PLR0917 - each is an option with a name
    programme: Programme = Path("assay.yaml"),
    store: StoreId = None,
    table: Tables = None,
    batch: BatchRows = 500,
    rate: Rate = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> int:
    """Seal every row that has no envelope, while the application writes.

    Stop it whenever you like, and start it again: it goes on where it was.

    Exit code: 0 no row is left; 1 some are; 2 there is nothing to seal; 3 it could not go on.
    """
    from assay import assemble
    from assay.encryption.adoption import Options, run_backfill

    options = Options(batch_rows=batch, rows_per_second=rate)
    with (
        shown_progress("Sealing", as_json=as_json) as progress,
        assemble.open_adoption(programme, store) as adoption,
        assemble.crew(
            adoption, programme, options, workers=workers, scheduler=scheduler, progress=progress
        ) as crew,
    ):
        reports = run_backfill(adoption, crew, table or ())
    code = BROKEN if any(report.left for report in reports) else KEPT
    if as_json:
        print_json({"parts": [_backfill_to_json(each) for each in reports], "exit_code": code})
        return code
    for each in reports:
        out.print(
            f"{each.part}: {each.tally.done} rows sealed, {each.left} left "
            f"({each.sweeps} {'sweep' if each.sweeps == 1 else 'sweeps'})"
        )
        print_refused(each.tally)
    return code


@app.command("verify")
def verify(  # noqa: PLR0913, PLR0917 - each is an option with a name
    programme: Programme = Path("assay.yaml"),
    store: StoreId = None,
    table: Tables = None,
    batch: BatchRows = 500,
    rate: Rate = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> int:
    """Open every row and compare it with its plaintext.

    Exit code: 0 every row is equal; 1 a row differs, does not open, or is not sealed; 2 there is
    nothing to verify; 3 could not tell.
    """
    from assay import assemble
    from assay.encryption.adoption import Options, run_verify

    options = Options(batch_rows=batch, rows_per_second=rate)
    with (
        shown_progress("Verifying", as_json=as_json) as progress,
        assemble.open_adoption(programme, store) as adoption,
        assemble.crew(
            adoption, programme, options, workers=workers, scheduler=scheduler, progress=progress
        ) as crew,
    ):
        reports = run_verify(adoption, crew, table or ())
    code = _verified_code(reports)
    if as_json:
        print_json({"parts": [_verify_to_json(each) for each in reports], "exit_code": code})
        return code
    for each in reports:
        empty = "; the table is empty" if not each.in_table and not each.tally.rows else ""
        out.print(f"{each.part}: {each.tally.done} of {each.tally.rows} rows are equal{empty}")
        print_refused(each.tally)
    return code


@app.command("contract")
def contract(  # noqa: PLR0913, PLR0917 - each is an option with a name
    programme: Programme = Path("assay.yaml"),
    store: StoreId = None,
    table: Tables = None,
    versions: VersionsFolder = _FOLDER,
    apply: Apply = False,
    version_table: VersionTable = "alembic_version",
    fresh_hours: FreshHours = 24,
    without_search: WithoutSearch = False,
    purge_binary_logs: PurgeBinaryLogs = False,
    as_json: AsJson = False,
) -> int:
    """Drop the columns in the clear, rewrite what held them, and search the raw files.

    Without --apply only the migration is written. With it, some values are kept in memory, the
    raw files are searched for them, the migration is applied, the table, the statistics and the
    write-ahead log are rewritten, and the files are searched again. The table is locked while it
    is rewritten. There is no way back.

    Exit code: 0 written, or applied and no value is found any more; 1 plaintext is still in a
    file; 2 the models do not say that the columns are retired; 3 not verified, or could not tell.
    """
    from datetime import timedelta

    from assay import assemble
    from assay.encryption.adoption import (
        Options,
        Terms,
        Versions,
        run_contract,
    )

    search = None if without_search else assemble.search_storage
    terms = Terms(timedelta(hours=fresh_hours), search, binary_logs=purge_binary_logs)
    with (
        shown_progress("Verifying", as_json=as_json) as progress,
        assemble.open_adoption(programme, store) as adoption,
        assemble.crew(adoption, programme, Options(), progress=progress) as crew,
    ):
        wanted = Versions(versions, apply=apply, table=version_table)
        reports = run_contract(adoption, crew, wanted, table or (), terms)
    code = _contract_code(reports)
    if as_json:
        print_json({"parts": [_contract_to_json(each) for each in reports], "exit_code": code})
        return code
    for each in reports:
        _print_contract(each)
    return code


def _contract_code(reports: Sequence[ContractReport]) -> int:
    if any(report.still_there for report in reports):
        return BROKEN
    shown = all(report.shown_gone or not report.applied for report in reports)
    return KEPT if shown else COULD_NOT_TELL


def _contract_to_json(report: ContractReport) -> dict[str, object]:
    return {
        "part": report.part,
        "migration": report.migration,
        "applied": report.applied,
        "cleaned": list(report.cleaned),
        "remains": list(report.remains),
        "sampled": report.sampled,
        "before": report.before and _searched_to_json(report.before),
        "after": report.after and _searched_to_json(report.after),
    }


def _searched_to_json(searched: Searched) -> dict[str, object]:
    return {
        "found": len(searched.found),
        "places": list(searched.places),
        "files": searched.files,
        "bytes": searched.bytes_read,
        "gaps": list(searched.gaps),
    }


def _print_contract(report: ContractReport) -> None:
    out.print(f"{report.part}: {report.migration}", soft_wrap=True)
    if not report.applied:
        out.print("  written; nothing was changed. Apply it with --apply")
        return
    for sentence in (*report.cleaned, *(f"NOT CLEANED: {each}" for each in report.remains)):
        out.print(f"  {sentence}", soft_wrap=True)
    before, after = report.before, report.after
    if before is None or after is None:
        out.print(f"  could not tell whether plaintext is left: {report.sampled} values sampled")
        return
    out.print(
        f"  of {report.sampled} values {len(before.found)} stood in the raw files before, "
        f"{len(after.found)} do now ({after.files} files, {after.bytes_read} bytes)"
    )
    for place in (*after.places, *after.gaps):
        out.print(f"  {place}", soft_wrap=True)


def _verified_code(reports: Sequence[VerifyReport]) -> int:
    if all(report.passed for report in reports):
        return KEPT
    differs = any(report.tally.done < report.tally.rows for report in reports)
    return BROKEN if differs else COULD_NOT_TELL


def _backfill_to_json(report: BackfillReport) -> dict[str, object]:
    sealed = {"part": report.part, "sealed": report.tally.done, "left": report.left}
    return {**sealed, "sweeps": report.sweeps, **refused_to_json(report.tally)}


def _verify_to_json(report: VerifyReport) -> dict[str, object]:
    rows = {"part": report.part, "rows": report.tally.rows, "equal": report.tally.done}
    return {**rows, "in_table": report.in_table, **refused_to_json(report.tally)}


def refused_to_json(tally: Tally) -> dict[str, object]:
    """Why rows could not be worked on, and which for example."""
    from assay.encryption.adoption import shown_keys

    return {"refused": dict(tally.refused), "examples": shown_keys(tally.examples)}


def print_refused(tally: Tally) -> None:
    """Show why rows could not be worked on, and which for example."""
    from assay.encryption.adoption import shown_keys

    for reason, rows in sorted(tally.refused.items()):
        out.print(f"  {rows} rows: {reason}")
    keys = shown_keys(tally.examples)
    if keys:
        out.print(f"  for example {', '.join(keys)}", soft_wrap=True)
