"""Updates, taken apart: operators on fields in the clear, and changes of sealed fields.

Example:
    >>> change = Change.of(declared, {"$set": {"title": "Letter", "text": "Dear Ada"}})  # doctest: +SKIP
    >>> change.clear                                                     # doctest: +SKIP
    {'$set': {'title': 'Letter'}}
"""  # noqa: E501 - an example

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.encryption.mongodb.declaration import (
    ID,
    SealedDocument,
    SealedGroup,
    index_field,
    top,
)
from assay.encryption.mongodb.documents import Documents, refuse_raw
from assay.encryption.mongodb.errors import (
    OwnerChangedError,
    RowIdChangedError,
    SealedExpressionError,
    UnsupportedOperationError,
)

_UPSERTING = frozenset({"$set", "$setOnInsert", "$unset"})


class Change:
    """What an update changes. Its sealed values are shown in no ``repr``.

    Attributes:
        clear: the operators on fields in the clear, as they are sent.
        unset: the sealed fields that are taken away.
        values: sealed fields and their new values.
        on_insert: sealed fields and their values when the update inserts a document.
    """

    __slots__ = ("_declared", "clear", "on_insert", "unset", "values")

    def __init__(self, declared: SealedDocument) -> None:
        self._declared = declared
        self.clear: dict[str, dict[str, Any]] = {}
        self.values: dict[str, object] = {}
        self.unset: set[str] = set()
        self.on_insert: dict[str, object] = {}

    @classmethod
    def of(cls, declared: SealedDocument, update: Any) -> Change:
        """Take an update apart.

        Raises:
            UnsupportedOperationError: it is a pipeline, or no update at all.
            SealedExpressionError: an operator that sealed fields do not have, or a part of one.
            RawFieldError: it names an envelope or a blind index.
            OwnerChangedError: it changes the owner.
            RowIdChangedError: it changes the ``_id``.
        """
        if not isinstance(update, Mapping) or not update:
            raise UnsupportedOperationError(
                "expected an update of operators, such as {'$set': {…}}, found "
                f"{type(update).__name__}; the server cannot compute with sealed fields, so "
                "pipelines are not taken: use replace_one, or operators"
            )
        change = cls(declared)
        for operator, paths in update.items():
            if not operator.startswith("$") or not isinstance(paths, Mapping):
                raise UnsupportedOperationError(
                    "expected an update of operators, such as {'$set': {…}}, found a field without "
                    "one; use replace_one to replace a document"
                )
            for path, operand in paths.items():
                change._take(operator, path, operand)
        return change

    def _take(self, operator: str, path: str, operand: Any) -> None:
        name, declared = top(path), self._declared
        targets = [name, top(operand)] if operator == "$rename" else [name]
        refuse_raw(declared, targets)
        if operator != "$setOnInsert":  # which changes no stored document
            self._refuse_bound(targets)
        if not declared.fields.keys() & set(targets):
            self.clear.setdefault(operator, {})[path] = operand
            return
        if "." in path or operator not in _UPSERTING:
            raise SealedExpressionError(
                f"expected $set or $unset of a whole sealed field, found {operator} of "
                f"{'a part of ' if '.' in path else ''}{name!r}, which the server cannot compute; "
                "read the document, change the value, and $set it whole"
            )
        if operator == "$setOnInsert":
            self.on_insert[name] = operand
        elif name in self.values or name in self.unset:
            raise UnsupportedOperationError(
                f"expected one change of the sealed field {name!r} in an update, found two"
            )
        elif operator == "$set":
            self.values[name] = operand
        else:
            self.unset.add(name)

    def _refuse_bound(self, targets: list[str]) -> None:
        if ID in targets:
            raise RowIdChangedError(
                "expected a document to keep its _id, to which its envelopes are bound, found an "
                "update of it; insert a new document and delete the old one"
            )
        if self._declared.owner in targets:
            raise OwnerChangedError(
                f"expected a document to keep its owner in {self._declared.owner!r}, whose key "
                "seals it, found an update of it; use change_owner, which seals it anew"
            )

    @property
    def is_sealed(self) -> bool:
        """Whether sealed fields of a stored document change."""
        return bool(self.values or self.unset)

    @property
    def groups(self) -> list[SealedGroup]:
        """The groups whose envelopes change."""
        names = {*self.values, *self.unset}
        return [g for g in self._declared.groups.values() if names.intersection(g.fields)]

    def resealed(self, documents: Documents, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The update as it is sent for one stored document.

        Args:
            documents: opens and seals.
            stored: with ``_id``, owner and the envelopes of `groups`.

        Raises:
            EncryptionError: as in `Documents.open_group` and `Documents.seal_group`.
        """
        sent = {operator: dict(paths) for operator, paths in self.clear.items()}
        owner, row_id = documents.owner(stored), documents.row_id(stored)
        for group in self.groups:
            values = documents.open_group(group, stored)
            values |= {name: v for name, v in self.values.items() if name in group.fields}
            values = {name: v for name, v in values.items() if name not in self.unset}
            sealed = documents.seal_group(group, owner, row_id, values, stored)
            sent.setdefault("$set", {}).update(sealed)
        for name in self._declared.indexes.keys() & {*self.values, *self.unset}:
            index = documents.index(name, owner, self.values.get(name))
            if index is None:
                sent.setdefault("$unset", {})[index_field(name)] = ""
            else:
                sent.setdefault("$set", {})[index_field(name)] = index
        return sent

    def inserted(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The document that an upsert inserts: what the filter equals and what is set.

        Raises:
            UnsupportedOperationError: an operator whose effect on a new document only the server
                knows.
        """
        document = _equalities(given)
        for operator, paths in self.clear.items():
            if operator not in _UPSERTING or any("." in path for path in paths):
                raise UnsupportedOperationError(
                    f"expected an upsert of $set, $setOnInsert and $unset of whole fields, found "
                    f"{operator}; insert_one the document when update_one matches none"
                )
            if operator != "$unset":
                document |= paths
        document |= {**self.on_insert, **self.values}
        return {name: v for name, v in document.items() if name not in self.unset}


def _equalities(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a filter fixes by equality."""
    found: dict[str, Any] = {}
    for name, condition in given.items():
        if name == "$and":
            for part in condition:
                found |= _equalities(part)
        elif name.startswith("$") or "." in name:
            continue
        elif not isinstance(condition, Mapping):
            if not hasattr(condition, "flags"):  # a pattern, of Python or BSON, fixes nothing
                found[name] = condition
        elif condition.keys() == {"$eq"}:
            found[name] = condition["$eq"]
    return found
