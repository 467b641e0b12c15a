from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import ModuleType

from assay.controls.coverage import State
from assay.core import Fidelity, Population, Result
from assay.web.view import CardView, cards_of, overall_of


def _card(cards: tuple[CardView, ...], promise: str) -> CardView:
    return next(card for card in cards if card.anchor == f"promise-{promise}")


def test_one_card_per_promise_in_the_order_of_the_scope(sample: ModuleType) -> None:
    page = sample.sample_page()
    cards = cards_of(page)
    assert [card.sentence for card in cards] == [p.sentence for p in page.scope.promises]
    assert [card.number for card in cards] == list(range(1, 21))
    assert len({card.anchor for card in cards}) == 20


def test_the_sample_has_every_state(sample: ModuleType) -> None:
    cards = cards_of(sample.sample_page())
    assert {card.state for card in cards} == set(State) - {State.NOT_APPLICABLE}
    lines = [line for card in cards for control in card.controls for line in control.lines]
    assert {line.state for line in lines} == set(State)


def test_the_counts_add_up(sample: ModuleType) -> None:
    overall = overall_of(sample.sample_page())
    assert {tally.word: tally.count for tally in overall.tallies} == {
        "Kept": 6, "Broken": 2, "Error": 1, "Unproven": 11,
    }  # fmt: skip
    assert overall.headline == "6 of 20 promises are kept."
    assert overall.stand_ins == 2


def test_a_kept_card(sample: ModuleType) -> None:
    card = _card(cards_of(sample.sample_page()), "at-rest")
    assert (card.word, card.why, card.evaluated, card.in_scope) == ("Kept", (), 2, 2)
    assert card.fidelity is Fidelity.LIVE
    assert card.populations == (
        ("app-db", "412 of 412 rows"),
        ("uploads", "1,204 of 1,204 objects"),
    )
    assert card.at
    assert card.at.text == "22 Nov 2026, 09:38 UTC"


def test_a_broken_card_says_why_and_leaves_out_what_is_no_reason(sample: ModuleType) -> None:
    card = _card(cards_of(sample.sample_page()), "in-transit")
    assert card.why == ("admin: accepts TLS 1.0 and 1.1, which RFC 8996 retired",)
    assert (card.evaluated, card.in_scope, card.left_out) == (2, 2, 1)
    broken = next(line for line in card.controls[0].lines if line.state is State.BROKEN)
    assert len(broken.findings) == 2
    assert broken.population == "1 of 1 endpoints, 1 failed"
    assert (broken.asset, broken.reason) == (
        "admin",
        "accepts TLS 1.0 and 1.1, which RFC 8996 retired",
    )


def test_a_stand_in_never_proves_what_needs_the_real_thing(sample: ModuleType) -> None:
    card = _card(cards_of(sample.sample_page()), "hsm")
    assert card.state is State.UNPROVEN
    assert card.fidelity is Fidelity.EMULATED
    assert "not the real thing" in card.fidelity_meaning
    line = card.controls[0].lines[0]
    assert "stand-in" in line.reason
    assert line.status == "pass"


def test_a_promise_without_a_result(sample: ModuleType) -> None:
    card = _card(cards_of(sample.sample_page()), "dast")
    assert (card.word, card.fidelity, card.at, card.populations) == ("Unproven", None, None, ())
    assert card.controls[0].lines[0].index is None


def test_a_missing_outcome_is_an_error_on_the_card(sample: ModuleType) -> None:
    results = sample.sample_results()
    del results["sealed-rows", "app-db"]
    cards = cards_of(sample.page_of(sample.sample_scope(), results))
    card = _card(cards, "row-encryption")
    assert (card.word, card.why) == ("Error", ("app-db: no result of sealed-rows on record",))


def test_an_old_proof_does_not_count_and_says_so(sample: ModuleType) -> None:
    page = sample.sample_page(proven_at=sample.BUILT_AT - timedelta(days=2))
    card = _card(cards_of(page), "at-rest")
    assert card.state is State.UNPROVEN
    assert "last proven" in card.why[0]
    assert card.controls[0].lines[0].result_reason.startswith("every row")


def test_what_is_only_not_applicable_still_says_why(sample: ModuleType) -> None:
    scope = sample.sample_scope()
    managed = tuple(p for p in scope.promises if p.id == "row-encryption")
    results = {
        ("sealed-rows", "app-db"): Result.not_applicable("holds no tables", Fidelity.LIVE),
    }
    (card,) = cards_of(sample.page_of(sample.replace_scope(scope, promises=managed), results))
    assert (card.word, card.in_scope, card.left_out) == ("Unproven", 0, 1)
    assert card.why == ("app-db: holds no tables",)
    assert card.populations == ()


def test_long_lists_are_cut_and_counted(sample: ModuleType) -> None:
    card = cards_of(sample.hostile_page())[0]
    line = card.controls[0].lines[0]
    assert (len(line.findings), line.more_findings) == (20, 23)
    assert len(line.reason) < 1_100


def test_many_assets_are_cut_and_counted(sample: ModuleType) -> None:
    scope = sample.sample_scope()
    stores = tuple(
        type(asset)(**{name: getattr(asset, name) for name in asset.__struct_fields__}
                    | {"id": f"db-{number}"})
        for number in range(9) for asset in scope.assets if asset.id == "app-db"
    )  # fmt: skip
    scope = sample.replace_scope(
        scope, assets=stores, promises=tuple(p for p in scope.promises if p.id == "row-encryption")
    )
    bad = Result.of(Population(2, 2, 1, "rows"), Fidelity.LIVE, "one row is open")
    page = sample.page_of(scope, {("sealed-rows", store.id): bad for store in stores})
    (card,) = cards_of(page)
    assert (len(card.populations), card.more_populations) == (4, 5)
    assert (len(card.why), card.more_reasons) == (5, 4)


def test_ids_that_are_no_element_ids_or_occur_twice_get_a_number(sample: ModuleType) -> None:
    anchors = [card.anchor for card in cards_of(sample.hostile_page())]
    assert anchors == ["promise.1", "promise.2", "promise.3"]


def test_framework_ids_stand_at_each_control(sample: ModuleType) -> None:
    card = _card(cards_of(sample.sample_page()), "hsts")
    assert dict(card.controls[0].frameworks) == {
        "SOC 2": (("CC6.7.2", "encryption in transit"),),
        "ISO 27001": (("8.20", ""), ("8.26", "")),
        "NIST 800-53": (("SC-8(1)", ""), ("SC-23", "")),
        "GDPR article": (("32(1)(a)", ""),),
    }


def test_all_kept_is_said_only_when_all_are(sample: ModuleType) -> None:
    assert overall_of(sample.kept_page()).headline == "All 2 promises are kept."
    late = sample.kept_page(proven_at=sample.BUILT_AT - timedelta(days=2))
    assert overall_of(late).headline == "0 of 2 promises are kept."
    assert overall_of(replace(late, states=())).headline.startswith("No promise")
