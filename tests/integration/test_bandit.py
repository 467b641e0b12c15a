import msgspec
import pytest

from assay.core import ToolError, tools_home
from assay.scan import RepositoryError, ScannerOutputError, bandit, bandit_tool, scan_repository


@pytest.fixture
def tool(needs):
    needs("bandit")
    return bandit_tool(tools_home())


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "fine.py").write_text("def add(a, b):\n    return a + b\n")
    return tmp_path


def test_a_clean_repository(repository, tool):
    seen = scan_repository(repository, {}, tool)
    assert (seen.files, seen.parsed, seen.findings, seen.canary_missed) == (1, 1, (), ())
    assert (seen.version, seen.rules) == (bandit.VERSION, bandit.RULES)
    assert seen.interpreter.startswith("3.")


def test_a_finding_an_unparseable_file_and_a_strange_name(repository, tool):
    (repository / "-x.py").write_text("import pickle\npickle.loads(b'')\n")
    (repository / "broken.py").write_text("def (\n")
    (repository / "quiet.py").write_text("eval('1')  # nosec\n")
    seen = scan_repository(repository, {}, tool)
    assert (seen.files, seen.parsed, seen.suppressed) == (4, 3, 1)
    assert list(seen.unparsed) == ["broken.py"]
    assert {(f.path, f.rule, f.line) for f in seen.findings} == {
        ("-x.py", "B403", 1),
        ("-x.py", "B301", 2),
    }
    assert b"pickle.loads" not in msgspec.json.encode(seen)


def test_batches_are_one_scan(repository, tool, monkeypatch):
    (repository / "weak.py").write_text("eval('1')\n")
    whole = scan_repository(repository, {}, tool)
    monkeypatch.setattr(bandit, "_BATCH_FILES", 1)
    assert scan_repository(repository, {}, tool) == whole


def test_a_canary_that_is_not_found_is_said(repository, tool, monkeypatch):
    monkeypatch.setattr(bandit, "_CANARY", {**bandit._CANARY, "B999": "harmless = 1"})
    assert scan_repository(repository, {}, tool).canary_missed == ("B999",)


def test_a_repository_without_python_is_scanned_and_empty(tmp_path, tool):
    seen = scan_repository(tmp_path, {}, tool)
    assert (seen.files, seen.parsed, seen.canary_missed) == (0, 0, ())


@pytest.mark.parametrize(
    "output", ["", "{}", "not json", '{"metrics": {}, "errors": 7, "results": []}']
)
def test_output_that_is_no_report_is_refused(repository, tmp_path_factory, output):
    home = tmp_path_factory.mktemp("tools")
    tool = bandit_tool(home)
    script = tool.environment / "bin" / "bandit"
    script.parent.mkdir(parents=True)
    (tool.environment / "complete").touch()
    script.write_text(
        "#!/bin/sh\ncase $1 in --version) echo 'bandit 1.9.4'; echo '  python version = 3.13.0';; "
        f"*) printf '%s' '{output}';; esac\n"
    )
    script.chmod(0o755)
    with pytest.raises(ScannerOutputError, match="JSON report"):
        scan_repository(repository, {}, tool)


def test_a_missing_tool_or_folder_is_an_error(repository, tool, tmp_path):
    with pytest.raises(ToolError, match="assay scan setup"):
        scan_repository(repository, {}, bandit_tool(tmp_path / "nowhere"))
    with pytest.raises(RepositoryError):
        scan_repository(tmp_path / "missing", {}, tool)
