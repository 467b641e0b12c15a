"""Row envelopes: every change is refused by name, and no nonce is used twice."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

import assay.encryption.envelope as module
from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeError,
    EnvelopeOpener,
    EnvelopeSealer,
    KeyClassError,
    RowAddress,
    TamperedEnvelopeError,
    TruncatedEnvelopeError,
    UnknownSuiteError,
    UnknownVersionError,
    UnsupportedValueError,
    WrongKeyError,
    encode_row_id,
)
from assay.keys import DataKey, data_key_id

SECRET = "Quartz & Obsidian"
ADDRESS = RowAddress("tenant-1", "documents", "default", encode_row_id(7))


@cache
def make_key(seed: int, key_class: DataKeyClass = DataKeyClass.ROWS) -> DataKey:
    material = bytes([seed]) * 32
    return DataKey(f"tenant-{seed}", key_class, 1, data_key_id(material), material)


def nonce_of(envelope: bytes) -> tuple[bytes, bytes]:
    """What must never repeat: key id and nonce."""
    return envelope[2:18], envelope[18:42]


def test_what_is_sealed_opens() -> None:
    envelope = EnvelopeSealer().seal(make_key(1), ADDRESS, {"text": SECRET, "n": None})

    assert EnvelopeOpener().open(make_key(1), ADDRESS, envelope) == {"text": SECRET, "n": None}
    assert SECRET.encode() not in envelope
    assert len(envelope) == 58 + 1 + 5 + 1 + len(SECRET) + 2 + 1


def test_every_flipped_bit_is_refused_by_name() -> None:
    key, opener = make_key(1), EnvelopeOpener()
    envelope = EnvelopeSealer().seal(key, ADDRESS, {"text": SECRET})
    opener.open(key, ADDRESS, envelope)  # what was opened before must not make it more lenient
    for position in range(len(envelope)):
        wanted = {0: UnknownVersionError, 1: UnknownSuiteError}.get(
            position, WrongKeyError if position < 18 else TamperedEnvelopeError
        )
        for bit in range(8):
            changed = bytearray(envelope)
            changed[position] ^= 1 << bit
            with pytest.raises(EnvelopeError) as raised:
                opener.open(key, ADDRESS, bytes(changed))
            assert type(raised.value) is wanted, (position, bit)


def test_every_other_length_is_refused_by_name() -> None:
    key, opener = make_key(1), EnvelopeOpener()
    envelope = EnvelopeSealer().seal(key, ADDRESS, {"text": SECRET})
    for known in (False, True):
        if known:
            opener.open(key, ADDRESS, envelope)
        for length in range(len(envelope)):
            wanted = TruncatedEnvelopeError if length < 58 else TamperedEnvelopeError
            with pytest.raises(EnvelopeError) as raised:
                opener.open(key, ADDRESS, envelope[:length])
            assert type(raised.value) is wanted, length
        for extra in (b"\0", b"\0" * 16, envelope):
            with pytest.raises(TamperedEnvelopeError):
                opener.open(key, ADDRESS, envelope + extra)


@pytest.mark.parametrize(
    "address",
    [
        RowAddress("tenant-1", "documents", "default", encode_row_id(8)),
        RowAddress("tenant-1", "documents", "default", encode_row_id("8")),
        RowAddress("tenant-1", "documents", "content", encode_row_id(7)),
        RowAddress("tenant-1", "uploads", "default", encode_row_id(7)),
        RowAddress("tenant-2", "documents", "default", encode_row_id(7)),
        RowAddress("tenant-1", "documentsdefault", "", encode_row_id(7)),
        RowAddress("tenant-", "1documents", "default", encode_row_id(7)),
        RowAddress("tenant-1", "documents", "default7", b""),
    ],
)
def test_an_envelope_opens_at_its_own_place_only(address: RowAddress) -> None:
    key, opener = make_key(1), EnvelopeOpener()
    envelope = EnvelopeSealer().seal(key, ADDRESS, {"text": SECRET})
    opener.open(key, ADDRESS, envelope)

    with pytest.raises(TamperedEnvelopeError):
        opener.open(key, address, envelope)


def test_another_key_is_refused_even_when_the_right_one_was_used_before() -> None:
    opener = EnvelopeOpener()
    envelope = EnvelopeSealer().seal(make_key(1), ADDRESS, {"text": SECRET})
    opener.open(make_key(1), ADDRESS, envelope)

    with pytest.raises(WrongKeyError, match="found one under"):
        opener.open(make_key(2), ADDRESS, envelope)
    # The same id with other material: a key table that lies. The tag does not fit.
    forged = DataKey("tenant-1", DataKeyClass.ROWS, 1, make_key(1).key_id, bytes(32))
    with pytest.raises(TamperedEnvelopeError):
        opener.open(forged, ADDRESS, envelope)
    assert opener.open(make_key(1), ADDRESS, envelope) == {"text": SECRET}


def test_a_segment_belongs_to_the_key_and_not_to_its_id() -> None:
    sealer = EnvelopeSealer()
    sealer.seal(make_key(1), ADDRESS, {})
    forged = DataKey("tenant-1", DataKeyClass.ROWS, 1, make_key(1).key_id, bytes(32))
    envelope = sealer.seal(forged, ADDRESS, {"text": SECRET})

    with pytest.raises(TamperedEnvelopeError):
        EnvelopeOpener().open(make_key(1), ADDRESS, envelope)
    assert EnvelopeOpener().open(forged, ADDRESS, envelope) == {"text": SECRET}


def test_data_keys_of_another_class_are_refused() -> None:
    envelope = EnvelopeSealer().seal(make_key(1), ADDRESS, {})
    for key_class in (DataKeyClass.INDEXES, DataKeyClass.OBJECTS):
        with pytest.raises(KeyClassError, match="class rows"):
            EnvelopeSealer().seal(make_key(1, key_class), ADDRESS, {})
        with pytest.raises(KeyClassError, match="class rows"):
            EnvelopeOpener().open(make_key(1, key_class), ADDRESS, envelope)


def test_errors_show_no_plaintext_and_no_key() -> None:
    key = make_key(1)
    envelope = EnvelopeSealer().seal(key, ADDRESS, {"text": SECRET})
    for action in (
        lambda: EnvelopeOpener().open(key, ADDRESS, envelope + b"\0"),
        lambda: EnvelopeOpener().open(make_key(2), ADDRESS, envelope),
        lambda: EnvelopeSealer().seal(key, ADDRESS, {"text": object()}),
        lambda: EnvelopeSealer().seal(key, ADDRESS, {"text": SECRET + "\ud800"}),
    ):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - whichever it is, it must be silent
            action()
        shown = "".join(traceback.format_exception(raised.value))
        chain: BaseException | None = raised.value
        while chain is not None:
            shown += repr(chain) + repr(vars(chain)) + repr(chain.args)
            chain = chain.__cause__ or chain.__context__
        # (the source lines of this test are part of a traceback, the values are not)
        assert SECRET not in shown.replace("SECRET", "")
        assert key.material.hex() not in shown
        assert repr(key.material) not in shown


def test_segments_end_and_no_nonce_repeats() -> None:
    sealer, opener, key = EnvelopeSealer(segment_envelopes=4), EnvelopeOpener(), make_key(1)
    envelopes = [sealer.seal(key, ADDRESS, {"n": n}) for n in range(20)]

    assert len({nonce_of(envelope) for envelope in envelopes}) == 20
    assert [int.from_bytes(envelope[30:42], "big") for envelope in envelopes] == [0, 1, 2, 3] * 5
    assert len({envelope[18:30] for envelope in envelopes}) == 5
    assert [opener.open(key, ADDRESS, each)["n"] for each in envelopes] == list(range(20))


def test_a_segment_is_never_longer_than_specified() -> None:
    for length in (0, 2**20 + 1):
        with pytest.raises(ValueError, match="1 to 2"):
            EnvelopeSealer(segment_envelopes=length)


def test_each_key_and_each_sealer_has_segments_of_its_own() -> None:
    envelopes = [
        sealer.seal(make_key(seed), ADDRESS, {})
        for sealer in (EnvelopeSealer(), EnvelopeSealer())
        for seed in (1, 2, 1, 2)
    ]

    assert len({nonce_of(envelope) for envelope in envelopes}) == 8
    assert len({envelope[18:30] for envelope in envelopes}) == 4


def test_forgetting_and_eviction_begin_new_segments() -> None:
    sealer, opener = EnvelopeSealer(segments=2), EnvelopeOpener(derived_keys=2)
    envelopes = []
    for _ in range(3):
        for seed in range(1, 7):
            envelopes += [(seed, sealer.seal(make_key(seed), ADDRESS, {"n": seed}))]
        sealer.forget()
        opener.forget()
    assert len({nonce_of(envelope) for _, envelope in envelopes}) == len(envelopes)
    for seed, envelope in envelopes:
        assert opener.open(make_key(seed), ADDRESS, envelope) == {"n": seed}


def test_no_nonce_repeats_between_threads() -> None:
    sealer, key = EnvelopeSealer(segment_envelopes=97), make_key(1)
    start = threading.Barrier(8)

    def work(_: int) -> list[bytes]:
        start.wait()
        return [sealer.seal(key, ADDRESS, {}) for _ in range(2000)]

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            envelopes = [each for part in pool.map(work, range(8)) for each in part]
    finally:
        sys.setswitchinterval(switch)
    assert len({nonce_of(envelope) for envelope in envelopes}) == 16_000


def test_without_the_interpreter_lock_a_lock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    sealer, key = EnvelopeSealer(segment_envelopes=50), make_key(1)

    with ThreadPoolExecutor(4) as pool:
        envelopes = list(pool.map(lambda _: sealer.seal(key, ADDRESS, {}), range(400)))

    assert len({nonce_of(envelope) for envelope in envelopes}) == 400


def _sealed_in_child(sealer: EnvelopeSealer, key: DataKey, count: int) -> list[bytes]:
    """What a forked child seals with its copy of the sealer."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            envelopes = [sealer.seal(key, ADDRESS, {}) for _ in range(count)]
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(envelopes, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        envelopes = pickle.load(pipe)  # noqa: S301 - written above by this test
    os.waitpid(child, 0)
    return envelopes


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_no_nonce_repeats_over_a_fork() -> None:
    sealer, key = EnvelopeSealer(), make_key(1)
    envelopes = [sealer.seal(key, ADDRESS, {}) for _ in range(5)]
    children = [_sealed_in_child(sealer, key, 5) for _ in range(3)]
    envelopes += [sealer.seal(key, ADDRESS, {}) for _ in range(5)]

    assert len({envelope[18:30] for envelope in envelopes}) == 1, "the parent's segment goes on"
    everything = [*envelopes, *(each for child in children for each in child)]
    assert len({nonce_of(envelope) for envelope in everything}) == 25


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_what_was_being_sealed_while_the_process_forked_is_sealed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler may fork in the middle of sealing; here the cipher itself does."""
    key, forked = make_key(1), []

    class ForkingCipher:
        def __init__(self, cipher) -> None:
            self._cipher = cipher

        def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
            sealed = self._cipher.encrypt(nonce, data, associated)
            if not forked:
                forked.append(os.fork())
            return sealed

        def decrypt(self, *arguments: bytes) -> bytes:
            return self._cipher.decrypt(*arguments)

    derive = module.derive_cipher
    monkeypatch.setattr(module, "derive_cipher", lambda *a: ForkingCipher(derive(*a)))
    sealer = EnvelopeSealer()
    reading, writing = os.pipe()

    envelope = sealer.seal(key, ADDRESS, {})
    if forked == [0]:
        os.write(writing, envelope)
        os._exit(0)
    os.waitpid(forked[0], 0)
    other = os.read(reading, 1000)
    os.close(reading)
    os.close(writing)

    assert len(other) == len(envelope)
    assert nonce_of(other) != nonce_of(envelope)
    assert EnvelopeOpener().open(key, ADDRESS, other) == {}


def test_no_nonce_repeats_over_a_restart() -> None:
    program = (
        "from assay.core import DataKeyClass\n"
        "from assay.keys import DataKey, data_key_id\n"
        "from assay.encryption import EnvelopeSealer, RowAddress\n"
        "key = DataKey('tenant-1', DataKeyClass.ROWS, 1, data_key_id(bytes(32)), bytes(32))\n"
        "address = RowAddress('tenant-1', 'documents', 'default', b'7')\n"
        "print(EnvelopeSealer().seal(key, address, {}).hex())\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        for _ in range(3)
    ]
    envelopes = [bytes.fromhex(run.stdout) for run in runs]

    assert len({nonce_of(envelope) for envelope in envelopes}) == 3
    assert {envelope[30:42] for envelope in envelopes} == {bytes(12)}


def test_too_large_a_payload_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflowing:
        def encrypt(self, *_: bytes) -> bytes:
            raise OverflowError("2**31")

    monkeypatch.setattr(module, "derive_cipher", lambda *_: Overflowing())
    with pytest.raises(UnsupportedValueError, match="sealed objects"):
        EnvelopeSealer().seal(make_key(1), ADDRESS, {})


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    fields=st.dictionaries(st.text(min_size=1), values, max_size=5),
    names=st.tuples(st.text(), st.text(), st.text()),
    row_id=st.binary(max_size=40),
    padded=st.booleans(),
)
def test_whatever_is_sealed_opens(fields, names, row_id, padded) -> None:
    key, address = make_key(1), RowAddress(*names, row_id)
    envelope = EnvelopeSealer().seal(key, address, fields, padded=padded)

    opened = EnvelopeOpener().open(key, address, envelope)

    assert opened == fields
    assert {name: type(value) for name, value in opened.items()} == {
        name: type(value) for name, value in fields.items()
    }
