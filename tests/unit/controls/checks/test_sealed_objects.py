import msgspec
import pytest

from assay.controls.checks.sealed_objects import SealedObjects, SealedObjectsFacts
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
