import io

import pytest
from rich.console import Console

from assay.cli import matrix
from assay.controls import PromiseState, State, load_catalogue
from assay.controls.coverage import CoverageLine

WHY = "code: no check yet (No dependency has a known vulnerability that is overdue)"


@pytest.fixture
def shown(monkeypatch):
    """What is printed about one promise on a terminal of some width."""

    def show(width, state):
        catalogue = load_catalogue()
        promise = catalogue.promise("sca")
        control = catalogue.control(promise.controls[0])
        line = CoverageLine(control, None, None, None, state, WHY)
        console = Console(file=io.StringIO(), width=width, highlight=False)
        monkeypatch.setattr(matrix, "out", console)
        matrix.print_matrix("Metal", [PromiseState(promise, state, (line,))])
        return console.file.getvalue()

    return show


@pytest.mark.parametrize("width", [40, 60, 80, 160])
@pytest.mark.parametrize("state", [State.UNPROVEN, State.ERROR, State.BROKEN])
def test_the_whole_reason_is_shown_on_every_width(width, state, shown):
    assert WHY in shown(width, state)


def test_a_reason_is_shown_once_where_there_is_room(shown):
    assert shown(160, State.UNPROVEN).count(WHY) == 1


@pytest.mark.parametrize("width", [60, 80])
def test_a_table_is_as_wide_as_the_terminal(width, shown):
    table, _, _ = shown(width, State.UNPROVEN).partition("\n\n")
    assert all(len(line) <= width for line in table.splitlines())
