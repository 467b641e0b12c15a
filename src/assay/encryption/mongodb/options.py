"""Options of operations: those that are passed on, and those that are refused by name.

An option that is not known here could change what an operation reads or writes, so it is refused
rather than passed on unseen.

Example:
    >>> checked("insert_one", {"comment": "import"}, WRITING)
    {'comment': 'import'}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assay.encryption.mongodb.declaration import SealedDocument, top
from assay.encryption.mongodb.documents import refuse_raw
from assay.encryption.mongodb.errors import SealedExpressionError, UnsupportedOperationError

WRITING = frozenset({"session", "comment", "bypass_document_validation", "ordered"})
UPDATING = frozenset(
    {"session", "comment", "hint", "collation", "array_filters", "bypass_document_validation",
     "upsert", "sort"}
)  # fmt: skip
DELETING = frozenset({"session", "comment", "hint", "collation"})
COUNTING = frozenset({"session", "comment", "hint", "collation", "skip", "limit", "maxTimeMS"})
FINDING = frozenset(
    {"session", "comment", "hint", "collation", "skip", "limit", "sort", "batch_size",
     "max_time_ms", "no_cursor_timeout", "allow_partial_results", "allow_disk_use"}
)  # fmt: skip
MODIFYING = frozenset(
    {"session", "comment", "hint", "collation", "sort", "array_filters", "return_document",
     "maxTimeMS"}
)  # fmt: skip
AGGREGATING = frozenset(
    {"session", "comment", "hint", "collation", "allowDiskUse", "maxTimeMS", "batchSize"}
)
INDEXING = frozenset({"session", "comment", "name", "background", "hidden"})

_LOOKING = ("session", "comment", "hint", "collation", "sort")


def checked(operation: str, given: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The options as they are passed on.

    Raises:
        UnsupportedOperationError: one of them is not known.
    """
    for name in given:
        if name not in known:
            raise UnsupportedOperationError(
                f"expected {operation} with options of {', '.join(sorted(known))}, found {name!r}, "
                "which sealed collections do not have; leave it out"
            )
    return dict(given)


def looking(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of a write that say which document is looked for."""
    return {name: given[name] for name in _LOOKING if given.get(name) is not None}


def pinned(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a write to a document that was found: without those that look for one."""
    return {name: value for name, value in given.items() if name not in ("hint", "sort", "upsert")}


def refuse_order(declared: SealedDocument, keys: Any, where: str) -> None:
    """Refuse to sort or index by sealed fields.

    Args:
        declared: what is sealed.
        keys: a name, names, pairs of name and direction, or a mapping.
        where: stands in the message.

    Raises:
        SealedExpressionError: a sealed field is among them.
        RawFieldError: an envelope or a blind index is.
    """
    for name in _names(keys):
        refuse_raw(declared, [top(name)])
        if top(name) in declared.fields:
            raise SealedExpressionError(
                f"expected {where} of fields in the clear, found the sealed field {name!r}, whose "
                "order the server cannot know; sort in the application, or for a blind index call "
                "create_blind_index"
            )


def refuse_upsert(operation: str, options: Mapping[str, Any]) -> None:
    """Refuse an upsert.

    Raises:
        UnsupportedOperationError: the options ask for one.
    """
    if options.get("upsert"):
        raise UnsupportedOperationError(
            f"expected {operation} without upsert, found one with it, by which the server "
            "would insert a document that is not sealed; use update_one or replace_one"
        )


def _names(keys: Any) -> Iterator[str]:
    if keys is None:
        return
    if isinstance(keys, str):
        yield keys
    elif isinstance(keys, Mapping | Sequence):
        for key in keys:
            yield key if isinstance(key, str) else key[0]
