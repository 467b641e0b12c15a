"""Aggregation pipelines over fields in the clear and blind indexes.

Example:
    >>> Pipeline.of(filters, declared, [{"$match": {"owner_email": "ada@example.com"}},
    ...                                 {"$count": "letters"}]).gives_documents  # doctest: +SKIP
    False
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.encryption.mongodb.declaration import ID, SealedDocument, top
from assay.encryption.mongodb.documents import refuse_raw
from assay.encryption.mongodb.errors import (
    OwnerChangedError,
    SealedExpressionError,
    UnsupportedOperationError,
)
from assay.encryption.mongodb.filters import Filters, refuse_named
from assay.encryption.mongodb.projections import keeps

_KEEPING = frozenset(
    {"$match", "$sort", "$limit", "$skip", "$sample", "$addFields", "$set", "$unset", "$unwind"}
)
"""Stages whose documents still have their envelopes, owner and ``_id``."""

_SHAPING = frozenset({"$group", "$project", "$count", "$sortByCount", "$bucket", "$bucketAuto"})
"""Stages that make other documents, without envelopes."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline as it is sent.

    Attributes:
        sent: the stages.
        gives_documents: whether what comes are documents of the collection, to be opened.
    """

    sent: list[dict[str, Any]]
    gives_documents: bool

    @classmethod
    def of(
        cls,
        filters: Filters,
        declared: SealedDocument,
        stages: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
    ) -> Pipeline:
        """Rewrite a pipeline.

        Raises:
            UnsupportedOperationError: a stage that sealed collections do not have.
            SealedExpressionError: a sealed field anywhere but in a first ``$match``.
            OwnerChangedError: a stage that changes owner or ``_id`` of documents that are opened.
            RawFieldError: a stage names an envelope or a blind index.
        """
        sent: list[dict[str, Any]] = []
        gives_documents = True
        for stage in stages:
            ((name, body),) = _single(stage)
            if name == "$match" and gives_documents:
                sent.append({name: filters.rewrite(body, options)})
                continue
            if name not in _KEEPING | _SHAPING:
                raise UnsupportedOperationError(
                    f"expected one of {', '.join(sorted(_KEEPING | _SHAPING))} in a pipeline over "
                    f"a sealed collection, found {name}; open the documents and compute in the "
                    "application"
                )
            _refuse_sealed(declared, name, body)
            if gives_documents and name in ("$addFields", "$set", "$unset", "$unwind"):
                _refuse_bound(declared, name, body)
            if name == "$project" and gives_documents:
                body = _including(body)
            gives_documents = gives_documents and name in _KEEPING
            sent.append({name: body})
        return cls(sent, gives_documents)


def _single(stage: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if len(stage) != 1:
        raise UnsupportedOperationError(
            "expected stages with one operator each in a pipeline, found something else"
        )
    return list(stage.items())


def _refuse_sealed(declared: SealedDocument, name: str, body: Any) -> None:
    where = f"a {name} stage"
    if name in ("$unset", "$count"):
        names = [body] if isinstance(body, str) else list(body)
        body = dict.fromkeys(names, 1)
    if isinstance(body, Mapping):
        refuse_raw(declared, map(top, body))
    refuse_named(declared.fields, declared.raw_names, body, where)


def _refuse_bound(declared: SealedDocument, name: str, body: Any) -> None:
    if name == "$unwind":
        path = body if isinstance(body, str) else str(body.get("path"))
        changed = {top(path.removeprefix("$"))}
        if isinstance(body, Mapping) and body.get("includeArrayIndex"):
            changed.add(top(body["includeArrayIndex"]))
    elif isinstance(body, Mapping):
        changed = {top(path) for path in body}
    else:
        changed = {top(path) for path in ([body] if isinstance(body, str) else body)}
    refuse_raw(declared, changed)
    if changed & {ID, declared.owner}:
        raise OwnerChangedError(
            f"expected {ID!r} and {declared.owner!r} to stay as they are in documents that are "
            f"opened, found a {name} stage that changes them; $project the fields you want"
        )
    if changed & declared.fields.keys():
        raise SealedExpressionError(
            f"expected a {name} stage that leaves sealed fields alone, found one of them"
        )


def _including(body: Any) -> Any:
    """Refuse to project by exclusion: then envelopes would remain."""
    named = {n: v for n, v in body.items() if n != ID} if isinstance(body, Mapping) else {}
    names_any = bool(named) or (isinstance(body, Mapping) and bool(body.get(ID)))
    if names_any and all(keeps(value) for value in named.values()):
        return body
    raise UnsupportedOperationError(
        "expected a $project stage that names the fields to keep, found one that names fields to "
        "leave out; use $unset, or name what you want"
    )
