"""What the ledger refuses or cannot do.

::

    LedgerError
    ├── TextFormError              base64 or a number is not in its one spelling
    ├── ProofError                 a Merkle proof does not hold
    │   ├── InclusionProofError
    │   ├── ConsistencyProofError
    │   └── TlogProofFormatError   the text is no tlog-proof
    ├── NoteError                  a signed note
    │   ├── VerifierKeyError       the text is no verifier key
    │   ├── NoteFormatError        the bytes are no signed note
    │   ├── UnknownNoteKeyError    it carries no signature of the expected key
    │   └── NoteSignatureError     the signature of the expected key is wrong
    ├── CheckpointError
    │   ├── CheckpointFormatError  the text of the note is no checkpoint
    │   └── CheckpointOriginError  it is the checkpoint of another log
    ├── TileFormatError            a tile or entry bundle has another shape
    ├── EntryTooLargeError         an entry is longer than 65,535 bytes
    ├── EntryIndexError            there is no entry with this index
    └── LogError                   a log on disk
        ├── CheckpointMissingError there are tiles and no checkpoint, or nothing at all
        ├── LogCheckpointError     the checkpoint on disk does not verify
        ├── LogKeyMismatchError    it was signed by another key
        ├── LogOriginError         it is another log's
        ├── LogRollbackError       the log on disk is older than, or other than, it was
        ├── TileMissingError       the checkpoint demands a tile that is not there
        ├── TileMismatchError      a tile or entry is not the one that was signed
        ├── LogReadError           the disk could not be read
        └── LogWriteError          the disk could not be written; the log is as before
            └── LogFlushError      the append is there, but may not survive a power cut

Example:
    >>> issubclass(InclusionProofError, LedgerError)
    True
"""

from __future__ import annotations

from assay.core import AssayError


class LedgerError(AssayError):
    """Anything that the room ``ledger`` refuses or cannot do."""


class TextFormError(LedgerError):
    """Base64 or a decimal number is not in its one spelling."""


class ProofError(LedgerError):
    """A Merkle proof does not hold."""


class InclusionProofError(ProofError):
    """The entry is not proven to be in the tree."""


class ConsistencyProofError(ProofError):
    """The newer tree is not proven to extend the older one."""


class TlogProofFormatError(ProofError):
    """The text is not a tlog-proof."""


class NoteError(LedgerError):
    """A signed note, or a key for one, cannot be accepted."""


class VerifierKeyError(NoteError):
    """The text is not a verifier key."""


class NoteFormatError(NoteError):
    """The bytes are not a signed note."""


class UnknownNoteKeyError(NoteError):
    """The note carries no signature of the expected key."""


class NoteSignatureError(NoteError):
    """The note names the expected key, but the signature is not that key's."""


class CheckpointError(LedgerError):
    """A checkpoint cannot be accepted."""


class CheckpointFormatError(CheckpointError):
    """The note's text is not a checkpoint."""


class CheckpointOriginError(CheckpointError):
    """The checkpoint is another log's."""


class TileFormatError(LedgerError):
    """A tile or an entry bundle has another shape than its place demands."""


class EntryTooLargeError(LedgerError):
    """An entry is longer than 65,535 bytes, the most that an entry bundle can hold."""


class EntryIndexError(LedgerError):
    """The log, or the part of it that is at hand, has no entry with this index."""


class LogError(LedgerError):
    """A log on disk cannot be used."""


class CheckpointMissingError(LogError):
    """There are tiles without a checkpoint, or there is no log at all."""


class LogCheckpointError(LogError):
    """The checkpoint on disk does not verify."""


class LogKeyMismatchError(LogError):
    """The checkpoint on disk was signed by another key."""


class LogOriginError(LogError):
    """The checkpoint on disk is another log's."""


class LogRollbackError(LogError):
    """The log on disk is no extension of what this process has seen of it before."""


class TileMissingError(LogError):
    """The checkpoint demands a tile or entry bundle that is not there."""


class TileMismatchError(LogError):
    """A tile or entry bundle does not hold what the checkpoint signed."""


class LogReadError(LogError):
    """The disk could not be read."""


class LogWriteError(LogError):
    """The disk could not be written; nothing was appended."""


class LogFlushError(LogWriteError):
    """The append is there, but flushing it failed: a power cut may undo it."""
