"""Whose a row is, and which of that owner's keys are used."""

from __future__ import annotations

from uuid import UUID

import pytest

from assay.core import DataKeyClass
from assay.encryption import BlindIndex, EnvelopeSealer, WrongKeyError, encode_row_id, exact
from assay.encryption.owner_keys import IndexKeys, found_instead, key_of_envelope, owner_text
from assay.encryption.row_address import RowAddress
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

INDEX = BlindIndex("documents", "email", exact)
USER = UUID("0f5a1c9e-0000-4000-8000-000000000001")


class DriverUUID(UUID):
    """What some database drivers return."""


@pytest.mark.parametrize(
    ("value", "name"),
    [("acme", "acme"), (USER, str(USER)), (DriverUUID(str(USER)), str(USER)), (42, "42")],
)
def test_an_owner_is_text_uuid_or_integer(value: object, name: str) -> None:
    assert owner_text(value) == name


@pytest.mark.parametrize(
    ("value", "found"),
    [("", "nothing"), (None, "nothing"), (True, "bool"), (1.5, "float"), (b"acme", "bytes")],
)
def test_anything_else_is_nobody(value: object, found: str) -> None:
    assert owner_text(value) is None
    assert found_instead(value) == found


def test_an_envelope_of_another_owner_has_no_key(keyring: Keyring) -> None:
    key = keyring.current("acme", DataKeyClass.ROWS)
    place = RowAddress("acme", "documents", "default", encode_row_id(1)).associated_data()
    envelope = EnvelopeSealer().seal_payload(key, place, b"\x80")
    assert key_of_envelope(keyring, "acme", envelope) is key
    with pytest.raises(WrongKeyError, match=key.key_id.hex()):
        key_of_envelope(keyring, "globex", envelope)


def test_indexes_are_written_under_the_newest_key_and_read_under_each(keyring: Keyring) -> None:
    indexes = IndexKeys(keyring)
    first = indexes.value(INDEX, "acme", "ada")
    assert indexes.newest(INDEX, "acme") is indexes.newest(INDEX, "acme")
    assert indexes.value(INDEX, "globex", "ada") != first
    assert indexes.value(INDEX, "acme", None) is None
    keyring.rotate("acme", DataKeyClass.INDEXES)
    found = [indexer.compute("ada") for indexer in indexes.all(INDEX, "acme")]
    assert first in found
    assert len(found) == 2


def test_two_indexes_of_equal_names_are_not_confused(keyring: Keyring) -> None:
    indexes = IndexKeys(keyring)
    another = Keyring(MemoryKeyService(), MemoryDataKeyTable()).current(
        "acme", DataKeyClass.INDEXES
    )
    assert another.version == keyring.current("acme", DataKeyClass.INDEXES).version
    assert indexes.under(INDEX, another).key is another is not indexes.newest(INDEX, "acme").key
    assert indexes.under(INDEX, another).key is another
    shorter = BlindIndex("documents", "email", exact, bits=64)
    assert indexes.value(INDEX, "acme", "ada") != indexes.value(shorter, "acme", "ada")
    assert indexes.newest(shorter, "acme").index is shorter
