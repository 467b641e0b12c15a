"""Models that cannot be sealed as they are declared: refused when the class is made."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.db import connection, models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.test.utils import isolate_apps

from assay.encryption.django import (
    DeclarationError,
    Equality,
    Ngram,
    Sealed,
    SealedExpressionError,
    SealedManager,
    SealedQuerySet,
    casefold,
    exact,
    sealed,
)


def make(name="Letter", bases=(Sealed, models.Model), meta=None, **attributes):
    options = {"app_label": "letters", **(meta or {})}
    given = {
        "__module__": __name__,
        "__owner__": "tenant",
        "id": models.UUIDField(primary_key=True, default=uuid4),
        "tenant": models.CharField(max_length=9),
        "text": sealed(models.TextField(null=True), index=Equality(exact)),
        "Meta": type("Meta", (), options),
        **attributes,
    }
    return type(name, bases, {key: value for key, value in given.items() if value is not None})


@pytest.fixture(autouse=True)
def _registry(keyring):
    with isolate_apps("tests.sealed_shop"):
        yield


class Plain(models.Manager):
    """A manager that knows nothing of sealing."""


def refuse(name):
    return {"fields": ["tenant"], "name": name}


@pytest.mark.parametrize(
    ("meta", "option"),
    [
        ({"ordering": ["-text"]}, "ordering"),
        ({"ordering": [F("text").asc()]}, "ordering"),
        ({"ordering": ["tenant", Lower("text")]}, "ordering"),
        ({"get_latest_by": "text"}, "get_latest_by"),
        ({"order_with_respect_to": "text"}, "order_with_respect_to"),
        ({"get_latest_by": ["tenant", "-text"]}, "get_latest_by"),
        ({"unique_together": [("tenant", "text")]}, "unique_together"),
        ({"indexes": [models.Index(fields=["tenant", "-text"], name="i")]}, "indexes"),
        ({"indexes": [models.Index(Lower("text"), name="i")]}, "indexes"),
        ({"indexes": [models.Index(condition=Q(text="x"), **refuse("i"))]}, "indexes"),
        ({"indexes": [models.Index(include=["text"], **refuse("i"))]}, "indexes"),
        ({"constraints": [models.UniqueConstraint(fields=["text"], name="c")]}, "constraints"),
        ({"constraints": [models.UniqueConstraint(F("text"), name="c")]}, "constraints"),
        (
            {"constraints": [models.UniqueConstraint(condition=~Q(text="x"), **refuse("c"))]},
            "constraints",
        ),
        (
            {"constraints": [models.CheckConstraint(condition=Q(text__in=["x"]), name="c")]},
            "constraints",
        ),
        (
            {"constraints": [models.CheckConstraint(condition=Q(tenant=F("text")), name="c")]},
            "constraints",
        ),
    ],
)
def test_options_do_not_name_sealed_fields(meta, option):
    made = make(meta=meta)
    said = made.check()
    assert [each.id for each in said] == ["assay.E005"]
    assert re.match(rf"Expected Meta\.{option} of Letter .* found 'text'", said[0].msg)
    for write in (
        lambda: made(tenant="north", text="x").save(),
        lambda: made.objects.bulk_create([made(tenant="north", text="x")]),
        lambda: made(tenant="north", text="x").save_base(raw=True),
    ):
        with pytest.raises(DeclarationError, match=rf"Meta\.{option} .* manage.py check"):
            write()


def test_generated_fields_are_not_made_of_sealed_ones():
    low = models.GeneratedField(
        expression=Lower("text"), output_field=models.TextField(), db_persist=True
    )
    assert [each.id for each in make(low=low).check()] == ["assay.E005"]
    low = models.GeneratedField(
        expression=Lower("tenant"), output_field=models.TextField(), db_persist=True
    )
    assert make("Other", low=low).check() == []


SHOP = {"app_label": "sealed_shop"}
"""An application that Django knows, and looks for models in."""


def errors(model):
    return [each for each in model.check() if each.id.startswith("assay.")]


def test_other_models_are_not_sorted_by_sealed_fields():
    made = make(parent=models.ForeignKey("self", models.CASCADE, null=True), meta=SHOP)

    def refer(name, **meta):
        options = type("Meta", (), {**SHOP, **meta})
        letter = models.ForeignKey(made, models.CASCADE, related_name="+")
        attributes = {"__module__": __name__, "Meta": options, "letter": letter}
        return type(name, (models.Model,), attributes)

    refer("Fine", ordering=["letter", "letter__tenant", F("letter__id").asc(), "?"])
    assert errors(made) == []
    refer("One", ordering=["-letter__text"])
    refer("Two", ordering=[Lower("letter__parent__text")])
    refer("Three", get_latest_by="letter__text")
    said = errors(made)
    assert [each.id for each in said] == ["assay.E006"] * 3
    assert [each.obj.__name__ for each in said] == ["One", "Two", "Three"]
    own = make(
        "Own",
        parent=models.ForeignKey("self", models.CASCADE, null=True),
        meta={**SHOP, "ordering": ["parent__text"]},
    )
    assert [each.id for each in errors(own)] == ["assay.E006"]


def test_options_may_name_fields_in_the_clear():
    made = make(
        meta={
            "ordering": ["-tenant", F("id").asc()],
            "get_latest_by": "tenant",
            "indexes": [models.Index(Lower("tenant"), name="i")],
            "constraints": [models.CheckConstraint(condition=~Q(tenant=""), name="c")],
        }
    )
    assert made.check() == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"bases": (models.Model,)},
        {"bases": (models.Model, Sealed)},
        {"__owner__": None},
        {"__owner__": "nothing"},
        {"__owner__": "text"},
        {"id": models.BigAutoField(primary_key=True)},
        {"id": None},
        {"id": models.DateField(primary_key=True)},
        {"id": models.UUIDField(primary_key=True, db_default=Lower(F("x")))},
        {"objects": Plain()},
        {"objects": SealedManager(), "others": Plain()},
        {"others": Plain(), "meta": {"base_manager_name": "others"}},
        {"sealed": models.TextField()},
        {"text_index": models.TextField()},
        {"sealed": 5},
        {
            "tenant": models.ForeignKey("letters.Tenant", models.SET_NULL, null=True),
        },
        {"tenant": models.ForeignKey("letters.Tenant", models.SET_DEFAULT, default=1)},
        {"tenant": models.ForeignKey("letters.Tenant", models.SET(1))},
    ],
)
def test_shapes_that_cannot_be_sealed(attributes):
    with pytest.raises(DeclarationError, match="expected"):
        make(**attributes)


@pytest.mark.parametrize("deletion", [models.CASCADE, models.PROTECT, models.RESTRICT])
def test_owners_that_rows_go_with(deletion):
    made = make(tenant=models.ForeignKey("letters.Tenant", deletion))
    assert made.__sealed__.owner == "tenant_id"


@pytest.mark.parametrize(
    "field",
    [
        models.FileField,
        lambda: models.ForeignKey("letters.Tenant", models.CASCADE),
        lambda: models.AutoField(primary_key=True),
        models.DurationField,
        lambda: models.TextField(unique=True),
        lambda: models.TextField(db_index=True),
        lambda: models.TextField(primary_key=True),
        lambda: models.TextField(db_column="x"),
        lambda: models.TextField(db_default="x"),
        lambda: models.DateField(auto_now=True),
        lambda: models.DateTimeField(auto_now_add=True),
    ],
)
def test_fields_that_cannot_be_sealed(field):
    with pytest.raises(DeclarationError, match="expected"):
        sealed(field())


@pytest.mark.parametrize(
    "index", [Ngram(casefold), Equality(casefold), "email", [Equality(exact), Equality(exact)]]
)
def test_indexes_that_a_field_of_numbers_cannot_have(index):
    with pytest.raises(DeclarationError):
        sealed(models.IntegerField(), index=index)


def test_an_index_of_choices_says_why():
    choices = [("f", "Free"), ("p", "Paid")]
    with pytest.raises(DeclarationError, match="acknowledged"):
        sealed(models.CharField(max_length=1, choices=choices), index=Equality(exact))
    index = Equality(exact, acknowledged="everybody knows the plans")
    assert sealed(models.CharField(max_length=1, choices=choices), index=index).sealed_indexes


def test_a_table_of_ones_own_is_needed():
    parent = make()
    with pytest.raises(DeclarationError, match="one table"):
        type(
            "Child",
            (parent,),
            {"__module__": __name__, "Meta": type("Meta", (), {"app_label": "letters"})},
        )


def test_proxies_are_refused_for_the_same_reasons():
    def proxy(name="Proxy", **attributes):
        meta = {"app_label": "letters", "proxy": True, **attributes.pop("meta", {})}
        given = {"__module__": __name__, "Meta": type("Meta", (), meta), **attributes}
        return type(name, (parent,), given)

    parent = make()
    with pytest.raises(DeclarationError, match="'plain'"):
        proxy(plain=Plain())
    sorted_proxy = proxy("Sorted", meta={"ordering": ["text"]})
    assert [each.id for each in sorted_proxy.check()] == ["assay.E005"]
    assert parent.check() == []
    with pytest.raises(DeclarationError, match="ordering"):
        sorted_proxy(tenant="north", text="x").save()
    assert isinstance(proxy("Good")._base_manager, SealedManager)


def test_managers_of_ones_own():
    class Letters(SealedQuerySet):
        def of_the_north(self):
            return self.filter(tenant="north")

    class Kept(SealedManager):
        pass

    made = make(objects=SealedManager.from_queryset(Letters)(), kept=Kept())
    assert made.objects.of_the_north().query.where
    assert [type(each).__name__ for each in made._meta.managers][1] == "Kept"
    assert made._default_manager is made._meta.managers_map["objects"]
    base = make("Other", kept=Kept(), meta={"base_manager_name": "kept"})._base_manager
    assert type(base) is Kept


def test_a_proxy_has_no_sealed_fields_of_its_own():
    parent = make()
    for group in ("default", "other"):
        meta = type("Meta", (), {"app_label": "letters", "proxy": True})
        more = sealed(models.TextField(), group=group)
        with pytest.raises(DeclarationError, match="'more'"):
            type("Proxy", (parent,), {"__module__": __name__, "Meta": meta, "more": more})


def test_a_class_that_was_made_gets_no_more_sealed_fields():
    made = make()
    with pytest.raises(DeclarationError, match="'more'"):
        made.add_to_class("more", sealed(models.TextField()))
    plain = type("Plain", (models.Model,), {"__module__": __name__, "Meta": _meta()})
    with pytest.raises(DeclarationError, match="Sealed"):
        plain.add_to_class("more", sealed(models.TextField()))


def _meta():
    return type("Meta", (), {"app_label": "letters"})


def test_a_field_is_sealed_once():
    with pytest.raises(DeclarationError, match="sealed twice"):
        sealed(sealed(models.TextField()))


def test_a_sealed_field_is_no_part_of_another(keyring):
    from django.contrib.postgres.fields import ArrayField

    many = ArrayField(sealed(models.TextField()))
    with pytest.raises(SealedExpressionError, match="column"):
        many.get_db_prep_save(["quartz"], connection)
    with pytest.raises(DeclarationError):
        sealed(ArrayField(models.TextField()))
