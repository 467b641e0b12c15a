"""An append-only Merkle log of opaque bytes, its signed head, and proofs that need no trust.

Knows nothing of what its entries say. Formats: ``spec/ledger.md``.

Example:
    >>> log = FileLog.open(Path(".assay/log"), "metal.example/log", signer)  # doctest: +SKIP
    >>> log.append([b"first entry"])                                          # doctest: +SKIP
    range(0, 1)
    >>> log.prove(0).verify(b"first entry", log.verifier_key).size            # doctest: +SKIP
    1
"""

from assay.ledger.checkpoint import Checkpoint
from assay.ledger.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointMissingError,
    CheckpointOriginError,
    ConsistencyProofError,
    EntryIndexError,
    EntryTooLargeError,
    InclusionProofError,
    LedgerError,
    LogCheckpointError,
    LogError,
    LogFlushError,
    LogKeyMismatchError,
    LogOriginError,
    LogReadError,
    LogRollbackError,
    LogWriteError,
    NoteError,
    NoteFormatError,
    NoteSignatureError,
    ProofError,
    TextFormError,
    TileFormatError,
    TileMismatchError,
    TileMissingError,
    TlogProofFormatError,
    UnknownNoteKeyError,
    VerifierKeyError,
)
from assay.ledger.key_file import load_verifier_key
from assay.ledger.log import FileLog
from assay.ledger.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    compact_range,
    complete_subtrees,
    consistency_proof,
    fold_roots,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from assay.ledger.note import Note, NoteSignature, VerifierKey, sign_note
from assay.ledger.proof import TlogProof
from assay.ledger.tail_tree import TailTree
from assay.ledger.text_forms import decode_base64, decode_number, encode_base64
from assay.ledger.tiles import (
    LARGEST_ENTRY,
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entry_tiles,
)

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "LARGEST_ENTRY",
    "TILE_WIDTH",
    "Checkpoint",
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointMissingError",
    "CheckpointOriginError",
    "ConsistencyProofError",
    "EntryIndexError",
    "EntryTooLargeError",
    "FileLog",
    "InclusionProofError",
    "LedgerError",
    "LogCheckpointError",
    "LogError",
    "LogFlushError",
    "LogKeyMismatchError",
    "LogOriginError",
    "LogReadError",
    "LogRollbackError",
    "LogWriteError",
    "Note",
    "NoteError",
    "NoteFormatError",
    "NoteSignature",
    "NoteSignatureError",
    "ProofError",
    "TailTree",
    "TextFormError",
    "Tile",
    "TileFormatError",
    "TileMismatchError",
    "TileMissingError",
    "TlogProof",
    "TlogProofFormatError",
    "UnknownNoteKeyError",
    "VerifierKey",
    "VerifierKeyError",
    "compact_range",
    "complete_subtrees",
    "consistency_proof",
    "decode_base64",
    "decode_entries",
    "decode_number",
    "encode_base64",
    "encode_entries",
    "entry_tiles",
    "fold_roots",
    "inclusion_proof",
    "leaf_hash",
    "load_verifier_key",
    "node_hash",
    "sign_note",
    "verify_consistency",
    "verify_inclusion",
]
