"""A sealed field on an instance: its group is opened when the first of its fields is read.

Example:
    >>> customer.email                                        # doctest: +SKIP
    'ada@example.com'
"""

from __future__ import annotations

from typing import Any, NoReturn

from assay.encryption.concealment import forget_variables
from assay.encryption.django.contents import UNSET, Contents
from assay.encryption.django.declared import SealedModel
from assay.encryption.django.errors import MissingFieldError
from assay.encryption.django.sealing import declared_by, open_group


class SealedAttribute:
    """The descriptor of a sealed field: opens the envelope on first access.

    Args:
        field: the field.
        column: the column of its group's envelope.
    """

    __slots__ = ("_column", "_name", "field")

    def __init__(self, field: Any, column: str) -> None:
        self.field = field
        self._column = column
        self._name = field.name

    def __get__(self, instance: Any, owner: type) -> Any:
        """The field's value.

        Raises:
            EnvelopeError: the row's envelope does not open; see its leaves.
            MappingError: see its leaves.
        """
        if instance is None:
            return self
        contents = instance.__dict__.get(self._column)
        if type(contents) is Contents:
            value = contents.fields.get(self._name, UNSET)
            if value is not UNSET:
                return value
        return self._read(instance)

    def _read(self, instance: Any) -> object:
        try:
            declared = type(instance).__sealed__ or declared_by(instance)
            contents = open_group(instance, declared, declared.columns[self._column])
            value = contents.fields.get(self._name, UNSET)
            return value if value is not UNSET else self._default(contents)
        except Exception as exc:
            forget_variables(exc)
            raise

    def _default(self, contents: Contents) -> object:
        """The value of a field that an instance, or its envelope, does not hold."""
        field = self.field
        if contents.envelope is None and contents.replaces is UNSET:
            value = contents.fields[self._name] = field.get_default()
            return value
        if not field.null and not field.has_default():
            raise MissingFieldError(
                f"expected the field {self._name!r} in the row's envelope, found none: the row was "
                "sealed before the model had this field; assign it, give it a default, or declare "
                "it with null=True"
            )
        return field.get_default()

    def __set__(self, instance: Any, value: object) -> None:
        """Assign the field; it is sealed when the instance is saved.

        Raises:
            EnvelopeError: the row's present envelope does not open; its other fields would be
                lost.
        """
        try:
            held, name = instance.__dict__, self._name
            contents = held.get(self._column)
            if type(contents) is not Contents:
                contents = self._present(instance)
            fields = contents.fields
            if contents.envelope is not None and name in fields:
                before = fields[name]
                if before is value or (type(before) is type(value) and before == value):
                    return
            held[self._column] = contents.assign(name, value)
        except Exception as exc:
            forget_variables(exc)
            value = contents = fields = None
            raise

    def _present(self, instance: Any) -> Contents:
        """The contents of a stored row; of one from before the model was sealed there are none."""
        declared: SealedModel = declared_by(instance)
        adding = instance._state.adding
        if not adding and getattr(instance, self._column) is None:
            return Contents({}, None, None)
        return open_group(instance, declared, declared.columns[self._column])

    def __delete__(self, instance: Any) -> NoReturn:
        """Refuse: a field is emptied by assigning None."""
        raise AttributeError(f"expected an assignment to {self._name!r}, found del; assign None")
