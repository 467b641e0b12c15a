"""Models that are dataclasses: what their constructor, ``==`` and ``repr`` make of sealed fields.

SQLAlchemy makes a dataclass of a model (``MappedAsDataclass``, ``mapped_as_dataclass``) before it
maps it. It asks what stands on the class under an annotation what shall become of it, and gets the
options of `sealed` from here. As with a column, a default is no assignment: an instance that is
merged into a stored row leaves alone what nobody gave. No ``repr`` shows a sealed field.

Example:
    >>> class Document(Sealed, MappedAsDataclass, Base, kw_only=True):   # doctest: +SKIP
    ...     text: Mapped[str] = sealed(default="")
    >>> Document(id=uuid4(), tenant_id="tenant-1").text                  # doctest: +SKIP
    ''
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from sqlalchemy.orm import MappedColumn

# What a descriptor must be for SQLAlchemy to make a field of a dataclass of it; there is no other
# way to be asked.
from sqlalchemy.orm.interfaces import _DEFAULT_ATTRIBUTE_OPTIONS

from assay.encryption.sqlalchemy.errors import DeclarationError
from assay.encryption.sqlalchemy.model import UNSET

_NOT_SHOWN: Mapping[str, Any] = {"dataclasses_repr": False}
_LEFT_OUT: Mapping[str, Any] = {
    "dataclasses_init": False,
    "dataclasses_compare": False,
    **_NOT_SHOWN,
}


@dataclass(frozen=True, slots=True)
class InDataclass:
    """What a declaration says of its field in a dataclass; None where it says nothing.

    Attributes:
        init: whether the constructor takes it.
        compare: whether ``==`` compares it.
        kw_only: whether the constructor takes it by name only.
    """

    init: bool | None = None
    compare: bool | None = None
    kw_only: bool | None = None

    def given(self) -> dict[str, bool]:
        """What it says."""
        named = {"init": self.init, "compare": self.compare, "kw_only": self.kw_only}
        return {name: value for name, value in named.items() if value is not None}


def attribute_options(in_dataclass: InDataclass, default: object) -> Any:
    """The options of a sealed field as SQLAlchemy takes them.

    Args:
        in_dataclass: what was declared.
        default: a value, a function without arguments that makes one, or `UNSET`.
    """
    options: dict[str, Any] = {f"dataclasses_{k}": v for k, v in in_dataclass.given().items()}
    if default is not UNSET:
        options["dataclasses_default_factory" if callable(default) else "dataclasses_default"] = (
            default
        )
    return _DEFAULT_ATTRIBUTE_OPTIONS._replace(**options, **_NOT_SHOWN)


def leave_out(column: MappedColumn[Any]) -> None:
    """Let no constructor, ``==`` or ``repr`` of a dataclass see a column in the clear."""
    column._attribute_options = column._attribute_options._replace(**_LEFT_OUT)  # noqa: SLF001 - there is no other way to add to them


def refuse_dataclass(cls: Any, fields: Mapping[str, InDataclass]) -> None:
    """Refuse a mapped class whose constructor does not take its sealed fields as they are declared.

    Args:
        cls: the class.
        fields: its sealed fields and those that it inherits.

    Raises:
        DeclarationError: always with the way out.
    """
    if "__dataclass_fields__" in vars(cls):
        known = getattr(cls, "_sa_apply_dc_transforms", None) is not None
        if not known or not fields.keys() <= cls.__dataclass_fields__.keys():
            raise DeclarationError(
                f"expected a model, or one that SQLAlchemy makes a dataclass of, found the "
                f"dataclass {cls.__name__}, whose constructor would not take its sealed fields; "
                "let it and its parents inherit from MappedAsDataclass, or use "
                "@registry.mapped_as_dataclass for all of them, instead of @dataclass"
            )
    elif not is_dataclass(cls):
        for name, in_dataclass in fields.items():
            if given := in_dataclass.given():
                raise DeclarationError(
                    f"expected sealed({', '.join(f'{each}=…' for each in given)}) on a dataclass, "
                    f"found {cls.__name__}.{name} on an ordinary model; leave it out, or let the "
                    "model inherit from MappedAsDataclass"
                )
