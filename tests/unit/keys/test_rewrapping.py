"""A data key moves under another KEK, or another version of it, and stays what it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from assay.keys import KeyService, MemoryKeyService, UnwrapError
from assay.keys.embedded import EmbeddedProvider
from assay.keys.embedded_format import SMALLEST_N, ScryptParameters

CONTEXT = {"owner": "a", "class": "rows", "version": "1"}
ENVIRONMENT = {"ASSAY_PASSPHRASE": "correct horse battery"}


@pytest.fixture(params=["memory", "embedded"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], KeyService]]:
    """Makes a KEK of the provider, by name."""
    if request.param == "memory":
        yield lambda name: MemoryKeyService(name=name)
        return
    provider = EmbeddedProvider(ScryptParameters(n=SMALLEST_N))

    def embedded(name: str) -> KeyService:
        uri = f"embedded:keys.json?object={name}"
        provider.create_key(uri, tmp_path, ENVIRONMENT)
        return provider.open_key_service(uri, tmp_path, ENVIRONMENT)

    yield embedded


def test_a_data_key_is_wrapped_anew(make: Callable[[str], KeyService]) -> None:
    service = make("kek")
    data_key, wrapped = service.generate_data_key(CONTEXT)
    again = service.rewrap(wrapped, CONTEXT)
    assert again != wrapped
    assert service.unwrap(again, CONTEXT) == data_key
    for changed in ({**CONTEXT, "owner": "b"}, {**CONTEXT, "version": "2"}):
        with pytest.raises(UnwrapError):
            service.rewrap(wrapped, changed)
        with pytest.raises(UnwrapError):
            service.unwrap(again, changed)


def test_a_data_key_moves_under_another_kek(make: Callable[[str], KeyService]) -> None:
    old, new = make("old"), make("new")
    data_key, wrapped = old.generate_data_key(CONTEXT)
    moved = new.rewrap(wrapped, CONTEXT, wrapped_by=old)
    assert new.unwrap(moved, CONTEXT) == data_key
    with pytest.raises(UnwrapError):
        old.unwrap(moved, CONTEXT)
    with pytest.raises(UnwrapError):
        new.rewrap(wrapped, CONTEXT)
    with pytest.raises(UnwrapError):
        new.rewrap(moved, CONTEXT, wrapped_by=old)


class ShortKeys(MemoryKeyService):
    """A service that gives keys of another size."""

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return os.urandom(16)


def test_what_is_no_data_key_is_not_wrapped(make: Callable[[str], KeyService]) -> None:
    with pytest.raises(UnwrapError, match="32 bytes inside, found 16"):
        make("kek").rewrap(b"", CONTEXT, wrapped_by=ShortKeys())
