"""What the service knows, in memory: a copy of the records, with the questions asked of them.

The copy belongs to one generation of the stored state; see ``store``.

Example:
    >>> state.find_key("alias/orders").key_id                           # doctest: +SKIP
    '0b6e…'
"""

from __future__ import annotations

from dataclasses import dataclass, field

from assay.kms.records import (
    AccessKeyRecord,
    AliasRecord,
    BackingKey,
    GrantRecord,
    KeyRecord,
    PrincipalRecord,
)


@dataclass
class State:
    """All records.

    Attributes:
        account: 12 digits.
        region: of every ARN.
        keys: by key id.
        aliases: by name.
        grants: by grant id.
        principals: by ARN.
        access_keys: by access key id.
        uses: how often each backing key encrypted, by its handle.
    """

    account: str
    region: str
    keys: dict[str, KeyRecord] = field(default_factory=dict)
    aliases: dict[str, AliasRecord] = field(default_factory=dict)
    grants: dict[str, GrantRecord] = field(default_factory=dict)
    principals: dict[str, PrincipalRecord] = field(default_factory=dict)
    access_keys: dict[str, AccessKeyRecord] = field(default_factory=dict)
    uses: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out what is the same for every request."""
        self.key_prefix = f"arn:aws:kms:{self.region}:{self.account}:key/"
        self.alias_prefix = f"arn:aws:kms:{self.region}:{self.account}:alias/"
        self.root = f"arn:aws:iam::{self.account}:root"
        self._aliases_by_key: dict[str, list[str]] | None = None
        self._grants_by_key: dict[str, list[GrantRecord]] | None = None

    def key_arn(self, key_id: str) -> str:
        """The ARN of a key."""
        return self.key_prefix + key_id

    def alias_arn(self, name: str) -> str:
        """The ARN of an alias ``alias/NAME``."""
        return self.alias_prefix + name.removeprefix("alias/")

    def aliases_of(self, key_id: str) -> list[str]:
        """The names of a key, sorted."""
        if self._aliases_by_key is None:
            found: dict[str, list[str]] = {}
            for each in sorted(self.aliases):
                found.setdefault(self.aliases[each].key_id, []).append(each)
            self._aliases_by_key = found
        return self._aliases_by_key.get(key_id, [])

    def grants_of(self, key_id: str) -> list[GrantRecord]:
        """The grants of a key, in the order of their ids."""
        if self._grants_by_key is None:
            found: dict[str, list[GrantRecord]] = {}
            for each in sorted(self.grants):
                found.setdefault(self.grants[each].key_id, []).append(self.grants[each])
            self._grants_by_key = found
        return self._grants_by_key.get(key_id, [])

    def note_change(self) -> None:
        """Forget what was worked out from records that have changed."""
        self._aliases_by_key = self._grants_by_key = None

    def uses_of(self, backing: BackingKey) -> int:
        """How often a backing key encrypted."""
        return self.uses.get(backing.handle, 0)
