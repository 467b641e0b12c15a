"""The ledger of destroyed keys, as the log has it (``spec/destruction.md``, Ledger and replay).

Example:
    >>> ledger = read_ledger(log)                                     # doctest: +SKIP
    >>> ledger.key_ids, ledger.unfinished                             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from assay.evidence.books import Books
from assay.evidence.destructions import DestroyedKeys, DestructionCompleted, DestructionOrdered
from assay.evidence.dsse import Envelope, open_envelope
from assay.evidence.statement import Statement
from assay.ledger import FileLog

_MARK = b"urn:assay:destruction"


@dataclass
class LoggedDestruction:
    """What the log says of one destruction.

    Attributes:
        ordered: the order.
        ordered_index: where it stands.
        completed: the completion; None when there is none.
        completed_index: where that stands; None when there is none.
    """

    ordered: DestructionOrdered
    ordered_index: int
    completed: DestructionCompleted | None = None
    completed_index: int | None = None

    @property
    def keys(self) -> tuple[DestroyedKeys, ...]:
        """Every key that was destroyed, or is to be."""
        also = () if self.completed is None else tuple(self.completed.also)
        return (*self.ordered.keys, *also)

    @property
    def destroyed_at(self) -> str:
        """When the keys were destroyed; when it was ordered while that is not known."""
        return self.ordered.at if self.completed is None else self.completed.destroyed_at


@dataclass
class DestructionLedger:
    """Every destruction in a log.

    Attributes:
        size: how many statements the log has.
        destructions: by id, in the order of their orders.
    """

    size: int
    destructions: dict[str, LoggedDestruction] = field(default_factory=dict)

    @property
    def key_ids(self) -> tuple[bytes, ...]:
        """Every destroyed key, once."""
        ids = (key_id for one in self.destructions.values() for k in one.keys for key_id in k.ids)
        return tuple(dict.fromkeys(bytes.fromhex(key_id) for key_id in ids))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Ids of destructions that were ordered and not completed."""
        return tuple(name for name, one in self.destructions.items() if one.completed is None)


def read_ledger(log: FileLog) -> DestructionLedger:
    """Read every statement about destructions; all entries are compared with the signed head.

    Raises:
        EvidenceError, LedgerError: the log is missing or damaged, or its books are wrong.
    """
    size = log.head().size
    ledger, books = DestructionLedger(size), Books()
    for index, predicate in _statements(log, size):
        books.enter(index, predicate)
        if isinstance(predicate, DestructionOrdered):
            ledger.destructions[predicate.destruction] = LoggedDestruction(predicate, index)
        else:
            one = ledger.destructions[predicate.destruction]
            one.completed, one.completed_index = predicate, index
    return ledger


def _statements(
    log: FileLog, size: int
) -> Iterator[tuple[int, DestructionOrdered | DestructionCompleted]]:
    for index, entry in enumerate(log.entries(0, size)):
        # Reading the type of each statement takes less than reading each statement.
        if _MARK not in Envelope.from_bytes(entry).payload:
            continue
        payload = open_envelope(entry, log.verifier_key)
        predicate = Statement.from_bytes(payload).read()
        if isinstance(predicate, DestructionOrdered | DestructionCompleted):
            yield index, predicate
