"""References to values that must not stand in a file: ``env:NAME`` and ``file:PATH``.

Example:
    >>> resolve_reference("env:HOME", Path("."), {"HOME": "/home/ada"})
    '/home/ada'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from assay.core.errors import SecretReferenceError

SCHEMES = ("env", "file")


def is_reference(text: str) -> bool:
    """Whether the text is an ``env:`` or ``file:`` reference rather than a value."""
    scheme, colon, rest = text.partition(":")
    return bool(colon) and scheme in SCHEMES and bool(rest)


def resolve_reference(text: str, directory: Path, environment: Mapping[str, str]) -> str:
    """The value that a reference stands for.

    Args:
        text: ``env:NAME`` for a variable, ``file:PATH`` for a file's text without its last line
            break; a relative path is taken from ``directory``.
        directory: the directory of the file in which the reference stands.
        environment: the variables, usually ``os.environ``.

    Raises:
        SecretReferenceError: not a reference, or nothing is there. The value is never shown.
    """
    if not is_reference(text):
        raise SecretReferenceError(
            "expected a reference (env:NAME or file:PATH), found a value that is none; "
            "move the secret out of the file"
        )
    scheme, _, rest = text.partition(":")
    if scheme == "env":
        value = environment.get(rest)
        if value is None:
            raise SecretReferenceError(f"expected the environment variable {rest}, found none set")
        return value
    path = directory / rest
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8 text"
        raise SecretReferenceError(f"expected a readable text file {path}: {reason}") from exc
