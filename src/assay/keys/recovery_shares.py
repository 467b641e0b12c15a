"""Share files, and the checks that shares pass before they are joined.

Specification: ``spec/embedded-key-store.md``, "Shares". No message here holds a word of a share.

Example:
    >>> share = read_share("ada.share", text)              # doctest: +SKIP
    >>> share.custodian
    'ada'
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from assay.keys.bip39_slip39 import join_words, read_words
from assay.keys.embedded_slots import RecoverySlot
from assay.keys.errors import (
    DuplicateShareError,
    ForeignShareError,
    MixedSharesError,
    RevokedShareError,
    ShareFormatError,
    SharesRefusedError,
    TooFewSharesError,
)

LARGEST_SHARE_BYTES = 4_096

_FILE = re.compile(
    r"assay recovery share 1\n"
    r"store (?P<store>[0-9a-f]{32})\n"
    r"split (?P<split>0|[1-9][0-9]{0,4})\n"
    r"custodian (?P<custodian>[A-Za-z0-9._-]{1,64})\n"
    r"share (?P<place>[1-9][0-9]?) of (?P<count>[1-9][0-9]?), (?P<threshold>[1-9][0-9]?) open the "
    r"store\n"
    r"words (?P<words>[a-z]+(?: [a-z]+)*)\n",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class GivenShare:
    """A share as somebody gave it.

    Attributes:
        label: how messages call it: a file's name, "share 2".
        text: a share file, or only its words. Not in the ``repr``.
    """

    label: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Share:
    """A share that was read.

    Attributes:
        label: how messages call it.
        split: which split it is of.
        index: which share of it, from 0.
        threshold: how many open the store.
        words: 33 words. Not in the ``repr``.
        store: the identity of the store; None when only words were given.
        custodian: who holds it; None when only words were given.
        count: how many shares there are; None when only words were given.
    """

    label: str
    split: int
    index: int
    threshold: int
    words: str = field(repr=False)
    store: bytes | None = None
    custodian: str | None = None
    count: int | None = None


def write_share(store: bytes, slot: RecoverySlot, index: int, words: str) -> str:
    """The text of a share file."""
    return (
        "assay recovery share 1\n"
        f"store {store.hex()}\n"
        f"split {slot.split}\n"
        f"custodian {slot.custodians[index]}\n"
        f"share {index + 1} of {len(slot.custodians)}, {slot.threshold} open the store\n"
        f"words {words}\n"
    )


def read_share(given: GivenShare) -> Share:
    """Check 1: a share file, or the words of one.

    Raises:
        ShareFormatError: another form, or lines that contradict the words.
        DamagedShareError: words that are none, or a wrong checksum.
    """
    label, text = given.label, given.text
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_SHARE_BYTES:
        raise ShareFormatError(
            f"expected {label} to be a share of at most {LARGEST_SHARE_BYTES} bytes, found more"
        )
    if not text.startswith("assay recovery share"):
        words = " ".join(text.lower().split())
        numbers = read_words(words, label)
        return Share(label, numbers.split, numbers.index, numbers.threshold, words)
    found = _FILE.fullmatch(text)
    if found is None:
        raise ShareFormatError(
            f"expected {label} to be a share file of the six lines of "
            "spec/embedded-key-store.md, found another form; the words alone are enough"
        )
    numbers = read_words(found["words"], label)
    told = (int(found["split"]), int(found["place"]) - 1, int(found["threshold"]))
    count = int(found["count"])
    if told != (numbers.split, numbers.index, numbers.threshold) or not (
        numbers.index < count and numbers.threshold <= count <= 16
    ):
        raise ShareFormatError(
            f"expected the lines of {label} to say what its words say, found a contradiction; "
            "the words alone are enough"
        )
    return Share(
        label, numbers.split, numbers.index, numbers.threshold, found["words"],
        bytes.fromhex(found["store"]), found["custodian"], count,
    )  # fmt: skip


def present(shares: Sequence[Share], slot: RecoverySlot) -> tuple[str, ...]:
    """Whose shares of the slot's split these are, in the order of the slot."""
    found = {
        share.index for share in shares
        if share.split == slot.split and share.index < len(slot.custodians)
    }  # fmt: skip
    return tuple(slot.custodians[index] for index in sorted(found))


def refuse_shares(
    shares: Sequence[Share], store: bytes, slot: RecoverySlot, revoked: Collection[int]
) -> None:
    """Checks 2 to 5: whether these are enough shares of the store's split.

    Raises:
        ShareError: the named error of the first check that they do not pass.
    """
    _refuse_duplicates(shares)
    _refuse_mixture(shares, slot, revoked)
    for share in shares:
        if share.split in revoked and share.store in {None, store}:
            raise RevokedShareError(
                f"expected shares of split {slot.split}, found {share.label} of split "
                f"{share.split}, which was revoked"
            )
        if (
            share.split != slot.split
            or share.threshold != slot.threshold
            or share.index >= len(slot.custodians)
            or share.store not in {None, store}
        ):
            raise ForeignShareError(
                f"expected shares of split {slot.split} of the store {store.hex()}, found "
                f"{share.label} of {_of_which(share)}: it is of another store, or of a split "
                "that was never finished"
            )
    if len(shares) < slot.threshold:
        raise TooFewSharesError(
            f"expected {slot.threshold} shares of split {slot.split}, found {len(shares)}"
        )


def join_shares(shares: Sequence[Share], threshold: int) -> bytes:
    """Check 6: the secret that every run of ``threshold`` shares gives.

    Raises:
        SharesRefusedError: a run gives none, or another one.
    """
    secrets = {
        join_words([share.words for share in shares[at : at + threshold]])
        for at in range(len(shares) - threshold + 1)
    }
    if len(secrets) != 1:
        raise SharesRefusedError(
            "expected shares that all give one secret, found shares of different secrets; leave "
            "one out at a time to find which"
        )
    return secrets.pop()


def _refuse_duplicates(shares: Sequence[Share]) -> None:
    seen: dict[tuple[int, int], Share] = {}
    for share in shares:
        first = seen.setdefault((share.split, share.index), share)
        if first is not share:
            raise DuplicateShareError(
                f"expected each share once, found share {share.index + 1} of split {share.split} "
                f"twice: {first.label} and {share.label}"
            )


def _refuse_mixture(shares: Sequence[Share], slot: RecoverySlot, revoked: Collection[int]) -> None:
    kinds = {(share.split, share.threshold) for share in shares}
    stores = {share.store for share in shares} - {None}
    if len(kinds) > 1 or len(stores) > 1:
        listed = ", ".join(
            f"{share.label} of {_of_which(share)}"
            + (" (revoked)" if share.split in revoked else "")
            for share in shares
        )
        raise MixedSharesError(
            f"expected shares of one split, which is {slot.split} now, found {listed}"
        )


def _of_which(share: Share) -> str:
    return f"split {share.split}" + (f" of the store {share.store.hex()}" if share.store else "")
