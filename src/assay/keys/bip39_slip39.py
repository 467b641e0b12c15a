"""Shares of a secret as words, by SLIP-39: the only file that imports ``bip39_slip39``.

Specification: ``spec/embedded-key-store.md``, "Shares"; SLIP-39 is
https://github.com/satoshilabs/slips/blob/master/slip-0039.md.

Example:
    >>> split, words = split_secret(bytes(range(32)), 2, 3)
    >>> join_words(words[1:]) == bytes(range(32))
    True
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from types import ModuleType

from assay.core import WrongInputError
from assay.keys.errors import DamagedShareError, ShareFormatError, SharesRefusedError

WORDS = 33
"""The words of a share of 32 bytes."""


@dataclass(frozen=True, slots=True)
class ShareNumbers:
    """What the words of a share say beside the share itself.

    Attributes:
        split: which split of a secret, 15 bits.
        index: which share of it, from 0.
        threshold: how many of them give the secret.
    """

    split: int
    index: int
    threshold: int


def split_secret(
    secret: bytes,
    threshold: int,
    shares: int,
    taken: Container[int] = (),
    draw: Callable[[int], bytes] = os.urandom,
) -> tuple[int, tuple[str, ...]]:
    """Split 32 bytes.

    Args:
        secret: 32 bytes.
        threshold: how many shares give the secret, from 2.
        shares: how many there are, up to 16.
        taken: identifiers that shall not be used.
        draw: where randomness comes from.

    Returns:
        The identifier of the split, and the words of each share.
    """
    slip39 = _slip39()
    while True:
        (words,) = slip39.mnemonics_from_master_secret(
            secret, [(threshold, shares)], iteration_exponent=0, entropy_source=draw
        )
        split = int(slip39.share_from_mnemonic(words[0]).identifier)
        if split not in taken:
            return split, tuple(words)


def read_words(words: str, label: str) -> ShareNumbers:
    """What a share says of itself.

    Args:
        words: 33 words.
        label: how messages call the share.

    Raises:
        ShareFormatError: not 33 words, or a share of something else.
        DamagedShareError: words that are none, or a wrong checksum.
    """
    count = len(words.split())
    if count != WORDS:
        raise ShareFormatError(f"expected {WORDS} words in {label}, found {count}")
    slip39 = _slip39()
    try:
        share = slip39.share_from_mnemonic(words)
    except ValueError:
        # The package quotes no word, which is not ours to rely on: its text is left out.
        raise DamagedShareError(
            f"expected {label} as it was written down, found {_damage(words)}; compare it with "
            "the original"
        ) from None
    single = (share.group_index, share.group_count, share.group_threshold) == (0, 1, 1)
    if not single or not share.extendable or share.iteration_exponent or share.member_threshold < 2:
        raise ShareFormatError(
            f"expected {label} to be a share of a key store, found a SLIP-39 share of something "
            "else, as wallets make them"
        )
    return ShareNumbers(share.identifier, share.member_index, share.member_threshold)


def join_words(shares: Sequence[str]) -> bytes:
    """The secret of exactly as many shares as are needed.

    Raises:
        SharesRefusedError: they do not belong together.
    """
    slip39 = _slip39()
    try:
        return bytes(slip39.master_secret_from_mnemonics(list(shares), max_iteration_exponent=0))
    except ValueError:
        raise SharesRefusedError(
            "expected shares of one secret, found shares that do not belong together though "
            "their numbers fit"
        ) from None


def _damage(words: str) -> str:
    from bip39_slip39.mnemonic import WORDLISTS

    known = set(WORDLISTS.wordlist("slip39"))
    places = [str(at) for at, word in enumerate(words.split(), 1) if word not in known]
    if places:
        return f"no word of the list at place {', '.join(places)}"
    return "words whose checksum is wrong"


def _slip39() -> ModuleType:
    try:
        from bip39_slip39 import slip39
    except ModuleNotFoundError as exc:
        raise WrongInputError(
            f"expected the package {exc.name} for shares, found none; install assay[recovery]"
        ) from exc
    return slip39
