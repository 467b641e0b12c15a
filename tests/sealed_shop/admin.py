from django.contrib import admin
from tests.sealed_shop.models import Customer

from assay.encryption.django import SealedAdmin


@admin.register(Customer)
class CustomerAdmin(SealedAdmin, admin.ModelAdmin):
    list_display = ("id", "email", "label")
    search_fields = ("email__exact",)
