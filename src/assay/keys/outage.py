"""Whether the key service is away, and when it is asked again.

While it is away, one caller in a while asks it; all others get what is kept, without waiting.

Example:
    >>> outage = Outage(retry_seconds=5.0)
    >>> outage.begin(now=100.0), outage.is_known(now=104.0), outage.is_known(now=105.0)
    (True, True, False)
"""

from __future__ import annotations


class Outage:
    """What a keyring knows of its key service's absence; used under the keyring's lock.

    Args:
        retry_seconds: how long nobody asks after an attempt.
    """

    __slots__ = ("_away", "_retry_seconds", "asked_again_at")

    def __init__(self, retry_seconds: float) -> None:
        self._retry_seconds = retry_seconds
        self._away = False
        self.asked_again_at = 0.0

    def begin(self, now: float) -> bool:
        """The service did not answer; whether that is news."""
        news, self._away = not self._away, True
        self.asked_again_at = now + self._retry_seconds
        return news

    def end(self) -> bool:
        """The service answered; whether that is news."""
        news, self._away = self._away, False
        return news

    def is_known(self, now: float) -> bool:
        """Whether the service is away and need not be asked now.

        Where it has to be asked again, the caller does so, and nobody else meanwhile.
        """
        if not self._away:
            return False
        if now < self.asked_again_at:
            return True
        self.asked_again_at = now + self._retry_seconds
        return False
