"""What a sealed model declares, and how the groups of one of its rows are sealed and opened.

Specification: ``spec/row-envelope.md``, "Sealing" and "Opening".

Example:
    >>> Document.__sealed__.fields["text"].group            # doctest: +SKIP
    'default'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from assay.core import DataKeyClass
from assay.encryption.blind_index import DEFAULT_BITS, BlindIndex, BlindIndexValue, Transform
from assay.encryption.envelope import envelope_key_id
from assay.encryption.errors import MissingEnvelopeError, WrongKeyError
from assay.encryption.frozen import freeze
from assay.encryption.payload import decode_payload, encode_payload
from assay.encryption.row_address import DEFAULT_GROUP, RowAddress
from assay.encryption.sqlalchemy.columns import Contents
from assay.encryption.sqlalchemy.errors import (
    OwnerMissingError,
    RowIdMissingError,
    SealedValueError,
)
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.keys import UnknownDataKeyError

UNSET = object()
"""Stands for a value that nobody gave."""


@dataclass(frozen=True, slots=True)
class Equality:
    """A blind index by which rows with an equal value are found: ``==``, ``!=``, ``in_``.

    What it tells whoever reads the table: which rows of one owner have an equal value, and which
    have none. With few different values, or well-known frequencies, that gives the values away:
    never index a truth value, a country or a status. See ``spec/blind-index.md``.

    Attributes:
        transform: which values are equal: `exact`, `casefold`, `digits`, or one of your own.
        bits: how much of the hash is kept. At least 64, so that what is found is equal; fewer
            tell less, and then the field cannot be compared.
    """

    transform: Transform
    bits: int = DEFAULT_BITS


def envelope_column(group: str) -> str:
    """The attribute and column of a group's envelope: ``sealed``, or ``sealed_<group>``."""
    return "sealed" if group == DEFAULT_GROUP else f"sealed_{group}"


@dataclass(frozen=True, slots=True)
class SealedField:
    """One sealed field of a model.

    Attributes:
        name: the attribute's name, which is also its name in the payload.
        group: the group in whose envelope it stands.
        kind: the type of its values.
        nullable: whether it may be None.
        default: a value, a function without arguments that makes one, or `UNSET`.
        index: the blind index that is declared for it, or None.
    """

    name: str
    group: str
    kind: type
    nullable: bool
    default: object
    index: Equality | None

    @property
    def index_column(self) -> str:
        """The attribute and column of its blind index."""
        return f"{self.name}_index"

    def accept(self, value: object) -> object:
        """The value as it is kept; dicts and lists are frozen copies.

        Raises:
            SealedValueError: the type is another one than declared. The value is not shown.
        """
        kind = self.kind
        if type(value) is kind or value is None:
            return freeze(value) if kind is dict or kind is list else value
        if isinstance(value, kind) and kind in (dict, list):
            return freeze(value)
        raise SealedValueError(
            f"expected {kind.__name__} for the sealed field {self.name!r}, found "
            f"{type(value).__name__}; convert it, so that it is read back as it was written"
        )

    def make_default(self) -> object:
        """The value of a field that nobody gave one.

        Raises:
            SealedValueError: there is no default and it may not be null.
        """
        if self.default is UNSET:
            return None
        return self.accept(self.default() if callable(self.default) else self.default)

    def refuse_null(self, value: object) -> None:
        """Let values pass, and None where it is declared.

        Raises:
            SealedValueError: None in a field that may not be null.
        """
        if value is None and not self.nullable:
            raise SealedValueError(
                f"expected a value for the sealed field {self.name!r}, found none; assign one, "
                f"give it a default, or declare Mapped[{self.kind.__name__} | None]"
            )


