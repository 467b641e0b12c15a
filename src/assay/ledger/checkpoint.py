"""Checkpoints: the signed head of a log (https://c2sp.org/tlog-checkpoint).

The text is ``spec/ledger.md``, section Checkpoint.

Example:
    >>> print(Checkpoint("example.com/log", 0, EMPTY_ROOT).text, end="")
    example.com/log
    0
    47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.core import Signer
from assay.ledger.errors import CheckpointFormatError, CheckpointOriginError, TextFormError
from assay.ledger.merkle import EMPTY_ROOT, HASH_SIZE
from assay.ledger.note import VerifierKey, sign_note
from assay.ledger.text_forms import decode_base64, decode_number, encode_base64

__all__ = ["EMPTY_ROOT", "Checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """Which log, how many entries, and the root over them.

    Attributes:
        origin: the log's name.
        size: number of entries.
        root: 32 bytes.
        extensions: further lines, opaque; none in what Assay writes.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of the note."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note.

        Raises:
            CheckpointFormatError: it is no checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise CheckpointFormatError("expected origin, size and root hash, each on its line")
        origin, size_text, root_text, *extensions = lines
        try:
            size, root = decode_number(size_text), decode_base64(root_text)
        except TextFormError as exc:
            raise CheckpointFormatError(f"checkpoint: {exc}") from exc
        if len(root) != HASH_SIZE or (size == 0 and root != EMPTY_ROOT):
            raise CheckpointFormatError(
                "expected a root hash of 32 bytes that fits the size, found another"
            )
        return cls(origin, size, root, tuple(extensions))

    @classmethod
    def verify(cls, note: bytes, key: VerifierKey) -> Checkpoint:
        """Verify a signed checkpoint under a log's key.

        Args:
            note: the signed note.
            key: the log's; its name is the origin.

        Raises:
            NoteError: the note does not verify.
            CheckpointFormatError: its text is no checkpoint.
            CheckpointOriginError: it is another log's.
        """
        checkpoint = cls.parse(key.verify_note(note))
        if checkpoint.origin != key.name:
            raise CheckpointOriginError(
                f"expected a checkpoint of {key.name}, found one of {checkpoint.origin}"
            )
        return checkpoint

    def sign(self, signer: Signer) -> bytes:
        """The signed note, under the origin as the name of the key.

        Raises:
            NoteError: the signature does not verify.
            AssayError: the signer could not sign.
        """
        return sign_note(self.text, self.origin, signer)
