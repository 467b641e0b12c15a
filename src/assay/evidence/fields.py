"""The types of members that several predicates have (``spec/evidence.md``).

Example:
    >>> msgspec.convert("0" * 64, Digest)                             # doctest: +SKIP
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

_LARGEST = 2**53 - 1

Name = Annotated[str, Meta(min_length=1, max_length=500)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Version = Annotated[int, Meta(ge=1, le=_LARGEST)]
Count = Annotated[int, Meta(ge=0, le=_LARGEST)]
