import sys

import pytest

from assay.core import PinnedTool, ToolError


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment with nothing on the PATH; its Python is not really there."""
    binaries = tmp_path / "environment" / "bin"
    binaries.mkdir(parents=True)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "executable", str(binaries / "python"))
    return binaries


@pytest.fixture
def tool(tmp_path):
    return PinnedTool("tool", "1.0", tmp_path / "tool.txt", tmp_path / "tools")


def test_the_uv_that_came_with_assay_is_found(environment, tool):
    uv = environment / "uv"
    uv.write_text(
        f'#!/bin/sh\necho "$1" >>{environment / "asked"}\n/bin/mkdir -p {tool.environment}\n'
    )
    uv.chmod(0o755)
    tool.create("python3")
    assert (environment / "asked").read_text() == "venv\npip\n"
    assert tool.is_complete()


def test_without_uv_it_says_where_it_was_sought(environment, tool):
    with pytest.raises(ToolError, match=f"beside {environment / 'python'} or on the PATH"):
        tool.create("python3")
    assert not tool.is_complete()
