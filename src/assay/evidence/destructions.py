"""What the two statements about a destruction say (``spec/destruction.md``, Statements).

Example:
    >>> DestroyedKeys(table="app-db", key_class="rows", versions={"1": "00" * 16}).ids
    ('00000000000000000000000000000000',)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from assay.evidence.fields import Count, Digest, Name

KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
VersionText = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,9}\Z")]
KeyClassName = Literal["rows", "indexes", "objects", "files"]
Kind = Literal["subject", "tenant"]


class DestroyedKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """Data keys of one class in one key table.

    Attributes:
        table: id of the datastore that the key table belongs to.
        key_class: what the keys were used for.
        versions: version, in decimal, to key id, in hexadecimal.
    """

    table: Name
    key_class: KeyClassName
    versions: Annotated[Mapping[VersionText, KeyId], Meta(min_length=1)]

    @property
    def ids(self) -> tuple[str, ...]:
        """The key ids, by version."""
        return tuple(self.versions[number] for number in sorted(self.versions, key=int))


class SignedConsent(Struct, frozen=True, forbid_unknown_fields=True):
    """A consent and the key that it verifies under.

    Attributes:
        person: a verifier key.
        envelope: a DSSE envelope (`assay.evidence.consent`).
    """

    person: Name
    envelope: Annotated[str, Meta(min_length=1, max_length=4000)]


class DestructionOrdered(Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of one owner are about to be destroyed.

    Attributes:
        destruction: its id, unique in the log.
        at: when.
        log: origin of the log.
        kind: whether the owner is a data subject or a tenant.
        owner: salted commitment to the owner, never the owner.
        reason: why, in words that name nobody.
        request: digest of the request that people saw.
        consents: who asked, and who approved.
        keys: what will be destroyed.
    """

    destruction: Name
    at: str
    log: Name
    kind: Kind
    owner: Digest
    reason: Name
    request: Digest
    consents: Annotated[Sequence[SignedConsent], Meta(min_length=3)]
    keys: Annotated[Sequence[DestroyedKeys], Meta(min_length=1)]


class Reading(Struct, frozen=True, forbid_unknown_fields=True):
    """Something was tried after the destruction, and refused.

    Attributes:
        place: where: a key table, a sealed table or a bucket.
        kind: what was tried.
        found: how many there are.
        attempted: how many of them were tried; none of them opened.
        refused: for each error how often it was the answer.
        untried: why none was tried although there are some, or why nobody knows; else empty.
    """

    place: Name
    kind: Literal["keys", "sealing", "rows", "objects"]
    found: Count
    attempted: Count
    refused: Mapping[str, Count]
    untried: str


class Storage(Struct, frozen=True, forbid_unknown_fields=True):
    """The database of a key table was cleaned, and its raw files searched for wrapped keys.

    Attributes:
        table: id of the datastore that the key table belongs to.
        traced: how many wrapped keys the same search had found there before the destruction.
        files: how many files were searched; none of them holds a trace of these keys.
        bytes_read: how much of them.
        cleaned: what was rewritten, one sentence each.
        remains: where copies may be, one sentence each.
        unsearched: why the files could not be searched, or not all; else empty.
    """

    table: Name
    traced: Count
    files: Count
    bytes_read: Count
    cleaned: Sequence[str]
    remains: Sequence[str]
    unsearched: str


class DestructionCompleted(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys are gone, and reading was refused.

    Attributes:
        destruction: its id.
        at: when.
        also: keys of the owner that were made after the order, and destroyed.
        destroyed_at: when the last key table had destroyed them.
        watch_seconds: how long was waited, so that every process had noticed.
        readings: what was tried.
        storage: what was cleaned and searched.
        backups_until: until when backups may hold wrapped keys; empty when nobody declared it.
    """

    destruction: Name
    at: str
    also: Sequence[DestroyedKeys]
    destroyed_at: str
    watch_seconds: Count
    readings: Annotated[Sequence[Reading], Meta(min_length=1)]
    storage: Annotated[Sequence[Storage], Meta(min_length=1)]
    backups_until: str


def repeated_keys(keys: Sequence[DestroyedKeys]) -> str | None:
    """How a list of keys contradicts itself; None when it does not."""
    places = [(each.table, each.key_class) for each in keys]
    ids = [key_id for each in keys for key_id in each.ids]
    if len(set(places)) != len(places):
        return "a list of keys names each table and class once"
    if len(set(ids)) != len(ids):
        return "a list of keys names each key once"
    return None


def completion_problem(done: DestructionCompleted) -> str | None:
    """How a completion contradicts itself; None when it does not."""
    for reading in done.readings:
        if sum(reading.refused.values()) != reading.attempted or reading.attempted > reading.found:
            return f"every attempt to read {reading.place} was refused, and is counted once"
        if reading.found and not reading.attempted and not reading.untried:
            return f"what was found in {reading.place} was tried, or it is said why not"
    if not any(one.kind == "keys" and one.attempted for one in done.readings):
        return "at least one destroyed key was asked for"
    for place in done.storage:
        if not (place.files and place.traced) and not place.unsearched:
            return f"the files of {place.table} were searched, or it is said why not"
    return repeated_keys(done.also)
