"""Where the command ``assay`` begins, and ``python -m assay`` as well.

Loading the command line takes a moment; an interrupt in that moment is told like any other.
"""

import sys

INTERRUPTED = 130
"""The exit code of a command that its user stopped."""


def main() -> int:
    """Load the command line, run it, and return its exit code."""
    try:
        from assay.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing had begun\n")
        return INTERRUPTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
