"""The command line: one file per verb, no logic.

Every verb takes ``--json`` and ends with the same codes: 0 kept, 1 broken, 2 wrong input,
3 could not tell.

Example:
    >>> main(["run", "-c", "assay.yaml"])       # doctest: +SKIP
    3
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from assay.cli import bundle, drill, index, init, keys, kms, rekey, run, scan, seal, trust, verify
from assay.cli.screen import INTERRUPTED, report_error, report_interrupt, report_usage, show_help

_DESCRIPTION = "Keeps a company's security and privacy promises, and proves it."

app = typer.Typer(
    name="assay",
    help=_DESCRIPTION,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(init.init)
app.command("run")(run.run)
app.command("drill")(drill.drill)
app.command("rekey")(rekey.rekey)
app.command("bundle")(bundle.bundle)
app.command("verify")(verify.verify)
app.add_typer(trust.app, name="trust")
app.add_typer(keys.app, name="keys")
app.add_typer(kms.app, name="kms")
app.add_typer(scan.app, name="scan")
app.add_typer(seal.app, name="seal")
app.add_typer(index.app, name="index")

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: the words after ``assay``; those of this process when None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        code = app(args=words, prog_name="assay", standalone_mode=False)
    except TyperException as exc:
        if type(exc).__name__ == "NoArgsIsHelpError":  # Typer has no public name for it
            return show_help(exc.format_message())
        return report_usage(exc.format_message(), as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return report_interrupt(as_json=as_json)
    except Exception as exc:  # noqa: BLE001 - the last place where an error can be told
        return report_error(exc, as_json=as_json)
    return report_interrupt(as_json=as_json) if code == INTERRUPTED else int(code or 0)
