"""From a plaintext table in production to a sealed one, while the application keeps writing.

Example:
    >>> run_expand(adoption, Versions(Path("versions"), apply=True, table=VERSION_TABLE), ())
    ...                                                            # doctest: +SKIP
    >>> run_backfill(adoption, Crew(opener, executor), ())         # doctest: +SKIP
    >>> run_verify(adoption, Crew(opener, executor), ())      # doctest: +SKIP

The steps, each of which can be stopped at any moment and taken up again:

1. The model declares its sealed fields with ``plaintext="column"``, and `run_expand` adds the
   columns and a trigger.
2. The new code is rolled out beside the old. It writes both; the trigger empties the envelope of
   a row that old code changes.
3. `run_backfill` seals the rows that have no envelope.
4. `run_verify` opens every row and compares it with its plaintext.
5. The model says ``retired="column"`` instead; that is rolled out everywhere.
6. `run_contract` drops the columns, rewrites what held them, and searches the raw files.
"""

from assay.encryption.adoption.alembic import VERSION_TABLE, Migration
from assay.encryption.adoption.backfill import BackfillReport
from assay.encryption.adoption.contract import ContractReport, Search, Searched
from assay.encryption.adoption.errors import (
    AdoptionBlockedError,
    AdoptionError,
    CheckpointError,
    ClusterError,
    CrewError,
    MigrationError,
    NotExpandedError,
    NothingToAdoptError,
    NotVerifiedError,
    PurgeError,
)
from assay.encryption.adoption.parts import Part, all_parts, parts_in_transition, retired_parts
from assay.encryption.adoption.plan import Plan, Stage
from assay.encryption.adoption.pool import process_pool
from assay.encryption.adoption.purge import Purged, purge_table
from assay.encryption.adoption.purge_mariadb import Rewritten
from assay.encryption.adoption.ranges import shown_keys
from assay.encryption.adoption.rekey import RekeyReport, settled_at
from assay.encryption.adoption.steps import (
    Adoption,
    Terms,
    Versions,
    run_backfill,
    run_contract,
    run_expand,
    run_plan,
    run_rekey,
    run_verify,
)
from assay.encryption.adoption.store import Opener, Store
from assay.encryption.adoption.sweep import Crew, Options, Tally, Watch, nobody_is_lost
from assay.encryption.adoption.verify import VerifyReport

__all__ = [
    "VERSION_TABLE",
    "Adoption",
    "AdoptionBlockedError",
    "AdoptionError",
    "BackfillReport",
    "CheckpointError",
    "ClusterError",
    "ContractReport",
    "Crew",
    "CrewError",
    "Migration",
    "MigrationError",
    "NotExpandedError",
    "NotVerifiedError",
    "NothingToAdoptError",
    "Opener",
    "Options",
    "Part",
    "Plan",
    "PurgeError",
    "Purged",
    "RekeyReport",
    "Rewritten",
    "Search",
    "Searched",
    "Stage",
    "Store",
    "Tally",
    "Terms",
    "VerifyReport",
    "Versions",
    "Watch",
    "all_parts",
    "nobody_is_lost",
    "parts_in_transition",
    "process_pool",
    "purge_table",
    "retired_parts",
    "run_backfill",
    "run_contract",
    "run_expand",
    "run_plan",
    "run_rekey",
    "run_verify",
    "settled_at",
    "shown_keys",
]
