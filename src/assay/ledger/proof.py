"""The proof that one entry is in a log, as one text (https://c2sp.org/tlog-proof).

The text is ``spec/ledger.md``, section Proof of one entry.

Example:
    >>> TlogProof.parse(text).verify(entry, key).size                # doctest: +SKIP
    109482
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.ledger.checkpoint import Checkpoint
from assay.ledger.errors import TextFormError, TlogProofFormatError
from assay.ledger.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from assay.ledger.note import VerifierKey
from assay.ledger.text_forms import decode_base64, decode_number, encode_base64

_HEADER = "c2sp.org/tlog-proof@v1"
_MOST_HASHES = 63


@dataclass(frozen=True)
class TlogProof:
    """An entry's index, its audit path, and the checkpoint that the path leads to.

    Attributes:
        index: of the entry.
        hashes: the audit path, the leaf's sibling first.
        checkpoint: the signed note, verbatim.
        extra: opaque and not authenticated; None when there is none.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    @property
    def text(self) -> str:
        """The text form, as `parse` reads it."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines.extend(encode_base64(one) for one in self.hashes)
        return "\n".join(lines) + "\n\n" + self.checkpoint.decode()

    @classmethod
    def parse(cls, text: str) -> TlogProof:
        """Read a proof; its checkpoint is not verified yet.

        Raises:
            TlogProofFormatError: the text has another form.
        """
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != _HEADER:
            raise TlogProofFormatError(f"expected a proof that starts with {_HEADER}")
        extra = None
        try:
            if lines and lines[0].startswith("extra "):
                extra = decode_base64(lines.pop(0).removeprefix("extra "))
            if not lines or not lines[0].startswith("index "):
                raise TlogProofFormatError("expected a line with the index of the entry")
            index = decode_number(lines.pop(0).removeprefix("index "))
            hashes = tuple(decode_base64(line) for line in lines)
            note = checkpoint.encode()
        except (TextFormError, UnicodeEncodeError) as exc:
            raise TlogProofFormatError(f"proof: {exc}") from exc
        if len(hashes) > _MOST_HASHES or any(len(one) != HASH_SIZE for one in hashes):
            raise TlogProofFormatError(f"expected at most {_MOST_HASHES} hashes of 32 bytes")
        return cls(index, hashes, note, extra)

    def verify(self, entry: bytes, key: VerifierKey) -> Checkpoint:
        """Check that the log with this key holds the entry.

        Args:
            entry: the entry's bytes.
            key: the log's.

        Returns:
            The verified checkpoint.

        Raises:
            NoteError, CheckpointError: the checkpoint does not verify.
            InclusionProofError: the entry is not the one that was logged.
        """
        checkpoint = Checkpoint.verify(self.checkpoint, key)
        verify_inclusion(
            leaf_hash(entry), self.index, checkpoint.size, self.hashes, root=checkpoint.root
        )
        return checkpoint
