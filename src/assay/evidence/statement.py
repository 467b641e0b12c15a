"""In-toto statements, version 1, as canonical JSON.

Specification: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, narrowed by
``spec/evidence.md``, section Statement.

Example:
    >>> data = Statement.of(predicate).to_bytes()                     # doctest: +SKIP
    >>> Statement.from_bytes(data).read() == predicate                # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from assay.core import AssayError, from_canonical_json, to_canonical_json
from assay.evidence.errors import StatementError
from assay.evidence.fields import Digest, Name
from assay.evidence.predicates import (
    PREDICATE_TYPES,
    Predicate,
    contradiction,
    moment,
    predicate_type,
    subject_of,
)

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


class _Digests(msgspec.Struct, forbid_unknown_fields=True):
    sha256: Digest


class _Subject(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    digest: _Digests


class _Wire(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The statement as JSON has it."""

    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[list[_Subject], msgspec.Meta(min_length=1)]
    predicate_type: str
    predicate: dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """Somebody says something about something.

    Attributes:
        subject: name and SHA-256 (64 hexadecimal digits) of each thing it is about.
        predicate_type: a URN.
        predicate: what it says, as JSON.
    """

    subject: tuple[tuple[str, str], ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    @classmethod
    def of(cls, predicate: Predicate) -> Statement:
        """The statement that says a predicate."""
        said: dict[str, Any] = msgspec.to_builtins(predicate)
        return cls((subject_of(predicate),), predicate_type(predicate), said)

    def to_bytes(self) -> bytes:
        """The canonical JSON.

        Raises:
            CanonicalJsonError: the predicate holds what canonical JSON cannot.
        """
        subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in self.subject]
        return to_canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": subject,
                "predicateType": self.predicate_type,
                "predicate": self.predicate,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """Read a statement; its predicate may be of any type.

        Raises:
            StatementError: the bytes are no statement in canonical JSON.
        """
        try:
            wire = msgspec.convert(from_canonical_json(data), _Wire)
        except (AssayError, ValueError, RecursionError) as exc:
            raise StatementError(
                f"expected an in-toto statement, found something else: {exc}"
            ) from exc
        subject = tuple((one.name, one.digest.sha256) for one in wire.subject)
        return cls(subject, wire.predicate_type, wire.predicate)

    def read(self) -> Predicate:
        """The predicate, as a struct.

        Raises:
            StatementError: its type is unknown, or it does not have the schema of its type, or it
                contradicts itself, or the statement has another subject than follows from it.
        """
        kind = PREDICATE_TYPES.get(self.predicate_type)
        if kind is None:
            raise StatementError(
                f"expected a predicate type ({', '.join(PREDICATE_TYPES)}), found "
                f"{self.predicate_type!r}"
            )
        try:
            predicate = msgspec.convert(self.predicate, kind)
            moment(predicate.at)
            problem = contradiction(predicate)
        except (msgspec.ValidationError, AssayError) as exc:
            raise StatementError(f"{self.predicate_type}: {exc}") from exc
        if problem is not None:
            raise StatementError(f"{self.predicate_type}: {problem}")
        if self.subject != (subject_of(predicate),):
            raise StatementError(
                f"{self.predicate_type}: expected the subject that follows from the predicate, "
                "found another"
            )
        return predicate
