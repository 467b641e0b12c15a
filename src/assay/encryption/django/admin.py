"""The admin of sealed models: its history holds no sealed values, and it sorts by none.

Example:
    >>> @admin.register(Customer)                             # doctest: +SKIP
    ... class CustomerAdmin(SealedAdmin, admin.ModelAdmin):
    ...     list_display = ["id", "email"]
    ...     search_fields = ["email__exact"]
"""

from __future__ import annotations

from typing import Any


class SealedAdmin:
    """Mix this into the ModelAdmin of a sealed model, before ``admin.ModelAdmin``."""

    def get_sortable_by(self, request: Any) -> Any:
        """As Django's, without the sealed fields."""
        sortable = super().get_sortable_by(request)  # type: ignore[misc]  # of the ModelAdmin
        fields = self.model.__sealed__.fields  # type: ignore[attr-defined]  # as above
        return [name for name in sortable if name not in fields]

    def log_addition(self, request: Any, obj: Any, message: Any) -> Any:
        """As Django's; the history names the row by its primary key."""
        return super().log_addition(request, _Nameless(obj), message)  # type: ignore[misc]  # of the ModelAdmin

    def log_change(self, request: Any, obj: Any, message: Any) -> Any:
        """As Django's; the history names the row by its primary key."""
        return super().log_change(request, _Nameless(obj), message)  # type: ignore[misc]  # of the ModelAdmin

    def log_deletions(self, request: Any, queryset: Any) -> Any:
        """As Django's; the history names the rows by their primary keys."""
        return super().log_deletions(request, [_Nameless(obj) for obj in queryset])  # type: ignore[misc]  # of the ModelAdmin


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
