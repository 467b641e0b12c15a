"""Versions of rows: an older envelope of the same row is noticed."""

from __future__ import annotations

import copy
import io
import pickle
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tests.unit.encryption.django.test_django_interchange import sessions  # noqa: F401 - a fixture

from assay.encryption import RolledBackEnvelopeError
from assay.encryption.django import (
    SealedExpressionError,
    StaleEnvelopeError,
    UnsealedWriteError,
    move_to_owner,
)
from assay.encryption.sqlalchemy import Equality, Sealed, exact, sealed


class Base(DeclarativeBase):
    pass


class Contract(Sealed, Base):
    __tablename__ = "sealed_shop_contract"
    __owner__ = "owner"
    __sealed_versions__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str]
    text: Mapped[str] = sealed(index=Equality(exact))
    pages: Mapped[int] = sealed()
    body: Mapped[str] = sealed(group="content")


def contracts():
    from tests.sealed_shop.models import Contract

    return Contract.objects


def make(**fields):
    return contracts().create(**{"owner": "north", "text": "one", **fields})


def raw(row, *columns):
    key = row.pk.hex if connection.vendor == "sqlite" else row.pk
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(columns)} FROM sealed_shop_contract WHERE id = %s",  # noqa: S608 - of this test
            [key],
        )
        found = cursor.fetchone()
    return tuple(bytes(each) if isinstance(each, memoryview) else each for each in found)


def put(row, **values):
    key = row.pk.hex if connection.vendor == "sqlite" else row.pk
    names = ", ".join(f"{name} = %s" for name in values)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE sealed_shop_contract SET {names} WHERE id = %s",  # noqa: S608 - of this test
            [*values.values(), key],
        )


def versions(row):
    return raw(row, "sealed_version", "sealed_content_version")


def test_the_version_of_a_group_grows_when_its_envelope_is_replaced(keyring):
    row = make()
    assert versions(row) == (row.sealed_version, row.sealed_content_version) == (1, 1)
    row.text = "two"
    row.save()
    assert versions(row) == (row.sealed_version, row.sealed_content_version) == (2, 1)
    row.save()
    assert versions(row) == (2, 1)
    read = contracts().get(pk=row.pk)
    read.body = "changed"
    read.save(update_fields=["body"])
    assert versions(row) == (2, 2)
    assert [each.text for each in contracts().filter(owner="north", text="two")] == ["two"]


def test_an_older_envelope_is_refused_and_says_so(keyring):
    row = make()
    (older,) = raw(row, "sealed")
    row.text = "two"
    row.save()
    put(row, sealed=older)
    with pytest.raises(RolledBackEnvelopeError, match="version 2 of this row, found that of ver"):
        _ = contracts().get(pk=row.pk).text
    put(row, sealed_version=1)
    assert contracts().get(pk=row.pk).text == "one"  # what no version can notice


def test_a_version_that_is_gone_is_refused(keyring):
    row = make()
    put(row, sealed_version=None)
    with pytest.raises(RolledBackEnvelopeError, match="NoneType"):
        _ = contracts().get(pk=row.pk).text


def test_two_who_change_one_group_do_not_overwrite_each_other(keyring):
    row = make()
    one, two = contracts().get(pk=row.pk), contracts().get(pk=row.pk)
    one.text, two.text = "one's", "two's"
    one.save()
    with pytest.raises(StaleEnvelopeError):
        two.save()
    assert contracts().get(pk=row.pk).text == "one's"
    assert versions(row) == (2, 1)


@pytest.mark.parametrize(
    "narrow",
    [
        lambda rows: rows.only("text"),
        lambda rows: rows.only("owner"),
        lambda rows: rows.defer("text"),
        lambda rows: rows.defer("sealed"),
        lambda rows: rows.defer("sealed_version"),
        lambda rows: rows.only("sealed"),
    ],
    ids=["only text", "only owner", "defer text", "defer envelope", "defer version", "only sealed"],
)
def test_what_is_loaded_later_is_loaded_with_its_version(keyring, narrow):
    row = make()
    read = narrow(contracts().filter(pk=row.pk)).get()
    other = contracts().get(pk=row.pk)
    other.text = "two"
    other.save()
    if "sealed" in read.__dict__ and "sealed_version" in read.__dict__:
        assert read.text == "one"
    else:
        assert read.text == "two"
        read.text = "three"
        read.save()
        assert versions(row) == (3, 1)


