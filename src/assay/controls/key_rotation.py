"""When data keys are due for a new version, as the programme file says it.

Example:
    >>> KeyRotation(rows=SealingRotation(age_days=90)).policy()     # doctest: +SKIP
    RotationPolicy(rows=ClassRotation(max_age=datetime.timedelta(days=90), ...), ...)
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from assay.keys import ClassRotation, RotationPolicy

AgeDays = Annotated[
    int,
    Meta(ge=1, le=730, description="Due at this age; SP 800-57 allows up to two years."),
]


class SealingRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a key that seals rows, objects or file keys is due.

    Attributes:
        age_days: at this age.
        messages: after so many envelopes, objects or file keys.
        nonce_prefixes: after so many random nonce prefixes; SP 800-38D allows 2^32.
    """

    age_days: AgeDays = 365
    messages: Annotated[int, Meta(ge=1, le=2**40)] = 2**40
    nonce_prefixes: Annotated[int, Meta(ge=1, le=2**32)] = 2**31

    def rotation(self) -> ClassRotation:
        """The same for `assay.keys`."""
        from assay.keys import ClassRotation

        return ClassRotation(timedelta(days=self.age_days), self.messages, self.nonce_prefixes)


class IndexRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a key of blind indexes is due.

    Attributes:
        age_days: at this age.
    """

    age_days: AgeDays = 730

    def rotation(self) -> ClassRotation:
        """The same for `assay.keys`."""
        from assay.keys import ClassRotation

        return ClassRotation(timedelta(days=self.age_days), None, None)


class KeyRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the data keys of each class are due for a new version.

    Attributes:
        rows: keys that seal rows.
        indexes: keys of blind indexes.
        objects: keys that seal objects in buckets.
        files: keys that wrap the keys of Parquet files.
    """

    rows: SealingRotation = SealingRotation()
    indexes: IndexRotation = IndexRotation()
    objects: SealingRotation = SealingRotation()
    files: SealingRotation = SealingRotation()

    def policy(self) -> RotationPolicy:
        """The same for `assay.keys`."""
        from assay.keys import RotationPolicy

        return RotationPolicy(
            self.rows.rotation(),
            self.indexes.rotation(),
            self.objects.rotation(),
            self.files.rotation(),
        )
