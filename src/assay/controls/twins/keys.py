"""A key service whose one door to the key is open or shut.

Example:
    >>> DooredKeyService(door_open=True).custody().export_attempts[0].refused
    False
"""

from __future__ import annotations

import os
from dataclasses import replace

from assay.core import Fidelity
from assay.keys import Custody, ExportAttempt, KeyOrigin, KeyServiceError, MemoryKeyService


class DooredKeyService(MemoryKeyService):
    """A key service in memory that gives its key away when the door is open."""

    def __init__(self, *, door_open: bool) -> None:
        self._kek = os.urandom(32)
        super().__init__(self._kek, "twin")
        self._door_open = door_open

    def export(self) -> bytes:
        """The key itself.

        Raises:
            KeyServiceError: the door is shut.
        """
        if not self._door_open:
            raise KeyServiceError("the key is not extractable")
        return self._kek

    def custody(self) -> Custody:
        """Try the door, as a provider tries its own."""
        try:
            exported = self.export()
            attempt = ExportAttempt("export", refused=False, answer=f"{len(exported)} bytes")
        except KeyServiceError as exc:
            attempt = ExportAttempt("export", refused=True, answer=str(exc))
        shut = not self._door_open
        return replace(
            super().custody(),
            fidelity=Fidelity.FIXTURE,
            origin=KeyOrigin(generated_inside=True, mechanism="twin"),
            attributes={
                "sensitive": True,
                "extractable": self._door_open,
                "always_sensitive": True,
                "never_extractable": shut,
            },
            export_attempts=(attempt,),
        )
