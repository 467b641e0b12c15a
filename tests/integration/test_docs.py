"""The commands and the code in the documentation run as they stand there.

Each page is run from top to bottom in a folder of its own: ``console`` blocks line by line (a line
``$ command  # exit 3`` must end with that code, every other one with 0), ``python`` blocks as one
program.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"^make (\w+)$")


def blocks(page, language):
    return [body for name, body in BLOCK.findall(page.read_text()) if name == language]


def commands(page):
    lines = [line for body in blocks(page, "console") for line in body.splitlines()]
    for line in lines:
        if not line.startswith("$ "):
            continue
        command, _, comment = line[2:].partition("  #")
        code = re.search(r"exit (\d)", comment)
        yield command.strip(), int(code[1]) if code else 0


@pytest.fixture(scope="module")
def environment():
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    tools = os.environ.get("ASSAY_TOOLS", str(REPOSITORY / ".tools"))
    return {**os.environ, "PATH": path, "ASSAY_TOOLS": tools}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory, environment):
    """What an auditor and a customer receive: a bundle, a key, and a trust page."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "app.py").write_text("print('hello')\n")
    page = REPOSITORY / "docs" / "security-team.md"
    drilled = [(c, code) for c, code in commands(page) if "drill" not in c]
    run(drilled, folder, environment)
    return folder


def run(listed, folder, environment):
    script = ["cd " + shlex.quote(str(folder))]
    for number, (command, code) in enumerate(listed):
        script.append(f"{command}\nfound=$?")
        failed = f"echo FAILED {number}: exit $found >&2; exit 99"
        script.append(f"[ $found = {code} ] || {{ {failed}; }}")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],  # noqa: S607 - the reader's own shell
        env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{listed}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_security_team(tmp_path, environment, needs):
    needs("bandit")
    (tmp_path / "app.py").write_text("print('hello')\n")
    shown = run(list(commands(REPOSITORY / "docs" / "security-team.md")), tmp_path, environment)
    assert "promises:" in shown
    assert (tmp_path / "trust" / "index.html").is_file()


def test_auditor(tmp_path, environment, evidence):
    (tmp_path / "assay.bundle").write_bytes((evidence / "assay.bundle").read_bytes())
    (tmp_path / "log.vkey").write_bytes((evidence / ".assay" / "log.vkey").read_bytes())
    shown = run(list(commands(REPOSITORY / "docs" / "auditor.md")), tmp_path, environment)
    assert "every judgement was made again" in shown


def test_customer(tmp_path, environment, evidence):
    claim = min((evidence / "trust" / "proofs").glob("*.tlog-proof"))
    (tmp_path / "proofs").mkdir()
    for suffix in (".tlog-proof", ".dsse.json", ".observation.json"):
        source = claim.with_name(claim.name.removesuffix(".tlog-proof") + suffix)
        (tmp_path / "proofs" / f"claim{suffix}").write_bytes(source.read_bytes())
    (tmp_path / "log.vkey").write_bytes((evidence / "trust" / "log.vkey").read_bytes())
    run(list(commands(REPOSITORY / "docs" / "customer.md")), tmp_path, environment)


NAMED_BLOCK = re.compile(r"^```(\w+)(?: ([\w.]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(name, folder, environment):
    """Run a page on which a block with a file's name is that file, from where it stands on."""
    page = REPOSITORY / "docs" / name
    listed, waiting = [], list(commands(page))
    for number, (language, file, body) in enumerate(NAMED_BLOCK.findall(page.read_text())):
        if file:
            (folder / f"block-{number}").write_text(body)
            listed.append((f"mv block-{number} {file}", 0))
        elif language == "console":
            count = sum(line.startswith("$ ") for line in body.splitlines())
            listed, waiting = listed + waiting[:count], waiting[count:]
    assert not waiting
    return run(listed, folder, environment)


def test_search(tmp_path, environment):
    shown = run_page("search.md", tmp_path, environment)
    assert "Equality(casefold, bits=128)" in shown
    assert shown.count("no index: few values, or easily guessed") == 2
    assert "quartz" not in shown


def test_encryption(tmp_path, environment):
    shown = run_page("encryption.md", tmp_path, environment)
    assert "customers: 6 rows sealed, 0 left" in shown
    assert "NOT CLEANED: backups" in shown
    assert "0 do now" in shown
    assert "8 rows moved, 0 left" in shown


def test_keys(tmp_path, environment):
    shown = run_page("keys.md", tmp_path, environment)
    assert shown.count("nothing is due") == 2
    assert "new versions: 2 rows" in shown
    assert "2 rows moved, 0 left" in shown
    assert "4 data keys wrapped anew" in shown


def test_destruction(tmp_path, environment):
    tmp_path.chmod(0o700)
    shown = run_page("destruction.md", tmp_path, environment)
    assert "tenant north: 1 data keys destroyed" in shown
    assert "1 destructions with 1 keys, in 1 key tables (app-db): 1 keys stood there again" in shown
    assert '"came_back": 0' in shown


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_code_runs(page, tmp_path, environment):
    code = "\n".join(blocks(page, "python"))
    program = tmp_path / "program.py"
    program.write_text(code)
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {m[1] for page in PAGES for c, _ in commands(page) if (m := MAKE.match(c))}
    assert named <= targets
    assert {"run", "test"} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_walk_in_the_architecture_names_files_that_are_there():
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:src|examples|spec|docs|tests)/[\w./-]+)`", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []
