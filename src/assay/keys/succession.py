"""One KEK takes the place of others: data keys are wrapped under it, and theirs still open.

While data keys move from one KEK to another, some are wrapped under the one and some under the
other, and the application must open both. It names the new KEK and those before it, and a data key
opens under whichever wrapped it. Which one that was is not taken from the key table: each is tried,
and a key that opens is checked by its id, as always.

Specification: ``spec/data-keys.md``, "Rewrapping".

Example:
    >>> old, new = MemoryKeyService(name="old"), MemoryKeyService(name="new")
    >>> context = {"owner": "tenant-1", "class": "rows", "version": "1"}
    >>> data_key, wrapped = old.generate_data_key(context)
    >>> SuccessorKeyService(new, [old]).unwrap(wrapped, context) == data_key
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.core import Fidelity
from assay.keys.errors import UnwrapError
from assay.keys.service import Custody, KeyService


class SuccessorKeyService:
    """A KEK and those before it. It is the new one in everything but what it opens.

    Args:
        successor: wraps every new data key.
        formers: may have wrapped older ones.

    Attributes:
        successor: as given.
        formers: as given.
    """

    def __init__(self, successor: KeyService, formers: Sequence[KeyService]) -> None:
        self.successor = successor
        self.formers = tuple(formers)

    @property
    def uri(self) -> str:
        """The new KEK."""
        return self.successor.uri

    @property
    def fidelity(self) -> Fidelity:
        """How real the new KEK's service is."""
        return self.successor.fidelity

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Make a data key, wrapped by the new KEK.

        Raises:
            KeyServiceError: the service failed.
        """
        return self.successor.generate_data_key(context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key with the KEK that wrapped it.

        Raises:
            UnwrapError: none of them opens it.
            KeyServiceError: a service failed that had to be asked.
        """
        for service in (self.successor, *self.formers[:-1]):
            try:
                return service.unwrap(wrapped, context)
            except UnwrapError:
                continue
        last = self.formers[-1] if self.formers else self.successor
        return last.unwrap(wrapped, context)

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        """Wrap the same data key anew under the new KEK, whichever wrapped it.

        Raises:
            UnwrapError: none of them opens it.
            KeyServiceError: a service failed that had to be asked.
        """
        openers = [wrapped_by] if wrapped_by is not None else [None, *self.formers]
        for opener in openers[:-1]:
            try:
                return self.successor.rewrap(wrapped, context, wrapped_by=opener)
            except UnwrapError:
                continue
        return self.successor.rewrap(wrapped, context, wrapped_by=openers[-1])

    def custody(self) -> Custody:
        """The facts about the new KEK.

        Raises:
            KeyServiceError: the service failed, so nothing can be said.
        """
        return self.successor.custody()

    def close(self) -> None:
        """Let go of all of them; a second call does nothing."""
        for service in (self.successor, *self.formers):
            service.close()


def successor_of(service: KeyService) -> KeyService:
    """The one KEK of a service that wraps."""
    return service.successor if isinstance(service, SuccessorKeyService) else service
