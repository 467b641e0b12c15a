"""What evidence refuses or cannot do.

::

    EvidenceError
    ├── StatementError                  the bytes are no statement of a known schema
    │   └── StatementTimeError          a statement is older than the one before it
    ├── EnvelopeError                   a DSSE envelope
    │   ├── EnvelopeFormatError         the bytes are no envelope
    │   ├── EnvelopeKeyError            it names another key
    │   └── EnvelopeSignatureError      its signature is wrong
    ├── ArtefactError                   an artefact
    │   ├── ArtefactMissingError        is not there
    │   ├── ArtefactDigestError         has other bytes than its name says
    │   ├── ArtefactUnnamedError        is named by no statement
    │   └── ArtefactStoreError          could not be read from or written to the disk
    ├── ObservationMismatchError        an observation is about something else than its result
    ├── BooksError                      the statements of a run contradict each other
    │   └── ConsentError                a destruction without two people who approved it
    ├── RequestError                    a request for a destruction that cannot be accepted
    ├── CertificateError                a certificate says what the log does not
    ├── RecorderError                   nothing was recorded
    │   ├── ClockWentBackError          the clock is behind the log
    │   └── RecorderKeyError            the signer is not the log's
    ├── JudgementError                  a recorded result does not follow from its observation
    │   └── UnknownCheckError           nobody here can judge it
    └── BundleError                     a bundle
        ├── BundleFormError             the file is not in its one form
        ├── BundleHeaderError           its header contradicts itself
        ├── BundleMemberMissingError    something is missing in it
        ├── BundleMemberUnknownError    something in it belongs to nothing
        ├── BundleCheckpointError       its checkpoint is not the one of its header
        ├── BundleRootError             its entries are not those of its checkpoint
        ├── BundleEmptyError            it would prove nothing
        ├── BundleTooLargeError         it would be longer than 4 GiB
        ├── BundleReadError             the disk could not be read
        └── BundleWriteError            the disk could not be written

Example:
    >>> issubclass(UnknownCheckError, JudgementError)
    True
"""

from __future__ import annotations

from assay.core import AssayError


class EvidenceError(AssayError):
    """Anything that the room ``evidence`` refuses or cannot do."""


class StatementError(EvidenceError):
    """The bytes are not a statement with a predicate of a known schema."""


class StatementTimeError(StatementError):
    """A statement is older than the one before it in the log."""


class EnvelopeError(EvidenceError):
    """An envelope cannot be accepted."""


class EnvelopeFormatError(EnvelopeError):
    """The bytes are not an envelope in its one spelling."""


class EnvelopeKeyError(EnvelopeError):
    """The envelope names another key."""


class EnvelopeSignatureError(EnvelopeError):
    """The envelope's signature is not that of the key over its payload."""


class ArtefactError(EvidenceError):
    """An artefact cannot be used."""


class ArtefactMissingError(ArtefactError):
    """There is no artefact with this digest."""


class ArtefactDigestError(ArtefactError):
    """The bytes under this digest have another one."""


class ArtefactUnnamedError(ArtefactError):
    """An artefact was given that the statement does not name."""


class ArtefactStoreError(ArtefactError):
    """The disk could not be read or written."""


class ObservationMismatchError(EvidenceError):
    """An observation is about another check, version, asset or time than its result."""


class BooksError(EvidenceError):
    """The statements of a run contradict each other."""


class ConsentError(BooksError):
    """A consent does not verify, or the people who consented do not suffice."""


class RequestError(EvidenceError):
    """The bytes are no request for a destruction, or it contradicts itself."""


class CertificateError(EvidenceError):
    """The bytes are no certificate of a destruction, or it says what the log does not."""


class RecorderError(EvidenceError):
    """Nothing was recorded."""


class ClockWentBackError(RecorderError):
    """The clock is more than a few seconds behind the last statement."""


class RecorderKeyError(RecorderError):
    """The key that signs statements is not the log's key."""


class JudgementError(EvidenceError):
    """A recorded result does not follow from its observation."""


class UnknownCheckError(JudgementError):
    """A judge does not know this check, or not this version of it."""


class BundleError(EvidenceError):
    """A bundle cannot be accepted or written."""


class BundleFormError(BundleError):
    """The file is not a bundle in its one form, byte for byte."""


class BundleHeaderError(BundleError):
    """``bundle.json`` is malformed or contradicts itself."""


class BundleMemberMissingError(BundleError):
    """Something that the bundle speaks of is not in it."""


class BundleMemberUnknownError(BundleError):
    """Something in the bundle belongs to nothing that it speaks of."""


class BundleCheckpointError(BundleError):
    """The checkpoint is not the one of the header, or carries more than one signature."""


class BundleRootError(BundleError):
    """The entries are not those that the checkpoint signed."""


class BundleEmptyError(BundleError):
    """A bundle without statements proves nothing."""


class BundleTooLargeError(BundleError):
    """The bundle would be longer than its form allows."""


class BundleReadError(BundleError):
    """The disk could not be read."""


class BundleWriteError(BundleError):
    """The disk could not be written; no bundle was made or replaced."""
