"""Relational databases: engines with careful defaults, the table of data keys, raw storage.

Example:
    >>> from pathlib import Path
    >>> from assay.database import SqlDataKeyTable, open_engine
    >>> engine = open_engine("sqlite:///app.db")     # doctest: +SKIP
    >>> table = SqlDataKeyTable(engine)              # doctest: +SKIP
"""

from assay.database.engine import open_engine, sqlite_file
from assay.database.errors import (
    DatabaseError,
    DatabaseUnreachableError,
    DatabaseUrlError,
    KeyTableBusyError,
    StorageUnreachableError,
    UnknownTableError,
    VolatileKeyTableError,
)
from assay.database.key_table import SqlDataKeyTable
from assay.database.key_tables import KEY_TABLE_NAME, KEY_TABLE_NAMES
from assay.database.leak_control import LEAK_TABLE_NAME, leaky_table
from assay.database.storage import StorageFiles, storage_files
from assay.database.tables import count_rows, raw_joined_rows, raw_rows, real_tables

__all__ = [
    "KEY_TABLE_NAME",
    "KEY_TABLE_NAMES",
    "LEAK_TABLE_NAME",
    "DatabaseError",
    "DatabaseUnreachableError",
    "DatabaseUrlError",
    "KeyTableBusyError",
    "SqlDataKeyTable",
    "StorageFiles",
    "StorageUnreachableError",
    "UnknownTableError",
    "VolatileKeyTableError",
    "count_rows",
    "leaky_table",
    "open_engine",
    "raw_joined_rows",
    "raw_rows",
    "real_tables",
    "sqlite_file",
    "storage_files",
]
