from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import (
    AssayError,
    PinnedTool,
    SecretReferenceError,
    SteppedClock,
    ToolError,
    from_rfc3339,
    is_sha256_hex,
    pae,
    resolve_reference,
    sha256_hex,
    to_rfc3339,
)


@given(st.lists(st.binary(max_size=20), max_size=4), st.lists(st.binary(max_size=20), max_size=4))
def test_pae_never_confuses_two_lists(one, other):
    assert (pae(one) == pae(other)) == (one == other)


@pytest.mark.parametrize(
    ("pieces", "encoded"),
    [
        # The first three stand in the PASETO specification.
        ([], "0000000000000000"),
        ([b""], "01000000000000000000000000000000"),
        ([b"test"], "0100000000000000040000000000000074657374"),
        ([b"a", b"bc"], "020000000000000001000000000000006102000000000000006263"),
    ],
)
def test_pae_vectors(pieces, encoded):
    assert pae(pieces).hex() == encoded


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2)))  # noqa: DTZ001
def test_times_round_trip(moment):
    assert from_rfc3339(to_rfc3339(moment)) == moment


@pytest.mark.parametrize(
    "text", ["", "2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.6Z"]
)
def test_other_times_are_refused(text):
    with pytest.raises(AssayError, match="expected a time like"):
        from_rfc3339(text)


def test_stepped_clock_stands_still():
    clock = SteppedClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.set(datetime(2025, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.now() == datetime(2025, 1, 1, tzinfo=UTC)


def test_references(tmp_path):
    (tmp_path / "pin").write_text("12 34\n")
    assert resolve_reference("file:pin", tmp_path, {}) == "12 34"
    assert resolve_reference("env:PIN", tmp_path, {"PIN": "x"}) == "x"


@pytest.mark.parametrize("text", ["hunter2", "env:", "env:MISSING", "file:missing", "file:folder"])
def test_a_reference_that_leads_nowhere_never_shows_its_text(tmp_path, text):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SecretReferenceError) as caught:
        resolve_reference(text, tmp_path, {})
    assert "hunter2" not in str(caught.value)


def test_digests():
    assert is_sha256_hex(sha256_hex(b"x"))
    assert not is_sha256_hex(sha256_hex(b"x").upper())
    assert not is_sha256_hex("0" * 63)


def test_an_unfinished_tool_environment_is_not_used(tmp_path):
    tool = PinnedTool("linter", "1.0", tmp_path / "linter.txt", tmp_path)
    (tool.environment / "bin").mkdir(parents=True)
    (tool.environment / "bin" / "linter").write_text("#!/bin/sh\n")
    with pytest.raises(ToolError, match="assay scan setup"):
        tool.executable("linter")
    (tool.environment / "complete").touch()
    assert tool.executable("linter").name == "linter"


def test_a_tool_runs_without_a_shell_and_within_its_time(tmp_path):
    tool = PinnedTool("linter", "1.0", tmp_path / "linter.txt", tmp_path)
    script = tool.environment / "bin" / "linter"
    script.parent.mkdir(parents=True)
    (tool.environment / "complete").touch()
    script.write_text('#!/bin/sh\necho "$1"; echo trouble >&2; exit 7\n')
    with pytest.raises(ToolError, match="expected to start"):
        tool.run("linter", [], directory=tmp_path, timeout_seconds=5)
    script.chmod(0o755)
    output = tool.run("linter", ["a b; $HOME"], directory=tmp_path, timeout_seconds=5)
    assert (output.exit_code, output.stdout, output.stderr) == (7, b"a b; $HOME\n", b"trouble\n")
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(ToolError, match=r"within 0\.2 s"):
        tool.run("linter", [], directory=tmp_path, timeout_seconds=0.2)
