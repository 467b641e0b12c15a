"""The check of destroyed keys: none, all gone, back, forgotten, unfinished, and no log."""

from pathlib import Path

import pytest

from assay.controls import CHECKS, judge_record
from assay.controls.checks.destroyed_keys import DestroyedKeysCheck
from assay.controls.runner import observe
from assay.controls.twins.company import company
from assay.controls.twins.destruction import destroy, saved_keys
from assay.core import Status
from assay.ledger import FileLog

CHECK = DestroyedKeysCheck()


@pytest.fixture
def twin(tmp_path):
    with company(tmp_path) as made:
        yield made


def result_of(twin):
    return judge_record(CHECKS, observe(CHECK, twin.datastore, twin.context))


def empty_log(twin):
    log = twin.context.log()
    FileLog.open(log.directory, log.verifier_key.name, twin.context.signer_of_log)


def test_no_key_was_ever_destroyed(twin):
    empty_log(twin)
    found = result_of(twin)
    assert found.status is Status.NOT_APPLICABLE
    assert "no key was ever destroyed" in found.reason


def test_every_destroyed_key_is_gone(twin):
    destroy(twin, "north")
    destroy(twin, "south")
    found = result_of(twin)
    assert found.status is Status.PASS
    assert (found.population.in_scope, found.population.failed) == (6, 0)


def test_a_restored_backup(twin):
    backup = saved_keys(twin)
    destroy(twin, "north")
    for forget, words in ((False, "0 are forgotten"), (True, "3 are forgotten")):
        backup.restore(forget=forget)
        found = result_of(twin)
        assert found.status is Status.FAIL
        assert found.population.failed == 3
        assert words in found.reason
        assert "assay keys replay" in found.reason


def test_a_table_that_only_forgot(twin):
    """Nothing is back, and it would not be refused if it came."""
    destroy(twin, "north")
    engine = twin.context.engine(twin.datastore.key_table)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM assay_destroyed_keys")
    found = result_of(twin)
    assert (found.status, found.population.failed) == (Status.FAIL, 3)


def test_a_destruction_without_an_end(twin):
    destroy(twin, "north")
    destroy(twin, "south", complete=False)
    found = result_of(twin)
    assert found.status is Status.FAIL
    assert "ordered and not completed" in found.reason
    assert len(found.findings) == 1


def test_without_a_log_nobody_can_tell(twin):
    found = result_of(twin)
    assert found.status is Status.ERROR
    assert "log" in found.reason


def test_a_damaged_log(twin):
    destroy(twin, "north")
    (entries,) = Path(twin.context.log().directory).glob("tile/entries/*")
    entries = max(entries.rglob("*"), key=lambda p: p.is_file()) if entries.is_dir() else entries
    entries.write_bytes(entries.read_bytes().replace(b"payload", b"pay1oad"))
    assert result_of(twin).status is Status.ERROR
