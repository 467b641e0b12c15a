"""Every (key, nonce) pair that AES-GCM is given, wherever in the package it is called.

The pairs are taken at the cipher, not read from the formats: what counts is the derived key and the
96 bits that GCM sees, whichever format, thread or process they belong to::

    with recorded() as pairs:
        sealer.seal(...)
    refuse_repeated(pairs)
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import aead

import assay.encryption.xaes
import assay.keys.embedded
import assay.keys.embedded_format
import assay.keys.embedded_slots
import assay.keys.memory
import assay.kms.memory_token

PLACES = (
    assay.encryption.xaes,
    assay.keys.embedded,
    assay.keys.embedded_format,
    assay.keys.embedded_slots,
    assay.keys.memory,
    assay.kms.memory_token,
)
"""The modules that make a cipher; `test_every_cipher_is_recorded` says that these are all."""

Pair = tuple[bytes, bytes]
"""A fingerprint of a key, and a nonce."""


@contextmanager
def recorded() -> Iterator[list[Pair]]:
    """The pairs of what is sealed within the block, in this thread and others."""
    pairs: list[Pair] = []

    class Recording:
        """AES-GCM that notes what it is given."""

        def __init__(self, key: bytes) -> None:
            self._fingerprint = hashlib.sha256(key).digest()[:16]
            self._cipher = aead.AESGCM(key)
            self.decrypt = self._cipher.decrypt

        def encrypt(self, nonce: bytes, data: bytes, associated: bytes | None) -> bytes:
            pairs.append((self._fingerprint, bytes(nonce)))
            return self._cipher.encrypt(nonce, data, associated)

    with pytest.MonkeyPatch.context() as patch:
        for place in PLACES:
            patch.setattr(place, "AESGCM", Recording)
        yield pairs


def refuse_repeated(pairs: list[Pair]) -> None:
    """Fail when a pair stands there twice."""
    twice = [pair for pair, count in Counter(pairs).items() if count > 1]
    assert not twice, f"{len(twice)} of {len(pairs)} pairs of key and nonce were used twice"


def in_child(work: Callable[[], Any]) -> Any:
    """What a forked child returns, pickled; the child runs nothing else."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child failed"
    return pickle.loads(data)  # noqa: S301 - written above by this test
