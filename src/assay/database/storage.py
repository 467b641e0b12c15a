"""The files in which a database keeps its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine


@dataclass(frozen=True, slots=True)
class StorageFiles:
    """Where a database keeps its data.

    Attributes:
        dialect: "sqlite" or "postgresql".
        files: every file, never empty.
        explanation: one sentence: which files these are.
    """

    dialect: str
    files: tuple[Path, ...]
    explanation: str


def storage_files(engine: Engine) -> StorageFiles:
    """Every file of the database."""
    raise NotImplementedError
