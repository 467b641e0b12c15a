"""Sealing and opening the fields of one row.

Specification: ``spec/row-envelope.md``; its steps are repeated here.

Example:
    >>> address = RowAddress("tenant-1", "documents", "default", encode_row_id(7))
    >>> envelope = EnvelopeSealer().seal(key, address, {"text": "…"})   # doctest: +SKIP
    >>> EnvelopeOpener().open(key, address, envelope)                   # doctest: +SKIP
    {'text': '…'}
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from weakref import WeakSet

from cryptography.exceptions import InvalidTag

from assay.core import DataKeyClass
from assay.encryption.concealment import forget_variables
from assay.encryption.errors import (
    KeyClassError,
    TamperedEnvelopeError,
    TruncatedEnvelopeError,
    UnknownSuiteError,
    UnknownVersionError,
    UnsupportedValueError,
    WrongKeyError,
)
from assay.encryption.generations import Generations
from assay.encryption.payload import decode_payload, encode_payload
from assay.encryption.row_address import RowAddress
from assay.encryption.row_version import put_version, take_version, without_version
from assay.encryption.xaes import derive_cipher
from assay.keys import DataKey, tell_of_dropped_keys

VERSION = 0x01
SUITE_XAES_256_GCM = 0x01
HEADER_BYTES = 42
MINIMUM_BYTES = 58
SEGMENT_ENVELOPES = 2**20

_forks = 0
"""How often this process, or one that it descends from, was forked since this was loaded."""


def _begin_anew() -> None:
    """In a forked child: its parent goes on with the segments that it has a copy of."""
    global _forks  # noqa: PLW0603 - a fork is a fact about the whole process
    _forks += 1
    for sealer in _sealers:
        sealer.forget()


os.register_at_fork(after_in_child=_begin_anew)


class EnvelopeSealer:
    """Seals rows; one per process is enough. Safe between threads and over a fork.

    Args:
        segment_envelopes: after how many envelopes of a data key a new segment begins; at most
            2^20.
        segments: for how many data keys a segment is kept.
        random: where random bytes come from.
    """

    def __init__(
        self,
        *,
        segment_envelopes: int = SEGMENT_ENVELOPES,
        segments: int = 2048,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not 1 <= segment_envelopes <= SEGMENT_ENVELOPES:
            raise ValueError(f"expected 1 to 2^20 envelopes a segment, found {segment_envelopes}")
        self._limit = segment_envelopes
        self._random = random
        self._segments: Generations[bytes, _Segment] = Generations(segments)
        _sealers.add(self)
        tell_of_dropped_keys(self)

    def seal(
        self,
        key: DataKey,
        address: RowAddress,
        fields: Mapping[str, object],
        *,
        padded: bool = False,
    ) -> bytes:
        """Seal the fields of one row.

        Args:
            key: a data key of class ``rows`` of the row's owner.
            address: where the row stands.
            fields: name to value; see the table of types in the specification.
            padded: hide the exact length (Padmé).

        Returns:
            The envelope: 58 bytes more than the payload.

        Raises:
            KeyClassError: the data key is of another class.
            UnsupportedValueError: a value has no encoding.
            RowVersionError: the address has a version that no row can have.
        """
        try:
            payload = encode_payload(fields, padded=padded)  # step 2
            if address.version is not None:
                payload = put_version(address.version, payload)
            return self.seal_payload(key, address.associated_data(), payload)  # step 3
        except Exception as exc:
            forget_variables(exc)
            del fields
            payload = b""
            raise

    def seal_payload(self, key: DataKey, associated_data: bytes, payload: bytes) -> bytes:
        """Seal a payload that is encoded already: steps 1 and 4 to 7.

        Args:
            key: a data key of class ``rows``.
            associated_data: see `RowAddress.associated_data`.
            payload: see `encode_payload`.

        Raises:
            KeyClassError: the data key is of another class.
            UnsupportedValueError: the payload has 2^31 bytes or more.
        """
        while True:
            segment = self._segments.young.get(key.key_id)  # 4
            if segment is None or segment.key is not key:
                segment = self._find_segment(key)
            try:
                nonce = segment.next_nonce()
                sealed = segment.encrypt(nonce, payload, associated_data)  # 5
            except StopIteration:
                self._begin_segment(key)
                continue
            except OverflowError as exc:
                raise UnsupportedValueError(
                    f"expected a payload of less than 2^31 bytes, found {len(payload)}; put large "
                    "values into sealed objects"
                ) from exc
            # 6. What was sealed after a fork with a segment of before never leaves this line: the
            # other process may use the same nonce. A signal handler may even fork in between.
            if segment.forks == _forks:
                return segment.prefix + nonce + sealed  # 7
            self._begin_segment(key)

    def forget(self) -> None:
        """Drop all derived keys; the next envelope of each data key begins a new segment."""
        self._segments.clear()

    def forget_keys(self, keys: Collection[DataKey]) -> None:
        """Drop what was derived from exactly these keys."""
        gone = {id(key) for key in keys}
        self._segments.forget(lambda segment: id(segment.key) in gone)

    def _find_segment(self, key: DataKey) -> _Segment:
        segment = self._segments.get(key.key_id)
        if segment is None or segment.key is not key:
            segment = self._begin_segment(key)
        return segment

    def _begin_segment(self, key: DataKey) -> _Segment:
        # Two threads may each begin one: both are good, and the later one is kept.
        segment = _Segment(key, self._limit, self._random)
        self._segments.put(key.key_id, segment)
        return segment


_sealers: WeakSet[EnvelopeSealer] = WeakSet()
"""Those of this process."""


class _Segment:
    """One writer's run of nonces under one data key."""

    __slots__ = ("encrypt", "forks", "key", "next_nonce", "prefix")

    def __init__(self, key: DataKey, envelopes: int, random: Callable[[int], bytes]) -> None:
        _refuse_other_class(key)  # sealing, step 1
        self.key = key
        self.forks = _forks
        nonce_prefix = random(12)
        self.prefix = bytes([VERSION, SUITE_XAES_256_GCM]) + key.key_id + nonce_prefix
        self.encrypt = derive_cipher(key.material, nonce_prefix).encrypt
        numbers = iter(range(envelopes))
        key.uses.begin_run(numbers)
        self.next_nonce = _nonces(numbers)


