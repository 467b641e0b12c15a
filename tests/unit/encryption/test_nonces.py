"""No pair of key and nonce is ever given to AES-GCM twice: not between threads, processes, forks,
restarts and segments, by nothing that seals."""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
import pickle
import re
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
from tests.nonce_record import PLACES, Pair, in_child, recorded, refuse_repeated

import assay.encryption.envelope as envelope_module
import assay.encryption.objects as objects_module
from assay.core import DataKeyClass
from assay.encryption import (
    BlindIndex,
    EnvelopeSealer,
    FilePlace,
    MemoryObjectStore,
    RowAddress,
    SealedBucket,
    casefold,
    seal_object,
    wrap_file_key,
)
from assay.encryption.pyarrow import SealedParquet
from assay.keys import DataKey, MemoryKeyService, data_key_id
from assay.keys.embedded_file import add_key
from assay.keys.embedded_format import ScryptParameters
from assay.keys.uris import open_key_service

ADDRESS = RowAddress("north", "documents", "default", b"7")
FORKS = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def fixed_key(key_class: DataKeyClass) -> DataKey:
    """The same in every process: as if all of them had unwrapped it."""
    material = key_class.value.encode().ljust(32, b"\0")
    return DataKey("north", key_class, 1, data_key_id(material), material)


class FixedKeys:
    def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
        return fixed_key(key_class)

    def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
        return fixed_key(key_class)


KEYS = FixedKeys()
PLACE = {"owner": "north", "bucket": "uploads", "key": "a"}


class Writers:
    """One of each that seals, all under the same keys; each writes a few messages."""

    def __init__(self) -> None:
        self.sealer = EnvelopeSealer(segment_envelopes=7)
        self.service = MemoryKeyService(bytes(32))
        self.bucket = SealedBucket(MemoryObjectStore(smallest_part_bytes=50), KEYS, name="uploads", part_bytes=50)  # type: ignore[arg-type]  # fmt: skip  # a keyring of one key
        self.key = fixed_key(DataKeyClass.ROWS)

    def rows(self) -> None:
        for _ in range(20):
            self.sealer.seal(self.key, ADDRESS, {})

    def objects(self) -> None:
        for length in (0, 16, 100):
            seal_object(KEYS, io.BytesIO(bytes(length)), io.BytesIO(), **PLACE)
            self.bucket.put("a", bytes(length), owner="north")

    def file_keys(self) -> None:
        for _ in range(5):
            wrap_file_key(fixed_key(DataKeyClass.FILES), bytes(32), FilePlace("north", "d"))

    def data_keys(self) -> None:
        for _ in range(5):
            self.service.generate_data_key({"owner": "north"})

    def all(self) -> None:
        for work in (self.rows, self.objects, self.file_keys, self.data_keys):
            work()


