"""Rows that become instances, as by Django's ``Model.from_db``, with no frame more for each.

What a row has is envelopes and columns in the clear, so `Sealed.__init__`, which conceals what the
application gives to a new instance, would only cost: a third of a SELECT.

Example:
    >>> made_by_django_alone(Customer, Sealed)                           # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import cache
from typing import Any

from django.db import models
from django.db.models.base import DEFERRED


@cache
def made_by_django_alone(cls: Any, mixin: Any) -> bool:
    """Whether nobody but Django and a mixin has a say in how rows of a model become instances."""
    ours = {mixin, models.Model, object}
    return not any(
        name in vars(each)
        for each in cls.__mro__
        if each not in ours
        for name in ("__new__", "__init__", "from_db")
    )


def with_deferred(cls: Any, loaded: Container[str], values: Sequence[Any]) -> Sequence[Any]:
    """The values of all columns of a model, of which some were not loaded."""
    fields = cls._meta.concrete_fields
    if len(values) == len(fields):
        return values
    given = iter(values)
    return [next(given) if field.attname in loaded else DEFERRED for field in fields]
