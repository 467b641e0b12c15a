"""The table of wrapped data keys in a relational database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from assay.core import DataKeyClass, WrappedDataKey

KEY_TABLE_NAME = "assay_data_keys"


class SqlDataKeyTable:
    """Skeleton."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        """All versions, oldest first."""
        raise NotImplementedError

    def add(self, key: WrappedDataKey) -> bool:
        """Store a key unless its place is taken."""
        raise NotImplementedError

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        raise NotImplementedError
