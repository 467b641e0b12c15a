from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from assay.web import RendererError
from assay.web.jinja import _template, content_security_policy, render_index, template_file


def test_the_page_is_well_formed_and_its_links_lead_somewhere(sample: ModuleType, parsed) -> None:
    for page in (sample.sample_page(), sample.kept_page(), sample.hostile_page()):
        document = parsed(render_index(page))
        ids = document.values("id")
        assert len(ids) == len(set(ids))
        fragments = [href[1:] for href in document.values("href") if href.startswith("#")]
        assert set(fragments) <= set(ids)
        assert set(document.values("aria-labelledby")) <= set(ids)


def test_every_state_is_a_word_and_a_shape(sample: ModuleType, parsed) -> None:
    document = parsed(render_index(sample.sample_page()))
    for word in ("Kept", "Broken", "Error", "Unproven", "Not applicable"):
        assert word in document.texts
    uses = {href for tag, href in document.attributes("href") if tag == "use"}
    assert {"#i-kept", "#i-broken", "#i-error", "#i-unproven", "#i-not_applicable"} <= uses


def test_every_promise_is_on_the_page_with_its_proofs(sample: ModuleType, parsed) -> None:
    page = sample.sample_page()
    document = parsed(render_index(page))
    assert all(promise.sentence in document.text for promise in page.scope.promises)
    linked = {href for href in document.values("href") if href.startswith("proofs/")}
    assert linked == {
        f"proofs/{index}.{kind}"
        for index in page.proofs
        for kind in ("dsse.json", "tlog-proof", "observation.json")
    }


def test_the_dates_and_the_record_are_shown(sample: ModuleType, parsed) -> None:
    page = sample.sample_page()
    text = parsed(render_index(page)).text
    for expected in (
        "Last proven 22 Nov 2026, 09:38 UTC",
        "23 Nov 2026, 09:38 UTC",
        page.run,
        page.origin,
        page.verifier_key,
        page.unfinished_runs[0],
        "assay verify assay.bundle --key log.vkey",
        "sha256sum 17.observation.json",
    ):
        assert expected in text


def test_destructions_without_an_end_are_shown(sample: ModuleType, parsed) -> None:
    page = sample.sample_page()
    assert "destruction" not in parsed(render_index(page)).text
    one = replace(page, unfinished_destructions=("d-1",))
    assert (
        "One destruction of keys was ordered and never completed" in parsed(render_index(one)).text
    )
    seven = replace(page, unfinished_destructions=tuple(f"d-{n}" for n in range(7)))
    text = parsed(render_index(seven)).text
    assert "7 destructions of keys were ordered" in text
    assert "d-4 and 2 more" in text


def test_the_same_page_gives_the_same_bytes(sample: ModuleType) -> None:
    assert render_index(sample.sample_page()) == render_index(sample.sample_page())
    page = sample.sample_page()
    backwards = dict(sorted(page.proofs.items(), reverse=True))
    assert render_index(replace(page, proofs=backwards)) == render_index(page)


def test_twenty_promises_stay_small(sample: ModuleType) -> None:
    assert len(render_index(sample.sample_page())) < 150_000


def test_nothing_comes_from_elsewhere(sample: ModuleType, parsed) -> None:
    for page in (sample.sample_page(), sample.hostile_page()):
        document = parsed(render_index(page))
        assert document.values("src") == []
        for href in document.values("href"):
            assert urlsplit(href)[:2] == ("", ""), href
        assert {tag for tag, _ in document.elements} & {"iframe", "object", "form", "base"} == set()
    style = template_file("style.css").decode()
    assert "url(" not in style
    assert "@import" not in style


def test_no_attribute_runs_or_styles_anything(sample: ModuleType, parsed) -> None:
    for tag, attributes in parsed(render_index(sample.hostile_page())).elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag


def test_hostile_text_stays_text(sample: ModuleType, parsed) -> None:
    page = sample.hostile_page()
    html = render_index(page)
    document = parsed(html)
    assert [tag for tag, _ in document.elements].count("script") == 1
    assert "img" not in {tag for tag, _ in document.elements}
    shown = sample.HOSTILE.replace("\u202e", "[U+202E]").replace("\u202c", "[U+202C]")
    assert shown in document.text
    assert "\u202e" not in html.decode()
    assert b"{{ 7*7 }}" in html
    assert b">49<" not in html
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", html)


def test_the_policy_allows_exactly_the_script_of_the_page(sample: ModuleType, parsed) -> None:
    document = parsed(render_index(sample.hostile_page()))
    (script,) = document.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        attributes["content"]
        for tag, attributes in document.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == content_security_policy(script)
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_a_page_that_has_expired_already_is_built_as_such(sample: ModuleType, parsed) -> None:
    page = sample.sample_page()
    document = parsed(render_index(replace(page, valid_until=page.built_at)))
    assert "data-stale" in document.elements[0][1]
    for _, attributes in document.elements:
        if "data-when" in attributes:
            assert ("hidden" in attributes) == (attributes["data-when"] == "fresh")


def test_a_fresh_page_hides_what_is_for_later(sample: ModuleType, parsed) -> None:
    document = parsed(render_index(sample.sample_page()))
    assert "data-stale" not in document.elements[0][1]
    whens = [attributes for _, attributes in document.elements if "data-when" in attributes]
    assert {attributes["data-when"] for attributes in whens} == {"fresh", "stale"}
    for attributes in whens:
        assert ("hidden" in attributes) == (attributes["data-when"] == "stale")


def test_only_a_kept_state_can_expire(sample: ModuleType, parsed) -> None:
    document = parsed(render_index(sample.page_of(sample.sample_scope(), {})))
    expired = [href for tag, href in document.attributes("href") if href == "#i-expired"]
    assert len(expired) == 1  # the count of kept promises, which is 0


def test_the_moment_of_expiry_is_never_later_than_true(sample: ModuleType, parsed) -> None:
    page = sample.sample_page()
    (milliseconds,) = parsed(render_index(page)).values("data-valid-until")
    assert 0 <= page.expires_at.timestamp() * 1000 - int(milliseconds) < 1.001


def test_a_kept_promise_on_a_stand_in_says_so_above_all(sample: ModuleType, parsed) -> None:
    text = parsed(render_index(sample.sample_page())).text
    assert "2 of the kept ones were checked on a stand-in or on test data" in text
    assert "stand-in or on test data, not" not in parsed(render_index(sample.kept_page())).text


def test_a_scope_without_promises_is_said_plainly(sample: ModuleType, parsed) -> None:
    scope = sample.replace_scope(sample.sample_scope(), promises=())
    document = parsed(render_index(sample.page_of(scope, {})))
    assert "No promise is declared, so nothing is proven." in document.text


def test_a_missing_jinja_names_the_extra(
    sample: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    _template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    try:
        with pytest.raises(RendererError, match=r"install assay\[web\]"):
            render_index(sample.sample_page())
    finally:
        _template.cache_clear()


def test_importing_the_room_does_not_import_jinja() -> None:
    code = "import assay.web, sys; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_valid_until_stands_at_each_kept_card(sample: ModuleType, parsed) -> None:
    page = sample.kept_page(valid_until=sample.BUILT_AT + timedelta(hours=5))
    assert parsed(render_index(page)).text.count("22 Nov 2026, 14:41 UTC") >= 1 + 2
