"""Where a verifier takes its key from: the key's text, or a file that holds it.

Example:
    >>> load_verifier_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").name
    'example.com/foo'
"""  # noqa: E501 - a verifier key has no place to break

from __future__ import annotations

from pathlib import Path

from assay.ledger.errors import VerifierKeyError
from assay.ledger.note import VerifierKey

_LARGEST_KEY_FILE = 4096


def load_verifier_key(text: str) -> VerifierKey:
    """A verifier key from its text, or from the file that the text names.

    Args:
        text: ``NAME+ID+KEY``, or the path of a file with that on its only line.

    Raises:
        VerifierKeyError: it is neither.
    """
    try:
        return VerifierKey.parse(text)
    except VerifierKeyError as not_a_key:
        content = _content(text)
        if content is None:
            raise VerifierKeyError(
                f"expected a verifier key or a file that holds one; as a key: {not_a_key}; "
                "and there is no such file"
            ) from not_a_key
    try:
        return VerifierKey.parse(content.removesuffix("\n"))
    except VerifierKeyError as exc:
        raise VerifierKeyError(f"{text}: {exc}") from exc


def _content(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST_KEY_FILE + 1)
    except (OSError, ValueError):  # ValueError: a null character in the path
        return None
    if len(data) > _LARGEST_KEY_FILE:
        raise VerifierKeyError(f"expected a verifier key in {path}, found a larger file")
    return data.decode("utf-8", "replace")
