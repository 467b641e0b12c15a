"""From a plaintext table in production to a sealed one, while the application keeps writing.

Example:
    >>> part, = parts_in_transition(Base)                          # doctest: +SKIP
    >>> with engine.connect() as connection:                       # doctest: +SKIP
    ...     write_migration(Path("versions"), expansion(part, connection))

The steps, each of which can be stopped at any moment and taken up again:

1. The model declares its sealed fields with ``plaintext="column"``, and
   `expand <assay.encryption.adoption.expand>` adds the columns and a trigger.
2. The new code is rolled out beside the old. It writes both; the trigger empties the envelope of
   a row that old code changes.
3. The backfill seals the rows that have no envelope.
4. Verification opens every row and compares it with its plaintext.
5. The model says ``retired="column"`` instead; that is rolled out everywhere.
6. Contract drops the columns, rewrites what held them, and searches the raw files.
"""

from assay.encryption.adoption.errors import (
    AdoptionBlockedError,
    AdoptionError,
    CheckpointError,
    MigrationError,
    NotExpandedError,
    NothingToAdoptError,
    NotVerifiedError,
    PurgeError,
)
from assay.encryption.adoption.expand import expansion
from assay.encryption.adoption.parts import Part, all_parts, parts_in_transition, retired_parts

__all__ = [
    "AdoptionBlockedError",
    "AdoptionError",
    "CheckpointError",
    "MigrationError",
    "NotExpandedError",
    "NotVerifiedError",
    "NothingToAdoptError",
    "Part",
    "PurgeError",
    "all_parts",
    "expansion",
    "parts_in_transition",
    "retired_parts",
]
