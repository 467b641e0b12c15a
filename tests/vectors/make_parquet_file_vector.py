"""Writes ``parquet-file.json`` anew: ``python -m tests.vectors.make_parquet_file_vector``.

Its bytes cannot be made twice, because Arrow draws the key and the nonces of a file itself. So the
file was made once, and both implementations read it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from tests.reference.parquet_file import open_file
from tests.vectors.encryption_inputs import FixedKeys, key_of

from assay.core import DataKeyClass
from assay.encryption.pyarrow import SealedParquet

TABLE = {"text": ["Dear Ada", "Dear Grace", "Dear Ada", None], "number": [1, 2, 1, 2]}
PLACE = ("tenant-1", "documents", "2026/7.parquet")


def _edits(data: bytes) -> list[dict[str, Any]]:
    """Changes by name: at which byte, how many go, what comes."""
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    algorithm, length = footer + 1, len(data)
    token = data.index(b'"wrappedDEK":"') + 14
    raw = base64.b64decode(data[token : token + 100])

    def change(name: str, at: int, gone: int, put: bytes, error: str = "TamperedFileError") -> dict[str, Any]:  # fmt: skip
        return {"name": name, "at": at, "gone": gone, "put": put.hex(), "error": error}

    def flip(name: str, at: int) -> dict[str, Any]:
        return change(name, at, 1, bytes([data[at] ^ 1]))

    def token_with(position: int) -> bytes:
        return base64.b64encode(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])

    one = 4 + int.from_bytes(data[4:8], "little")
    other = 4 + int.from_bytes(data[4 + one : 8 + one], "little")
    return [
        flip("first-magic-byte", 0),
        flip("page-header", 20),
        flip("page", 4 + one + 20),
        flip("last-page-tag", footer - 1),
        flip("footer-tag", length - 9),
        flip("last-magic-byte", length - 1),
        flip("footer-length", length - 8),
        change("in-the-clear", length - 4, 4, b"PAR1", "PlaintextFileError"),
        change("another-algorithm", algorithm, 1, b"\x2c"),
        change("cut-off", length - 1, 1, b""),
        change("nothing", 0, length, b""),
        change("extended", length, 0, b"\0"),
        change("extended-before-the-footer", footer, 0, b"\0"),
        change(
            "modules-swapped", 4, one + other, data[4 + one : 4 + one + other] + data[4 : 4 + one]
        ),
        change("module-repeated", 4, 0, data[4 : 4 + one]),
        change("module-left-out", 4, one, b""),
        change("token-version", token, 100, token_with(0), "UnknownFileKeyVersionError"),
        change("token-nonce", token, 100, token_with(2)),
        change("token-ciphertext", token, 100, token_with(30)),
        {"name": "other-owner", "owner": "tenant-2", "error": "WrongFileKeyError"},
        {"name": "other-dataset", "dataset": "letters", "error": "TamperedFileError"},
        {"name": "other-name", "file": "2026/8.parquet", "error": "TamperedFileError"},
        {"name": "other-sealing", "seal_id": bytes(24).hex(), "error": "ReplacedFileError"},
    ]


def main() -> None:
    owner, dataset, file = PLACE
    sink, files = io.BytesIO(), SealedParquet(FixedKeys(), owner=owner, dataset=dataset, file=file)
    seal_id = files.write(pa.table(TABLE), sink, compression="none", row_group_rows=2)
    data, key = sink.getvalue(), key_of(owner, DataKeyClass.FILES)
    opened = open_file(key.material, data, PLACE, groups=2, columns=2)
    vector = {
        "specification": "spec/parquet.md",
        "keys": [
            {"owner": name, "material": key_of(name, DataKeyClass.FILES).material.hex()}
            for name in ("tenant-1", "tenant-2")
        ],
        "owner": owner,
        "dataset": dataset,
        "file": file,
        "seal_id": seal_id.hex(),
        "file_key": opened.file_key.hex(),
        "table": TABLE,
        "row_groups": 2,
        "pages": [hashlib.sha256(page).hexdigest() for page in opened.pages],
        "bytes": base64.b64encode(data).decode(),
        "refused": _edits(data),
    }
    path = Path(__file__).with_name("parquet-file.json")
    path.write_text(json.dumps(vector, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
