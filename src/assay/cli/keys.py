"""``assay keys``: make the keys that a programme names, and look after its data keys."""

from __future__ import annotations

from pathlib import Path

import typer

from assay.cli import keys_recovery, shred
from assay.cli.keys_rotation import rewrap, rotate, status
from assay.cli.run import AsJson, Programme
from assay.cli.screen import KEPT, out, print_json

app = typer.Typer(help="The keys that a programme names.", no_args_is_help=True)
app.command("status")(status)
app.command("rewrap")(rewrap)
app.command("rotate")(rotate)
app.add_typer(keys_recovery.app, name="recovery")
app.add_typer(shred.app, name="shred")
app.command("replay")(shred.replay)


@app.callback()
def keys() -> None:
    """The keys that a programme names."""


@app.command("create")
def create(programme: Programme = Path("assay.yaml"), as_json: AsJson = False) -> int:
    """Make the key-encryption key and the log's signing key, where they are not there yet."""
    from assay import assemble

    made = assemble.create_keys(programme)
    if as_json:
        listed = [{"key": uri, "created": created} for uri, created in made]
        print_json({"keys": listed, "exit_code": KEPT})
        return KEPT
    for uri, created in made:
        out.print(f"{uri}: {'created' if created else 'was there already'}", soft_wrap=True)
    return KEPT
