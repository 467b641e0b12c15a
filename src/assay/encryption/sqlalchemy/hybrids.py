"""Hybrid properties of sealed models.

On an instance they read and assign sealed fields like any others. What they are on the class is an
expression, which sealed fields hardly have. And the setter that a hybrid has for rows in bulk
(``bulk_dml``) is called when the rows were sealed already, or by nobody who seals: what it gives to
a sealed field would be lost, and what it gives to an owner would not be what the row is sealed for.

Example:
    >>> @whole.inplace.bulk_dml                                          # doctest: +SKIP
    ... def _set_whole(cls, row, value): row["text"] = value             # refused when it is called
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from sqlalchemy.ext.hybrid import hybrid_property

from assay.encryption.sqlalchemy.errors import UnsealedWriteError
from assay.encryption.sqlalchemy.model import UNSET, SealedModel

_Setter = Callable[[Any, MutableMapping[str, Any], Any], None]


class _GuardedSetter:
    """A setter for rows in bulk that leaves alone what is sealed, and what that is bound to.

    Args:
        name: the hybrid property's.
        setter: as it was declared.
    """

    def __init__(self, name: str, setter: _Setter) -> None:
        self._name = name
        self._setter = setter

    def __call__(self, cls: Any, row: MutableMapping[str, Any], value: Any) -> None:
        """Call it.

        Raises:
            UnsealedWriteError: it has changed something that it must leave alone.
        """
        model: SealedModel | None = getattr(cls, "__sealed__", None)
        names = () if model is None else (*model.fields, *model.key, model.owner)
        before = [row.get(name, UNSET) for name in names]
        self._setter(cls, row, value)
        for name, old in zip(names, before, strict=True):
            if row.get(name, UNSET) is not old:
                raise UnsealedWriteError(
                    f"expected the bulk_dml of {cls.__name__}.{self._name} to leave {name!r} "
                    "alone, which is sealed or sealed for, found it assigned after the rows were "
                    f"sealed; put {name!r} into the rows themselves, or make instances"
                )


def guard_bulk_setters(cls: type) -> None:
    """Look at what the hybrid properties of a sealed model put into rows in bulk."""
    for each in cls.__mro__:
        for name, found in vars(each).items():
            setter = found.bulk_dml_setter if isinstance(found, hybrid_property) else None
            if setter is not None and not isinstance(setter, _GuardedSetter):
                found.bulk_dml_setter = _GuardedSetter(name, setter)
