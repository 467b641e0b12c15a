"""The fields of requests: their types, sizes and what is refused.

Example:
    >>> to_json({"tags": ["a", "b"]})
    '{"tags":["a","b"]}'
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

METADATA_LIMIT_BYTES = 16 * 1024
TEXT_LIMIT_CHARACTERS = 200_000

_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


class Strict(BaseModel):
    """A request body: unknown keys are refused, since a misspelt one would be lost in silence."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("expected one line of printable text that is not blank")
    return text


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError("expected an e-mail address like ada@example.com")
    return text


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(to_json(value).encode())
    except (ValueError, RecursionError) as exc:
        raise ValueError("expected JSON with finite numbers and valid Unicode text") from exc
    if size > METADATA_LIMIT_BYTES:
        raise ValueError(f"expected at most {METADATA_LIMIT_BYTES} bytes as JSON")
    return value


def to_json(value: dict[str, Any]) -> str:
    """Metadata as it is sealed.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_line)]
"""One line: names of people, collections and files."""

Address = Annotated[str, Field(max_length=254), AfterValidator(_address)]
"""An e-mail address."""

Description = Annotated[str, Field(max_length=2000)]
"""Free text about a collection."""

Text = Annotated[str, Field(min_length=1, max_length=TEXT_LIMIT_CHARACTERS)]
"""The text of a document."""

Metadata = Annotated[dict[str, Any], AfterValidator(_metadata)]
"""Any JSON object of a moderate size."""