_nonce = struct.Struct(">4xQ").pack
"""A number as the second half of a nonce: 12 bytes, big-endian."""


def _nonces(numbers: Iterator[int]) -> Callable[[], bytes]:
    """Counts along; no two threads are given the same nonce. At the end, StopIteration."""
    nonces = map(_nonce, numbers)
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return nonces.__next__  # one step that no other thread can come between
    lock = threading.Lock()

    def take() -> bytes:
        with lock:
            return next(nonces)

    return take


class EnvelopeOpener:
    """Opens rows; one per process is enough. Safe between threads and over a fork.

    Args:
        derived_keys: how many derived keys are kept; each serves one segment of one writer.
    """

    def __init__(self, *, derived_keys: int = 4096) -> None:
        self._ciphers: Generations[bytes, tuple[DataKey, _Decrypt]]
        self._ciphers = Generations(derived_keys)
        tell_of_dropped_keys(self)

    def open(self, key: DataKey, address: RowAddress, envelope: bytes) -> dict[str, object]:
        """Open the envelope that was found at an address.

        Args:
            key: the owner's data key that `envelope_key_id` names.
            address: where the envelope was found.
            envelope: all of its bytes.

        Returns:
            The fields, known and unknown.

        Raises:
            TruncatedEnvelopeError: shorter than 58 bytes.
            UnknownVersionError: another version.
            UnknownSuiteError: another suite.
            WrongKeyError: it names another data key.
            KeyClassError: the data key is of another class.
            TamperedEnvelopeError: altered, or the envelope of another row.
            RolledBackEnvelopeError: of another version of the row.
            MalformedPayloadError: authentic, but no map of fields.
        """
        payload = b""
        try:
            if address.version is not None:
                payload = self.open_versioned_payload(key, address, address.version, envelope)
            else:
                payload = self.open_payload(key, address.associated_data(), envelope)  # step 5
            return decode_payload(payload)  # 9
        except Exception as exc:
            forget_variables(exc)
            del payload
            raise

    def open_versioned_payload(
        self, key: DataKey, address: RowAddress, version: object, envelope: bytes
    ) -> bytes:
        """Open the envelope of a versioned row and leave its payload encoded: steps 1 to 8.

        Args:
            key: the owner's data key that `envelope_key_id` names.
            address: where the envelope was found; of some version, it does not matter of which.
            version: what stands beside the envelope, whatever that is.
            envelope: all of its bytes.

        Raises:
            EnvelopeError: as in `open`.
            KeyClassError: the data key is of another class.
            MalformedPayloadError: authentic, but without a version before the payload.
        """
        try:
            stamped = self.open_payload(key, address.associated_data(), envelope)  # step 5
        except TamperedEnvelopeError:
            unversioned = RowAddress(address.tenant, address.table, address.group, address.row_id)
            with suppress(TamperedEnvelopeError):
                self.open_payload(key, unversioned.associated_data(), envelope)
                raise without_version() from None
            raise
        return take_version(version, stamped)  # 8

    def open_payload(self, key: DataKey, associated_data: bytes, envelope: bytes) -> bytes:
        """Open an envelope and leave its payload encoded: steps 1 to 4, 6 and 7.

        Raises:
            EnvelopeError: as in `open`.
            KeyClassError: the data key is of another class.
        """
        # A hit means that an envelope with this very version, suite, key id and segment was
        # judged before, so steps 1 to 4 are repeated only when something does not fit.
        known = self._ciphers.young.get(envelope[:30])
        if known is None or known[0] is not key:
            known = self._ciphers.get(envelope[:30])
        if known is None or known[0] is not key:
            known = self._begin_reading(key, envelope)
        decrypt = known[1]
        try:
            return decrypt(envelope[30:42], envelope[42:], associated_data)  # 7
        except (InvalidTag, ValueError) as exc:
            _refuse_header(envelope)
            raise TamperedEnvelopeError(
                "expected the envelope of this row, found one that was altered, or that belongs "
                "to another row, table or group; restore the row from a backup"
            ) from exc

    def forget(self) -> None:
        """Drop all derived keys."""
        self._ciphers.clear()

    def forget_keys(self, keys: Collection[DataKey]) -> None:
        """Drop what was derived from exactly these keys."""
        gone = {id(key) for key in keys}
        self._ciphers.forget(lambda known: id(known[0]) in gone)

    def _begin_reading(self, key: DataKey, envelope: bytes) -> tuple[DataKey, _Decrypt]:
        key_id = envelope_key_id(envelope)  # 1 to 3
        if key_id != key.key_id:  # 4
            raise WrongKeyError(
                f"expected an envelope under the data key {key.key_id.hex()}, found one under "
                f"{key_id.hex()}; open it with the key of its owner that it names"
            )
        _refuse_other_class(key)
        known = (key, derive_cipher(key.material, envelope[18:30]).decrypt)  # 6
        self._ciphers.put(envelope[:30], known)
        return known