@dataclass(frozen=True, slots=True)
class SealedGroup:
    """The fields that share one envelope.

    Attributes:
        name: the group's name.
        table: the stable name of the table.
        column: the attribute and column of the envelope.
        fields: the fields, in the order of their declaration.
        padded: whether the payload is padded.
    """

    name: str
    table: str
    column: str
    fields: tuple[SealedField, ...]
    padded: bool
    kinds: tuple[tuple[str, type], ...] = field(init=False)
    freezes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Work out once what is needed for each row."""
        kinds = tuple((each.name, each.kind) for each in self.fields)
        freezes = tuple(name for name, kind in kinds if kind is dict or kind is list)
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "freezes", freezes)

    def place(self, owner: str, row_id: bytes) -> bytes:
        """The associated data of one row."""
        return RowAddress(owner, self.table, self.name, row_id).associated_data()

    def seal(
        self, keys: SessionKeys, owner: str, place: bytes, fields: dict[str, object]
    ) -> Contents:
        """Seal the fields of one row.

        Raises:
            SealedValueError: a field is None that may not be.
            UnsupportedValueError: a value within a list or dict cannot be sealed.
            assay.keys.KeysError: there is no data key to be had.
        """
        for each in self.fields:
            value = fields.get(each.name, UNSET)
            if value is UNSET:
                value = fields[each.name] = each.make_default()
            if value is None:
                each.refuse_null(value)
        payload = encode_payload(fields, padded=self.padded)
        key = keys.keyring.current(owner, DataKeyClass.ROWS)
        return Contents(fields, keys.sealer.seal_payload(key, place, payload), place)

    def open(self, keys: SessionKeys, owner: str, place: bytes, envelope: object) -> Contents:
        """Open the envelope of one row.

        Raises:
            EnvelopeError: one of its leaves.
            MalformedPayloadError: authentic, but no map of fields.
            SealedValueError: a field has another type than the model declares.
            assay.keys.KeysError: the data key is not to be had.
        """
        if type(envelope) is not bytes:
            raise MissingEnvelopeError(
                f"expected an envelope in {self.table}.{self.column}, found "
                f"{'NULL' if envelope is None else type(envelope).__name__}"
            )
        try:
            key = keys.keyring.by_id(owner, DataKeyClass.ROWS, envelope[2:18])
        except UnknownDataKeyError as exc:
            key_id = envelope_key_id(envelope)
            raise WrongKeyError(
                f"expected an envelope under a data key of the row's owner, found one under "
                f"{key_id.hex()}: it belongs to another owner, or its key was destroyed"
            ) from exc
        fields = decode_payload(keys.opener.open_payload(key, place, envelope))
        for name, kind in self.kinds:
            value = fields.get(name)
            if type(value) is not kind and value is not None:
                raise SealedValueError(
                    f"expected {kind.__name__} in the sealed field {self.table}.{name} as the "
                    f"model declares it, found {type(value).__name__} in the envelope; declare "
                    "the type that was sealed"
                )
        for name in self.freezes:
            if name in fields:
                fields[name] = freeze(fields[name])
        return Contents(fields, envelope, place)


@dataclass(frozen=True, slots=True)
class SealedModel:
    """Everything that is sealed of one model, and what its rows are bound to.

    Attributes:
        model: the class.
        name: the stable name of the table, as it stands in associated data.
        owner: the attribute that says whose a row is.
        groups: by name.
        fields: by name.
        indexes: the blind indexes by the names of their fields.
        key: the attributes of the primary key, in its order.
        encode_row_id: the encoder of the primary key.
        defaults: attributes of owner and primary key that have a default on this side.
    """

    model: type
    name: str
    owner: str
    groups: Mapping[str, SealedGroup]
    fields: Mapping[str, SealedField]
    indexes: Mapping[str, BlindIndex]
    key: tuple[str, ...]
    encode_row_id: Callable[[Sequence[object]], bytes]
    defaults: Mapping[str, Callable[[], object]]

    def owner_of(self, value: object) -> str:
        """The owner's name, from the value of the owner attribute: text, or UUID or int as text.

        Raises:
            OwnerMissingError: there is none.
        """
        if type(value) is str and value:
            return value
        if type(value) is UUID or type(value) is int:
            return str(value)
        raise OwnerMissingError(
            f"expected {self.model.__name__}.{self.owner} to say whose the row is, found "
            f"{'nothing' if value is None or value == '' else type(value).__name__}; assign it "
            "before the row is flushed"
        )

    def row_id_of(self, values: Sequence[object]) -> bytes:
        """The row id, from the values of the primary key.

        Raises:
            RowIdMissingError: one of them is None.
            RowIdError: one of them is of another kind than declared.
        """
        if None in values:
            raise RowIdMissingError(
                f"expected the primary key of {self.model.__name__} before its row is sealed, "
                f"found none; assign {', '.join(self.key)} or give it a default"
            )
        return self.encode_row_id(values)

    def index_of(
        self, keys: SessionKeys, owner: str, field: str, value: object
    ) -> BlindIndexValue | None:
        """The blind index of a field's value, None for None.

        Raises:
            UnsupportedValueError: the transform does not accept the value.
            assay.keys.KeysError: there is no index key to be had.
        """
        if value is None:
            return None
        key = keys.keyring.current(owner, DataKeyClass.INDEXES)
        return self.indexes[field].compute(key, value)
