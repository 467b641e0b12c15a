"""A sealed field on a model's class and on its instances.

On an instance it is read and assigned like any other attribute. Its group is opened when the first
of its fields is read, so loading costs nothing for what is not read. On the class it is an
expression that can be compared when it has a blind index.

Example:
    >>> document.text                                          # doctest: +SKIP
    'Dear Ada'
    >>> select(Document).where(Document.owner_email == "ada@example.com")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.base import (
    DONT_SET,
    InspectionAttrExtensionType,
    InspectionAttrInfo,
    instance_state,
)
from sqlalchemy.orm.instrumentation import ClassManager
from sqlalchemy.orm.interfaces import _DataclassDefaultsDontSet

from assay.encryption.concealment import concealed, forget_variables
from assay.encryption.errors import RolledBackEnvelopeError
from assay.encryption.sqlalchemy.columns import Contents
from assay.encryption.sqlalchemy.constructors import InDataclass, attribute_options
from assay.encryption.sqlalchemy.errors import (
    MissingFieldError,
    SealedExpressionError,
    UnopenedError,
)
from assay.encryption.sqlalchemy.expressions import SealedExpression
from assay.encryption.sqlalchemy.model import (
    UNSET,
    SealedField,
    SealedGroup,
    SealedModel,
    envelope_column,
)
from assay.encryption.sqlalchemy.rows import OwnerRows
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.encryption.sqlalchemy.transition import plaintext_fields


class SealedExtension(InspectionAttrExtensionType):
    """How ``inspect(Model).all_orm_descriptors`` shows what this package adds."""

    SEALED_FIELD = "sealed_field"


class SealedAttribute(_DataclassDefaultsDontSet, InspectionAttrInfo):
    """The descriptor of one sealed field, and its field in a dataclass.

    Args:
        field: what was declared.
        in_dataclass: what of that is for dataclasses.
    """

    is_attribute = True
    extension_type = SealedExtension.SEALED_FIELD

    _has_dataclass_arguments = False  # `refuse_dataclass` looks at them

    def __init__(self, field: SealedField, in_dataclass: InDataclass) -> None:
        self.field = field
        self.in_dataclass = in_dataclass
        self._attribute_options = attribute_options(in_dataclass, field.default)
        self._default_scalar_value: object = UNSET
        self._initial: object = None
        self._name = field.name
        self._expression: SealedExpression | None = None
        self._column = envelope_column(field.group)
        self._model: SealedModel
        self._group: SealedGroup
        self._validated = False
        self._taken_as_it_is = field.taken_as_it_is

    def attach(self, model: SealedModel) -> None:
        """Get to know the model, once it is mapped."""
        self._model = model
        self._group = model.groups[self.field.group]
        self._expression = SealedExpression(self.field, model.model)
        if self._default_scalar_value is not UNSET:  # of a dataclass, whose instances have it
            self._initial = self.field.accept(self._default_scalar_value)

    def call_validators(self) -> None:
        """Let the functions that models declare by ``@validates`` see what is assigned."""
        self._validated = True

    def __get__(self, instance: Any, owner: type) -> Any:
        """The field's value, or on the class the expression for it.

        Raises:
            EnvelopeError: the row's envelope does not open; see its leaves.
            MappingError: see its leaves.
        """
        if instance is None:
            # SQLAlchemy asks for it for each field of each new instance.
            known = self._expression
            if known is not None and known.entity is owner:
                return known
            return SealedExpression(self.field, owner)
        contents = instance.__dict__.get(self._column)
        if type(contents) is Contents:
            value = contents.fields.get(self._name, UNSET)
            if value is not UNSET:
                return value
        return self._read(instance)

    def __set__(self, instance: Any, value: object) -> None:
        """Assign the field; it is sealed when the session is flushed.

        Raises:
            SealedValueError: a value of another type than declared.
            Exception: what a function that is declared by ``@validates`` raises.
            EnvelopeError: the row's present envelope does not open; its other fields would be
                lost.
        """
        try:
            if type(value) is not self._taken_as_it_is and value is DONT_SET:
                return  # as the constructor of a dataclass says of a default
            if self._validated:
                value = _validate(instance, self._name, value)
            if type(value) is not self._taken_as_it_is:
                value = self.field.accept(value)
            held = instance.__dict__
            contents = held.get(self._column)
            if type(contents) is Contents and contents.home == id(held):
                contents.fields[self._name] = value
                return
            contents = contents_of(instance, self._model, self._group)
            fields = {} if contents is None else dict(contents.fields)
            fields[self._name] = value
            replaces = None if contents is None else contents.envelope or contents.replaces
            setattr(instance, self._column, Contents(fields, None, None, id(held), replaces))
        except Exception as exc:
            forget_variables(exc)
            value = contents = fields = None
            raise

    def __delete__(self, instance: Any) -> None:
        """Refuse: a field is emptied by assigning None."""
        raise AttributeError(f"expected an assignment to {self._name!r}, found del; assign None")

    def _read(self, instance: Any) -> object:
        try:
            contents = contents_of(instance, self._model, self._group)
        except Exception as exc:
            forget_variables(exc)
            raise
        if contents is None:
            return self._initial  # a new instance without a value yet, as with any other attribute
        if contents.envelope is None and instance_state(instance).key is None:
            return contents.fields.get(self._name, self._initial)
        value = contents.fields.get(self._name)
        if value is None and not self.field.nullable:
            raise MissingFieldError(
                f"expected the field {self._name!r} in the row's envelope, found none: the row was "
                "sealed before the model had this field; assign it, or declare it as | None"
            )
        return value


class ConvertedAttribute(SealedAttribute):
    """The descriptor of a sealed field whose payload holds a simpler value.

    The contents hold what stands in the payload, so what a record does not know, and a member that
    an enumeration does not have, survive the change of another field.
    """

    @concealed
    def __get__(self, instance: Any, owner: type) -> Any:
        """The field's value, made anew of what the payload holds; on the class its expression.

        Raises:
            UnknownMemberError: the enumeration has no such member.
            RecordShapeError: the record has other fields.
            EnvelopeError: the row's envelope does not open; see its leaves.
            MappingError: see its leaves.
        """
        value = super().__get__(instance, owner)
        conversion = self.field.conversion
        if instance is None or value is None or conversion is None:
            return value
        return conversion.from_payload(value)


class SealedClassManager(ClassManager[Any]):
    """SQLAlchemy's table of a model's attributes, which says where a sealed field stands instead.

    It is asked by name: ``session.refresh(instance, ["text"])``, ``expire``, ``flag_modified``.
    """

    def __missing__(self, name: str) -> NoReturn:
        """Refuse a name that stands for no column.

        Raises:
            SealedExpressionError: it is that of a sealed field.
            KeyError: it is none at all.
        """
        model: SealedModel | None = getattr(self.class_, "__sealed__", None)
        if model is None or name not in model.fields:
            raise KeyError(name)
        column = envelope_column(model.fields[name].group)
        raise SealedExpressionError(
            f"expected the name of a column that is loaded and kept, found the sealed field "
            f"{name!r}, which is so with its whole group; name the column of the envelope, "
            f"{column!r}, or read and assign the field itself"
        )


def _validate(instance: Any, name: str, value: object) -> object:
    found = instance_state(instance).mapper.validators.get(name)
    if found is None:
        return value
    validator, options = found
    # Only a collection has removals, which a validator may want to be told from additions.
    more = (False,) if options["include_removes"] else ()
    return validator(instance, name, value, *more)  # type: ignore[operator]  # typed as its name


def contents_of(instance: Any, model: SealedModel, group: SealedGroup) -> Contents | None:
    """What an instance holds of a group, opened; None when it holds nothing yet.

    Raises:
        EnvelopeError: the row's envelope does not open; see its leaves.
        UnopenedError: the instance is detached.
        KeyringNotBoundError: its session has no keyring.
    """
    state: InstanceState[Any] = instance_state(instance)
    held = instance.__dict__
    loaded = held.get(group.column)
    if loaded is None:
        if state.key is None:
            return None
        loaded = getattr(instance, group.column)  # expired or deferred: SQLAlchemy loads it
    if type(loaded) is Contents:
        return loaded
    if loaded is None and group.in_transition:
        return Contents(plaintext_fields(instance, group), None, None)
    session = state.session
    if session is None:
        raise UnopenedError(
            f"expected an instance of {model.model.__name__} in a session to open its sealed "
            "fields, found a detached one; read them before the session ends, or merge it into "
            "another session"
        )
    owner = held.get(model.owner)
    if type(owner) is not str or not owner:
        owner = model.owner_of(getattr(instance, model.owner))
    values = [getattr(instance, name) for name in model.key] if state.key is None else state.key[1]
    rows = SessionKeys.of(session).rows(group, owner)
    row_id = model.row_id_of(values)
    if group.versioned:
        opened = _open_versioned(instance, group, rows, row_id)
    else:
        opened = rows.open(loaded, row_id)
    # The bytes in the column stay the same; they are now known with what is in them.
    held[group.column] = opened
    return opened


def _open_versioned(instance: Any, group: SealedGroup, rows: OwnerRows, row_id: bytes) -> Contents:
    held, session = instance.__dict__, instance_state(instance).session
    version = getattr(instance, group.version_column)
    try:
        return rows.open(held[group.column], row_id, version)
    except RolledBackEnvelopeError as exc:
        if session is None:
            raise
        found = str(exc)
    # One of the two may have been loaded later than the other, after a change.
    try:
        session.refresh(instance, [group.column, group.version_column])
    except (MissingGreenlet, StatementError) as exc:
        if not isinstance(getattr(exc, "orig", exc), MissingGreenlet):
            raise
        raise RolledBackEnvelopeError(
            f"{found}. Unless one of the two was loaded before a change and the other after it: "
            "await session.refresh(instance), and read it again"
        ) from exc
    return rows.open(held[group.column], row_id, held[group.version_column])
