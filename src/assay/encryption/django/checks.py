"""System checks: what options and the admin name of sealed models, and which databases they are in.

Example:
    >>> admin_errors(Customer)                                # doctest: +SKIP
    []
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import Error
from django.db import router

from assay.encryption.django.binding import refusal_of
from assay.encryption.django.errors import SealedExpressionError
from assay.encryption.django.lookups import lookup_of, needs_matching
from assay.encryption.django.paths import sealed_at, sealed_in

_PREFIXES = {"^": "istartswith", "=": "iexact", "@": "search"}
"""How an admin's search field says how it is searched, instead of by a lookup."""


def option_errors(model: Any) -> list[Any]:
    """``assay.E005``: an option, or a generated field, names a sealed field.

    ``assay.E006``: that of another model does, through a relation.
    """
    errors = [
        Error(
            f"{flaw[0].upper()}{flaw[1:]}.",
            hint="Leave it out; for unique values declare index=Equality(…, unique=True).",
            obj=model,
            id="assay.E005",
        )
        for flaw in model.__sealed_flaws__
    ]
    for other in model._meta.apps.get_models():
        for order in () if other is model and errors else (*other._meta.ordering, *_latest(other)):
            field = sealed_in(other, order)
            if field is not None and field.model is model:
                errors.append(
                    Error(
                        f"Rows cannot be sorted by the sealed field {field.name!r} of "
                        f"{model.__name__}, as an option of the model says.",
                        hint="Leave it out of Meta.ordering and Meta.get_latest_by.",
                        obj=other,
                        id="assay.E006",
                    )
                )
    return errors


def _latest(model: Any) -> Any:
    named = model._meta.get_latest_by or ()
    return (named,) if isinstance(named, str) else named


def admin_errors(model: Any) -> list[Any]:
    """What is wrong with the admin of a sealed model, as Django's system checks report it.

    ``assay.E001``: an admin that shows it, by itself or among its inlines, is not a `SealedAdmin`,
    so its history would hold ``str(instance)``. ``assay.E002``: one filters or sorts by a sealed
    field, also through relations. ``assay.E003``: one searches by a sealed field in a way that no
    index answers exactly.
    """
    if not apps.is_installed("django.contrib.admin"):
        return []
    return list(_errors(model))


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


def _errors(model: Any) -> Iterator[Any]:
    from assay.encryption.django.admin import SealedAdmin

    for shown in _admins():
        sealed = isinstance(shown, SealedAdmin)
        if not sealed and (shown.model is model or any(i.model is model for i in shown.inlines)):
            yield Error(
                f"The admin that shows the sealed model {model.__name__} must be a SealedAdmin.",
                hint="class …(SealedAdmin, admin.ModelAdmin): its history holds no sealed values.",
                obj=type(shown),
                id="assay.E001",
            )
        for order in _sorted_by(shown, of_columns=not sealed):
            field = sealed_in(shown.model, order)
            if field is not None and field.model is model:
                yield Error(
                    f"The sealed field {field.name!r} can neither be filtered nor sorted by.",
                    hint="Leave it out of list_filter, ordering and date_hierarchy; the columns of "
                    "a SealedAdmin are not sorted by it.",
                    obj=type(shown),
                    id="assay.E002",
                )
        for name in map(str, getattr(shown, "search_fields", None) or ()):
            if not _is_answered(shown.model, model, name):
                yield Error(
                    f"The sealed field in the search field {name!r} is not searched exactly.",
                    hint="Name it with __exact, and declare it with index=Equality(…).",
                    obj=type(shown),
                    id="assay.E003",
                )


def _admins() -> Iterator[Any]:
    from django.contrib.admin.sites import all_sites

    for site in all_sites:
        yield from site._registry.values()


def _sorted_by(shown: Any, *, of_columns: bool) -> Iterator[Any]:
    """By what an admin filters and sorts, and by what it would when somebody asks for it."""
    for name in shown.list_filter or ():
        path = name[0] if isinstance(name, tuple) and name else name
        if isinstance(path, str):
            yield path
    yield from shown.ordering or ()
    yield shown.date_hierarchy
    if of_columns:
        yield from (name for name in shown.list_display if isinstance(name, str))


def _is_answered(shown: Any, model: Any, search_field: str) -> bool:
    """Whether an admin's search by a sealed field of a model finds what is meant and no more."""
    by_prefix = _PREFIXES.get(search_field[:1])
    found = sealed_at(shown, search_field[1:] if by_prefix else search_field)
    if found is None or found[0].model is not model:
        return True
    field, lookup = found
    try:
        answer = lookup_of(field, by_prefix or lookup or "icontains")
    except SealedExpressionError:
        return False
    return not needs_matching(answer)
