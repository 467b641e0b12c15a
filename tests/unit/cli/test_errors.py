import json

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
    assert "No space left on device (/log/tile)" in capsys.readouterr().err


def test_an_interrupt_is_said(monkeypatch, capsys):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.assemble.open_platform", interrupt)
    assert main(["run"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_unknown_check_cannot_be_drilled(capsys):
    assert main(["drill", "--check", "nonsense"]) == 3
    assert "expected a check (sealed-rows" in capsys.readouterr().err
