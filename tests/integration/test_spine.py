"""The spine end to end on a small company: run, bundle, verify, trust page, and what goes wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay import assemble
from assay.cli import main
from assay.controls import State
from assay.core import SteppedClock
from assay.evidence import ClockWentBackError, EvidenceError
from assay.ledger import LedgerError

PROGRAMME = """\
organisation: Small
keys: "embedded:keys.json?passphrase-source=env:SMALL_PASSPHRASE"
log: {store: log, signer: "embedded:keys.json?object=log&passphrase-source=env:SMALL_PASSPHRASE", origin: small.example/assay}
assets:
  - {id: code, kind: repository, path: code}
promises: [kms, hsm, uniformity, sca]
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A company with keys, and one run in its log."""
    folder = tmp_path_factory.mktemp("small")
    os.environ["SMALL_PASSPHRASE"] = "correct horse battery staple"
    folder.chmod(0o700)
    (folder / "code").mkdir()
    (folder / "code" / "app.py").write_text("print('hello')\n")
    (folder / "assay.yaml").write_text(PROGRAMME)
    assert main(["keys", "create", "-c", str(folder / "assay.yaml")]) == 0
    assert main(["run", "-c", str(folder / "assay.yaml")]) == 3
    return folder


@pytest.fixture
def company(small, tmp_path):
    """A copy of the company for one test."""
    folder = tmp_path / "company"
    shutil.copytree(small, folder)
    folder.chmod(0o700)
    return folder


def run(folder, *words):
    return main([*words, "-c", str(folder / "assay.yaml")])


def bundle_of(folder):
    target = folder / "out.bundle"
    assert run(folder, "bundle", "-o", str(target)) == 0
    return target


def key_of(folder):
    return str(folder / "log" / "log.vkey")


def test_states_are_what_the_catalogue_demands(company, capsys):
    assert run(company, "run", "--json") == 3
    promises = {p["id"]: p for p in json.loads(capsys.readouterr().out)["promises"]}
    assert {name: p["state"] for name, p in promises.items()} == {
        "kms": "kept", "hsm": "unproven", "uniformity": "kept", "sca": "unproven",
    }  # fmt: skip
    assert promises["kms"]["fidelity"] == "emulated"
    assert "stand-in" in promises["hsm"]["why"][0]
    assert "no check yet" in promises["sca"]["why"][0]
    assert (promises["hsm"]["evaluated"], promises["hsm"]["in_scope"]) == (0, 2)


def test_from_run_to_trust_page(company, capsys):
    bundle = bundle_of(company)
    assert main(["verify", str(bundle), "--key", key_of(company)]) == 0
    assert "every judgement was made again" in capsys.readouterr().out
    page = company / "trust"
    words = ["trust", "build", str(page), "--bundle", str(bundle), "--key", key_of(company)]
    assert main(words) == 0
    assert "Small" in (page / "index.html").read_text()
    claims = sorted((page / "proofs").glob("*.tlog-proof"))
    assert claims
    for claim in claims:
        assert main(["verify", str(claim), "--key", key_of(company)]) == 0
    assert main(words) == 0, "a page is renewed in place"


def test_the_table_has_one_line_per_promise(company, capsys):
    assert run(company, "run") == 3
    lines = capsys.readouterr().out.splitlines()
    for promise in ("kms", "hsm", "uniformity", "sca"):
        assert sum(line.startswith(f"{promise} ") for line in lines) == 1
    assert lines[-1] == "4 promises: 2 kept, 2 unproven"


def test_a_claim_that_was_altered_is_refused(company):
    bundle = bundle_of(company)
    page = company / "trust"
    main(["trust", "build", str(page), "--bundle", str(bundle), "--key", key_of(company)])
    claim = min((page / "proofs").glob("*.tlog-proof"))
    observation = claim.with_suffix(".observation.json")
    original = observation.read_bytes()
    observation.write_bytes(original.replace(b'"emulated"', b'"live"').replace(b"kek", b"kex"))
    assert main(["verify", str(claim), "--key", key_of(company)]) == 1
    observation.unlink()
    assert main(["verify", str(claim), "--key", key_of(company)]) != 0
    observation.write_bytes(original)
    statement = claim.with_suffix(".dsse.json")
    statement.write_bytes(statement.read_bytes()[:-1])
    assert main(["verify", str(claim), "--key", key_of(company)]) == 1


def test_a_bundle_of_another_log_or_a_part_of_one_is_refused(company, capsys):
    bundle = bundle_of(company)
    vkey = Path(key_of(company)).read_text().strip()
    name, key_id, key = vkey.split("+", 2)
    other = f"{name}+{key_id}+{'A' + key[1:-2] + 'AA'}"
    assert main(["verify", str(bundle), "--key", other]) in {1, 2, 3}
    truncated = company / "truncated.bundle"
    truncated.write_bytes(bundle.read_bytes()[:-100])
    assert main(["verify", str(truncated), "--key", vkey]) == 1
    assert "Nothing in this bundle counts" in capsys.readouterr().err
    with pytest.raises((EvidenceError, LedgerError)):
        assemble.verify(truncated, vkey)
    page = company / "trust"
    words = ["trust", "build", str(page), "--bundle", str(truncated), "--key", vkey]
    assert main(words) != 0
    assert not page.exists()
    assert main(["verify", str(company / "missing.bundle"), "--key", vkey]) != 0


def test_a_bundle_whose_result_does_not_follow_from_its_facts_is_refused(company, monkeypatch):
    """Signed by the right key, in the log, and still a lie: only judging again finds it."""
    from assay.controls.checks import uniform_coverage
    from assay.core import Fidelity, Population, Result, Status

    def flattering(self, facts):
        del self, facts
        return Result(Status.PASS, "all is well", Population(1, 1), Fidelity.LIVE)

    with monkeypatch.context() as patch:
        patch.setattr(uniform_coverage.UniformCoverage, "judge", flattering)
        assert run(company, "run") == 3
    bundle = bundle_of(company)
    with pytest.raises(EvidenceError):
        assemble.verify(bundle, key_of(company))


def test_an_old_proof_does_not_count(company):
    bundle = bundle_of(company)
    later = SteppedClock(datetime.now(UTC) + timedelta(days=8))
    states = assemble.verify(bundle, key_of(company), clock=later).states
    assert {state.promise.id: state.state for state in states}["kms"] is State.UNPROVEN


def test_drills_are_recorded_in_the_log(company):
    words = ["drill", "--check", "uniform-coverage", "-c", str(company / "assay.yaml")]
    assert main(words) == 0
    found = assemble.verify(bundle_of(company), key_of(company)).bundle.drills
    assert [(drill.check, drill.caught) for _, drill in found] == [("uniform-coverage", True)] * 3
    assert len({drill.run for _, drill in found}) == 1


def test_two_runs_at_once(company):
    held = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; "
         "from assay.core import exclusive_lock\n"
         f"with exclusive_lock(Path({str(company / 'log' / 'run.lock')!r}), 'x'):\n"
         " print('held', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with held:
        assert held.stdout.readline() == "held\n"
        before = bundle_of(company).read_bytes()
        assert run(company, "run") == 3
        assert bundle_of(company).read_bytes() == before
        held.kill()
    assert run(company, "run") == 3
    assert bundle_of(company).read_bytes() != before


def test_a_clock_that_goes_back(company):
    past = SteppedClock(datetime.now(UTC) - timedelta(hours=1))
    before = bundle_of(company).read_bytes()
    with (
        assemble.open_platform(company / "assay.yaml", clock=past) as platform,
        pytest.raises(ClockWentBackError),
    ):
        assemble.run(platform)
    assert bundle_of(company).read_bytes() == before


def test_a_wrong_passphrase_records_nothing(company, monkeypatch, capsys):
    before = bundle_of(company).read_bytes()
    monkeypatch.setenv("SMALL_PASSPHRASE", "wrong horse")
    assert run(company, "run") == 3
    error = capsys.readouterr().err
    assert "passphrase" in error
    assert "wrong horse" not in error
    monkeypatch.undo()
    assert bundle_of(company).read_bytes() == before


def run_that_is_killed(company):
    """A run that records every result and is killed before it finishes."""
    script = (
        "import os, signal, sys\n"
        "from assay.cli import main\n"
        "from assay.evidence import Recorder\n"
        "record = Recorder.record\n"
        "def stop(self, predicate, *rest):\n"
        "    if type(predicate).__name__ == 'RunFinished':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return record(self, predicate, *rest)\n"
        "Recorder.record = stop\n"
        f"main(['run', '-c', {str(company / 'assay.yaml')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL


def test_a_killed_run_keeps_what_it_recorded_and_is_shown_as_interrupted(company, capsys):
    run_that_is_killed(company)
    found = assemble.verify(bundle_of(company), key_of(company))
    assert len(found.bundle.unfinished_runs) == 1
    assert found.run.id not in found.bundle.unfinished_runs
    assert main(["verify", str(company / "out.bundle"), "--key", key_of(company)]) == 0
    assert "was interrupted" in capsys.readouterr().out
    assert run(company, "run") == 3, "the next run works"


def test_what_a_killed_run_had_found_wrong_stays_found(company):
    """Else a company could keep its page green by stopping each run that sees a failure."""
    declared = (company / "assay.yaml").read_text()
    uncovered = "  - {id: api, kind: endpoint, url: 'https://localhost:1'}\npromises:"
    (company / "assay.yaml").write_text(declared.replace("promises:", uncovered))
    run_that_is_killed(company)
    found = assemble.verify(bundle_of(company), key_of(company))
    states = {state.promise.id: state.state for state in found.states}
    assert states["uniformity"] is State.BROKEN
    assert states["kms"] is State.KEPT
    page = company / "trust"
    words = ["--bundle", str(company / "out.bundle"), "--key", key_of(company)]
    assert main(["trust", "build", str(page), *words]) == 0
    broken = found.results["uniform-coverage", "programme"].index
    assert (page / "proofs" / f"{broken}.tlog-proof").is_file()
    (company / "assay.yaml").write_text(declared)
    assert run(company, "run") == 3
    found = assemble.verify(bundle_of(company), key_of(company))
    states = {state.promise.id: state.state for state in found.states}
    assert states["uniformity"] is State.KEPT, "a later run that finished says what is now"


def test_a_killed_run_proves_nothing(company):
    at = assemble.verify(bundle_of(company), key_of(company)).states
    run_that_is_killed(company)
    found = assemble.verify(bundle_of(company), key_of(company)).states
    assert [state.proven_at for state in found] == [state.proven_at for state in at]


def test_an_unreachable_asset_is_an_error_and_the_rest_is_checked(company, capsys):
    text = (company / "assay.yaml").read_text().replace(
        "promises: [kms, hsm, uniformity, sca]", "promises: [kms, row-encryption]"
    ).replace(
        "promises:", "  - {id: db, kind: datastore, url: env:NOT_SET, models: builtins:dict}\npromises:"
    )  # fmt: skip
    (company / "assay.yaml").write_text(text)
    assert run(company, "run", "--json") == 3
    promises = {p["id"]: p for p in json.loads(capsys.readouterr().out)["promises"]}
    assert promises["kms"]["state"] == "kept"
    assert promises["row-encryption"]["state"] == "error"
    assert "could not observe db" in promises["row-encryption"]["why"][0]
    assert str(company) not in promises["row-encryption"]["why"][0]


def test_evidence_holds_no_secret_and_no_path_of_a_home(company):
    bundle = bundle_of(company)
    with zipfile.ZipFile(bundle) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"correct horse" not in content
    assert str(Path.home()).encode() not in content or str(Path.home()) == "/"


def test_verification_needs_neither_database_nor_token_nor_network(company):
    bundle = bundle_of(company)
    script = (
        "import sys\n"
        "for name in ('sqlalchemy', 'pkcs11', 'jinja2', 'assay.keys', 'assay.database',\n"
        "             'assay.encryption', 'ahocorasick_rs', 'hyperscan'):\n"
        "    sys.modules[name] = None\n"
        "def refuse(event, details):\n"
        "    if event.startswith('socket.'):\n"
        "        raise OSError('no network here')\n"
        "sys.addaudithook(refuse)\n"
        "from assay.cli import main\n"
        f"sys.exit(main(['verify', {str(bundle)!r}, '--key', {key_of(company)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "every judgement was made again" in done.stdout
