"""The tamper matrix over sealed Django models."""

from __future__ import annotations

import pytest
from django.db import connection
from tests.tamper_matrix import CANARY, Target

from assay.core import DataKeyClass
from assay.encryption import EnvelopeSealer, RowAddress, encode_row_id
from assay.encryption.django import bind
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class DjangoVault:
    """One row of a sealed model, and what lies beside it."""

    def __init__(self, keyring, *, versioned):
        from tests.sealed_shop.models import Contract, Letter

        self.keyring, self.versioned = keyring, versioned
        self.model, other = (Contract, Letter) if versioned else (Letter, Contract)
        self.row = self.model.objects.create(owner="north", text=CANARY)
        self.older = self.column(self.row)
        self.row.pages = 7
        self.row.save()
        self.neighbour = self.model.objects.create(owner="north", text="a neighbour's")
        self.southern = self.model.objects.create(owner="south", text="of the south")
        self.elsewhere = other.objects.create(owner="south", text="of another table")

    def key_of(self, row):
        return row.pk.hex if connection.vendor == "sqlite" else row.pk

    def column(self, row, name="sealed"):
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {name} FROM {row._meta.db_table} WHERE id = %s",  # noqa: S608 - of this test
                [self.key_of(row)],
            )
            return bytes(cursor.fetchone()[0])

    def change(self, column, value):
        """A change past the adapter."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.model._meta.db_table} SET {column} = %s WHERE id = %s",  # noqa: S608 - of this test
                [value, self.key_of(self.row)],
            )

    def read(self):
        row = self.model.objects.get(pk=self.row.pk)
        return {"text": row.text, "pages": row.pages}

    def give_away(self):
        self.change("owner", "south")
        return lambda: self.change("owner", "north")

    def use_other_keys(self):
        bind(Keyring(MemoryKeyService(), MemoryDataKeyTable()))
        return lambda: bind(self.keyring)

    def target(self):
        version = 2 if self.versioned else None
        papers = RowAddress("north", "papers", "default", encode_row_id(self.row.pk), version)
        key = self.keyring.current("north", DataKeyClass.ROWS)
        return Target(
            adapter="Django, versioned" if self.versioned else "Django",
            own=self.column(self.row),
            put=lambda value: self.change("sealed", value),
            read=self.read,
            plain={"text": CANARY, "pages": 7},
            others={
                "row": self.column(self.neighbour),
                "table": EnvelopeSealer().seal(key, papers, {"text": "x", "pages": 1}),
                "group": self.column(self.row, "sealed_content"),
                "owner": self.column(self.southern),
                "everything": self.column(self.elsewhere, "sealed_content"),
                "older": self.older,
            },
            acts={"give away": self.give_away, "other keys": self.use_other_keys},
        )


@pytest.mark.parametrize("versioned", [False, True], ids=["unversioned", "versioned"])
def test_every_attack_is_refused(attack, keyring, versioned):
    attack.run(DjangoVault(keyring, versioned=versioned).target())
