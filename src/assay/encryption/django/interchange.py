"""Fixtures: what ``loaddata`` may bring into a sealed table, and what natural keys may tell.

Example:
    >>> guard_natural_key(Customer)                           # doctest: +SKIP
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from assay.encryption.django.contents import Contents, SealedEnvelope, SealedVersion
from assay.encryption.django.declared import SealedModel
from assay.encryption.django.errors import SealedExpressionError
from assay.encryption.django.sealing import index_of, open_group, sealed_for_writing
from assay.encryption.errors import TamperedEnvelopeError

_GUARDED = "sealed_guarded"
"""The mark of a natural key that is guarded."""


def open_fixture(instance: Any, declared: SealedModel) -> None:
    """Open what a fixture holds: only envelopes of this very row come through.

    Raises:
        TamperedEnvelopeError: an envelope is another row's.
        EnvelopeError: an envelope does not open for another reason.
        MappingError: see its leaves.
        assay.keys.KeysError: the data key is not to be had.
    """
    for group in declared.groups.values():
        try:
            open_group(instance, declared, group)
        except TamperedEnvelopeError as exc:
            raise TamperedEnvelopeError(
                f"expected a fixture with the envelopes of its own rows of {declared.name}, found "
                "one that was altered, or that belongs to another owner or primary key; write it "
                "anew, without --natural-primary, which leaves the primary key out"
            ) from exc


def admit_fixture(instance: Any, declared: SealedModel) -> None:
    """Let an opened fixture into its table; what it has in the clear is sealed.

    Django writes what a fixture has, and asks no field for what is to be saved.

    Raises:
        MappingError: see its leaves.
        assay.keys.KeysError: there is no data key to be had.
    """
    held = instance.__dict__
    for group in declared.groups.values():
        contents = open_group(instance, declared, group)
        fields, envelope, version = contents.fields, contents.envelope, contents.version
        if envelope is None:
            sealed_for_writing(instance, group.column, add=True)
            fields, envelope, version = contents.pending or (fields, b"", version)
        held[group.column] = SealedEnvelope(envelope)
        if group.versioned:
            held[group.version_column] = SealedVersion(version)
        for name in group.fields:
            for column in declared.indexes.get(name, ()):
                held[column] = index_of(instance, declared, name, column, fields.get(name))


def guard_natural_key(cls: Any) -> None:
    """Let a sealed model have a natural key in the clear only, for fixtures hold it as it is."""
    own = getattr(cls, "natural_key", None)
    if own is None or hasattr(own, _GUARDED):
        return

    @wraps(own)
    def natural_key(self: Any) -> Any:
        """As the model's own.

        Raises:
            SealedExpressionError: it reads a sealed field.
        """
        held = self.__dict__
        stored = {
            column: contents
            for column in cls.__sealed__.columns
            if type(contents := held.get(column)) is not Contents or contents.envelope is not None
        }
        opened = {column: each for column, each in stored.items() if type(each) is Contents}
        held.update({column: each.envelope for column, each in opened.items()})
        found = own(self)
        read = [column for column in stored if type(held.get(column)) is Contents]
        held.update(opened)
        if read:
            raise SealedExpressionError(
                f"expected natural_key() of {cls.__name__} to be made of fields in the clear, "
                "found a sealed one read, which a fixture would hold as it is; make it of others, "
                "or leave it out and refer to rows by their primary keys"
            )
        return found

    setattr(natural_key, _GUARDED, True)
    cls.natural_key = natural_key
