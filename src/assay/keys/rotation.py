"""When a data key has served long enough: its age, and how often it was used.

Judged is the key of an owner and class that is written under. Older versions only open what was
sealed under them; `assay rekey` moves rows away from them.

What bounds what, and why the defaults are these (``spec/data-keys.md``, "Rotation"):

- **Nonce prefixes.** The first 12 bytes of an XAES nonce are random and choose the AES key that is
  derived from the data key. Two prefixes alike are one AES key twice, and so, in row envelopes, one
  nonce twice. Of 2^32 random values of 96 bits two are alike with a chance below 2^-32, the bound
  of NIST SP 800-38D, section 8.3: `MOST_NONCE_PREFIXES`, which no policy exceeds. A key is due at
  half of it, because what a killed process did not count is missing, and because a process goes on
  with the key that it keeps for its time-to-live. A prefix serves one writer for up to 2^20
  envelopes, or one object, or one file key; the nonces of those two have 56 and 96 random bits
  more, so for them the bound is wider than needed.
- **Messages.** An AES key that is derived serves 2^20 envelopes, far below the 2^32 invocations of
  SP 800-38D. 2^40 envelopes of up to 1 MiB are 2^20 AES keys with 2^36 blocks each, for which the
  birthday bound of AES in counter mode adds up to 2^20 * 2^72 / 2^129 = 2^-37. An object or a file
  key draws a prefix of its own, so there the number of prefixes is the number of messages.
- **Index keys** are keys of HMAC-SHA-256, draw no nonces, and are not counted.
- **Age.** NIST SP 800-57 part 1 revision 5, section 5.3.6, lets a symmetric key protect data for
  up to two years: `MOST_AGE`. A year is the default for what seals. For index keys it is two years,
  because a search looks under every version until `assay rekey` has computed the rest anew.

Example:
    >>> policy = RotationPolicy(rows=ClassRotation(max_age=timedelta(days=90)))
    >>> policy.due(key, KeyUses(), now)                              # doctest: +SKIP
    '90 days old or more'
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from assay.core import DataKeyClass, KeyUses, WrappedDataKey

MOST_NONCE_PREFIXES = 2**32
"""Random nonce prefixes of one data key, or random nonces of one KEK (SP 800-38D, 8.3)."""

MOST_MESSAGES = 2**40
"""Envelopes of one data key, of up to 1 MiB each."""

MOST_AGE = timedelta(days=730)
"""How long a symmetric key may protect new data (SP 800-57 part 1 revision 5, 5.3.6)."""

_DUE_NONCE_PREFIXES = MOST_NONCE_PREFIXES // 2
_YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class ClassRotation:
    """When the keys of one class are due.

    Attributes:
        max_age: from this age on, more than nothing and at most `MOST_AGE`.
        max_messages: from so many envelopes, objects or file keys on, 1 to `MOST_MESSAGES`; not by
            their number when None.
        max_nonce_prefixes: from so many nonce prefixes on, 1 to `MOST_NONCE_PREFIXES`; not by
            their number when None, which is for keys that draw no nonces.

    Raises:
        ValueError: a limit is outside of its range.
    """

    max_age: timedelta = _YEAR
    max_messages: int | None = MOST_MESSAGES
    max_nonce_prefixes: int | None = _DUE_NONCE_PREFIXES

    def __post_init__(self) -> None:
        """Refuse what would leave a key in use for longer than it is safe."""
        if not timedelta(0) < self.max_age <= MOST_AGE:
            raise ValueError(
                f"expected an age of more than 0 and at most {MOST_AGE.days} days, found "
                f"{self.max_age}"
            )
        for name, value, most in (
            ("max_messages", self.max_messages, MOST_MESSAGES),
            ("max_nonce_prefixes", self.max_nonce_prefixes, MOST_NONCE_PREFIXES),
        ):
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"expected {name} of 1 to {most}, found {value}")


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """When the data keys of each class are due for a new version.

    Attributes:
        rows: keys that seal rows.
        indexes: keys of blind indexes.
        objects: keys that seal objects in buckets.
        files: keys that wrap the keys of Parquet files.
    """

    rows: ClassRotation = ClassRotation()
    indexes: ClassRotation = ClassRotation(MOST_AGE, None, None)
    objects: ClassRotation = ClassRotation()
    files: ClassRotation = ClassRotation()

    def of(self, key_class: DataKeyClass) -> ClassRotation:
        """When the keys of a class are due."""
        found: ClassRotation = getattr(self, key_class.value)
        return found

    def due(self, key: WrappedDataKey, uses: KeyUses, now: datetime) -> str | None:
        """Why a key is due for a new version; None when it is not.

        Args:
            key: the version that is written under.
            uses: how often it was used.
            now: the moment for which it is asked.

        Returns:
            the reason, which is the same text for all keys of a class that have it.
        """
        limits = self.of(key.key_class)
        if now - key.created_at >= limits.max_age:
            return f"{_days(limits.max_age)} old or more"
        prefixes, messages = limits.max_nonce_prefixes, limits.max_messages
        if prefixes is not None and uses.nonce_prefixes >= prefixes:
            return f"used for {prefixes} nonce prefixes or more"
        if messages is not None and uses.messages >= messages:
            return f"used for {messages} messages or more"
        return None


def _days(age: timedelta) -> str:
    return f"{age.days} days" if age == timedelta(days=age.days) else str(age)
