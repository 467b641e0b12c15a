"""The tamper matrix over sealed Parquet files."""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from tests.tamper_matrix import CANARY, Attack, Target

from assay.core import DataKeyClass
from assay.encryption import TamperedFileError
from assay.encryption.pyarrow import SealedParquet
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

TABLE = pa.table({"one": [CANARY, "b", "c", "d"], "two": [CANARY, "f", "g", "h"]})
"""Two row groups of two columns each."""


class FileVault:
    """One file of a data set, bound to its name, whose seal id its reader knows."""

    def __init__(self, read: str) -> None:
        self.how = read
        self.keyring = self.reading = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.keyring.current("south", DataKeyClass.FILES)
        self.owner = "north"
        self.older, _ = self.seal()
        self.stored, self.seal_id = self.seal()

    def files(self, owner: str = "north", dataset: str = "documents", file: str = "7") -> SealedParquet:  # fmt: skip
        return SealedParquet(self.reading, owner=owner, dataset=dataset, file=file)

    def seal(self, **place: str) -> tuple[bytes, bytes]:
        sink = io.BytesIO()
        seal_id = self.files(**place).write(TABLE, sink, compression="none", row_group_rows=2)
        return sink.getvalue(), seal_id

    def put(self, value: bytes | None) -> None:
        assert value is not None
        self.stored = value

    def read(self) -> object:
        files = self.files(self.owner)
        if self.how == "whole":
            return files.read(self.stored, seal_id=self.seal_id).to_pydict()
        if self.how == "batches":
            batches = list(files.read_batches(self.stored, seal_id=self.seal_id, batch_rows=1))
            return pa.Table.from_batches(batches).to_pydict()
        found = [
            files.read(self.stored, columns=[name], seal_id=self.seal_id) for name in ("two", "one")
        ]
        return {name: table.column(name).to_pylist() for table in reversed(found) for name in table.column_names}  # fmt: skip

    def give_away(self) -> Callable[[], None]:
        self.owner = "south"
        return lambda: setattr(self, "owner", "north")

    def use_other_keys(self) -> Callable[[], None]:
        self.reading = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        return lambda: setattr(self, "reading", self.keyring)

    def places(self, sealed: bytes) -> list[range]:
        """Where the column chunks stand: whoever may read one file of the owner knows it of all."""
        key = next(self.files(file=file).file_key(sealed) for file in ("7", "8") if self.opens(sealed, file))  # fmt: skip
        properties = pe.create_decryption_properties(key)
        metadata = pq.read_metadata(io.BytesIO(sealed), decryption_properties=properties)
        return [_place(metadata.row_group(group).column(column)) for group in range(2) for column in range(2)]  # fmt: skip

    def opens(self, sealed: bytes, file: str) -> bool:
        try:
            self.files(file=file).file_key(sealed)
        except Exception:  # noqa: BLE001 - whatever the reason
            return False
        return True

    def target(self) -> Target:
        clear = io.BytesIO()
        pq.write_table(TABLE, clear)
        return Target(
            adapter="Parquet",
            own=self.stored,
            put=self.put,
            read=self.read,
            plain=TABLE.to_pydict(),
            others={
                "row": self.seal(file="8")[0],
                "table": self.seal(dataset="letters")[0],
                "owner": self.seal(owner="south")[0],
                "everything": self.seal(owner="south", dataset="letters", file="8")[0],
                "older": self.older,
                "clear": clear.getvalue(),
            },
            acts={"give away": self.give_away, "other keys": self.use_other_keys},
            places=self.places,
            step=3 if self.how == "whole" else 11,
        )


def _place(column: Any) -> range:
    start = column.dictionary_page_offset or column.data_page_offset
    return range(start, start + column.total_compressed_size)


@pytest.mark.parametrize("read", ["whole", "batches", "columns"])
def test_every_attack_is_refused(attack: Attack, read: str) -> None:
    attack.run(FileVault(read).target())


def test_the_pieces_are_all_pages_of_the_file() -> None:
    """So that swapping them is what it says."""
    vault = FileVault("whole")
    places = vault.places(vault.stored)
    assert len(places) == 4
    assert places[0].start == 4
    assert all(one.stop <= other.start for one, other in pairwise(places))
    assert len({len(place) for place in places}) < 4, "some are of one length"


def test_a_batch_that_was_read_is_not_shown_when_a_later_one_is_refused() -> None:
    """A traceback with variables holds the generator's own frame, and its last batch in it."""
    vault = FileVault("batches")
    last = vault.places(vault.stored)[-1]
    flipped = vault.stored[last.start + 20] ^ 1
    vault.stored = (
        vault.stored[: last.start + 20] + bytes([flipped]) + vault.stored[last.start + 21 :]
    )
    batches = vault.files().read_batches(vault.stored, batch_rows=1)
    assert next(batches).to_pydict() == {"one": [CANARY], "two": [CANARY]}
    with pytest.raises(TamperedFileError) as raised:
        list(batches)
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    room = [frame for frame in shown.stack if "/assay/encryption/" in frame.filename]
    assert room
    assert not any("RecordBatch" in str(frame.locals) for frame in room)
