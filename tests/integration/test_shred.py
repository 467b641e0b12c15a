"""A tenant's keys are destroyed: approved, proven, killed in the middle, restored and replayed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.shred_company import (
    PASSPHRASE,
    Company,
    approver_line,
    key_ids,
    make_company,
)

from assay import assemble
from assay.assemble.owners_data import ReadingUndecidedError, StillReadableError, _refusal
from assay.cli import main
from assay.controls import load_programme
from assay.core import DataKeyClass, OwnerDestroyedError, SilentProgress, SteppedClock
from assay.database import KEY_TABLE_NAME, open_engine, raw_rows
from assay.encryption import WrongKeyError
from assay.evidence import read_ledger
from assay.keys import KeyServiceError, UnknownDataKeyError

ROWS = DataKeyClass.ROWS


@pytest.fixture(scope="module", autouse=True)
def passphrase() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHRED_PASSPHRASE", PASSPHRASE)
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Made once; every test gets a copy."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHRED_APP_URL", f"sqlite:///{folder / 'app.db'}")
        return make_company(folder)


@pytest.fixture
def company(
    template: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Company]:
    folder = tmp_path / "company"
    shutil.copytree(template.folder, folder)
    folder.chmod(0o700)
    made = Company(folder, template.module, f"sqlite:///{folder / 'app.db'}")
    monkeypatch.setenv("SHRED_APP_URL", made.app_url)
    text = (folder / "assay.yaml").read_text()
    # Models find the uploads beside their own file, which is the copy's.
    (folder / "assay.yaml").write_text(text.replace(template.module, f"{template.module}_copy"))
    models = (folder / f"{template.module}.py").read_text()
    (folder / f"{template.module}_copy.py").write_text(models)
    monkeypatch.delitem(sys.modules, f"{template.module}_copy", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    made.module = f"{template.module}_copy"
    yield made
    made.close()


def bundle_of(company: Company) -> Path:
    target = company.folder / "out.bundle"
    assert company.run("bundle", "-o", str(target)) == 0
    return target


def verified(company: Company, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What `assay verify` says of a bundle, which needs a finished run."""
    assert company.run("run") in {1, 3}
    bundle = bundle_of(company)
    capsys.readouterr()
    assert main(["verify", str(bundle), "--key", company.log_key, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def check_state(company: Company, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the check says of the two key tables, in a run."""
    assert company.run("run", "--json") in {1, 3}
    said = capsys.readouterr().out
    promises = json.loads(said[said.index("{\n") :])["promises"]
    (privacy,) = (each for each in promises if each["id"] == "privacy")
    return [
        line["result"]["status"] for line in privacy["lines"] if line["control"] == "destroyed-keys"
    ]


# --- the whole way -------------------------------------------------------------------------


def test_a_tenant_is_destroyed_and_the_certificate_proves_it(company, capsys):
    assert company.rows() == 3
    assert check_state(company, capsys) == ["not_applicable", "not_applicable"]
    gone = key_ids(company, "north") | key_ids(company, "north", "billing")
    destruction = company.approved()
    capsys.readouterr()
    assert company.shred("north", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert {bytes.fromhex(each) for each in said["keys"]} == gone
    assert len(gone) == 4
    assert (said["requested_by"], said["approved_by"]) == ("linus", ["ada", "grace"])
    assert said["attempted"] == 2 * (4 + 1) + 3 + 3 + 1
    assert said["backups_until"] is not None
    with pytest.raises(WrongKeyError):
        company.rows()
    assert company.rows("south") == 3
    with pytest.raises(OwnerDestroyedError):
        company.keyring().current("north", ROWS)
    for name in ("app", "billing"):
        assert gone <= {key.key_id for key in company.table(name).destroyed()}

    certificate = company.certificate(destruction)
    assert certificate.stat().st_mode & 0o77 == 0
    words = certificate.with_suffix(".md").read_text()
    assert "3 of 3 tried, all refused" in words
    assert "none is found any more" in words
    found = verified(company, capsys)
    assert found["unfinished_destructions"] == []
    bundle = company.folder / "out.bundle"
    for more in ([], ["--bundle", str(bundle)]):
        words = ["keys", "shred", "verify", str(certificate), "--key", company.log_key]
        assert main([*words, *more]) == 0
    assert check_state(company, capsys) == ["pass", "pass"]


def test_only_the_request_and_the_certificate_know_the_owner(company):
    destruction = company.approved("south")
    assert company.shred("south") == 0
    for path in [*company.store.rglob("*")]:
        inside = path.is_file() and destruction not in path.parts
        assert not (inside and b"south" in path.read_bytes()), path
    left = {path.name for path in (company.store / "destructions" / destruction).iterdir()}
    assert "request.json" not in left
    assert "traces.json" not in left


def test_a_second_time_shows_the_certificate(company, capsys):
    company.approved()
    assert company.shred() == 0
    size = len(list((company.store / "log").rglob("*")))
    assert company.shred() == 0
    assert len(list((company.store / "log").rglob("*"))) == size
    assert company.run("keys", "shred", "status") == 0
    again = ["keys", "shred", "--tenant", "north", "--reason", "x", "--key", company.key("ada")]
    assert company.run(*again) == 2
    assert company.run("keys", "shred", "--subject", "north") == 2
    assert company.run("keys", "shred", "--tenant", "nobody") == 2


def test_a_subject_is_destroyed_like_a_tenant(company, capsys):
    made = company.request("south", kind="subject")
    assert company.approve(made, "ada", "south") == 0
    assert company.approve(made, "grace", "south") == 0
    assert company.run("keys", "shred", "--subject", "south") == 0
    assert "subject `south`" in company.certificate(made).with_suffix(".md").read_text()


# --- people --------------------------------------------------------------------------------


def test_it_waits_until_two_people_approved(company, capsys):
    made = company.request()
    before = key_ids(company, "north")
    assert company.shred() == 3
    assert company.approve(made, "ada") == 0
    assert company.approve(made, "ada") == 0
    assert company.shred() == 3
    assert "Approved by ada" in capsys.readouterr().out
    assert company.run("keys", "shred", "status") == 3
    assert key_ids(company, "north") == before
    with pytest.raises(assemble.DestructionRefusedError, match="2 different people"):
        shred_with(company, SilentProgress())
    assert company.approve(made, "linus") == 2
    assert "somebody else than linus" in capsys.readouterr().err
    assert company.approve(made, "grace", owner="North") == 2
    assert company.approve(made, "nobody") != 0
    assert company.shred() == 3
    assert company.approve(made, "grace") == 0
    assert company.shred() == 0


def test_who_may_not_approve(company, capsys):
    made = company.request()
    stranger = company.key("stranger")
    words = ["keys", "shred", "approver", "stranger", "--key", stranger, "--create"]
    assert main(words) == 0
    assert company.approve(made, "stranger") == 2
    assert "none of" not in capsys.readouterr().out
    log_key = (
        f"embedded:{company.folder}/keys.json?object=log&passphrase-source=env:SHRED_PASSPHRASE"
    )
    words = ["keys", "shred", "approve", made, "--key", log_key, "--confirm", "north"]
    assert company.run(*words) == 2
    assert "key of the log" in capsys.readouterr().err
    folder = company.store / "destructions" / made
    # Whoever leaves the list after approving no longer counts.
    assert company.approve(made, "ada") == 0
    assert company.approve(made, "grace") == 0
    config = Path(company.config)
    replaced = approver_line(company, "stranger")
    config.write_text(config.read_text().replace(approver_line(company, "ada"), replaced))
    assert company.shred() == 2
    assert "none of theirs" in capsys.readouterr().err
    assert (folder / "request.json").is_file()
    assert len(key_ids(company, "north")) == 3


def test_the_requester_may_approve_when_the_programme_says_so(company):
    config = Path(company.config)
    config.write_text(
        config.read_text().replace(
            "watch_seconds: 1", "watch_seconds: 1\n  requester_may_approve: true"
        )
    )
    made = company.request()
    assert company.approve(made, "linus") == 0
    assert company.approve(made, "ada") == 0
    assert company.shred() == 0


@pytest.mark.parametrize("change", ["owner", "reason", "expires_at"])
def test_an_altered_request_is_refused(company, capsys, change):
    made = company.approved()
    path = company.store / "destructions" / made / "request.json"
    request = json.loads(path.read_bytes())
    values = {"owner": "south", "reason": "another", "expires_at": "2999-01-01T00:00:00.000000Z"}
    request[change] = values[change]
    path.write_text(json.dumps(request, sort_keys=True, separators=(",", ":")))
    assert company.shred("south" if change == "owner" else "north") == 2
    assert "changed since" in capsys.readouterr().err
    assert len(key_ids(company, "north")) == len(key_ids(company, "south")) == 3


def test_approvals_of_another_destruction_do_not_count(company, capsys):
    first, second = company.approved(), company.request("south")
    for name in ("ada", "grace"):
        source = company.store / "destructions" / first / f"{name}.consent.json"
        shutil.copy(source, company.store / "destructions" / second)
    assert company.shred("south") == 2
    assert "something else" in capsys.readouterr().err
    assert len(key_ids(company, "south")) == 3


def test_a_key_that_was_made_since_the_request(company, capsys):
    made = company.approved()
    company.keyring().rotate("north", ROWS)
    assert company.shred() == 2
    assert "made, rotated or destroyed since" in capsys.readouterr().err
    assert len(key_ids(company, "north")) == 4
    assert company.run("keys", "shred", "withdraw", made) == 0
    company.approved()
    assert company.shred() == 0


def test_a_request_expires(company):
    made = company.approved()
    late = SteppedClock(datetime.now(UTC) + timedelta(days=8))
    with assemble.open_platform(Path(company.config), clock=late) as platform:
        folder = assemble.find_folder(platform, made)
        with pytest.raises(assemble.DestructionRefusedError, match="expired"):
            assemble.shred(platform, folder)
        key = company.key("grace")
        with pytest.raises(assemble.DestructionRefusedError, match="expired"):
            assemble.approve_destruction(platform, folder, key, typed="north")
        assert assemble.folder_of(platform, assemble.Owner("tenant", "north")) is None
    assert len(key_ids(company, "north")) == 3


@pytest.mark.parametrize(
    "words",
    [
        ["--tenant", "a", "--subject", "b"],
        [],
        ["--tenant", "north", "--reason", "x"],
        ["--tenant", "north", "--key", "embedded:x"],
        ["--tenant", "north", "--reason", "north is leaving", "--key", "LINUS"],
        ["--tenant", "unknown", "--reason", "why", "--key", "LINUS"],
        ["approve", "nothing", "--key", "LINUS", "--confirm", "x"],
        ["approve", "../../..", "--key", "LINUS", "--confirm", "x"],
        ["withdraw", "nothing"],
    ],
)
def test_wrong_words(company, capsys, words):
    said = [company.key("linus") if word == "LINUS" else word for word in words]
    assert company.run("keys", "shred", *said) == 2
    assert "error:" in capsys.readouterr().err
    assert company.folders() == []


def test_a_programme_that_names_nobody(company, capsys):
    config = Path(company.config)
    text = config.read_text()
    config.write_text(text[: text.index("destruction:")])
    words = ["keys", "shred", "--tenant", "north", "--reason", "why", "--key", company.key("ada")]
    assert company.run(*words) == 2
    assert "assay keys shred approver" in capsys.readouterr().err


def test_people_of_the_programme_file(company):
    config = Path(company.config)
    text = config.read_text()
    ada, grace = (approver_line(company, name) for name in ("ada", "grace"))
    wrong = {
        "again": text.replace(grace, ada),
        "expected three people": text.replace(f', "{grace}"', ""),
        "verifier key": text.replace(grace, grace[:-2]),
    }
    for words, content in wrong.items():
        config.write_text(content)
        with pytest.raises(Exception, match=words):
            load_programme(config)
    config.write_text(text)
    load_programme(config)


# --- what happens meanwhile ----------------------------------------------------------------


class _At(SilentProgress):
    """Does something when a step begins."""

    def __init__(self, words, work):
        self.words, self.work, self.done = words, work, 0

    def advance(self, done, total, what):
        if self.words in what and not self.done:
            self.done = 1
            self.work()


def shred_with(company, progress, **options):
    with assemble.open_platform(Path(company.config), progress=progress) as platform:
        folder = assemble.folder_of(platform, assemble.Owner("tenant", "north"))
        return assemble.shred(platform, folder, **options)


def test_it_waits_as_long_as_any_process_may_take(company):
    config = Path(company.config)
    config.write_text(config.read_text().replace("watch_seconds: 1", "watch_seconds: 7"))
    company.approved()
    waited = []
    assert shred_with(company, SilentProgress(), sleep=waited.append).completed.watch_seconds == 7
    assert sum(waited) == 7


def test_a_key_that_is_made_after_the_order_goes_as_well(company, capsys):
    company.approved()
    writer = company.keyring()
    progress = _At("destroying the keys", lambda: writer.rotate("north", ROWS))
    certificate = shred_with(company, progress)
    assert progress.done
    ((also,),) = [list(each.versions) for each in [certificate.completed.also[0]]]
    assert also == "2"
    assert key_ids(company, "north") == set()
    with assemble.open_platform(Path(company.config)) as platform:
        assert len(read_ledger(platform.context.log()).key_ids) == 5
    with pytest.raises(OwnerDestroyedError):
        company.keyring().current("north", ROWS)
    assert check_state(company, capsys) == ["pass", "pass"]


WARM = """
import sys
from tests.integration.shred_company import Company
from assay.core import DataKeyClass
from pathlib import Path
folder, module, url = sys.argv[1:]
keyring = Company(Path(folder), module, url).keyring(watch_seconds=1)
key = keyring.current("north", DataKeyClass.ROWS)
print("warm", flush=True)
sys.stdin.readline()
try:
    keyring.by_id("north", DataKeyClass.ROWS, key.key_id)
    print("opened", flush=True)
except Exception as exc:
    print(type(exc).__name__, flush=True)
"""


def test_another_process_with_a_warm_cache_notices(company, repository):
    config = Path(company.config)
    config.write_text(config.read_text().replace("watch_seconds: 1", "watch_seconds: 4"))
    company.approved()
    with subprocess.Popen(
        [sys.executable, "-c", WARM, str(company.folder), company.module, company.app_url],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline().strip() == "warm"
        assert company.shred() == 0
        said, _ = other.communicate("now\n", timeout=60)
    assert said.strip() == "DestroyedDataKeyError"


KILLED = """
import os, signal, sys
from pathlib import Path
from assay import assemble
from assay.assemble import destroying
from assay.database import SqlDataKeyTable
from assay.ledger import FileLog

config, at = sys.argv[1], int(sys.argv[2])
seen = 0

def counted(work):
    def call(*args, **kwargs):
        point()
        result = work(*args, **kwargs)
        point()
        return result
    return call

def point():
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)

for name in ("destroy", "destroy_again"):
    setattr(SqlDataKeyTable, name, counted(getattr(SqlDataKeyTable, name)))
FileLog.append = counted(FileLog.append)
destroying.write_atomically = counted(destroying.write_atomically)
destroying.search_storage_for_bytes = counted(destroying.search_storage_for_bytes)
destroying.refused_readings = counted(destroying.refused_readings)
with assemble.open_platform(Path(config)) as platform:
    folder = assemble.folder_of(platform, assemble.Owner("tenant", "north"))
    assemble.shred(platform, folder, sleep=lambda seconds: None)
print(seen)
"""


def test_kill_9_at_any_step_and_again(company, capsys):
    """Killed further on each time, at every place where something was or is about to be written."""
    company.approved()
    gone = key_ids(company, "north")
    kills = 0
    for at in range(1, 200, 2):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, company.config, str(at)],
            cwd=company.folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        with assemble.open_platform(Path(company.config)) as platform:
            ledger = read_ledger(platform.context.log())
        standing = {key.key_id for key in company.table().each()}
        # Nothing is destroyed before the order stands in the log.
        assert ledger.destructions or gone <= standing
    assert done.returncode == 0, done.stderr
    assert kills >= 8
    assert company.shred() == 0
    with assemble.open_platform(Path(company.config)) as platform:
        ledger = read_ledger(platform.context.log())
        assert (len(ledger.destructions), ledger.unfinished, ledger.size) == (1, (), 2)
    with pytest.raises(WrongKeyError):
        company.rows()
    assert check_state(company, capsys) == ["pass", "pass"]


def test_what_was_begun_and_not_finished_is_seen_everywhere(company, capsys, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    company.approved()
    with pytest.raises(KeyboardInterrupt):
        shred_with(company, _At("destroying the keys", stop))
    assert company.run("keys", "shred", "status") == 1
    assert company.run("keys", "replay") == 1
    assert check_state(company, capsys) == ["fail", "fail"]
    (name,) = (path.name for path in company.folders())
    assert verified(company, capsys)["unfinished_destructions"] == [name]
    page = company.folder / "trust"
    bundle = str(company.folder / "out.bundle")
    words = ["trust", "build", str(page), "--bundle", bundle, "--key", company.log_key]
    assert main(words) == 0
    assert "ordered and never completed" in (page / "index.html").read_text()
    assert company.run("keys", "shred", "withdraw", name) == 2
    assert company.shred() == 0
    assert check_state(company, capsys) == ["pass", "pass"]


# --- what must stop it ---------------------------------------------------------------------


def test_what_can_still_be_read_is_not_destroyed(company):
    """Somebody restores the key table while it is being destroyed."""
    company.approved()
    engine = company.engine("app")
    with engine.connect() as connection:
        saved = connection.exec_driver_sql(f"SELECT * FROM {KEY_TABLE_NAME}").all()  # noqa: S608

    def restore():
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM assay_destroyed_keys")
            connection.exec_driver_sql(f"DELETE FROM {KEY_TABLE_NAME}")  # noqa: S608
            marks = ", ".join("?" * len(saved[0]))
            statement = f"INSERT INTO {KEY_TABLE_NAME} VALUES ({marks})"  # noqa: S608
            connection.exec_driver_sql(statement, [tuple(row) for row in saved])

    with pytest.raises(StillReadableError):
        shred_with(company, _At("trying to read", restore))
    assert company.rows() == 3
    with assemble.open_platform(Path(company.config)) as platform:
        assert read_ledger(platform.context.log()).unfinished
    assert company.shred() == 0
    with pytest.raises(WrongKeyError):
        company.rows()


def test_writers_meanwhile_make_no_key_that_stays(company):
    company.approved()
    stop, ends = threading.Event(), []

    def write(number):
        keyring = company.keyring(cache_ttl_seconds=0)
        try:
            while not stop.is_set():
                keyring.current("north", ROWS)
                if number % 2:
                    keyring.rotate("north", ROWS)
        except (OwnerDestroyedError, UnknownDataKeyError) as exc:
            ends.append(exc)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]

    def begin():
        for thread in threads:
            thread.start()

    try:
        certificate = shred_with(company, _At("destroying the keys", begin))
    finally:
        stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()
    assert len(ends) == 4, "every writer was refused"
    assert key_ids(company, "north") == set()
    assert not any(key.owner == "north" for key in company.table().each())
    said = {
        k for each in (*certificate.ordered.keys, *certificate.completed.also) for k in each.ids
    }
    assert {key.key_id.hex() for key in company.table().destroyed()} == said


def test_only_a_missing_key_is_a_refusal():
    def refuse(error):
        def read():
            raise error

        return read

    with pytest.raises(StillReadableError):
        _refusal("db", lambda: None)
    with pytest.raises(ReadingUndecidedError):
        _refusal("db", refuse(KeyServiceError("the token is gone")))
    with pytest.raises(ReadingUndecidedError):
        _refusal("db", refuse(WrongKeyError("of another owner")))
    assert _refusal("db", refuse(OwnerDestroyedError("gone"))) == "OwnerDestroyedError"


def test_a_copy_in_a_raw_file_is_found(company, capsys):
    """A reader keeps SQLite's write-ahead log, in which the wrapped keys still stand."""
    company.approved()
    engine = open_engine(company.app_url)
    with engine.connect() as reader:
        company.keyring().rotate("south", ROWS)
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql(f"SELECT count(*) FROM {KEY_TABLE_NAME}").all()  # noqa: S608
        assert company.shred() == 1
        assert "app.db" in capsys.readouterr().out
        reader.rollback()
    engine.dispose()
    assert key_ids(company, "north") == set()
    assert company.shred() == 0


# --- restoring -----------------------------------------------------------------------------


def test_a_restored_backup_is_noticed_and_replayed(company, capsys):
    backup = company.folder / "backup"
    backup.mkdir()
    engine = open_engine(company.app_url)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{backup / 'app.db'}'")
    engine.dispose()
    company.approved()
    assert company.shred() == 0
    for path in company.folder.glob("app.db*"):
        path.unlink()
    shutil.copy(backup / "app.db", company.folder / "app.db")
    assert company.rows() == 3, "the backup brought the data back"
    assert check_state(company, capsys) == ["fail", "pass"]
    capsys.readouterr()
    assert company.run("keys", "replay", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["came_back"], said["unknown_owners"]) == (3, [])
    assert check_state(company, capsys) == ["pass", "pass"]
    with pytest.raises(WrongKeyError):
        company.rows()
    with pytest.raises(OwnerDestroyedError):
        company.keyring().current("north", ROWS)
    assert company.rows("south") == 3


@pytest.mark.parametrize("kept", ["missing", "of another owner"])
def test_a_replay_without_what_tells_the_owner(company, capsys, kept):
    destruction = company.approved()
    assert company.shred() == 0
    path = company.store / "destructions" / destruction / "owner.json"
    if kept == "missing":
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"owner_digest": "00" * 32}))
    for path in company.folder.glob("*.db*"):
        path.unlink()
    for name in ("app.db", "billing.db"):
        (company.folder / name).touch()
    capsys.readouterr()
    assert company.run("keys", "replay", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["unknown_owners"] == [destruction]
    assert len(list(company.table().destroyed())) == 4


# --- servers -------------------------------------------------------------------------------


def on_a_server(tmp_path, monkeypatch, url, *more):
    monkeypatch.setenv("SHRED_APP_URL", url)
    company = make_company(tmp_path, url)
    engine = open_engine(url)
    try:
        wrapped = [row[0] for row in raw_rows(engine, KEY_TABLE_NAME, ["wrapped"])]
        assert len(wrapped) == 6
        company.approved()
        assert company.shred("north", *more) == 0
        assert len(list(raw_rows(engine, KEY_TABLE_NAME, ["wrapped"]))) == 3
    finally:
        engine.dispose()
    (certificate,) = company.store.glob("destructions/*/certificate.json")
    assert main(["keys", "shred", "verify", str(certificate), "--key", company.log_key]) == 0
    with pytest.raises(WrongKeyError):
        company.rows()
    assert company.rows("south") == 3
    company.close()
    return certificate.with_suffix(".md").read_text()


def test_on_postgresql(tmp_path, monkeypatch, fresh_postgresql_url):
    words = on_a_server(tmp_path, monkeypatch, fresh_postgresql_url)
    assert "app-db: 3 wrapped keys had been found in its raw files" in words


@pytest.mark.xdist_group("mariadb")
def test_on_mariadb(tmp_path, monkeypatch, fresh_mariadb_url):
    words = on_a_server(tmp_path, monkeypatch, fresh_mariadb_url, "--purge-binary-logs")
    assert "app-db: 3 wrapped keys had been found in its raw files" in words
