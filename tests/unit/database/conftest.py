"""Every engine that a test used is closed after it, so that no file stays open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa


@pytest.fixture(autouse=True)
def engines_are_closed() -> Iterator[None]:
    """Dispose of all engines that connected during the test."""
    used: set[sa.Engine] = set()

    def note(connection: sa.Connection) -> None:
        used.add(connection.engine)

    sa.event.listen(sa.Engine, "engine_connect", note)
    yield
    sa.event.remove(sa.Engine, "engine_connect", note)
    for engine in used:
        engine.dispose()
