"""What an instance holds of a group of sealed fields: values in the clear, and their envelope.

Example:
    >>> Contents({"text": "Dear Ada"})
    <contents of a sealed column, 1 field, not sealed yet>
"""

from __future__ import annotations

from typing import Any

from assay.encryption.django.errors import UnsealedPickleError

UNSET: Any = object()
"""Stands for a value that nobody gave."""


class SealedEnvelope(bytes):
    """An envelope that was sealed, or opened, for the row that it is about to be written to."""

    __slots__ = ()


class SealedVersion(int):
    """The version of an envelope that was sealed, or opened, and is about to be written with it."""

    __slots__ = ()


class Contents:
    """Stands in an instance's ``__dict__`` in place of the envelope, once it was opened.

    Attributes:
        fields: name to value, known and unknown fields.
        envelope: the stored bytes, or None when the values are not sealed yet.
        replaces: the stored envelope from which changed values were made; None when the column
            was NULL; `UNSET` for a new row.
        version: of the stored envelope, in a versioned group; 0 when there is none.
        assigned: the fields that were assigned since the row was read, if it was.
        pending: values, envelope and version on their way into the database.
    """

    # Not a dataclass: what turns those into JSON must not find the fields.
    __slots__ = ("assigned", "envelope", "fields", "pending", "replaces", "version")

    def __init__(
        self,
        fields: dict[str, object],
        envelope: bytes | None = None,
        replaces: bytes | None = UNSET,
        assigned: frozenset[str] = frozenset(),
        version: int = 0,
    ) -> None:
        self.fields = fields
        self.envelope = envelope
        self.replaces = replaces
        self.assigned = assigned
        self.version = version
        self.pending: tuple[dict[str, object], bytes, int] | None = None

    def __repr__(self) -> str:
        count = f"{len(self.fields)} field{'' if len(self.fields) == 1 else 's'}"
        state = "not sealed yet" if self.envelope is None else f"{len(self.envelope)} bytes sealed"
        return f"<contents of a sealed column, {count}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """The envelope alone: values in the clear do not leave the process by pickle."""
        if self.envelope is None:
            raise UnsealedPickleError(
                "expected an instance whose sealed fields were saved, found values that are not "
                "sealed yet; save it before pickling it"
            )
        return bytes, (self.envelope,)

    def assign(self, name: str, value: object) -> Contents:
        """The contents after a field was assigned; the same ones when they are not sealed."""
        if self.envelope is None:
            self.fields[name] = value
            self.pending = None
            if self.replaces is not UNSET:
                self.assigned |= {name}
            return self
        fields = {**self.fields, name: value}
        return Contents(fields, None, self.envelope, frozenset({name}), self.version)

    def __copy__(self) -> Contents:
        fields = dict(self.fields)
        return Contents(fields, self.envelope, self.replaces, self.assigned, self.version)

    def __deepcopy__(self, memo: object) -> Contents:
        return self.__copy__()
