"""Mappings and lists that refuse to be changed, as sealed fields give them out.

A change within a dict would not be noticed, and would be lost. So it is refused where it is tried,
and the message says how it is done: assign a changed copy.

Example:
    >>> settings = freeze({"colour": "red"})
    >>> settings["colour"]
    'red'
    >>> {**settings, "colour": "blue"}
    {'colour': 'blue'}
"""

from __future__ import annotations

from typing import Any, NoReturn

from assay.encryption.errors import FrozenValueError


def _refuse(*values: object, **more: object) -> NoReturn:
    del values, more  # no traceback shows them
    raise FrozenValueError(
        "expected the value of a sealed field to stay as it is, found a change within it that "
        "would be lost; assign a changed copy to the field"
    )


class FrozenDict(dict[str, Any]):
    """A dict that refuses to be changed; a copy of it is an ordinary dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def copy(self) -> dict[str, Any]:
        """An ordinary dict; lists and dicts within it are still frozen."""
        return dict(self)

    def __deepcopy__(self, memo: object) -> dict[str, Any]:
        """An ordinary dict, all the way down."""
        return _thaw(self)  # type: ignore[no-any-return]  # a dict gives a dict

    def __reduce__(self) -> tuple[Any, ...]:
        """An ordinary dict."""
        return dict, (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses to be changed; a copy of it is an ordinary list."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = _refuse
    reverse = sort = _refuse

    def copy(self) -> list[Any]:
        """An ordinary list; lists and dicts within it are still frozen."""
        return list(self)

    def __deepcopy__(self, memo: object) -> list[Any]:
        """An ordinary list, all the way down."""
        return _thaw(self)  # type: ignore[no-any-return]  # a list gives a list

    def __reduce__(self) -> tuple[Any, ...]:
        """An ordinary list."""
        return list, (list(self),)


def freeze(value: object) -> Any:
    """A copy in which no dict and no list can be changed; other values are as they are."""
    if isinstance(value, dict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([freeze(item) for item in value])
    return value


def _thaw(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_thaw(item) for item in value]
    return value
