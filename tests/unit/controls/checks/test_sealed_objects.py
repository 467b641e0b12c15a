import os

import msgspec
import pytest

from assay.controls import CollectError
from assay.controls.checks.sealed_objects import SealedObjects, SealedObjectsFacts
from assay.controls.twins.company import company
from assay.core import Status

FACTS = SealedObjectsFacts(
    listed=4, stored=4, opened=4, bytes_opened=900, refused={}, unlisted=0, unlisted_names=()
)


def judged(**changes):
    return SealedObjects().judge(msgspec.structs.replace(FACTS, **changes))


def test_all_objects_open():
    result = judged()
    assert result.status is Status.PASS
    assert (result.population.in_scope, result.population.unit) == (4, "objects")


@pytest.mark.parametrize(
    "changes",
    [
        {"opened": 3, "refused": {"TamperedObjectError": 1}},
        {"opened": 3, "stored": 3, "refused": {"not stored": 1}},
        {"stored": 5, "unlisted": 1, "unlisted_names": ("0" * 64,)},
    ],
)
def test_each_object_that_is_not_as_it_should_be_fails(changes):
    result = judged(**changes)
    assert result.status is Status.FAIL
    assert result.population.failed == 1
    assert result.findings


def test_what_is_wrong_is_told_and_counted():
    unknown = judged(stored=5, unlisted=1, unlisted_names=("0" * 64,))
    assert unknown.reason == "files in the bucket that belong to no known object: 1"
    assert (unknown.population.in_scope, unknown.population.evaluated) == (5, 5)
    both = judged(stored=5, opened=3, unlisted=1, refused={"TamperedObjectError": 1})
    assert both.findings == ("refused objects: 1 (TamperedObjectError)", unknown.reason)
    assert both.population.failed == 2


def test_an_empty_bucket_proves_nothing():
    assert judged(listed=0, stored=0, opened=0).status is Status.ERROR


def said_of(twin):
    check = SealedObjects()
    return check.judge(check.collect(twin.bucket, twin.context))


def test_what_lies_deep_or_behind_a_link_is_seen(tmp_path):
    (tmp_path / "twin").mkdir()
    with company(tmp_path / "twin") as twin:
        bucket = twin.folder / "uploads-1"
        (bucket / "empty").mkdir()
        assert said_of(twin).status is Status.PASS
        (bucket / "behind").symlink_to(tmp_path)
        assert said_of(twin).reason.endswith("belong to no known object: 1")
        (bucket / "deep" / "deeper").mkdir(parents=True)
        (bucket / "deep" / "deeper" / "export.csv").write_text("name,email")
        assert said_of(twin).reason.endswith("belong to no known object: 2")


def test_a_folder_that_cannot_be_read_could_not_be_told(tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with company(tmp_path) as twin:
        (twin.folder / "uploads-1" / "closed").mkdir()
        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(CollectError, match="Permission denied"):
            said_of(twin)
