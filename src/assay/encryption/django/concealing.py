"""What Django shows of errors: which of its own frames forget their variables, and its error page.

Example:
    >>> DEFAULT_EXCEPTION_REPORTER = "assay.encryption.django.SealedExceptionReporter"
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from django.db import models
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from assay.encryption.concealment import concealed, concealed_async

_GIVEN_VALUES = (
    "create", "get_or_create", "update_or_create", "get", "filter", "exclude", "complex_filter",
    "annotate", "alias", "aggregate", "in_bulk",
    "acreate", "aget_or_create", "aupdate_or_create", "aget", "aaggregate", "ain_bulk",
    "abulk_create", "abulk_update", "aupdate",
)  # fmt: skip
"""The methods of querysets that are given values; those that Django has, without ours."""

_REQUEST_OF_VALUES = ("QUERY_STRING", "HTTP_REFERER", "REQUEST_URI", "RAW_URI")
"""What else of a request holds what was searched for."""


def concealing(method: Any) -> Any:
    """A method, or coroutine method, whose errors carry no local variables."""
    return (concealed_async if iscoroutinefunction(method) else concealed)(method)


def concealing_queryset(cls: type) -> type:
    """A queryset whose methods that are given values forget them when they fail."""
    for name in _GIVEN_VALUES:
        setattr(cls, name, concealing(getattr(models.QuerySet, name)))
    return cls


def concealing_manager(cls: type) -> type:
    """A manager whose methods that are given values forget them when they fail."""
    for name in (*_GIVEN_VALUES, "update", "bulk_create", "bulk_update"):
        setattr(cls, name, concealing(getattr(models.Manager, name)))
    return cls


class _HidingFilter(SafeExceptionReporterFilter):
    """Names and types of variables, names of parameters, and no values of either."""

    def get_traceback_frame_variables(self, request: Any, tb_frame: Any) -> Any:
        """Names and types."""
        del request
        return [(name, _Shown(type(value))) for name, value in tb_frame.f_locals.items()]

    def get_post_parameters(self, request: Any) -> Any:
        """Names."""
        return {} if request is None else dict.fromkeys(request.POST, self.cleansed_substitute)

    def get_safe_cookies(self, request: Any) -> Any:
        """Names: messages can stand in them."""
        return dict.fromkeys(getattr(request, "COOKIES", ()), self.cleansed_substitute)

    def get_safe_request_meta(self, request: Any) -> Any:
        """As Django's, without what was searched for."""
        found = super().get_safe_request_meta(request)
        hidden = dict.fromkeys(set(found) & set(_REQUEST_OF_VALUES), self.cleansed_substitute)
        return {**found, **hidden}


class _Shown:
    """A type in place of a value."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __repr__(self) -> str:
        return f"<{self._kind.__module__}.{self._kind.__qualname__}>"


class SealedExceptionReporter(ExceptionReporter):
    """An error page, and a mail to the admins, that shows no values, with ``DEBUG`` or without.

    Of variables it shows names and types, of a request the path and the names of its parameters.
    The message of an error is shown: it is what the code that raised it put into it.

    Example:
        >>> DEFAULT_EXCEPTION_REPORTER = "assay.encryption.django.SealedExceptionReporter"
    """

    def __init__(self, request: Any, *args: Any, **options: Any) -> None:
        super().__init__(request, *args, **options)
        self.filter = _HidingFilter()

    def get_traceback_data(self) -> Any:
        """As Django's, without the values of a request."""
        found = super().get_traceback_data()
        hidden = self.filter.cleansed_substitute
        found["user_str"] = None if self.request is None else hidden
        for name in ("request_GET_items", "request_FILES_items"):
            if name in found:
                found[name] = [(key, hidden) for key, _ in found[name]]
        return found

    def _get_raw_insecure_uri(self) -> Any:
        return super()._get_raw_insecure_uri().partition("?")[0]
