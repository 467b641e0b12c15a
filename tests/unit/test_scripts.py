"""The scripts that `make` sets everything up with."""

import os
import shutil
import stat
import subprocess

import pytest


@pytest.fixture
def machine(tmp_path, repository):
    """A machine with hardly any commands; its apt-get writes down what it is asked for."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sh", "env", "mkdir", "cat", "rm"):
        (commands / name).symlink_to(shutil.which(name))

    def command(name, script):
        path = commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(script, *arguments, **environment):
        done = subprocess.run(
            ["/bin/sh", str(repository / "scripts" / script), *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"PATH": str(commands), "CI": "false", **environment},
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    command("id", "echo 0")
    command("apt-get", f'echo "$@" >>{tmp_path / "asked"}')
    run.command = command
    return run


def asked(tmp_path):
    path = tmp_path / "asked"
    return path.read_text() if path.exists() else ""


def test_each_package_is_tried_once(machine, tmp_path):
    machine("system-packages", "first-package")
    machine("system-packages", "first-package")
    assert asked(tmp_path).count("first-package") == 1
    machine("system-packages", "first-package", "second-package")
    assert asked(tmp_path).splitlines()[-1].endswith("--no-install-recommends second-package")
    before = asked(tmp_path)
    machine("system-packages", "first-package", "second-package")
    assert asked(tmp_path) == before
    machine("system-packages", "second-package", CI="true")
    assert asked(tmp_path) != before, "continuous integration tries each time"


def test_what_is_there_is_not_installed(machine, tmp_path):
    machine.command("first-package", "")
    assert machine("system-packages", "first-package") == (0, "", "")
    assert not asked(tmp_path)


def test_without_the_right_to_install_work_goes_on_and_says_so(machine, tmp_path):
    machine.command("id", "echo 1000")
    code, said, _ = machine("system-packages", "chromium")
    assert code == 0
    assert "chromium is not installed and cannot be installed here: the tests" in said
    assert not asked(tmp_path)


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"python3": "3.14", "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.10", "python3.12": "3.12", "python3.11": "3.11"}, "python3.12"),
        ({"python3": "3.12", "python3.13": "3.13"}, "python3"),
        ({"python3": "3.14"}, "python3"),
    ],
)
def test_a_python_that_is_tested_comes_first(there, chosen, machine):
    for name, version in there.items():
        # Asked for its version it answers as that Python would; asked for its path it says it.
        numbers = tuple(map(int, version.split(".")))
        machine.command(
            name,
            f'case $2 in *executable*) echo "{name}" ;;\n'
            f'*"(3, 14)"*) exit {int(not (3, 11) <= numbers < (3, 14))} ;;\n'
            f"*) exit {int(numbers < (3, 11))} ;; esac",
        )
    assert machine("find-python")[:2] == (0, f"{chosen}\n")


def test_without_a_python_it_says_what_is_needed(machine):
    machine.command("python3", "exit 1")
    code, said, error = machine("find-python")
    assert (code, said) == (1, "")
    assert "expected Python 3.11 or newer" in error


def test_scripts_are_for_every_shell(repository):
    for path in (repository / "scripts").iterdir():
        assert path.read_text().startswith("#!/bin/sh\n")
        assert os.access(path, os.X_OK)
        for shell in ("sh", "bash"):
            if shutil.which(shell):
                done = subprocess.run([shell, "-n", str(path)], capture_output=True, check=False)
                assert done.returncode == 0, done.stderr