PAIRS_OF_ALL = 20 + 2 * (1 + 1 + 7) + 5 + 5
"""How many messages `Writers.all` seals when chunks have 16 bytes."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_module, "CHUNK_BYTES", 16)
    monkeypatch.setattr(objects_module, "_SEALED_CHUNK_BYTES", 32)


def test_every_cipher_is_recorded(repository: Path) -> None:
    """A module that made a cipher elsewhere would go unseen."""
    making = {
        path.relative_to(repository / "src").with_suffix("").as_posix().replace("/", ".")
        for path in (repository / "src").rglob("*.py")
        if re.search(r"\bAESGCM\(|ChaCha20Poly1305\(|\bCipher\(|modes\.", path.read_text("utf-8"))
    }
    assert making == {place.__name__ for place in PLACES}


def test_one_after_the_other() -> None:
    with recorded() as pairs:
        writers = Writers()
        for _ in range(10):
            writers.all()
    assert len(pairs) == 10 * PAIRS_OF_ALL
    refuse_repeated(pairs)


def test_between_threads() -> None:
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with recorded() as pairs, ThreadPoolExecutor(8) as pool:
            writers, start = Writers(), threading.Barrier(8)

            def work(_: int) -> None:
                start.wait()
                for _ in range(15):
                    writers.all()

            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(switch)
    assert len(pairs) == 8 * 15 * PAIRS_OF_ALL
    refuse_repeated(pairs)


@FORKS
def test_over_forks_of_one_process() -> None:
    """Each child has a copy of everything that the parent had in its memory, and goes on with it."""
    with recorded() as pairs:
        writers = Writers()
        writers.all()

        def go_on() -> list[Pair]:
            del pairs[:]
            writers.all()
            pairs.extend(in_child(go_on_again))
            return list(pairs)

        def go_on_again() -> list[Pair]:
            del pairs[:]
            writers.all()
            return list(pairs)

        for _ in range(3):
            theirs = in_child(go_on)
            assert len(theirs) == 2 * PAIRS_OF_ALL
            pairs.extend(theirs)
        writers.all()
    assert len(pairs) == 8 * PAIRS_OF_ALL
    refuse_repeated(pairs)


def started_anew(_: int) -> list[Pair]:
    """All that a process seals from its start on."""
    objects_module.CHUNK_BYTES, objects_module._SEALED_CHUNK_BYTES = 16, 32
    with recorded() as pairs:
        Writers().all()
    return pairs


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_between_processes_and_over_restarts(method: str) -> None:
    pairs: list[Pair] = []
    for _ in range(2):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as pool:
            for each in pool.map(started_anew, range(3)):
                pairs += each
    assert len(pairs) == 6 * PAIRS_OF_ALL
    refuse_repeated(pairs)


def test_over_the_whole_of_a_segment_and_into_the_next() -> None:
    """A segment of the length that is specified; a counter that wrapped would begin at 0 again."""
    sealer, key = EnvelopeSealer(), fixed_key(DataKeyClass.ROWS)
    sealed = (sealer.seal_payload(key, b"", b"")[18:42] for _ in range(2**20 + 2))
    prefix = next(sealed)[:12]
    for number, nonce in enumerate(islice(sealed, 2**20 - 1), 1):
        assert nonce == prefix + number.to_bytes(12, "big")
    rollover = list(sealed)
    assert rollover[0][:12] == rollover[1][:12] != prefix
    assert [nonce[12:] for nonce in rollover] == [bytes(12), bytes(11) + b"\1"]


def test_the_chunks_of_an_object() -> None:
    """Around each byte of the counter, and with both flags."""
    numbers = sorted({2**bits + more for bits in (0, 8, 16, 24, 31) for more in (-1, 0, 1)})
    numbers.append(2**32 - 1)
    header = bytes([0x11, 1]) + bytes(16) + os.urandom(19) + bytes(5)
    chunks = objects_module._Chunks(fixed_key(DataKeyClass.OBJECTS), header, b"")
    nonces = {chunks._nonce(number, last=last) for number in numbers for last in (False, True)}
    assert len(nonces) == 2 * len(numbers)
    assert {len(nonce) for nonce in nonces} == {12}


def test_a_sealer_cannot_be_doubled() -> None:
    """A copy that went on with the same counter would repeat it."""
    sealer, key = EnvelopeSealer(), fixed_key(DataKeyClass.ROWS)
    with recorded() as pairs:
        fresh = [sealer, copy.deepcopy(sealer), pickle.loads(pickle.dumps(sealer))]  # noqa: S301 - made here
        for each in fresh:
            each.seal(key, ADDRESS, {})
        twin = copy.copy(sealer)
        for each in (sealer, twin, sealer, twin):
            each.seal(key, ADDRESS, {})
    refuse_repeated(pairs)
    sealer = EnvelopeSealer()
    sealer.seal(key, ADDRESS, {})
    for double in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            double(sealer)


@FORKS
def test_the_record_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these ways to be wrong makes the tests above fail."""
    key, random = fixed_key(DataKeyClass.ROWS), _CopiedGenerator()

    def sealed(*sealers: EnvelopeSealer) -> list[Pair]:
        with recorded() as pairs:
            for sealer in sealers:
                sealer.seal(key, ADDRESS, {})
        return list(pairs)

    with pytest.raises(AssertionError, match="1 of 2 pairs"):
        refuse_repeated(sealed(*(EnvelopeSealer(random=bytes) for _ in range(2))))
    theirs = in_child(lambda: sealed(EnvelopeSealer(random=random)))
    with pytest.raises(AssertionError, match="1 of 2 pairs"):
        refuse_repeated([*theirs, *sealed(EnvelopeSealer(random=random))])
    with recorded() as pairs:
        sealer = EnvelopeSealer()
        sealer.seal(key, ADDRESS, {})
        segment = sealer._segments.young[key.key_id]

        def without_the_hook() -> list[Pair]:
            sealer._segments.put(key.key_id, segment)
            monkeypatch.setattr(envelope_module, "_forks", segment.forks)
            del pairs[:]
            sealer.seal(key, ADDRESS, {})
            return list(pairs)

        theirs = in_child(without_the_hook)
        sealer.seal(key, ADDRESS, {})
    with pytest.raises(AssertionError, match="1 of 3 pairs"):
        refuse_repeated([*pairs, *theirs])


