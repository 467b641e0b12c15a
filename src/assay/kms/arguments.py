r"""The arguments of actions, as AWS names them, and what is checked of them before anything else.

Every argument that AWS documents is declared, also those that this service refuses, so that none is
passed over silently; an argument that nobody knows is refused.

Source: AWS KMS API reference, version 2014-11-01, "Request Parameters" of each action.

Example:
    >>> read_arguments(b'{"KeyId": "alias/orders", "Plaintext": "AA=="}', Encrypt).plaintext
    b'\x00'
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from assay.kms.errors import SerializationError, UnsupportedError, ValidationError

LONGEST_CONTEXT_BYTES = 8192
"""All names and values of an encryption context together."""


class Arguments(Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Of any action."""


class OfKey(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Of an action on one key.

    Attributes:
        key_id: key id, key ARN, alias or alias ARN.
    """

    key_id: str


Context = dict[str, str]
A = TypeVar("A", bound=Arguments)


def read_arguments(body: bytes, kind: type[A]) -> A:
    """Decode the body of a request.

    Raises:
        SerializationError: it is not a JSON object.
        ValidationError: an argument is missing, unknown or of another type.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        raise ValidationError(f"expected the arguments of the action: {exc}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SerializationError(
            "expected a JSON object as the body, found something else"
        ) from None


def refuse_set(arguments: Arguments, **why: str) -> None:
    """Refuse arguments that the action knows and this service does not.

    Args:
        arguments: of the action.
        why: what is not supported, by the argument's name in Python.

    Raises:
        UnsupportedError: one of them is set.
    """
    for name, reason in why.items():
        if getattr(arguments, name) is not UNSET:
            raise UnsupportedError(f"expected no {wire_name(name)}: {reason}")


def wire_name(name: str) -> str:
    """The name on the wire of an argument."""
    return "".join(part.capitalize() for part in name.split("_"))


def given(value: Any, default: Any) -> Any:
    """An argument, or a default when it was not given."""
    return default if value is UNSET or value is None else value


def checked_length(name: str, value: bytes | str, least: int, most: int) -> None:
    """Refuse an argument that is shorter or longer than it may be.

    Raises:
        ValidationError: it is.
    """
    if not least <= len(value) <= most:
        unit = "bytes" if isinstance(value, bytes) else "characters"
        raise ValidationError(f"expected {least} to {most} {unit} in {name}, found {len(value)}")


def checked_range(name: str, value: int, least: int, most: int) -> int:
    """Refuse a number outside of its range.

    Raises:
        ValidationError: it is.
    """
    if not least <= value <= most:
        raise ValidationError(f"expected {name} between {least} and {most}, found {value}")
    return value


def checked_context(context: Context | UnsetType) -> Context:
    """An encryption context, or an empty one when none was given.

    Raises:
        ValidationError: it is too large, or has an empty name.
    """
    if isinstance(context, UnsetType):
        return {}
    if "" in context:
        raise ValidationError("expected names in EncryptionContext, found an empty one")
    try:
        size = sum(len(name.encode()) + len(value.encode()) for name, value in context.items())
    except UnicodeEncodeError:
        raise ValidationError(
            "expected valid Unicode text in EncryptionContext, found a lone surrogate"
        ) from None
    if size > LONGEST_CONTEXT_BYTES:
        raise ValidationError(
            f"expected an EncryptionContext of at most {LONGEST_CONTEXT_BYTES} bytes, found {size}"
        )
    return context
