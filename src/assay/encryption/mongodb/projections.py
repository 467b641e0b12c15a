"""Projections: which fields a reader wants, and what must be fetched for them.

Example:
    >>> Projection.of(declared, ["title", "text"]).sent                  # doctest: +SKIP
    {'title': 1, '_id': 1, 'tenant_id': 1, 'sealed': 1}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from assay.encryption.mongodb.declaration import ID, SealedDocument, index_field, top
from assay.encryption.mongodb.documents import Documents, refuse_raw
from assay.encryption.mongodb.errors import SealedExpressionError
from assay.encryption.mongodb.filters import refuse_named

GivenProjection: TypeAlias = Mapping[str, Any] | Sequence[str] | None

_KEEPING_THE_REST = frozenset({"$slice", "$meta"})
"""Operators in a projection that do not leave out the fields it does not name."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection as it is sent, and what is done with the documents that come.

    Attributes:
        sent: for the driver; None for all fields.
        wanted: the sealed fields that are opened.
        dropped: fetched for opening, but not wanted.
    """

    sent: dict[str, Any] | None
    wanted: frozenset[str]
    dropped: frozenset[str]

    @classmethod
    def of(cls, declared: SealedDocument, given: GivenProjection) -> Projection:
        """Read a projection as pymongo takes it.

        Raises:
            SealedExpressionError: more than including or excluding is asked of a sealed field.
            RawFieldError: it names an envelope or a blind index.
        """
        if given is not None and not isinstance(given, Mapping):
            given = dict.fromkeys(given, 1)
            given = given or {ID: 1}
        named = dict(given or {})
        refuse_raw(declared, map(top, named))
        sealed = _sealed_part(declared, named)
        clear = {name: value for name, value in named.items() if top(name) not in declared.fields}
        for name, value in clear.items():
            if not _is_switch(value):
                refuse_named(declared.fields, declared.raw_names, value, f"projection of {name!r}")
        if _includes(named):
            return _including(declared, clear, frozenset(n for n, on in sealed.items() if on))
        return _excluding(declared, clear, frozenset(n for n, on in sealed.items() if not on))

    def open(self, documents: Documents, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A document as the reader wants it.

        Raises:
            EncryptionError: as in `Documents.open`.
        """
        document = documents.open(stored, self.wanted)
        for name in self.dropped:
            document.pop(name, None)
        return document


def _sealed_part(declared: SealedDocument, named: Mapping[str, Any]) -> dict[str, bool]:
    sealed = {}
    for name, value in named.items():
        if top(name) in declared.fields:
            if "." in name or not _is_switch(value):
                raise SealedExpressionError(
                    f"expected the sealed field {top(name)!r} to be included or excluded as a "
                    "whole, found a part of it, or an operator, in a projection; take it whole and "
                    "choose in the application"
                )
            sealed[name] = bool(value)
    return sealed


def _is_switch(value: object) -> bool:
    return isinstance(value, bool | int | float)


def _includes(named: Mapping[str, Any]) -> bool:
    """Whether a projection leaves out what it does not name."""
    for name, value in named.items():
        if isinstance(value, Mapping) and _KEEPING_THE_REST & value.keys():
            continue
        if name != ID or len(named) == 1:
            return keeps(value)
    return False


def keeps(value: object) -> bool:
    """Whether what a projection says of a field keeps it: {"a": {"b": 0}} leaves out a part."""
    if isinstance(value, Mapping) and value and not any(str(name)[:1] == "$" for name in value):
        return keeps(next(iter(value.values())))
    return bool(value) or isinstance(value, str | Mapping)


def _including(
    declared: SealedDocument, clear: dict[str, Any], wanted: frozenset[str]
) -> Projection:
    if not wanted:
        return Projection(clear, wanted, frozenset())
    groups = {field: 1 for name in wanted for field in declared.group_of(name).stored_fields}
    needed = {ID: 1, declared.owner: 1}
    dropped = set()
    if not clear.get(ID, True):
        dropped.add(ID)
    if declared.owner != ID and not any(top(name) == declared.owner for name in clear):
        dropped.add(declared.owner)
    return Projection({**clear, **needed, **groups}, wanted, frozenset(dropped))


def _excluding(
    declared: SealedDocument, clear: dict[str, Any], excluded: frozenset[str]
) -> Projection:
    wanted = frozenset(declared.fields) - excluded
    sent = dict(clear)
    dropped = set()
    if wanted:
        for name in {ID, declared.owner}:
            if name in sent and not sent[name]:
                del sent[name]
                dropped.add(name)
    sent |= {index_field(name): 0 for name in declared.indexes}
    for group in declared.groups.values():
        if not wanted.intersection(group.fields):
            sent |= dict.fromkeys(group.stored_fields, 0)
    return Projection(sent or None, wanted, frozenset(dropped))
