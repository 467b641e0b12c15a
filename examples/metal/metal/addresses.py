"""Where a running server of Metal's is, as it says itself in a file.

Example:
    >>> read_address(settings.address_file, server.pid)     # doctest: +SKIP
    {'pid': 4711, 'https': 'https://localhost:8443', 'http': 'http://localhost:8080'}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_address(path: Path, pid: int | None) -> dict[str, Any] | None:
    """Where a server is, by its own word; None when it is not ready.

    Args:
        path: the file in which it says so.
        pid: its process; one that was killed leaves its file behind, with another.
    """
    try:
        address: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return address if address.get("pid") == pid else None
