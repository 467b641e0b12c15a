import msgspec
import pytest

from assay.controls.checks.leak_test import LeakTest, LeakTestFacts, MediumFacts
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


def test_a_single_hit_fails_even_beside_trouble():
    hit = change(hits=1, files_with_hits=1, places=("app.log, the email canary as hex",))
    result = judged(hit, change(control_missing=("gzip",)))
    assert result.status is Status.FAIL
    assert result.findings == ("app-db: app.log, the email canary as hex",)


@pytest.mark.parametrize(
    "changes",
    [
        {"control_missing": ("base64 in lines",)},
        {"gaps": ("db.wal is unreadable (Permission denied)",), "searched": 2},
        {"bytes_read": 0},
    ],
)
def test_a_search_that_saw_too_little_could_not_tell(changes):
    assert judged(MEDIUM, change(**changes)).status is Status.ERROR


def test_without_media_or_paths_nothing_was_tested():
    assert LeakTest().judge(msgspec.structs.replace(FACTS, media=())).status is Status.ERROR
    assert judged(paths=()).status is Status.ERROR
