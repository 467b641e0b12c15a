"""The trust page in a real browser: on a desk, on a phone, on paper, without script, too late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from types import ModuleType

import pytest
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.xdist_group("browser")

DESKTOP, PHONE, SMALLEST, WIDE = (1280, 900), (360, 740), (320, 568), (1920, 1080)

Open = Callable[..., Page]

# WCAG 2.2: contrast of the text in an element with the ground that is painted behind it.
_CONTRAST = """
(elements) => elements.map((element) => {
  const channels = (color) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => rgb.slice(0, 3)
    .map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
  let ground = element;
  while (ground && channels(getComputedStyle(ground).backgroundColor)[3] === 0) {
    ground = ground.parentElement;
  }
  const behind = luminance(channels(getComputedStyle(ground).backgroundColor));
  const front = luminance(channels(getComputedStyle(element).color));
  const ratio = (Math.max(front, behind) + 0.05) / (Math.min(front, behind) + 0.05);
  return [element.className + " " + element.textContent.trim().slice(0, 30), ratio];
})
"""


@pytest.fixture
def open_page(browser: Browser, served: str, sample: ModuleType) -> Iterator[Open]:
    """Opens a page at a time that the browser believes; afterwards nothing may have complained."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_(
            name: str = "sample",
            size: tuple[int, int] = DESKTOP,
            *,
            at: datetime = sample.BUILT_AT,
            **options: object,
        ) -> Page:
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]},
                **options,  # type: ignore[arg-type]
            )
            stack.callback(context.close)
            page = context.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("requestfailed", lambda request: complaints.append(request.url))
            page.on(
                "request",
                lambda request: None if request.url.startswith(served) else complaints.append(
                    f"asked elsewhere: {request.url}"
                ),
            )  # fmt: skip
            page.clock.install(time=at)
            page.goto(f"{served}/{name}/")
            return page

        yield open_
    assert complaints == []


def _seen(page: Page) -> str:
    return " ".join(page.locator("body").inner_text().split())


@pytest.mark.parametrize("size", [DESKTOP, PHONE, SMALLEST, WIDE])
@pytest.mark.parametrize("name", ["sample", "hostile"])
def test_nothing_sticks_out_sideways(open_page: Open, name: str, size: tuple[int, int]) -> None:
    page = open_page(name, size)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    outside = page.evaluate(
        """() => {
             const right = (element) => element.getBoundingClientRect().right;
             return [...document.querySelectorAll('main *, header *')]
               .filter((e) => e.checkVisibility() && !e.closest('pre, svg, .unseen'))
               .filter((e) => right(e) > right(e.parentElement) + 0.5)
               .map((e) => e.outerHTML.slice(0, 80));
           }"""
    )
    assert outside == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_card_and_its_state_can_be_seen(
    open_page: Open, sample: ModuleType, size: tuple[int, int]
) -> None:
    page = open_page(size=size)
    cards = page.locator("article.card")
    assert cards.count() == 20
    states = sample.sample_page().states
    for card, state in zip(cards.all(), states, strict=True):
        assert card.is_visible()
        assert card.locator("h3").inner_text() == state.promise.sentence
        word = card.locator(".badge").first.inner_text()
        assert word.strip().lower() == state.state.value
    assert "6 of 20 promises are kept." in _seen(page)


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_date_stands_on_one_line(open_page: Open, size: tuple[int, int]) -> None:
    page = open_page(size=size)
    lines = page.locator(".dates time, article[data-state=kept] .facts time").evaluate_all(
        "(times) => times.map((time) => time.getClientRects().length)"
    )
    assert set(lines) == {1}


def test_the_marks_lead_to_their_cards(open_page: Open) -> None:
    page = open_page()
    marks = page.locator(".marks a")
    assert marks.count() == 20
    assert marks.nth(3).get_attribute("href") == "#promise-in-transit"
    marks.nth(3).click()
    assert page.locator("#promise-in-transit").evaluate(
        "(card) => card.getBoundingClientRect().top < innerHeight && card.matches(':target')"
    )
    names = [mark.inner_text() for mark in marks.all()]
    assert "4, Broken, live" in " ".join(names[3].split())


