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
from assay.assemble.indexes import PlainColumn, measure_declared_indexes, measure_plain_column
from assay.assemble.key_server import (
    ServicePlace,
    initialise_key_server,
    open_administration,
    serve_keys,
)
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
from assay.assemble.verification import (
    CLAIM_SUFFIX,
    Verification,
    newest_finished_run,
    standing_results,
    verify,
    verify_claim_files,
)

__all__ = [
    "CLAIM_SUFFIX",
    "VERIFIER_KEY_NAME",
    "Choice",
    "DataKeyStatus",
    "FoundKeyTable",
    "KeyTable",
    "PlainColumn",
    "Platform",
    "ServicePlace",
    "Verification",
    "bundle",
    "create_keys",
    "crew",
    "data_key_status",
    "drill",
    "initialise_key_server",
    "measure_declared_indexes",
    "measure_plain_column",
    "newest_finished_run",
    "open_administration",
    "open_adoption",
    "open_platform",
    "open_store",
    "pinned_tools",
    "record_drills",
    "rewrap_data_keys",
    "rotate_data_keys",
    "run",
    "search_storage",
    "serve_keys",
    "standing_results",
    "verify",
    "verify_claim_files",
]
