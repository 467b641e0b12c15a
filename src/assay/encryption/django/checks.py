"""System checks: how the admin shows sealed models.

Example:
    >>> admin_errors(Customer, Customer.__sealed__)           # doctest: +SKIP
    []
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import Error

from assay.encryption.django.declared import SealedModel


def admin_errors(model: Any, declared: SealedModel) -> list[Any]:
    """What is wrong with the admin of a sealed model, as Django's system checks report it.

    ``assay.E001``: it is not a `SealedAdmin`, so its history would hold ``str(instance)``.
    ``assay.E002``: it filters, sorts or lets edit by a sealed field in a way that has no SQL.
    """
    if not apps.is_installed("django.contrib.admin"):
        return []
    from django.contrib.admin import site

    from assay.encryption.django.admin import SealedAdmin

    shown: Any = site._registry.get(model)
    if shown is None:
        return []
    if not isinstance(shown, SealedAdmin):
        return [
            Error(
                f"The admin of the sealed model {model.__name__} must be a SealedAdmin.",
                hint="class …(SealedAdmin, admin.ModelAdmin): its history holds no sealed values.",
                obj=type(shown),
                id="assay.E001",
            )
        ]
    ordering = getattr(shown, "ordering", None) or ()
    names = [*getattr(shown, "list_filter", ()), *(str(name).lstrip("-") for name in ordering)]
    names.append(getattr(shown, "date_hierarchy", None))
    return [
        Error(
            f"The sealed field {name!r} can neither be filtered nor sorted by.",
            hint="Leave it out of list_filter, ordering and date_hierarchy.",
            obj=type(shown),
            id="assay.E002",
        )
        for name in names
        if isinstance(name, str) and name in declared.fields
    ]
