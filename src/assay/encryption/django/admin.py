"""The admin of sealed models: its history and its messages hold no sealed values.

Example:
    >>> @admin.register(Customer)                             # doctest: +SKIP
    ... class CustomerAdmin(SealedAdmin, admin.ModelAdmin):
    ...     list_display = ["id", "email"]
    ...     search_fields = ["email__exact"]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django.views.decorators.debug import sensitive_post_parameters

from assay.encryption.django.paths import sealed_in

_POPUP = "_popup"
"""What a request of a small window says, whose answer shows the row and is not kept."""


class SealedAdmin:
    """Mix this into a ModelAdmin, before ``admin.ModelAdmin``.

    Into that of a sealed model, and into that of a model with a sealed one among its inlines. What
    Django keeps of a change, in its history and in the message to the person who made it (in a
    cookie or in the session), names rows by their primary keys, because ``__str__`` may show a
    sealed value. Error reports do not show what was posted, and no list is sorted by sealed fields.
    """

    def get_sortable_by(self, request: Any) -> Any:
        """As Django's, without the sealed fields."""
        sortable = super().get_sortable_by(request)  # type: ignore[misc]  # of the ModelAdmin
        model: Any = self.model  # type: ignore[attr-defined]  # as above
        return [
            each for each in sortable if not isinstance(each, str) or not sealed_in(model, each)
        ]

    def get_changelist(self, request: Any, **options: Any) -> Any:
        """As Django's, which is not sorted by a sealed field whatever the URL asks for."""
        shown = super().get_changelist(request, **options)  # type: ignore[misc]  # of the ModelAdmin
        return type(f"Sealed{shown.__name__}", (_UnsortedBySealed, shown), {})

    def changeform_view(self, request: Any, *args: Any, **options: Any) -> Any:
        """As Django's; error reports show nothing that was posted."""
        view: Any = sensitive_post_parameters()(super().changeform_view)  # type: ignore[misc]  # of the ModelAdmin
        return view(request, *args, **options)

    def changelist_view(self, request: Any, *args: Any, **options: Any) -> Any:
        """As Django's; error reports show nothing that was posted."""
        view: Any = sensitive_post_parameters()(super().changelist_view)  # type: ignore[misc]  # of the ModelAdmin
        return view(request, *args, **options)

    def construct_change_message(
        self, request: Any, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """As Django's; rows of inlines are named by their primary keys."""
        told = [
            SimpleNamespace(
                forms=each.forms,
                new_objects=[_nameless(row) for row in each.new_objects],
                changed_objects=[(_nameless(row), names) for row, names in each.changed_objects],
                deleted_objects=[_nameless(row) for row in each.deleted_objects],
            )
            for each in formsets or ()
        ]
        return super().construct_change_message(request, form, told, add)  # type: ignore[misc]  # of the ModelAdmin

    def log_addition(self, request: Any, obj: Any, message: Any) -> Any:
        """As Django's; the history names the row by its primary key."""
        return super().log_addition(request, _nameless(obj), message)  # type: ignore[misc]  # of the ModelAdmin

    def log_change(self, request: Any, obj: Any, message: Any) -> Any:
        """As Django's; the history names the row by its primary key."""
        return super().log_change(request, _nameless(obj), message)  # type: ignore[misc]  # of the ModelAdmin

    def log_deletions(self, request: Any, queryset: Any) -> Any:
        """As Django's; the history names the rows by their primary keys."""
        return super().log_deletions(request, [_nameless(obj) for obj in queryset])  # type: ignore[misc]  # of the ModelAdmin

    def response_add(self, request: Any, obj: Any, *args: Any, **options: Any) -> Any:
        """As Django's; the message names the row by its primary key."""
        shown = obj if _POPUP in request.POST else _nameless(obj)
        return super().response_add(request, shown, *args, **options)  # type: ignore[misc]  # of the ModelAdmin

    def response_change(self, request: Any, obj: Any) -> Any:
        """As Django's; the message names the row by its primary key."""
        shown = obj if _POPUP in request.POST else _nameless(obj)
        return super().response_change(request, shown)  # type: ignore[misc]  # of the ModelAdmin

    def response_delete(self, request: Any, obj_display: Any, obj_id: Any) -> Any:
        """As Django's; the message names the row by its primary key."""
        if getattr(self.model, "__sealed__", None) is not None:  # type: ignore[attr-defined]  # of the ModelAdmin
            obj_display = str(obj_id)
        return super().response_delete(request, obj_display, obj_id)  # type: ignore[misc]  # as above


class _UnsortedBySealed:
    """What the list of an admin does otherwise than Django's."""

    def get_ordering_field(self, field_name: Any) -> Any:
        found = super().get_ordering_field(field_name)  # type: ignore[misc]  # of the ChangeList
        return None if sealed_in(self.model, found) else found  # type: ignore[attr-defined]  # as above


def _nameless(instance: Any) -> Any:
    """An instance whose text does not show a sealed value."""
    return instance if getattr(instance, "__sealed__", None) is None else _Nameless(instance)


class _Nameless:
    """An instance whose text is that of its model and primary key, whatever its model says."""

    def __init__(self, instance: Any) -> None:
        self._instance = instance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instance, name)

    @property  # type: ignore[misc]  # Django asks for the class of what it logs
    def __class__(self) -> Any:
        return type(self._instance)

    def __str__(self) -> str:
        meta = self._instance._meta
        return f"{meta.verbose_name} {self._instance.pk}"
