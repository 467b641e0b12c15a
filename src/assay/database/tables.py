"""What tables a database really has, and their raw rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Engine


def real_tables(engine: Engine) -> tuple[str, ...]:
    """All user tables of all non-system schemas."""
    raise NotImplementedError


def count_rows(engine: Engine, table: str) -> int:
    """How many rows a table has."""
    raise NotImplementedError


def raw_rows(engine: Engine, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as the driver gives them, in primary key order."""
    raise NotImplementedError
