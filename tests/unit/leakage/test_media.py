from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from assay.leakage import (
    CONTROL_FORMS,
    Canary,
    ControlError,
    LeakyTwin,
    Matcher,
    Medium,
    load_matcher,
    missing_forms,
    patterns,
    search_files,
)
from assay.leakage.ahocorasick import AhoCorasickMatcher


@pytest.fixture
def matcher(canaries: tuple[Canary, ...]) -> Matcher:
    return load_matcher(patterns(canaries))


def test_the_control_is_found_in_every_form(tmp_path: Path, canaries: tuple[Canary, ...]) -> None:
    media = [Medium("logs", (tmp_path,))]
    for engine in (load_matcher, AhoCorasickMatcher):
        with LeakyTwin(tmp_path, canaries[0]) as twin:
            assert twin.path.stat().st_mode & 0o777 == 0o600
            found = search_files(media, engine(patterns(canaries)))
        assert missing_forms(found, "logs", 0) == ()
        assert list(tmp_path.iterdir()) == []


def test_a_blind_search_misses_every_form(
    tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher
) -> None:
    with LeakyTwin(tmp_path, canaries[0]):
        found = search_files([Medium("logs", (tmp_path,))], matcher)
    assert missing_forms(found, "another medium", 0) == CONTROL_FORMS
    assert missing_forms(found, "logs", 1) == CONTROL_FORMS


@pytest.mark.parametrize("form", sorted(set(CONTROL_FORMS) - {"gzip", "zlib", "line breaks"}))
def test_a_search_that_lost_one_transform_is_seen(
    tmp_path: Path, canaries: tuple[Canary, ...], form: str
) -> None:
    some = [item for item in patterns(canaries) if item.transform != form]
    with LeakyTwin(tmp_path, canaries[0]):
        found = search_files([Medium("logs", (tmp_path,))], load_matcher(some))
    missing = missing_forms(found, "logs", 0)
    # The canary is lower case already: its UTF-8 is the only spelling that the members hold.
    assert form in missing
    assert set(missing) <= {form, "gzip", "zlib", "line breaks"}


def test_a_search_that_opens_no_members_is_seen(
    tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(matcher), "compressed_starts", lambda _self, _window: [])
    monkeypatch.setattr(type(matcher), "may_have_wrapped_lines", lambda _self, _window: False)
    with LeakyTwin(tmp_path, canaries[0]):
        found = search_files([Medium("logs", (tmp_path,))], matcher)
    assert missing_forms(found, "logs", 0) == ("gzip", "zlib", "line breaks")


def test_the_control_is_removed_when_the_block_fails(
    tmp_path: Path, canaries: tuple[Canary, ...]
) -> None:
    with pytest.raises(KeyError), LeakyTwin(tmp_path, canaries[0]):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_said(tmp_path: Path, canaries: tuple[Canary, ...]) -> None:
    with pytest.raises(ControlError, match="No such file"), LeakyTwin(tmp_path / "no", canaries[0]):
        pass


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, canaries: tuple[Canary, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ControlError, match="No space left"), LeakyTwin(tmp_path, canaries[0]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_control_of_a_killed_run_is_removed_and_that_of_a_living_one_is_not(
    tmp_path: Path, canaries: tuple[Canary, ...]
) -> None:
    dead = tmp_path / "assay-leak-control-0123456789abcdef.log"
    dead.write_bytes(b"left behind")
    other = tmp_path / "application.log"
    other.write_bytes(b"")
    with LeakyTwin(tmp_path, canaries[0]) as first:
        assert not dead.exists()
        with LeakyTwin(tmp_path, canaries[0]) as second:
            assert first.path.exists()
            assert second.path.exists()
    assert list(tmp_path.iterdir()) == [other]
