"""The leak test's positive control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Engine

LEAK_TABLE_NAME = "assay_leak_control"


@contextmanager
def leaky_table(engine: Engine, values: Sequence[str]) -> Iterator[None]:
    """A deliberately leaky twin."""
    raise NotImplementedError
    yield
