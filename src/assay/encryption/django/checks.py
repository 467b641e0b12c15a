"""System checks: how the admin shows sealed models, and which databases they are in.

Example:
    >>> admin_errors(Customer, Customer.__sealed__)           # doctest: +SKIP
    []
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import Error
from django.db import router

from assay.encryption.django.binding import refusal_of
from assay.encryption.django.declared import SealedModel
from assay.encryption.django.errors import SealedExpressionError
from assay.encryption.django.lookups import lookup_of, needs_matching

_PREFIXES = {"^": "istartswith", "=": "iexact", "@": "search"}
"""How an admin's search field says how it is searched, instead of by a lookup."""


def admin_errors(model: Any, declared: SealedModel) -> list[Any]:
    """What is wrong with the admin of a sealed model, as Django's system checks report it.

    ``assay.E001``: an admin that shows it, by itself or among its inlines, is not a `SealedAdmin`,
    so its history would hold ``str(instance)``. ``assay.E002``: it filters or sorts by a sealed
    field. ``assay.E003``: it searches by one in a way that no index answers exactly.
    """
    if not apps.is_installed("django.contrib.admin"):
        return []
    return list(_errors(model, declared))


def database_errors(model: Any, databases: Any) -> list[Any]:
    """``assay.E004``: a database is about to get the table of a sealed model that cannot be there.

    Args:
        model: the sealed model.
        databases: the aliases of the databases that are checked, as by ``migrate``; or None.
    """
    reasons = [
        (using, refusal_of(using))
        for using in databases or ()
        if router.allow_migrate_model(using, model)
    ]
    return [
        Error(
            f"Expected {reason}.",
            hint="Keep the model in another database; a router says in which (allow_migrate).",
            obj=model,
            id="assay.E004",
        )
        for using, reason in reasons
        if reason is not None
    ]


def _errors(model: Any, declared: SealedModel) -> Iterator[Any]:
    from assay.encryption.django.admin import SealedAdmin

    for shown, own in _admins_of(model):
        if not isinstance(shown, SealedAdmin):
            yield Error(
                f"The admin that shows the sealed model {model.__name__} must be a SealedAdmin.",
                hint="class …(SealedAdmin, admin.ModelAdmin): its history holds no sealed values.",
                obj=type(shown),
                id="assay.E001",
            )
        for name in _sorted_by(shown) if own else ():
            if name in declared.fields:
                yield Error(
                    f"The sealed field {name!r} can neither be filtered nor sorted by.",
                    hint="Leave it out of list_filter, ordering and date_hierarchy.",
                    obj=type(shown),
                    id="assay.E002",
                )
        for name in (getattr(shown, "search_fields", None) or ()) if own else ():
            if not _is_answered(declared, str(name)):
                yield Error(
                    f"The sealed field in the search field {name!r} is not searched exactly.",
                    hint="Name it with __exact, and declare it with index=Equality(…).",
                    obj=type(shown),
                    id="assay.E003",
                )


def _admins_of(model: Any) -> Iterator[tuple[Any, bool]]:
    """The admins that show a model, each with whether it is the model's own."""
    from django.contrib.admin.sites import all_sites

    for site in all_sites:
        for shown_model, shown in site._registry.items():
            if shown_model is model:
                yield shown, True
            elif any(inline.model is model for inline in shown.inlines):
                yield shown, False


def _sorted_by(shown: Any) -> Iterator[str]:
    names = [*(shown.list_filter or ()), *(shown.ordering or ()), shown.date_hierarchy]
    for name in names:
        path = name[0] if isinstance(name, tuple) and name else name
        if isinstance(path, str):
            yield path.lstrip("-").partition("__")[0]


def _is_answered(declared: SealedModel, search_field: str) -> bool:
    """Whether an admin's search by a field finds what is meant and no more."""
    by_prefix = _PREFIXES.get(search_field[:1])
    name, _, lookup = (search_field[1:] if by_prefix else search_field).partition("__")
    if name not in declared.fields:
        return True
    try:
        found = lookup_of(declared.fields[name], by_prefix or lookup or "icontains")
    except SealedExpressionError:
        return False
    return not needs_matching(found)