_Decrypt = Callable[[bytes, bytes, bytes], bytes]


def envelope_key_id(envelope: bytes) -> bytes:
    """The id of the data key that an envelope names: 16 bytes. Steps 1 to 3 of opening.

    Raises:
        TruncatedEnvelopeError: shorter than 58 bytes.
        UnknownVersionError: another version.
        UnknownSuiteError: another suite.
    """
    _refuse_header(envelope)
    return envelope[2:18]


def _refuse_header(envelope: bytes) -> None:
    if len(envelope) < MINIMUM_BYTES:  # 1
        raise TruncatedEnvelopeError(
            f"expected an envelope of at least {MINIMUM_BYTES} bytes, found {len(envelope)}"
        )
    if envelope[0] != VERSION:  # 2
        raise UnknownVersionError(
            f"expected envelope version {VERSION}, found {envelope[0]}; a newer release may know "
            "it, or the column holds something else"
        )
    if envelope[1] != SUITE_XAES_256_GCM:  # 3
        raise UnknownSuiteError(
            f"expected suite {SUITE_XAES_256_GCM} (XAES-256-GCM), found {envelope[1]}"
        )


def _refuse_other_class(key: DataKey) -> None:
    if key.key_class is not DataKeyClass.ROWS:
        raise KeyClassError(
            f"expected a data key of class rows, found one of class {key.key_class.value}"
        )
