"""Paths of names through relations, and the sealed fields that they lead to.

Example:
    >>> sealed_at(Order, "customer__email__exact")            # doctest: +SKIP
    (<SealedEmailField: email>, 'exact')
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist


def sealed_at(model: Any, path: str) -> tuple[Any, str] | None:
    """The sealed field that a path leads to, and what stands behind it; None when it leads to none.

    Args:
        model: where the path begins.
        path: names of fields as in a lookup; with a minus before them, as in an order, too.
    """
    names = path.lstrip("-").split("__")
    while names and model is not None:
        name = names.pop(0)
        declared = getattr(model, "__sealed__", None)
        if declared is not None and name in declared.fields:
            return model._meta.get_field(name), "__".join(names)
        try:
            model = model._meta.get_field(name).related_model
        except FieldDoesNotExist:
            return None
    return None


def sealed_in(model: Any, order: Any) -> Any:
    """The sealed field by which a name or an expression would sort; None when there is none."""
    for path in _paths(model, order):
        found = sealed_at(model, path)
        if found is not None:
            return found[0]
    return None


def _paths(model: Any, order: Any) -> Iterator[str]:
    if isinstance(order, str):
        yield order
    elif order is not None:
        yield from ("__".join(path) for path in model._get_expr_references(order))
