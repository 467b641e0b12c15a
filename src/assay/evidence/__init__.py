"""Evidence: signed statements about runs, what they rest on, and bundles that anyone can verify.

Formats: ``spec/evidence.md`` and ``spec/bundle.md``. Verifying needs this room, ``ledger`` and
``core``, and nothing else: no keys, no database, no network.

Example:
    >>> recorder = Recorder(log, artefacts, signer, SystemClock())    # doctest: +SKIP
    >>> recorder.record(started, [scope])                             # doctest: +SKIP
    >>> write_bundle(log, artefacts, Path("metal.assay"))             # doctest: +SKIP
    >>> verify_bundle(Path("metal.assay"), key, judge).runs           # doctest: +SKIP
"""

from assay.evidence.artefacts import ArtefactStore
from assay.evidence.books import Place
from assay.evidence.bundle import BundleHeader, write_bundle
from assay.evidence.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    open_envelope,
    pre_authentication_encoding,
    sign_envelope,
)
from assay.evidence.errors import (
    ArtefactDigestError,
    ArtefactError,
    ArtefactMissingError,
    ArtefactStoreError,
    ArtefactUnnamedError,
    BooksError,
    BundleCheckpointError,
    BundleEmptyError,
    BundleError,
    BundleFormError,
    BundleHeaderError,
    BundleMemberMissingError,
    BundleMemberUnknownError,
    BundleReadError,
    BundleRootError,
    BundleTooLargeError,
    BundleWriteError,
    ClockWentBackError,
    EnvelopeError,
    EnvelopeFormatError,
    EnvelopeKeyError,
    EnvelopeSignatureError,
    EvidenceError,
    JudgementError,
    ObservationMismatchError,
    RecorderError,
    RecorderKeyError,
    StatementError,
    StatementTimeError,
    UnknownCheckError,
)
from assay.evidence.predicates import (
    PREDICATE_TYPES,
    DrillRecorded,
    PlannedCheck,
    Predicate,
    RecordedPopulation,
    RecordedResult,
    ResultRecorded,
    RunFinished,
    RunStarted,
)
from assay.evidence.recorder import Recorder
from assay.evidence.statement import STATEMENT_TYPE, Statement
from assay.evidence.verified import Gap, ResultView, RunView, VerifiedBundle
from assay.evidence.verify import (
    Judge,
    VerifiedClaim,
    verify_bundle,
    verify_claim,
    verify_result_claim,
)

__all__ = [
    "PAYLOAD_TYPE",
    "PREDICATE_TYPES",
    "STATEMENT_TYPE",
    "ArtefactDigestError",
    "ArtefactError",
    "ArtefactMissingError",
    "ArtefactStore",
    "ArtefactStoreError",
    "ArtefactUnnamedError",
    "BooksError",
    "BundleCheckpointError",
    "BundleEmptyError",
    "BundleError",
    "BundleFormError",
    "BundleHeader",
    "BundleHeaderError",
    "BundleMemberMissingError",
    "BundleMemberUnknownError",
    "BundleReadError",
    "BundleRootError",
    "BundleTooLargeError",
    "BundleWriteError",
    "ClockWentBackError",
    "DrillRecorded",
    "Envelope",
    "EnvelopeError",
    "EnvelopeFormatError",
    "EnvelopeKeyError",
    "EnvelopeSignatureError",
    "EvidenceError",
    "Gap",
    "Judge",
    "JudgementError",
    "ObservationMismatchError",
    "Place",
    "PlannedCheck",
    "Predicate",
    "RecordedPopulation",
    "RecordedResult",
    "Recorder",
    "RecorderError",
    "RecorderKeyError",
    "ResultRecorded",
    "ResultView",
    "RunFinished",
    "RunStarted",
    "RunView",
    "Statement",
    "StatementError",
    "StatementTimeError",
    "UnknownCheckError",
    "VerifiedBundle",
    "VerifiedClaim",
    "open_envelope",
    "pre_authentication_encoding",
    "sign_envelope",
    "verify_bundle",
    "verify_claim",
    "verify_result_claim",
    "write_bundle",
]
