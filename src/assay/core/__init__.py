"""What every floor shares: errors, results, digests, canonical JSON, time, files, protocols.

Standard library only, and nothing here imports another room.

Example:
    >>> from assay.core import Fidelity, Population, Result
    >>> Result.of(Population(3, 3, 0, "rows"), Fidelity.LIVE, "all rows open").status
    <Status.PASS: 'pass'>
"""

from assay.core.canonical import Json, from_canonical_json, to_canonical_json
from assay.core.clock import Clock, SteppedClock, SystemClock, from_rfc3339, to_rfc3339
from assay.core.data_keys import (
    DataKeyClass,
    DataKeyTable,
    DestroyedKey,
    KeyUses,
    OwnerDestroyedError,
    WrappedDataKey,
    owner_digest,
)
from assay.core.digests import is_sha256_hex, sha256_hex
from assay.core.errors import (
    AssayError,
    CanonicalJsonError,
    CoreDumpError,
    LockHeldError,
    SecretReferenceError,
    ToolError,
    UnavailableError,
    WrongInputError,
)
from assay.core.events import (
    Event,
    EventSink,
    IgnoredEvents,
    Progress,
    RecordedEvents,
    SilentProgress,
)
from assay.core.files import atomic_file, exclusive_lock, flush_directory, write_atomically
from assay.core.memory_dumps import CoreDumps, core_dumps, forbid_core_dumps
from assay.core.pae import pae
from assay.core.references import is_reference, resolve_reference
from assay.core.results import Fidelity, Population, Result, Status, result_to_json
from assay.core.signing import Signer
from assay.core.tools import PinnedTool, ToolOutput, tools_home

__all__ = [
    "AssayError",
    "CanonicalJsonError",
    "Clock",
    "CoreDumpError",
    "CoreDumps",
    "DataKeyClass",
    "DataKeyTable",
    "DestroyedKey",
    "Event",
    "EventSink",
    "Fidelity",
    "IgnoredEvents",
    "Json",
    "KeyUses",
    "LockHeldError",
    "OwnerDestroyedError",
    "PinnedTool",
    "Population",
    "Progress",
    "RecordedEvents",
    "Result",
    "SecretReferenceError",
    "Signer",
    "SilentProgress",
    "Status",
    "SteppedClock",
    "SystemClock",
    "ToolError",
    "ToolOutput",
    "UnavailableError",
    "WrappedDataKey",
    "WrongInputError",
    "atomic_file",
    "core_dumps",
    "exclusive_lock",
    "flush_directory",
    "forbid_core_dumps",
    "from_canonical_json",
    "from_rfc3339",
    "is_reference",
    "is_sha256_hex",
    "owner_digest",
    "pae",
    "resolve_reference",
    "result_to_json",
    "sha256_hex",
    "to_canonical_json",
    "to_rfc3339",
    "tools_home",
    "write_atomically",
]
