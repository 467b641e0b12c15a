from django.contrib import admin
from tests.sealed_shop.models import Customer, Item, Order, Tenant

from assay.encryption.django import SealedAdmin


@admin.register(Customer)
class CustomerAdmin(SealedAdmin, admin.ModelAdmin):
    list_display = ("id", "email", "age", "label")
    list_editable = ("age", "label")
    list_filter = ("label", "tenant_id")
    search_fields = ("email__exact",)


class ItemInline(admin.StackedInline):
    model = Item
    extra = 0


@admin.register(Tenant)
class TenantAdmin(SealedAdmin, admin.ModelAdmin):
    inlines = (ItemInline,)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "customer")
    search_fields = ("customer__email__exact",)
