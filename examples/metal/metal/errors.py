"""What Metal refuses.

::

    MetalError
    ├── SettingsError     the environment asks for something that cannot be
    ├── StartError        the server cannot start
    ├── RefusedError      the API answered otherwise than a client needed
    └── AppendOnlyError   code tried to change or delete an audit entry

Example:
    >>> issubclass(StartError, MetalError)
    True
"""

from __future__ import annotations


class MetalError(Exception):
    """Anything that Metal refuses or cannot do."""


class SettingsError(MetalError):
    """A variable of the environment is missing, or is not what it has to be."""


class StartError(MetalError):
    """The server cannot start."""


class RefusedError(MetalError):
    """The API answered otherwise than its client needed."""


class AppendOnlyError(MetalError):
    """Audit entries are written once and never changed."""
