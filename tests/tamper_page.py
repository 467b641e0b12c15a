"""Writes the tamper matrix as the table of ``docs/tampering.md``: ``python -m tests.tamper_page``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.tamper_adapters import ADAPTERS
from tests.tamper_matrix import ATTACKS

PAGE = Path(__file__).parents[1] / "docs" / "tampering.md"
BEGIN, END = "<!-- the matrix, by tests/tamper_page.py -->\n", "<!-- end of the matrix -->\n"


def render() -> str:
    """The matrix, its reasons, and where each column is tested."""
    reasons: dict[str, int] = {}
    lines = [
        f"| attack | {' | '.join(ADAPTERS)} |",
        f"|---|{'---|' * len(ADAPTERS)}",
    ]
    for attack in ATTACKS:
        cells = [_cell(adapter.spared, attack.name, reasons) for adapter in ADAPTERS.values()]
        lines.append(f"| {attack.name} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items()), ""]
    lines += ["| column | tested in |", "|---|---|"]
    lines += [
        f"| {name} | {', '.join(f'`{each}`' for each in adapter.tests)} |"
        for name, adapter in ADAPTERS.items()
    ]
    return "\n".join(lines) + "\n"


def _cell(spared: Mapping[str, str], attack: str, reasons: dict[str, int]) -> str:
    if attack not in spared:
        return "refused"
    return f"({reasons.setdefault(spared[attack], len(reasons) + 1)})"


def shown() -> str:
    """The matrix as the page shows it."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    head, _, tail = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(head + BEGIN + render() + END + tail.partition(END)[2], encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")
