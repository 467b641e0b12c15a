"""What the unit tests of queries show on SQLite, on PostgreSQL; and what only PostgreSQL has."""

import pytest
from django.contrib.postgres.aggregates import ArrayAgg, StringAgg
from django.contrib.postgres.search import SearchVector, TrigramSimilarity
from django.db import connection
from django.db.models import Value
from django.test.utils import CaptureQueriesContext
from tests.unit.encryption.django.test_django_queries import *  # noqa: F403 - every test of it

from assay.encryption.django import SealedExpressionError

CANARY = "quartz@obsidian.example"


def test_this_is_postgresql(keyring):
    assert connection.vendor == "postgresql"


@pytest.mark.parametrize(
    "query",
    [
        lambda rows: rows.distinct("email"),
        lambda rows: rows.annotate(found=SearchVector("label", "email")).filter(found=CANARY),
        lambda rows: rows.annotate(near=TrigramSimilarity("email", CANARY)),
        lambda rows: rows.filter(email__search=CANARY),
        lambda rows: rows.filter(email__trigram_similar=CANARY),
        lambda rows: [rows.aggregate(all=ArrayAgg("email"))],
        lambda rows: [rows.aggregate(all=StringAgg("email", delimiter=Value(",")))],
    ],
)
def test_what_postgresql_has_beside_is_refused_before_it_is_sent(customers, query):
    with CaptureQueriesContext(connection) as log:
        with pytest.raises(SealedExpressionError, match="expected") as refused:
            list(query(customers))
    assert CANARY not in repr(log.captured_queries) + str(refused.value)
