"""Parsers of the programme, the scope and the observation: named errors or a value, never else.

Each target takes bytes and may only raise the room's own errors. pytest feeds them by hypothesis;
with atheris installed, ``python tests/fuzz/test_fuzz_controls.py TARGET`` runs one by coverage.
"""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.controls import CHECKS, ControlsError, Programme, Scope, judge_record
from assay.controls.yaml_source import read_yaml

SNIPPETS = [
    b"organisation: Metal\n", b"keys: env:K\n", b"log: {store: a, signer: b, origin: c.d/e}\n",
    b"assets:\n", b"  - {id: a, kind: repository, path: .}\n", b"promises: all\n", b"- ", b"? ",
    b": ", b"!!python/name:x ", b"&a ", b"*a ", b"[", b"]", b"{", b"}", b"\t", b"'", b'"', b"|\n",
    b"1e999", b"0x1F", b"2026-01-01", b"~", b"<<: ", b"---\n", b"...\n", b"%YAML 9\n", b"\x00",
    b"\xff", b'{"check":"hsts","facts":{}}', b"null", b"{}",
]  # fmt: skip


def fuzz_programme(data: bytes) -> None:
    with suppress(ControlsError):
        read_yaml(Path("assay.yaml"), data.decode("utf-8", "replace")).decode(Programme)


def fuzz_scope(data: bytes) -> None:
    with suppress(ControlsError):
        assert Scope.from_bytes(data).to_bytes() == data


def fuzz_observation(data: bytes) -> None:
    with suppress(ControlsError):
        judge_record(CHECKS, data)


TARGETS = [fuzz_programme, fuzz_scope, fuzz_observation]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
@given(
    data=st.binary(max_size=300)
    | st.lists(st.sampled_from(SNIPPETS), max_size=12).map(b"".join)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_fuzz(target, data):
    target(data)


if __name__ == "__main__":
    import atheris

    chosen = {target.__name__: target for target in TARGETS}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, chosen)
    atheris.Fuzz()
