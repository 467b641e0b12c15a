"""``python -m metal``: set the company up, serve its keys and its API, drive traffic.

Example:
    $ eval "$(python -m metal setup)"
    $ python -m metal keys &
    $ python -m metal serve
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from assay.core import AssayError
from metal.errors import MetalError
from metal.settings import Settings

_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line; the process's own unless given.

    Returns:
        0, or 2 when something was not as it has to be; the reason is on standard error.
    """
    parsed = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environment(os.environ)
        match parsed.command:
            case "setup":
                _setup(settings, as_json=parsed.json)
            case "keys":
                _keys(settings, stop_at_end_of_input=parsed.stop_at_end_of_input)
            case "serve":
                _serve(settings, stop_at_end_of_input=parsed.stop_at_end_of_input)
            case _:
                _traffic(parsed.seed)
    except (MetalError, AssayError) as exc:
        return _refuse(str(exc))
    except SQLAlchemyError as exc:
        # The message may quote the URL; the type says enough.
        return _refuse(
            f"expected the database to answer, found {type(exc).__name__}; look at DATABASE_URL "
            "and KEY_DATABASE_URL"
        )
    except OSError as exc:
        return _refuse(f"expected to use {exc.filename or 'a file'}: {exc.strerror}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m metal", description="Metal, a small company.")
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="make keys and folders; print the environment")
    setup.add_argument("--json", action="store_true", help="print JSON instead of exports")
    keys = commands.add_parser("keys", help="serve the keys until SIGTERM")
    serve = commands.add_parser("serve", help="serve the API until SIGTERM")
    for server in (keys, serve):
        server.add_argument(
            "--stop-at-end-of-input",
            action="store_true",
            help="stop when standard input ends, so as not to outlive the program that started it",
        )
    traffic = commands.add_parser("traffic", help="drive traffic through the API")
    traffic.add_argument("--seed", type=int, default=1, help="which companies and texts")
    return parser


def _refuse(reason: str) -> int:
    print(f"metal: error: {reason}", file=sys.stderr)
    return _REFUSED


def _setup(settings: Settings, *, as_json: bool) -> None:
    from metal.setup import prepare

    prepared = prepare(settings, os.environ)
    if as_json:
        print(json.dumps({"environment": prepared.environment, "notes": prepared.notes}))
        return
    for note in prepared.notes:
        print(f"metal: {note}", file=sys.stderr)
    for name, value in prepared.environment.items():
        print(f"export {name}={shlex.quote(value)}")


def _keys(settings: Settings, *, stop_at_end_of_input: bool) -> None:
    from metal.key_service import serve_key_service

    serve_key_service(
        settings,
        say=lambda line: print(line, flush=True),
        stop_at_end_of_input=stop_at_end_of_input,
    )


def _serve(settings: Settings, *, stop_at_end_of_input: bool) -> None:
    from metal.server import serve

    serve(
        settings,
        os.environ,
        say=lambda line: print(line, flush=True),
        stop_at_end_of_input=stop_at_end_of_input,
    )


def _traffic(seed: int) -> None:
    from metal.traffic import drive

    for name, count in drive(os.environ, seed=seed).items():
        print(f"{count:>10,}  {name}")


if __name__ == "__main__":
    sys.exit(main())