def test_only_a_sealed_field_loads_envelope_and_version_in_one_statement(keyring):
    make()
    with CaptureQueriesContext(connection) as log:
        (read,) = contracts().only("text")
        assert read.text == "one"
    assert len(log) == 1


def test_a_refreshed_field_has_its_version_and_its_index(keyring):
    row = make()
    other = contracts().get(pk=row.pk)
    other.text = "two"
    other.save()
    row.refresh_from_db(fields=["text"])
    assert row.text == "two"
    assert row.sealed_version == 2
    assert bytes(row.text_index) == bytes(raw(row, "text_index")[0])


def test_a_copy_of_a_row_begins_anew(keyring):
    row = make()
    row.text = "two"
    row.save()
    row.pk, row._state.adding = uuid4(), True
    row.save()
    assert versions(row) == (1, 1)
    assert contracts().get(pk=row.pk).text == "two"


def test_many_rows_at_once_and_a_row_that_moves(keyring):
    model = contracts().model
    first, _ = contracts().bulk_create([model(owner="north", text=each) for each in "ab"])
    assert versions(first) == (1, 1)
    move_to_owner(first, "south")
    first.save()
    assert versions(first) == (2, 2)
    assert contracts().get(owner="south").text == "a"


def test_a_version_is_nobodys_to_choose(keyring):
    row = make()
    with pytest.raises(SealedExpressionError, match="sealed_version"):
        contracts().update(sealed_version=1)
    row.sealed_version = 7
    row.text = "two"
    row.save()
    assert versions(row) == (2, 1)
    fresh = contracts().model(owner="north", text="x", sealed_version=9)
    fresh.save()
    assert versions(fresh) == (1, 1)
    field = contracts().model._meta.get_field("sealed_version")
    with pytest.raises(UnsealedWriteError, match="a version that was sealed"):
        field.get_db_prep_save(3, connection)
    assert field.formfield() is None


def test_a_row_from_before_the_model_was_sealed_gets_its_first_version(keyring):
    row = make()
    put(row, sealed=None, sealed_version=None)
    read = contracts().get(pk=row.pk)
    read.text = "two"
    read.save()
    assert versions(row) == (1, 1)
    assert contracts().get(pk=row.pk).text == "two"


def test_fixtures_pickles_and_copies_keep_it(keyring, tmp_path):
    row = make()
    row.text = "two"
    row.save()
    assert pickle.loads(pickle.dumps(row)).text == "two"  # noqa: S301 - of this test
    changed = copy.deepcopy(row)
    changed.text = "three"
    changed.save()
    assert versions(row) == (3, 1)
    row.text = "four"
    with pytest.raises(StaleEnvelopeError):
        row.save()
    written = io.StringIO()
    call_command("dumpdata", "sealed_shop.contract", stdout=written)
    fixture = tmp_path / "contracts.json"
    fixture.write_text(written.getvalue())
    row.delete()
    call_command("loaddata", str(fixture), verbosity=0)
    row = contracts().get()
    assert row.text == "three"
    assert versions(row) == (3, 1)
    fixture.write_text(written.getvalue().replace('"sealed_version": 3', '"sealed_version": 2'))
    row.delete()
    with pytest.raises(RolledBackEnvelopeError):
        call_command("loaddata", str(fixture), verbosity=0)


def test_django_and_sqlalchemy_count_together(keyring, sessions):  # noqa: F811 - the fixture
    row = make()
    with sessions.begin() as session:
        found = session.get_one(Contract, row.pk)
        assert (found.text, found.body) == ("one", "x" * 30)
        found.text = "two"
    assert versions(row) == (2, 1)
    read = contracts().get(owner="north", text="two")
    read.text = "three"
    read.save()
    with sessions() as session:
        found = session.get_one(Contract, row.pk)
        assert (found.text, found.sealed_version) == ("three", 3)
