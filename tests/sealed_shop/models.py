from decimal import Decimal
from uuid import uuid4

from django.db import models

from assay.encryption.django import (
    Buckets,
    Equality,
    Ngram,
    Prefix,
    Sealed,
    casefold,
    exact,
    sealed,
)


class Tenant(models.Model):
    id = models.CharField(primary_key=True, max_length=40)


class Sellable(Sealed, models.Model):
    """An abstract model whose sealed fields are those of the models that inherit."""

    __owner__ = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid4)
    tenant = models.ForeignKey(Tenant, models.CASCADE)
    secret = sealed(models.TextField(blank=True))

    class Meta:
        abstract = True


class Item(Sellable):
    price = sealed(
        models.DecimalField(max_digits=9, decimal_places=2),
        index=Buckets(boundaries=tuple(Decimal(each) for each in (10, 100, 1000))),
    )
    title = sealed(models.CharField(max_length=80), index=[Prefix(casefold, (3,)), Ngram(casefold)])

    def __str__(self):
        return self.title


class ItemProxy(Item):
    class Meta:
        proxy = True


class Customer(Sealed, models.Model):
    __owner__ = "tenant_id"

    id = models.UUIDField(primary_key=True, default=uuid4)
    tenant_id = models.CharField(max_length=40)
    label = models.CharField(max_length=40, blank=True)
    email = sealed(models.EmailField(max_length=60), index=Equality(casefold, unique=True))
    age = sealed(models.IntegerField(null=True, blank=True), index=Equality(exact))
    plan = sealed(
        models.CharField(max_length=9, choices=[("f", "Free"), ("p", "Paid")], default="f")
    )
    notes = sealed(models.TextField(blank=True), group="content")
    extra = sealed(models.JSONField(default=dict, blank=True), group="content")

    def __str__(self):
        return self.email


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")


class Everything(Sealed, models.Model):
    """Every kind of field, bound to an owner that is a UUID and a key that is a number."""

    __owner__ = "owner"
    __sealed_name__ = "all of it"
    __sealed_padding__ = True

    number = models.BigIntegerField(primary_key=True)
    owner = models.UUIDField()
    yes = sealed(models.BooleanField(null=True))
    moment = sealed(models.DateTimeField(null=True))
    day = sealed(models.DateField(null=True))
    hour = sealed(models.TimeField(null=True))
    small = sealed(models.PositiveSmallIntegerField(null=True))
    ratio = sealed(models.FloatField(null=True))
    amount = sealed(models.DecimalField(max_digits=20, decimal_places=4, null=True))
    uuid = sealed(models.UUIDField(null=True))
    raw = sealed(models.BinaryField(null=True))
    slug = sealed(models.SlugField(null=True))
    address = sealed(models.GenericIPAddressField(null=True))
    tree = sealed(models.JSONField(null=True))


class Letter(Sealed, models.Model):
    """Of any version; for what an attacker does to rows."""

    __owner__ = "owner"

    id = models.UUIDField(primary_key=True, default=uuid4)
    owner = models.CharField(max_length=40)
    text = sealed(models.TextField(), index=Equality(exact))
    pages = sealed(models.IntegerField(default=1))
    body = sealed(models.TextField(default="x" * 30), group="content")


class Contract(Sealed, models.Model):
    """As a letter, and older envelopes are noticed."""

    __owner__ = "owner"
    __sealed_versions__ = True

    id = models.UUIDField(primary_key=True, default=uuid4)
    owner = models.CharField(max_length=40)
    text = sealed(models.TextField(), index=Equality(exact))
    pages = sealed(models.IntegerField(default=1))
    body = sealed(models.TextField(default="x" * 30), group="content")
