import base64
import gzip
import json
from contextlib import nullcontext

import msgspec
import pytest

from assay import database, leakage
from assay.controls.checks.leak_test import LeakTest, LeakTestFacts, MediumFacts
from assay.controls.twins.company import company
from assay.core import Status

MEDIUM = MediumFacts(
    name="app-db", files=3, searched=3, files_with_hits=0, bytes_read=4096, expanded_bytes=0,
    control_missing=(), gaps=(), hits=0, places=(),
)  # fmt: skip
FACTS = LeakTestFacts(
    engine="hyperscan", patterns=900, fields=("text",), paths=("POST /v1/documents",),
    media=(MEDIUM,),
)  # fmt: skip


def judged(*media, **changes):
    return LeakTest().judge(msgspec.structs.replace(FACTS, media=media or FACTS.media, **changes))


def change(**changes):
    return msgspec.structs.replace(MEDIUM, **changes)


def test_nothing_found_anywhere_passes():
    result = judged(MEDIUM, change(name="logs 1"))
    assert result.status is Status.PASS
    assert (result.population.in_scope, result.population.evaluated) == (6, 6)
    assert "(8192 bytes)" in result.reason
    assert "(4106 bytes)" in judged(change(expanded_bytes=10)).reason


def test_a_single_hit_fails_even_beside_trouble():
    hit = change(hits=1, files_with_hits=1, places=("app.log, the email canary as hex",))
    result = judged(hit, change(control_missing=("gzip",)))
    assert result.status is Status.FAIL
    assert result.findings == ("app-db: app.log, the email canary as hex",)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"control_missing": ("gzip", "zlib")}, "the control canary was not found as gzip, zlib"),
        ({"gaps": ("db.wal is unreadable (Permission denied)",)}, "db.wal is unreadable"),
        ({"bytes_read": 0}, "nothing was read"),
        ({"searched": 2}, "5 of 6 files were evaluated"),
    ],
)
def test_a_search_that_saw_too_little_could_not_tell(changes, why):
    result = judged(MEDIUM, change(**changes))
    assert result.status is Status.ERROR
    assert why in result.reason


def test_without_media_fields_or_paths_nothing_was_tested():
    nothing = LeakTest().judge(msgspec.structs.replace(FACTS, media=()))
    assert nothing.status is Status.ERROR
    assert "no medium was searched" in nothing.reason
    assert judged(paths=()).status is Status.ERROR
    assert judged(fields=()).status is Status.ERROR


def said_of(folder, leak=None):
    check = LeakTest()
    with company(folder, leak=leak) as twin:
        return check.judge(check.collect(twin.application, twin.context))


def shifted(offset):
    return lambda value: base64.b64encode(b"#" * offset + value.encode() + b"##")


SPELLINGS = {
    "UTF-8": lambda value: value.encode(),
    "UTF-16LE": lambda value: value.encode("utf-16-le"),
    "UTF-16BE": lambda value: value.encode("utf-16-be"),
    "hex": lambda value: value.encode().hex().encode(),
    "HEX": lambda value: value.encode().hex().upper().encode(),
    "base64 at offset 0": shifted(0),
    "base64 at offset 1": shifted(1),
    "base64 at offset 2": shifted(2),
    "JSON escapes": lambda value: "".join(f"\\u{ord(char):04x}" for char in value).encode(),
    "JSON": lambda value: json.dumps({"name": value}).encode(),
    "gzip": lambda value: gzip.compress(value.encode() * 9),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("medium", ["twin.db", "uploads-1", "logs"])
def test_what_the_application_leaks_is_found_on_each_medium_in_each_spelling(
    tmp_path, medium, spelling
):
    def leak(folder, values):
        data = b"xx" + SPELLINGS[spelling](values["text"]) + b"yy"
        if medium == "twin.db":
            engine = database.open_engine(f"sqlite:///{folder / medium}")
            with engine.begin() as connection:
                connection.exec_driver_sql("UPDATE notes SET label = ? WHERE id = 1", (data,))
            engine.dispose()
        else:
            (folder / medium / "leak").write_bytes(data)

    result = said_of(tmp_path, leak)
    assert result.status is Status.FAIL
    assert all("the text canary as" in finding for finding in result.findings)


def test_a_leak_is_told_of_the_medium_that_holds_it_alone(tmp_path):
    def leak(folder, values):
        (folder / "logs" / "app.log.gz").write_bytes(gzip.compress(values["text"].encode() * 9))

    with company(tmp_path, leak=leak) as twin:
        facts = LeakTest().collect(twin.application, twin.context)
    media = {medium.name: medium for medium in facts.media}
    assert {name: medium.files_with_hits for name, medium in media.items()} == {
        "db": 0, "uploads-1": 0, "logs 1": 1,
    }  # fmt: skip
    (place, *_) = media["logs 1"].places
    assert place.startswith("logs/app.log.gz, the text canary as UTF-8 in ")
    assert "gzip" in place
    assert media["db"].bytes_read > media["logs 1"].bytes_read > 0


def test_what_could_not_be_searched_is_told_of_its_medium_alone(tmp_path, monkeypatch):
    search = leakage.search_files

    def half_blind(*arguments):
        found = search(*arguments)
        files = tuple(
            msgspec.structs.replace(file, state=leakage.FileState.PARTLY)
            if file.medium == "logs 1"
            else file
            for file in found.files
        )
        return msgspec.structs.replace(found, files=files)

    monkeypatch.setattr(leakage, "search_files", half_blind)
    with company(tmp_path) as twin:
        facts = LeakTest().collect(twin.application, twin.context)
    assert {medium.name for medium in facts.media if medium.gaps} == {"logs 1"}
    assert LeakTest().judge(facts).status is Status.ERROR


def test_a_company_that_leaks_nothing_passes(tmp_path):
    assert said_of(tmp_path).status is Status.PASS


def test_without_the_control_in_the_database_nothing_can_be_told(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "leaky_table", lambda *_: nullcontext())
    result = said_of(tmp_path)
    assert result.status is Status.ERROR
    assert "db: the control canary was not found as a row" in result.reason


@pytest.mark.parametrize(
    ("unseen", "why"),
    [("twin.db", "a row of a table"), ("twin.db-wal", "a row in the write-ahead log")],
)
def test_the_control_must_be_seen_in_the_main_file_and_in_the_write_ahead_log(
    tmp_path, monkeypatch, unseen, why
):
    search = leakage.search_files

    def half_blind(*arguments):
        found = search(*arguments)
        assert {hit.path for hit in found.hits} >= {"twin.db", "twin.db-wal"}
        hits = tuple(hit for hit in found.hits if hit.path != unseen)
        return msgspec.structs.replace(found, hits=hits)

    monkeypatch.setattr(leakage, "search_files", half_blind)
    result = said_of(tmp_path)
    assert result.status is Status.ERROR
    assert result.reason.endswith(f"db: the control canary was not found as {why}")


@pytest.mark.parametrize(("folder", "name"), [("uploads-1", "uploads-1"), ("logs", "logs 1")])
def test_without_the_control_in_a_folder_nothing_can_be_told(tmp_path, monkeypatch, folder, name):
    class Silent(leakage.LeakyTwin):
        def __enter__(self):
            return self if self.path.parent.name == folder else super().__enter__()

        def __exit__(self, *how):
            return None if self.path.parent.name == folder else super().__exit__(*how)

    monkeypatch.setattr(leakage, "LeakyTwin", Silent)
    result = said_of(tmp_path)
    assert result.status is Status.ERROR
    assert f"{name}: the control canary was not found as UTF-8, UTF-16LE" in result.reason