def test_the_marks_are_large_enough_for_a_finger(open_page: Open) -> None:
    page = open_page(size=PHONE)
    for mark in page.locator(".marks a, summary").all():
        box = mark.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 40


def test_evidence_opens_by_keyboard_and_focus_can_be_seen(open_page: Open) -> None:
    page = open_page("kept")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.tagName") == "SUMMARY"
    assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
    assert page.evaluate(f"parseFloat(getComputedStyle({focused}).outlineWidth)") >= 2
    link = page.locator("article.card").first.get_by_role("link", name="Inclusion proof").first
    assert not link.is_visible()
    page.keyboard.press("Enter")
    assert link.is_visible()
    page.keyboard.press("Space")
    assert not link.is_visible()


def test_the_proof_files_can_be_downloaded(open_page: Open, sample: ModuleType) -> None:
    page = open_page()
    page.locator("summary").first.click()
    with page.expect_download() as found:
        page.get_by_role("link", name="Statement").first.click()
    assert found.value.suggested_filename == "17.dsse.json"
    assert found.value.path().read_bytes() == sample.sample_page().proofs[17].entry


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("late", [False, True])
def test_text_keeps_its_contrast(
    open_page: Open, sample: ModuleType, scheme: str, late: bool
) -> None:
    at = sample.BUILT_AT + timedelta(days=2) if late else sample.BUILT_AT
    page = open_page(at=at, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    found = page.locator(
        ".badge, .chip, .of, dt, dd, h1, h2, h3, h4, p, a, summary, summary span, .meaning, code,"
        " .number, .marks a, .notice, li"
    ).evaluate_all(_CONTRAST)
    assert len(found) > 500
    assert [(what, ratio) for what, ratio in found if ratio < 4.5] == []


def test_the_schemes_differ(open_page: Open) -> None:
    grounds = {
        open_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert len(grounds) == 2


def test_no_layout_shift(open_page: Open) -> None:
    page = open_page()
    shift = page.evaluate(
        """() => new Promise((resolve) => {
             let sum = 0;
             new PerformanceObserver((list) => list.getEntries().forEach((e) => { sum += e.value }))
               .observe({type: "layout-shift", buffered: true});
             requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
           })"""
    )
    assert shift == 0


def test_it_reads_perfectly_without_script(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    seen = _seen(page)
    assert "6 of 20 promises are kept." in seen
    assert "Expired" not in seen
    assert page.locator("article.card:visible").count() == 20
    kept = page.locator("article.card[data-state=kept]").first
    assert "Valid until 23 Nov 2026, 09:38 UTC" in " ".join(kept.inner_text().split())
    page.locator("summary").first.click()
    assert page.get_by_role("link", name="Statement").first.is_visible()


def test_without_script_a_page_that_was_built_too_late_shows_nothing_as_kept(
    open_page: Open,
) -> None:
    page = open_page("past", java_script_enabled=False)
    assert "The proofs on this page have expired." in _seen(page)
    assert page.get_by_text("Kept", exact=True).locator("visible=true").count() == 1  # the glossary


def test_opened_too_late_nothing_counts_as_kept(open_page: Open, sample: ModuleType) -> None:
    page = open_page(at=sample.sample_page().expires_at + timedelta(seconds=1))
    seen = _seen(page)
    assert "The proofs on this page have expired." in seen
    assert "promises are kept" not in seen
    words = Counter(badge.inner_text().strip() for badge in page.locator(".say .badge").all())
    assert words == {"Expired": 6, "Broken": 2, "Error": 1, "Unproven": 11}
    tallies = Counter(badge.inner_text().strip() for badge in page.locator(".tallies .badge").all())
    assert set(tallies) == {"Expired", "Broken", "Error", "Unproven"}
    assert page.locator(".marks use[href='#i-kept']:visible").count() == 0
    kept = page.locator("[data-state=kept] .badge").first
    unproven = page.locator("[data-state=unproven] .badge").first
    color = "(badge) => getComputedStyle(badge).color"
    assert kept.evaluate(color) == unproven.evaluate(color)


def test_just_in_time_it_still_counts(open_page: Open, sample: ModuleType) -> None:
    page = open_page(at=sample.sample_page().expires_at - timedelta(seconds=5))
    assert "6 of 20 promises are kept." in _seen(page)


def test_left_open_it_expires_before_the_readers_eyes(open_page: Open, sample: ModuleType) -> None:
    page = open_page()
    page.clock.fast_forward("23:50:00")
    assert "6 of 20 promises are kept." in _seen(page)
    page.clock.fast_forward("00:10:00")
    assert "The proofs on this page have expired." in _seen(page)


def test_a_time_that_cannot_be_read_counts_as_past(open_page: Open) -> None:
    page = open_page()
    page.evaluate("document.documentElement.dataset.validUntil = ''")
    page.clock.fast_forward("00:01:00")
    assert "The proofs on this page have expired." in _seen(page)


def test_on_paper_the_evidence_is_unfolded(open_page: Open) -> None:
    page = open_page(size=(720, 1000))
    page.emulate_media(media="print", color_scheme="dark")
    link = page.get_by_role("link", name="Inclusion proof").first
    assert link.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert "(" in link.evaluate("(link) => getComputedStyle(link, '::after').content")
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.count(b"/Type /Page\n") > 5
    page.emulate_media(media="screen")
    assert not link.is_visible()


def test_the_printer_gets_unfolded_evidence_and_the_screen_its_own_back(open_page: Open) -> None:
    page = open_page()
    page.locator("summary").first.click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details[open]").count() == 20
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 1


def test_nothing_moves_for_those_who_asked_for_that(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    moving = page.evaluate(
        """[...document.querySelectorAll('*')]
             .filter((e) => parseFloat(getComputedStyle(e).transitionDuration) > 0
                            && getComputedStyle(e).transitionProperty !== 'none').length"""
    )
    assert moving == 0


def test_hostile_evidence_runs_nothing(open_page: Open, sample: ModuleType) -> None:
    page = open_page("hostile")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.locator("summary").first.click()
    page.locator("article.card").first.click()
    assert dialogs == []
    assert page.locator("h1").inner_text().startswith("<script>alert(1)</script>")
    assert page.locator("img").count() == 0


def test_the_policy_would_stop_a_script_that_got_in(browser: Browser, served: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        page.goto(f"{served}/sample/")
        page.evaluate(
            """() => {
                 const script = document.createElement('script');
                 script.textContent = 'window.ran = true';
                 document.body.append(script);
                 const image = document.createElement('img');
                 image.src = 'https://example.invalid/x.png';
                 document.body.append(image);
               }"""
        )
        assert page.evaluate("window.ran") is None
        assert any("Content Security Policy" in text for text in refused)


def test_it_reads_from_a_folder_too(
    browser: Browser, sample: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from assay.web import build_trust_page

    target = tmp_path_factory.mktemp("folder") / "trust"
    build_trust_page(sample.sample_page(), target)
    with browser.new_context() as context:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto((target / "index.html").as_uri())
        ground = page.locator(".overview").evaluate("(e) => getComputedStyle(e).borderTopStyle")
        assert (ground, complaints) == ("solid", [])


def test_headings_and_landmarks_are_in_order(open_page: Open) -> None:
    page = open_page()
    levels = page.locator("h1, h2, h3, h4").evaluate_all(
        "(all) => all.map((heading) => Number(heading.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    for landmark in ("main", "header", "footer", "nav"):
        assert page.locator(f"{landmark}:visible").count() == 1
