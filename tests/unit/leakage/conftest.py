"""Canaries that are the same in every run, and both engines."""
# ruff: noqa: S311 - seeded, so that a failure can be repeated

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from assay.leakage import Canary, CanaryKind, Matcher, Pattern, make_canaries
from assay.leakage.ahocorasick import AhoCorasickMatcher
from assay.leakage.hyperscan import HyperscanMatcher

FIELDS = {"text": CanaryKind.TEXT, "email": CanaryKind.EMAIL, "number": CanaryKind.NUMBER}


@pytest.fixture(scope="session")
def canaries() -> tuple[Canary, ...]:
    return make_canaries(FIELDS, random.Random(20260131))


@pytest.fixture(scope="session", params=[HyperscanMatcher, AhoCorasickMatcher])
def engine(request: pytest.FixtureRequest) -> Callable[[Sequence[Pattern]], Matcher]:
    return request.param
