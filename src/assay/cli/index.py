"""``assay index``: what an index of a column tells whoever reads the table."""

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
    STYLES,
    out,
    print_json,
    shown_progress,
)

if TYPE_CHECKING:
    from assay.core import Status
    from assay.encryption import IndexVerdict, MeasuredColumn

app = typer.Typer(help="Blind indexes of sealed fields.", no_args_is_help=True)

StoreId = Annotated[
    str | None, typer.Option("--store", help="The datastore; needed when there are several.")
]
Database = Annotated[
    str | None, typer.Option("--database", help="A database in the clear: its URL, or env:NAME.")
]
TableName = Annotated[str | None, typer.Option("--table", help="The table, with --database.")]
Column = Annotated[
    str | None, typer.Option("--column", help="The column, with --database or a CSV file.")
]
Values = Annotated[
    Path | None, typer.Option("--values", help="A CSV file, or one value a line.", metavar="FILE")
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="What the attacker knows, a value a line, as often as it occurs.",
        metavar="FILE",
    ),
]
TypeName = Annotated[
    str, typer.Option("--type", help="What text stands for: text, int, decimal, date or datetime.")
]
TransformName = Annotated[
    str, typer.Option("--transform", help="exact, casefold or digits, for text.")
]
Sample = Annotated[
    int, typer.Option("--sample", min=1, help="Measure so many rows at most, chosen by chance.")
]


@app.callback()
def index() -> None:
    """Blind indexes of sealed fields."""


@app.command("plan")
def plan(  # noqa: PLR0913, PLR0917 - each is an option with a name
    programme: Programme = Path("assay.yaml"),
    store: StoreId = None,
    database: Database = None,
    table: TableName = None,
    column: Column = None,
    values: Values = None,
    reference: Reference = None,
    kind: TypeName = "text",
    transform: TransformName = "casefold",
    sample: Sample = 100_000,
    as_json: AsJson = False,
) -> int:
    """Measure what indexes tell: of a column in the clear, of a file, or of the declared ones.

    Without other options every index that the programme's models declare is measured on the rows
    of its table, or on its column in the clear while there is one. No value is ever shown.

    Exit code: 0 the indexes fit; 1 one is of few values or easily guessed, and the code does not
    acknowledge it; 2 wrong input; 3 could not tell.
    """
    from assay import assemble
    from assay.encryption import judge_indexes

    source = assemble.PlainColumn(database, table, column, values, reference, kind, transform)
    if source == assemble.PlainColumn():
        with shown_progress("Measuring", as_json=as_json) as progress:
            measured = assemble.measure_declared_indexes(
                programme, store, sample=sample, progress=progress
            )
    else:
        measured = [assemble.measure_plain_column(source, sample=sample)]
    judged = [(each, judge_indexes(each)) for each in measured]
    code = _exit_code([verdict.status for _, verdict in judged])
    if as_json:
        print_json({"columns": [_to_json(*each) for each in judged], "exit_code": code})
        return code
    _print(judged)
    return code


def _exit_code(found: Sequence[Status]) -> int:
    from assay.core import Status

    if Status.FAIL in found:
        return BROKEN
    return KEPT if found and set(found) == {Status.PASS} else COULD_NOT_TELL


def _to_json(measured: MeasuredColumn, verdict: IndexVerdict) -> dict[str, object]:
    document = asdict(measured)
    for each, status in zip(document["indexes"], verdict.indexes, strict=True):
        each["status"] = str(status)
    return {**document, "status": str(verdict.status), "sentence": verdict.sentence}


def _print(judged: Sequence[tuple[MeasuredColumn, IndexVerdict]]) -> None:
    if not judged:
        out.print("could not tell: the models declare no index")
    for measured, verdict in judged:
        seen = measured.rows + measured.nulls
        of_rows = "" if seen == measured.of_rows else f" (a sample: {seen} of {measured.of_rows})"
        out.print(
            f"{measured.column}: {measured.rows} values{of_rows}, {measured.distinct} different, "
            f"{measured.nulls} rows without; min-entropy {measured.min_entropy_bits:.1f} bits",
            markup=False,
            soft_wrap=True,
        )
        _print_table(measured, verdict)
        out.print(f"-> {verdict.sentence}", markup=False, soft_wrap=True)
    if any(measured.indexes for measured, _ in judged):
        out.print(
            "alike: values that look like another one. found: rows of a search. guessed: rows\n"
            "that are guessed right by who knows how often values occur (by rank, ePrint\n"
            "2015/1158; n-grams: at least); at most: if he has better ways than by rank, and\n"
            "knows the whole column."
        )


def _print_table(measured: MeasuredColumn, verdict: IndexVerdict) -> None:
    from rich.table import Table

    if not measured.indexes:
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("index")
    for heading in ("bits", "entries", "alike", "expected", "found", "guessed", "at most"):
        shown.add_column(heading, justify="right")
    shown.add_column("")
    for each, status in zip(measured.indexes, verdict.indexes, strict=True):
        shown.add_row(
            each.label,
            str(each.bits),
            str(each.entries),
            str(each.collide_measured),
            f"{each.collide_expected:.1f}",
            f"{each.rows_per_search:.1f}",
            f"{each.guessed:.1%}",
            f"{each.guessed_at_most:.1%}",
            _note(status, each.acknowledged),
        )
    out.print(shown)


def _note(status: Status, acknowledged: str | None) -> str:
    if acknowledged is not None:
        return "known"
    words = {"pass": "", "fail": "REFUSED", "error": "?"}
    styles = {"pass": STYLES["kept"], "fail": STYLES["broken"], "error": STYLES["error"]}
    word = words[str(status)]
    return f"[{styles[str(status)]}]{word}[/]" if word else ""
