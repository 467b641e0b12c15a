"""sops, built from source: files whose secrets are sealed under keys of the service."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Kms

PLAIN = "password: Quartz-and-Obsidian\nport: 5432\n"


@dataclass(frozen=True)
class Sops:
    """The command, in a folder, with the variables of one user."""

    program: Path
    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.program), *words], env={**self.environment, **changed}, cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def __call__(self, *words: str, **changed: str) -> str:
        done = self.run(*words, **changed)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode != 0
        assert "Quartz" not in done.stdout
        return " ".join((done.stdout + done.stderr).replace("|", " ").split())


@pytest.fixture
def command(sops: Path, kms: Kms, tmp_path: Path) -> Sops:
    (tmp_path / "plain.yaml").write_text(PLAIN)
    return Sops(sops, tmp_path, kms.environment())


def sealed(command: Sops, *words: str) -> Path:
    file = command.folder / "sealed.yaml"
    file.write_text(command("encrypt", *words, "plain.yaml"))
    return file


def test_a_file_is_sealed_edited_and_opened(command: Sops, kms: Kms) -> None:
    key = kms.key()
    file = sealed(command, "--kms", key, "--encryption-context", "tenant:north")
    assert "Quartz" not in file.read_text()
    assert command("decrypt", "sealed.yaml") == PLAIN
    command("edit", "sealed.yaml", EDITOR="sed -i s/5432/6543/")
    assert command("decrypt", "sealed.yaml") == PLAIN.replace("5432", "6543")
    used = {(e["action"], tuple((e["context"] or {}).items())) for e in kms.server.events()
            if e.get("key") == key and e["action"] in {"Encrypt", "Decrypt"}}  # fmt: skip
    assert used == {(each, (("tenant", "north"),)) for each in ("Encrypt", "Decrypt")}
    file.write_text(file.read_text().replace("tenant: north", "tenant: south"))
    assert "InvalidCiphertextException" in command.refused("decrypt", "sealed.yaml")


def test_its_data_key_is_replaced(command: Sops, kms: Kms) -> None:
    file = sealed(command, "--kms", kms.key())
    before = file.read_text()
    command("rotate", "-i", "sealed.yaml")
    wrapped = [line for line in before.splitlines() if " enc: " in line]
    assert wrapped
    assert all(line not in file.read_text() for line in wrapped)
    assert command("decrypt", "sealed.yaml") == PLAIN


def test_its_keys_change_by_the_rules_of_the_folder(command: Sops, kms: Kms) -> None:
    old, new = kms.key(), kms.key()
    rules = command.folder / ".sops.yaml"
    rules.write_text(f"creation_rules:\n  - kms: {old}\n")
    file = sealed(command)
    assert old in file.read_text()
    rules.write_text(f"creation_rules:\n  - kms: {new}\n")
    command("updatekeys", "--yes", "sealed.yaml")
    assert old not in file.read_text()
    kms.client.disable_key(KeyId=old)
    assert command("decrypt", "sealed.yaml") == PLAIN
    kms.client.disable_key(KeyId=new)
    assert "DisabledException" in command.refused("decrypt", "sealed.yaml")


def test_one_of_two_keys_is_enough(command: Sops, kms: Kms) -> None:
    first, second = kms.key(), kms.key()
    sealed(command, "--kms", f"{first},{second}")
    kms.client.disable_key(KeyId=first)
    assert command("decrypt", "sealed.yaml") == PLAIN


def test_who_may_not_use_the_key_reads_nothing(
    command: Sops, kms: Kms, reader: Mapping[str, str]
) -> None:
    key = kms.key()
    sealed(command, "--kms", key)
    theirs = Sops(command.program, command.folder, kms.environment(reader))
    assert "AccessDeniedException" in theirs.refused("decrypt", "sealed.yaml")
    assert "AccessDeniedException" in theirs.refused("encrypt", "--kms", key, "plain.yaml")
    grantee = f"arn:aws:iam::{kms.account}:user/reader"
    kms.client.create_grant(KeyId=key, GranteePrincipal=grantee, Operations=["Decrypt"])
    assert theirs("decrypt", "sealed.yaml") == PLAIN
    assert "AccessDeniedException" in theirs.refused("encrypt", "--kms", key, "plain.yaml")
