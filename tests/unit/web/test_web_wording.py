from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.controls.coverage import State
from assay.core import Fidelity, Population
from assay.web.wording import (
    FIDELITIES,
    MEANINGS,
    WORDS,
    counted,
    headline,
    moment,
    remainder,
    shortened,
    visible,
)


def test_every_state_and_fidelity_has_its_word() -> None:
    assert set(WORDS) == set(State)
    assert len(set(WORDS.values())) == len(State)
    assert set(MEANINGS) == set(State) - {State.NOT_APPLICABLE}
    assert set(FIDELITIES) == set(Fidelity)


def test_a_moment_is_cut_to_the_minute_and_never_rounded_up() -> None:
    found = moment(datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    assert (found.text, found.iso) == ("31 Dec 2026, 23:59 UTC", "2026-12-31T23:59:59Z")


def test_a_moment_of_another_zone_is_shown_in_utc() -> None:
    zone = timezone(timedelta(hours=2))
    assert moment(datetime(2026, 1, 1, 1, 30, tzinfo=zone)).text == "31 Dec 2025, 23:30 UTC"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, "No promise is declared, so nothing is proven."),
        ({State.KEPT: 1}, "The one promise is kept."),
        ({State.KEPT: 20}, "All 20 promises are kept."),
        ({State.KEPT: 19, State.UNPROVEN: 1}, "19 of 20 promises are kept."),
        ({State.KEPT: 19, State.NOT_APPLICABLE: 1}, "19 of 20 promises are kept."),
        ({State.ERROR: 1}, "0 of 1 promise is kept."),
    ],
)
def test_the_headline(counts: dict[State, int], expected: str) -> None:
    assert headline(Counter(counts)) == expected


@given(st.dictionaries(st.sampled_from(list(MEANINGS)), st.integers(0, 30)))
def test_the_headline_says_all_only_when_all_are_kept(counts: dict[State, int]) -> None:
    found = Counter(counts)
    says_all = headline(found).startswith(("All ", "The one "))
    assert says_all == (found.total() > 0 and found[State.KEPT] == found.total())


def test_the_remainder_names_every_other_state() -> None:
    counts = Counter({State.KEPT: 3, State.BROKEN: 1, State.ERROR: 2, State.UNPROVEN: 4})
    assert remainder(counts) == "1 is broken, 2 ended in an error, 4 are unproven."
    assert remainder(Counter({State.KEPT: 3})) == ""


def test_counts_say_how_many_failed() -> None:
    assert counted(Population(1204, 1200, 3, "rows")) == "1,200 of 1,204 rows, 3 failed"
    assert counted(Population(2, 2, 0, "endpoints")) == "2 of 2 endpoints"


@pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\u2069", "\x00", "\x1b", "\x9b", "\ufeff"])
def test_what_hides_or_reorders_is_spelled_out(hidden: str) -> None:
    assert visible(f"a{hidden}b") == f"a[U+{ord(hidden):04X}]b"


def test_a_lone_surrogate_cannot_stop_the_page() -> None:
    assert visible("\ud800").encode() == b"[U+D800]"


def test_other_scripts_and_marks_are_left_alone() -> None:
    text = "שלום\u200f مرحبا café 👩\u200d🔬\tx\ny"
    assert visible(text) == text


def test_long_text_is_cut_and_says_so() -> None:
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("x" * 11, 10) == "x" * 10 + "… (cut here; see the statement)"
