"""The columns of a sealed table: envelopes and blind indexes, and nothing else.

Migrations create them. They let only sealed bytes through to the database, whichever way a value
takes.

Specification: ``spec/row-envelope.md`` and ``spec/blind-index.md`` for the bytes.

Example:
    >>> EnvelopeField(null=True).get_internal_type()
    'BinaryField'
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any, ClassVar

from django.db import models

from assay.encryption.blind_index import BlindIndexValue
from assay.encryption.concealment import concealed
from assay.encryption.django.contents import Contents, SealedEnvelope, SealedVersion
from assay.encryption.django.errors import UnsealedPickleError, UnsealedWriteError
from assay.encryption.django.sealing import indexed, sealed_for_writing, version_for_writing
from assay.encryption.ngram_index import HEADER_BYTES


class _MadeWhenSaved:
    """A column whose values are made of an instance's fields; no other value comes through.

    Attributes:
        _made: makes the value that is about to be written.
        _admitted: the type of such values alone.
        _plain: what the database gets of one.
        _expected: what it is, for a message.
        _may_be_null: whether there may be none.
    """

    _made: ClassVar[Callable[..., Any]]
    _admitted: ClassVar[type]
    _plain: ClassVar[type]
    _expected: ClassVar[str]
    _may_be_null: ClassVar[bool] = False

    @concealed
    def pre_save(self, model_instance: Any, add: bool) -> Any:
        """Make the value for the instance's row, as it is about to be sealed.

        Raises:
            MappingError: see its leaves.
            UnsupportedValueError: the value cannot be indexed.
            assay.keys.KeysError: there is no data key to be had.
        """
        return self._made(model_instance, self.attname, add=add)  # type: ignore[attr-defined]  # Django's

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Admit what was made here, and nothing else.

        Raises:
            UnsealedWriteError: something else.
        """
        if value is None and self._may_be_null:
            return None
        if type(value) is not self._admitted:
            found = "None" if value is None else f"a value of type {type(value).__name__}"
            raise UnsealedWriteError(
                f"expected {self._expected}, found {found}; assign the sealed fields of an "
                "instance and save it"
            )
        return super().get_db_prep_save(self._plain(value), connection)  # type: ignore[misc]  # Django's


class EnvelopeField(_MadeWhenSaved, models.BinaryField):
    """The column of a group's envelope. NULL in rows from before the model was sealed.

    Args:
        owner: the name of the field that says whose a row is; migrations know it from here.
    """

    _made = staticmethod(sealed_for_writing)
    _admitted, _plain = SealedEnvelope, bytes
    _expected = "an envelope that was sealed for its row on its way into a sealed column"

    non_db_attrs = (*models.BinaryField.non_db_attrs, "owner")

    def __init__(self, *args: Any, owner: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.owner = owner

    def deconstruct(self) -> Any:
        """As in a migration."""
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "owner": self.owner}

    def get_default(self) -> Contents:
        """What a new instance holds: no values yet."""
        return Contents({})

    def value_to_string(self, obj: Any) -> str:
        """The envelope in base64, as a fixture holds it: nothing in the clear.

        Raises:
            UnsealedPickleError: the instance has values that are not sealed yet.
        """
        value = self.value_from_object(obj)
        envelope = value.envelope if type(value) is Contents else value
        if envelope is None:
            raise UnsealedPickleError(
                "expected an instance whose sealed fields were saved, found values that are not "
                "sealed yet; save it before it is written as a fixture"
            )
        return b64encode(envelope).decode("ascii")


class VersionField(_MadeWhenSaved, models.BigIntegerField):
    """The column of an envelope's version. It grows by one each time the envelope is replaced."""

    _made = staticmethod(version_for_writing)
    _admitted, _plain = SealedVersion, int
    _expected = "a version that was sealed in its envelope"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "editable": False})

    def deconstruct(self) -> Any:
        """As in a migration."""
        name, path, args, kwargs = super().deconstruct()
        del kwargs["editable"]
        return name, path, args, kwargs

    def formfield(self, **_: Any) -> None:
        """None: a version is nobody's to choose."""


class IndexField(_MadeWhenSaved, models.BinaryField):
    """A column of blind indexes; it is computed when the row is saved."""

    _made = staticmethod(indexed)
    _admitted, _plain = BlindIndexValue, bytes
    _expected = "a blind index that was computed from a sealed field"
    _may_be_null = True

    def value_to_string(self, obj: Any) -> str:
        """The index in base64, as a fixture holds it; it is computed anew when it is loaded."""
        value = self.value_from_object(obj)
        return "" if value is None else b64encode(value).decode("ascii")


class NgramsField(IndexField):
    """A column of n-grams: ``bytea[]`` on PostgreSQL, elsewhere bytes.

    Args:
        hash_bytes: how long each hash is.
    """

    def __init__(self, *args: Any, hash_bytes: int = 2, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hash_bytes = hash_bytes

    def deconstruct(self) -> Any:
        """As in a migration."""
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "hash_bytes": self.hash_bytes}

    def db_type(self, connection: Any) -> Any:
        """An array on PostgreSQL, bytes elsewhere."""
        return "bytea[]" if connection.vendor == "postgresql" else super().db_type(connection)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Header and hashes: an array on PostgreSQL, elsewhere one after the other.

        Raises:
            UnsealedWriteError: something else than computed n-grams.
        """
        if connection.vendor != "postgresql" or type(value) is not BlindIndexValue:
            return super().get_db_prep_save(value, connection)
        hashes, size = bytes(value[HEADER_BYTES:]), self.hash_bytes
        return [bytes(value[:HEADER_BYTES])] + [
            hashes[at : at + size] for at in range(0, len(hashes), size)
        ]

    def from_db_value(self, value: Any, _expression: Any, _connection: Any) -> Any:
        """Header and hashes, one after the other."""
        return b"".join(bytes(each) for each in value) if isinstance(value, list) else value
