import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from assay.cli import main


@pytest.fixture
def programme(tmp_path):
    path = tmp_path / "assay.yaml"
    path.write_text("organisation: 7\n")
    return str(path)


@pytest.mark.parametrize("verb", ["run", "bundle"])
def test_a_wrong_programme_file_is_exit_code_2_with_its_line(verb, programme, capsys):
    assert main([verb, "-c", programme]) == 2
    assert f"{programme}:1:15: expected str, found int" in capsys.readouterr().err.replace("\n", "")


def test_the_same_for_machines(programme, capsys):
    assert main(["run", "-c", programme, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["file"], error["line"], error["column"]) == (programme, 1, 15)


@pytest.mark.parametrize(
    "words", [["nonsense"], ["run", "--nonsense"], ["verify"], ["trust", "build"]]
)
def test_wrong_words_are_exit_code_2(words, capsys):
    assert main(words) == 2
    assert "assay --help" in capsys.readouterr().err


def test_wrong_words_are_told_to_machines_as_well(capsys):
    assert main(["run", "--nonsense", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert "--nonsense" in document["error"]["message"]
    assert document["exit_code"] == 2


@pytest.mark.parametrize("words", [[], ["keys"], ["trust"], ["scan"], ["index"]])
def test_no_words_show_the_help_and_call_it_no_error(words, capsys):
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Usage: ")
    assert "error" not in shown
    assert shown.count("assay --help") == 0


def test_an_unexpected_exception_is_never_exit_code_0_and_shows_no_text(monkeypatch, capsys):
    def crash(*_args, **_kwargs):
        raise RuntimeError("hunter2")

    monkeypatch.setattr("assay.assemble.open_platform", crash)
    assert main(["run"]) == 3
    shown = capsys.readouterr()
    assert "unexpected RuntimeError" in shown.err
    assert "hunter2" not in shown.err + shown.out


def test_a_full_disk_is_said(monkeypatch, capsys):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device", "/log/tile")

    monkeypatch.setattr("assay.assemble.open_platform", full)
    assert main(["run"]) == 3
    assert "expected to use /log/tile, found: No space left on device" in capsys.readouterr().err


def test_an_interrupt_is_said(monkeypatch, capsys):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.assemble.open_platform", interrupt)
    assert main(["run"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert main(["run", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["exit_code"] == 130


@pytest.mark.parametrize("moment", ["import", "run"])
def test_an_interrupt_while_the_command_line_loads_is_said_without_a_traceback(moment):
    begin = {
        "import": "class Stop:\n"
        "    def find_spec(self, name, *_rest):\n"
        "        if name == 'assay.evidence': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n",
        "run": "import assay.cli.run, assay.assemble\n"
        "def stop(*_args, **_kwargs): raise KeyboardInterrupt\n"
        "assay.assemble.open_platform = stop\n",
    }[moment]
    [entry] = entry_points(group="console_scripts", name="assay")
    script = (
        f"import sys\n{begin}sys.argv = ['assay', 'run']\n"
        f"from {entry.module} import {entry.attr} as begin\nsys.exit(begin())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith(b"interrupted: ")
    assert b"Traceback" not in done.stderr


def test_an_unknown_check_cannot_be_drilled(capsys):
    assert main(["drill", "--check", "nonsense"]) == 2
    assert "expected a check (sealed-rows" in capsys.readouterr().err


def test_a_drill_reads_its_programme_before_it_begins(programme, monkeypatch):
    monkeypatch.setattr("assay.assemble.drill", lambda *_args, **_kwargs: pytest.fail("drilled"))
    assert main(["drill", "-c", programme]) == 2


_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", [["verify"], ["trust", "build", "page", "--bundle"]])
@pytest.mark.parametrize(
    ("found", "code"),
    [
        ((None, _KEY), 2),
        ((b"no bundle, but long enough to hold the end of one", _KEY), 1),
        ((b"", _KEY), 1),
        ((b"", "missing.vkey"), 2),
    ],
)
def test_every_verifier_tells_a_wrong_name_from_a_refusal(verb, found, code, here, capsys):
    content, key = found
    if content is not None:
        (here / "x.bundle").write_bytes(content)
    words = [*verb, "x.bundle", "--key", key]
    assert main(words) == code
    shown = capsys.readouterr()
    assert ("REFUSED" in shown.err) == (code == 1)
    assert "Errno" not in shown.err
    assert main([*words, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert (document["verified"], document["exit_code"]) == (False, code)
    assert not (here / "page").exists()


@pytest.mark.parametrize("there", [0, 1, 2])
def test_a_claim_whose_files_are_not_all_there_is_wrong_input(there, tmp_path, capsys):
    names = ["7.tlog-proof", "7.dsse.json", "7.observation.json"]
    for name in names[:there]:
        (tmp_path / name).write_bytes(b"\xff")
    assert main(["verify", str(tmp_path / names[0]), "--key", _KEY]) == 2
    error = capsys.readouterr().err
    assert f"expected the claim's file {tmp_path / names[there]}" in error
    assert "three files beside each other" in error


def test_a_claim_of_other_bytes_is_refused(tmp_path, capsys):
    for name in ("7.tlog-proof", "7.dsse.json", "7.observation.json"):
        (tmp_path / name).write_bytes(b"\xff")
    assert main(["verify", str(tmp_path / "7.tlog-proof"), "--key", _KEY]) == 1
    assert "REFUSED" in capsys.readouterr().err