class _CopiedGenerator:
    """A generator whose state is in the memory of the process, so that a fork copies it."""

    state = 0

    def __call__(self, size: int) -> bytes:
        self.state += 1
        return self.state.to_bytes(size, "big")


# What Arrow seals by itself.


def _modules(data: bytes) -> list[bytes]:
    """The nonces of a sealed Parquet file: each module is a length, a nonce, ciphertext, a tag."""
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    nonces, at = [], 4
    while at < footer:
        nonces.append(data[at + 4 : at + 16])
        at += 4 + int.from_bytes(data[at : at + 4], "little")
    assert at == footer, "the modules fill the file"
    sealed_footer = data.index(b"}", footer) + 2
    return [*nonces, data[sealed_footer + 4 : sealed_footer + 16]]


def _parquet_pairs(_: int = 0) -> list[tuple[bytes, bytes]]:
    files = SealedParquet(KEYS, owner="north", dataset="documents")
    pairs = []
    for _ in range(4):
        sink = io.BytesIO()
        files.write(pa.table({"a": range(100), "b": ["x"] * 100}), sink, row_group_rows=10)
        data = sink.getvalue()
        pairs += [(files.file_key(data), nonce) for nonce in _modules(data)]
    return pairs


@FORKS
def test_parquet_modules_of_threads_and_forks() -> None:
    with ThreadPoolExecutor(4) as pool:
        pairs = [pair for each in pool.map(_parquet_pairs, range(4)) for pair in each]
    assert len({key for key, _ in pairs}) == 16, "each file has a key of its own"
    assert len(pairs) > 16 * 40
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as processes:
        for each in processes.map(_parquet_pairs, range(3)):
            pairs += each
    refuse_repeated(pairs)


@FORKS
def test_the_generator_of_arrow_is_not_cloned_by_a_fork() -> None:
    """File keys and nonces come from Arrow's own copy of OpenSSL, which must notice a fork."""
    _parquet_pairs()  # so that its generator has a state to clone
    theirs = [pair for _ in range(3) for pair in in_child(_parquet_pairs)]
    ours = _parquet_pairs()
    assert len({key for key, _ in [*ours, *theirs]}) == 16
    refuse_repeated([*ours, *theirs])


# Key stores.


def test_an_embedded_key_store_and_its_data_keys(tmp_path: Path) -> None:
    path, passphrase = tmp_path / "keys.json", "correct horse battery"
    (tmp_path / "passphrase").write_text(passphrase)
    with recorded() as pairs:
        for number in range(4):  # each writes the whole store anew
            add_key(path, f"kek{number}", "aes-256", passphrase, ScryptParameters(n=2**14))
        uri = "embedded:keys.json?object=kek0&passphrase-source=file:passphrase"
        services = [open_key_service(uri, directory=tmp_path, environment={}) for _ in range(2)]
        for service in services:
            for _ in range(5):
                service.generate_data_key({"owner": "north"})
    assert len(pairs) == 4 + 10
    assert len({key for key, _ in pairs}) == 4 + 1, "a salt, and so a key, for each writing"
    refuse_repeated(pairs)


@FORKS
def test_data_keys_are_not_repeated_by_forked_children() -> None:
    service = MemoryKeyService()
    service.generate_data_key({"owner": "north"})

    def made() -> list[tuple[bytes, bytes]]:
        return [service.generate_data_key({"owner": "north"}) for _ in range(3)]

    every = [*made(), *(each for _ in range(3) for each in in_child(made))]
    assert len({data_key for data_key, _ in every}) == 12
    assert len({wrapped[1:13] for _, wrapped in every}) == 12


def test_blind_indexes_are_the_same_in_every_thread() -> None:
    """They have no nonce; what threads share of them must not mix either."""
    index = BlindIndex("documents", "email", casefold, 128)
    key = fixed_key(DataKeyClass.INDEXES)
    values = [f"{number}@example.com" for number in range(200)]
    expected = [index.compute(key, value) for value in values]
    assert len(set(expected)) == len(values)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [index.compute(key, value) for value in values], range(8)):
            assert found == expected
