"""Rows that become instances: as by Django's ``Model.from_db``, without asking what has one answer.

What a row has is envelopes and columns in the clear. Unless somebody else has a say in it, an
instance of them is what its attributes are, so they are set all at once.

Example:
    >>> attributes_of(Customer, Sealed)                       # doctest: +SKIP
    ('id', 'tenant_id', 'sealed')
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import models
from django.db.models.base import ModelState
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init, pre_init

_WAYS = ("__new__", "__init__", "__setattr__", "from_db")
_PLAIN = (DeferredAttribute, ForeignKeyDeferredAttribute)
"""The descriptors of columns whose values stand in ``__dict__`` under their own names."""


@cache
def attributes_of(cls: Any, mixin: Any) -> tuple[str, ...] | None:
    """The attributes of a model's columns; None when the model makes instances in its own way.

    Args:
        cls: the model.
        mixin: `assay.encryption.django.model.Sealed`.
    """
    ours = {mixin, models.Model, object}
    if any(name in vars(each) for each in cls.__mro__ if each not in ours for name in _WAYS):
        return None
    names = tuple(field.attname for field in cls._meta.concrete_fields)
    if any(type(getattr(cls, name)) not in _PLAIN for name in names):
        return None
    return names


def listened_to(cls: Any) -> bool:
    """Whether somebody is told of each instance of a model that is made."""
    return bool(pre_init.has_listeners(cls) or post_init.has_listeners(cls))


def made_of(
    cls: Any, names: tuple[str, ...], db: Any, loaded: Sequence[str], values: Sequence[Any]
) -> Any:
    """An instance of a row.

    Args:
        cls: its model.
        names: the attributes of the model's columns.
        db: the alias of the database that the row was read from.
        loaded: the attributes of the columns that were read, in any order.
        values: what was read, in the order of the model's columns.
    """
    new = cls.__new__(cls)
    held = new.__dict__
    state = held["_state"] = ModelState()
    state.adding = False
    state.db = db
    if len(values) != len(names):
        names = tuple(name for name in names if name in loaded)
    held.update(zip(names, values, strict=True))
    return new
