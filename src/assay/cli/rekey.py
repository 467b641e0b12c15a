"""``assay rekey``: rows move to the newest data key, their indexes to the newest index key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.run import AsJson, Programme
from assay.cli.screen import BROKEN, KEPT, out, print_json, shown_progress
from assay.cli.seal import (
    BatchRows,
    Rate,
    Scheduler,
    StoreId,
    Tables,
    Workers,
    print_refused,
    refused_to_json,
)

RotateRows = Annotated[
    bool, typer.Option("--rotate-rows", help="First make a new data key for every owner.")
]
RotateIndexes = Annotated[
    bool, typer.Option("--rotate-indexes", help="First make a new index key for every owner.")
]


def rekey(  # noqa: PLR0913, PLR0917 - each is an option with a name
    programme: Programme = Path("assay.yaml"),
    store: StoreId = None,
    table: Tables = None,
    rotate_rows: RotateRows = False,
    rotate_indexes: RotateIndexes = False,
    batch: BatchRows = 500,
    rate: Rate = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> int:
    """Move every row to the keys that are in use, while the application writes.

    Stop it whenever you like, and start it again without --rotate-…: it goes on where it was.

    Exit code: 0 every row is under the newest keys; 1 some are not: they do not open, a writer
    still used an older key, or an index key is not written under yet; 2 there is no such table;
    3 it could not go on.
    """
    from assay import assemble
    from assay.core import DataKeyClass, to_rfc3339
    from assay.encryption.adoption import Options, run_rekey, settled_at

    wanted = {DataKeyClass.ROWS: rotate_rows, DataKeyClass.INDEXES: rotate_indexes}
    options = Options(batch_rows=batch, rows_per_second=rate)
    with (
        shown_progress("Moving", as_json=as_json) as progress,
        assemble.open_adoption(programme, store) as adoption,
        assemble.crew(
            adoption,
            programme,
            options,
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        ) as crew,
    ):
        rotate = [key_class for key_class, asked in wanted.items() if asked]
        reports = run_rekey(adoption, crew, table or (), rotate)
        settled = settled_at(adoption.store.keyring)
    unfinished = settled or any(each.left or each.tally.refused for each in reports)
    code = BROKEN if unfinished else KEPT
    if as_json:
        parts = [
            {"part": each.part, "moved": each.tally.done, "left": each.left}
            | {"sweeps": each.sweeps, **refused_to_json(each.tally)}
            for each in reports
        ]
        moment = None if settled is None else to_rfc3339(settled)
        print_json({"parts": parts, "index_keys_settle_at": moment, "exit_code": code})
        return code
    for each in reports:
        out.print(f"{each.part}: {each.tally.done} rows moved, {each.left} left")
        print_refused(each.tally)
    if settled is not None:
        out.print(f"new index keys are written under from {to_rfc3339(settled)}: run again then")
    return code
