"""`assay keys recovery`: what it writes and shows, its codes, and that no word gets elsewhere."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.cli import main
from assay.keys.embedded_file import add_key, read_key
from assay.keys.embedded_format import ScryptParameters

OLD, NEW = "correct horse battery", "another horse battery"
SPLIT = ["--threshold", "2", "--custodian", "ada", "--custodian", "grace", "--custodian", "alan"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_PASSPHRASE", OLD)
    monkeypatch.setenv("NEW", NEW)
    add_key(tmp_path / "keys.json", "kek", "aes-256", OLD, ScryptParameters(n=2**14))
    return tmp_path


def recovery(*words: str) -> int:
    return main(["keys", "recovery", *words])


def shares(*names: str) -> list[str]:
    return [word for name in names for word in ("--share", f"shares/{name}.share")]


def told(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capfd.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_whole_way(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert recovery("split", "keys.json", *SPLIT, "--into", "shares", "--json") == 0
    made = told(capfd)
    assert made["shares"]["ada"] == "shares/ada.share"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (folder / "shares").iterdir()] == [0o600] * 3
    assert recovery("status", "keys.json", "--json") == 1
    assert "never rehearsed" in told(capfd)["due"]
    assert recovery("rehearse", "keys.json", *shares("ada", "alan"), "--json") == 0
    assert told(capfd)["custodians"] == ["ada", "alan"]
    assert recovery("status", "keys.json", "--json") == 0
    assert told(capfd)["rehearsal"]["outcome"] == "opened"
    new = ("--new-passphrase", "env:NEW")
    assert recovery("restore", "keys.json", *shares("ada", "grace"), *new) == 0
    read_key(folder / "keys.json", "kek", "aes-256", NEW)
    assert recovery("revoke", "keys.json") == 2
    assert recovery("revoke", "keys.json", "--passphrase", "env:NEW") == 0
    assert recovery("rehearse", "keys.json", *shares("ada", "alan")) == 2
    assert recovery("status", "keys.json") == 2
    words = {
        w for p in (folder / "shares").iterdir() for w in p.read_text().split("words ")[1].split()
    }
    text = "".join(capfd.readouterr())
    assert (
        len(words & set(re.findall(r"[a-z]+", text))) < 5
    )  # ordinary words that happen to be in the list


def test_shares_that_do_not_open_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recovery("split", "keys.json", *SPLIT, "--into", "shares")
    assert recovery("rehearse", "keys.json", *shares("ada"), "--json") == 1
    found = capfd.readouterr().out
    assert '"TooFewSharesError"' in found
    damaged = folder / "shares" / "ada.share"
    text = damaged.read_text()
    damaged.write_text(text.rstrip("\n")[:-1] + "q\n")
    new = ("--new-passphrase", "env:NEW")
    before = (folder / "keys.json").read_bytes()
    assert recovery("rehearse", "keys.json", *shares("ada", "alan")) == 1
    assert recovery("restore", "keys.json", *shares("ada", "alan"), *new) == 2
    assert recovery("restore", "keys.json", *shares("alan", "alan"), *new) == 2
    assert (folder / "keys.json").read_bytes() == before
    assert "at place 33" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["split", "keys.json", *SPLIT], "expected --into DIRECTORY"),
        (["split", "keys.json", *SPLIT, "--into", "a", "--show"], "--into or --show, found both"),
        (["split", "keys.json", *SPLIT, "--into", "a", "--passphrase", OLD], "--passphrase env:NAME"),
        (["split", "keys.json", *SPLIT, "--into", "a/b"], "no share was kept"),
        (["split", "gone.json", *SPLIT, "--into", "a"], "found no file"),
        (["split", "keys.json", *SPLIT, "--into", "a", "--passphrase", "env:NEW"], "another one"),
        (["rehearse", "keys.json", "--share", "a"], "found none; make them"),
        (["rehearse", "gone.json", "--share", "a"], "found no file"),
        (["revoke", "keys.json"], "found none; make them"),
        (["rehearse", "split.json", "--share", "gone"], "expected the share file gone"),
        (["rehearse", "split.json"], "expected --share FILE, 2 times"),
        (["restore", "split.json", "--share", "shares/ada.share"], "expected --new-passphrase"),
        (["split", "split.json", *SPLIT, "--into", "a"], "replace it, which revokes"),
    ],
)  # fmt: skip
def test_wrong_input(
    folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    add_key(folder / "split.json", "kek", "aes-256", OLD, ScryptParameters(n=2**14))
    assert recovery("split", "split.json", *SPLIT, "--into", "shares") == 0
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    assert recovery(*words) == 2
    found = capfd.readouterr().err
    assert message in found
    assert OLD not in found
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before


def test_files_that_are_there_are_not_overwritten(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "shares").mkdir()
    (folder / "shares" / "grace.share").write_text("hers")
    assert recovery("split", "keys.json", *SPLIT, "--into", "shares") == 2
    assert [p.name for p in (folder / "shares").iterdir()] == ["grace.share"]
    assert (folder / "shares" / "grace.share").read_text() == "hers"
    assert recovery("status", "keys.json") == 2


def test_a_damaged_store_cannot_be_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recovery("split", "keys.json", *SPLIT, "--into", "shares")
    (folder / "keys.json").write_bytes((folder / "keys.json").read_bytes()[:-9])
    assert recovery("rehearse", "keys.json", *shares("ada", "alan")) == 3
    assert recovery("status", "keys.json") == 3


def test_standard_output_gets_shares_only_when_it_is_asked_to(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert recovery("split", "keys.json", *SPLIT, "--show") == 0
    assert capfd.readouterr().out.count("assay recovery share 1\n") == 3
    assert recovery("split", "keys.json", *SPLIT, "--show", "--replace", "--json") == 0
    assert set(told(capfd)["shares"]) == {"ada", "grace", "alan"}


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        environment = {name: v for name, v in os.environ.items() if name != "ASSAY_PASSPHRASE"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assay", "keys", "recovery", *words],
            cwd=folder, stdin=slave, stdout=slave, stderr=slave, env={**environment, "COLUMNS": "200"},
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> str:
        """What was shown since the last time, up to a text."""
        while text not in self.seen:
            assert select.select([self.master], [], [], 60)[0], f"no {text!r} in: {self.seen!r}"
            try:
                data = os.read(self.master, 4096)
            except OSError:
                data = b""
            assert data, f"the terminal ended before {text!r}: {self.seen}"
            self.seen += data.decode()
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.master, f"{text}\n".encode())

    def end(self) -> int:
        while True:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                break
            if not data:
                break
            self.seen += data.decode()
        os.close(self.master)
        return self.process.wait(60)


def test_on_a_terminal_each_share_is_shown_alone_and_words_are_typed_unseen(folder: Path) -> None:
    screen = Terminal(folder, "split", "keys.json", *SPLIT)
    screen.until("Passphrase (hidden): ")
    screen.type(OLD)
    written = []
    for name in ("ada", "grace", "alan"):
        screen.until(f"{name}, and nobody else: press Enter")
        screen.type("")
        shown = screen.until("Written down? Press Enter")
        assert f"custodian {name}" in shown
        written.append(" ".join(re.findall(r"\d+ +([a-z]+)", shown.partition("open the store")[2])))
        assert len(written[-1].split()) == 33
        screen.type("")
        screen.until("\x1b[2J\x1b[3J\x1b[H")
    assert screen.end() == 0, screen.seen

    screen = Terminal(folder, "restore", "keys.json")
    shown = ""
    for at in (1, 2):
        shown += screen.until(f"Words of share {at} of 2 (hidden): ")
        screen.type(written[at])
    shown += screen.until("New passphrase (hidden): ")
    screen.type(NEW)
    shown += screen.until("Repeat for confirmation: ")
    screen.type(NEW)
    assert screen.end() == 0, screen.seen
    assert "by the shares of grace, alan" in screen.seen
    assert written[1].split()[7] not in shown + screen.seen
    assert NEW not in shown + screen.seen
    read_key(folder / "keys.json", "kek", "aes-256", NEW)
