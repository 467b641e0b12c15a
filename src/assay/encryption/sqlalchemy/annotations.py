"""What the annotation of a sealed field says: which values it holds, and whether None is one.

Example:
    >>> kind_of(Document, "text", Mapped[str | None])                    # doctest: +SKIP
    (<class 'str'>, True, None)
"""

from __future__ import annotations

import sys
import types
import typing
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped

from assay.encryption.conversions import Conversion, conversion_for
from assay.encryption.errors import UnsupportedTypeError
from assay.encryption.sqlalchemy.errors import DeclarationError

_KINDS: frozenset[Any] = frozenset(
    {str, bytes, bool, int, float, UUID, Decimal, date, time, datetime, dict, list}
)


def evaluate(cls: type, name: str, annotation: object) -> Any:
    """The annotation of a field, ``Mapped[…]``.

    Args:
        cls: the model or mixin that declares the field.
        name: the field's.
        annotation: as it was written, or its text.

    Raises:
        DeclarationError: there is none, another one, or nobody knows what it names.
    """
    place = f"{cls.__name__}.{name}"
    if annotation is None:
        raise DeclarationError(
            f"expected an annotation that says what {place} holds, found none; write for example "
            f"{name}: Mapped[str] = sealed()"
        )
    hint = _evaluate(cls, place, annotation)
    if typing.get_origin(hint) is not Mapped:
        raise DeclarationError(
            f"expected Mapped[…] as the annotation of {place}, found {hint!r}; write for example "
            f"{name}: Mapped[str] = sealed()"
        )
    return hint


def kind_of(cls: type, name: str, hint: Any) -> tuple[Any, bool, Conversion | None]:
    """What a field's payload holds, whether it may be None, and how it is converted.

    Args:
        cls: the model or mixin that declares the field.
        name: the field's.
        hint: see `evaluate`.

    Raises:
        DeclarationError: nothing of the kind can be sealed.
    """
    place = f"{cls.__name__}.{name}"
    (held,) = typing.get_args(hint)
    is_union = typing.get_origin(held) in (typing.Union, types.UnionType)
    options = typing.get_args(held) if is_union else (held,)
    kinds = [typing.get_origin(option) or option for option in options]
    nullable = types.NoneType in kinds
    kinds = [kind for kind in kinds if kind is not types.NoneType]
    if len(kinds) == 1 and kinds[0] in _KINDS:
        return kinds[0], nullable, None
    try:
        conversion = conversion_for(kinds[0], place) if len(kinds) == 1 else None
    except UnsupportedTypeError as exc:
        raise DeclarationError(str(exc)) from exc
    if conversion is not None:
        return conversion.kind, nullable, conversion
    names = ", ".join(sorted(kind.__name__ for kind in _KINDS))
    raise DeclarationError(
        f"expected {place} to hold one of {names}, an enumeration, a frozen dataclass or struct, "
        f"or one of these | None, found {held!r}; store it as text, a number or a dict, and "
        "convert it in a property"
    )


def _evaluate(cls: type, place: str, annotation: object) -> object:
    module = sys.modules.get(cls.__module__)
    names = {**vars(cls), **(vars(module) if module else {})}
    holder = types.SimpleNamespace(__annotations__={place: annotation})
    try:
        return typing.get_type_hints(holder, names)[place]
    except NameError as exc:
        raise DeclarationError(
            f"expected to find what the annotation of {place} names, found no {exc.name!r} in its "
            "module; import it outside of TYPE_CHECKING"
        ) from exc
