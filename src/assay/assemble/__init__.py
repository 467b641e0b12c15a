"""The only wiring: from a programme file to a running platform, its evidence and its trust page.

Each public function is one verb of the command line. Nothing here decides anything: checks,
coverage and verification do.

Example:
    >>> with open_platform(Path("assay.yaml")) as platform:          # doctest: +SKIP
    ...     report = run(platform)
"""

from assay.assemble.data_keys import (
    Choice,
    DataKeyStatus,
    FoundKeyTable,
    KeyTable,
    data_key_status,
    rewrap_data_keys,
    rotate_data_keys,
)
from assay.assemble.datastores import crew, open_adoption, open_store, search_storage
from assay.assemble.destroying import CopiesRemainError, certificate_path, shred
from assay.assemble.destruction import (
    approve_destruction,
    approver_line,
    declaration_of,
    request_destruction,
    withdraw_destruction,
)
from assay.assemble.destruction_folders import (
    DestructionFolder,
    DestructionRefusedError,
    Owner,
    approvals,
    find_folder,
    folder_of,
    ledger_of,
)
from assay.assemble.indexes import PlainColumn, measure_declared_indexes, measure_plain_column
from assay.assemble.key_server import (
    ServicePlace,
    initialise_key_server,
    open_administration,
    serve_keys,
)
from assay.assemble.owners_data import ReadingUndecidedError, StillReadableError
from assay.assemble.platform import (
    VERIFIER_KEY_NAME,
    Platform,
    bundle,
    create_keys,
    drill,
    open_platform,
    pinned_tools,
    record_drills,
    run,
)
from assay.assemble.replay import Replayed, pending, replay_destructions
from assay.assemble.verification import (
    CLAIM_SUFFIX,
    Verification,
    newest_finished_run,
    standing_results,
    verify,
    verify_claim_files,
    verify_destruction,
)

__all__ = [
    "CLAIM_SUFFIX",
    "VERIFIER_KEY_NAME",
    "Choice",
    "CopiesRemainError",
    "DataKeyStatus",
    "DestructionFolder",
    "DestructionRefusedError",
    "FoundKeyTable",
    "KeyTable",
    "Owner",
    "PlainColumn",
    "Platform",
    "ReadingUndecidedError",
    "Replayed",
    "ServicePlace",
    "StillReadableError",
    "Verification",
    "approvals",
    "approve_destruction",
    "approver_line",
    "bundle",
    "certificate_path",
    "create_keys",
    "crew",
    "data_key_status",
    "declaration_of",
    "drill",
    "find_folder",
    "folder_of",
    "initialise_key_server",
    "ledger_of",
    "measure_declared_indexes",
    "measure_plain_column",
    "newest_finished_run",
    "open_administration",
    "open_adoption",
    "open_platform",
    "open_store",
    "pending",
    "pinned_tools",
    "record_drills",
    "replay_destructions",
    "request_destruction",
    "rewrap_data_keys",
    "rotate_data_keys",
    "run",
    "search_storage",
    "serve_keys",
    "shred",
    "standing_results",
    "verify",
    "verify_claim_files",
    "verify_destruction",
    "withdraw_destruction",
]
